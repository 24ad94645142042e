"""Mutations of files: of bytes, and of what a format is made of, so that more than the first check is reached."""
import json
import pickletools
import struct

NUMBERS = (0, 1, 2, 3, 7, 8, 63, 64, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63,
           2**64 - 1)
MOST_CHANGES = 3


def mutated(rng, seeds, change_structure):
    """One of the seeds with a few changes; some have none."""
    data = rng.choice(seeds)
    for _ in range(rng.randrange(MOST_CHANGES + 1)):
        change = change_structure if rng.random() < 0.6 else change_bytes
        data = change(rng, data, seeds)
    return data


def place(rng, data, longest=16):
    begin = rng.randrange(len(data) + 1)
    return begin, min(len(data), begin + rng.randrange(1, longest + 1))


def change_bytes(rng, data, seeds):
    begin, end = place(rng, data)
    kind = rng.randrange(7)
    if kind == 0 and begin < len(data):
        return data[:begin] + bytes([data[begin] ^ 1 << rng.randrange(8)]) + data[begin + 1 :]
    if kind == 1:
        return data[:begin] + data[end:]
    if kind == 2:
        return data[:begin] + data[begin:end] * 2 + data[end:]
    if kind == 3:
        return data[:begin] + rng.randbytes(end - begin) + data[begin:]
    if kind == 4:
        return data[:begin]
    if kind == 5:
        other = rng.choice(seeds)
        return data[:begin] + other[slice(*place(rng, other, 64))] + data[end:]
    return overwrite(data, begin, rng.choice((1, 2, 4, 8)), rng.choice(NUMBERS))


def overwrite(data, offset, size, number):
    """A little-endian number in the place of these bytes, if they are there."""
    if offset + size > len(data):
        return data
    return data[:offset] + (number % 256**size).to_bytes(size, "little") + data[offset + size :]


# ---- safetensors ----


def change_header(rng, data, seeds):
    """Changes a value, a key or the layout of the JSON header. The length before it fits."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        names = [name for name in header if isinstance(header[name], dict)]
        name = rng.choice(names)
    except (ValueError, IndexError, TypeError):
        return change_bytes(rng, data, seeds)
    entry = header[name]
    kind = rng.randrange(6)
    if kind == 0 and entry:
        key = rng.choice(list(entry))
        entry[key] = rng.choice((None, True, "", "F32", "F4", "C64", "bf16", [], [0], [1, 2], {}, -1, 1.5, 1e30, *NUMBERS))
    elif kind == 1:
        field = rng.choice(("shape", "data_offsets"))
        numbers = entry.get(field)
        if isinstance(numbers, list) and numbers:
            numbers[rng.randrange(len(numbers))] = rng.choice((-1, 0.0, 2.5, "1", *NUMBERS))
    elif kind == 2:
        entry["dtype"] = rng.choice(("BOOL", "U8", "I8", "F16", "BF16", "F32", "F64", "I64", "U64", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "C64", "X"))
    elif kind == 3:
        header[rng.choice(("", "__metadata__", "\u00e9\U0001f600", "a\nb", "x" * 300, name + "2"))] = header.pop(name)
    elif kind == 4:
        header["__metadata__"] = rng.choice(({}, {"format": "pt"}, {"a": "\u0000"}, {"a": 1}, {"a": None}, [], "text", None))
    else:
        shape = entry.get("shape")
        if isinstance(shape, list):
            entry["shape"] = rng.choice((shape + [1], [1] + shape, shape[::-1], shape[:-1], shape * 40, shape + [0]))
    text = json.dumps(header, separators=rng.choice(((",", ":"), (", ", ": "))), ensure_ascii=rng.random() < 0.5).encode()
    text = rng.choice((b"", b"", b"", b" ", b"\n")) + text + b" " * rng.choice((0, -len(text) % 8, 3))
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


# ---- zip ----

# The offsets and sizes of the fields behind each signature (APPNOTE.TXT 4.3).
FIELDS = {
    b"PK\3\4": ((4, 2), (6, 2), (8, 2), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\1\2": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (36, 2), (38, 4), (42, 4)),
    b"PK\5\6": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\6\6": ((4, 8), (12, 2), (14, 2), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\6\7": ((4, 4), (8, 8), (16, 4)),
    b"PK\7\x08": ((4, 4), (8, 4), (12, 4), (16, 8)),
}


def change_record(rng, data, seeds):
    """Changes a field of one of the archive's records by a little, or to a number where a check lies."""
    records = [(at, fields) for signature, fields in FIELDS.items() for at in find_all(data, signature)]
    if not records:
        return change_bytes(rng, data, seeds)
    at, fields = rng.choice(records)
    offset, size = rng.choice(fields)
    there = int.from_bytes(data[at + offset : at + offset + size], "little")
    return overwrite(data, at + offset, size, rng.choice((there + 1, there - 1, there ^ 1 << rng.randrange(8 * size), rng.choice(NUMBERS))))


def find_all(data, pattern):
    at = data.find(pattern)
    while at >= 0:
        yield at
        at = data.find(pattern, at + 1)


# ---- pickle ----

# Opcodes with their arguments, from Lib/pickle.py.
OPERATIONS = (b"N", b"\x88", b"\x89", b"K\x05", b"M\x00\x01", b"J\xff\xff\xff\xff", b"\x8a\x00", b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00",
              b"\x8a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"G\x3f\xf0\x00\x00\x00\x00\x00\x00", b"G\x7f\xf8\x00\x00\x00\x00\x00\x01", b"\x8c\x01a",
              b"X\x02\x00\x00\x00\xc3\xa9", b"X\x03\x00\x00\x00\xed\xa0\x80", b"X\x01\x00\x00\x00\xff", b"C\x01\x00", b"B\x01\x00\x00\x00z", b")", b"]", b"}", b"\x8f",
              b"(", b"0", b"1", b"2", b"\x85", b"\x86", b"\x87", b"t", b"a", b"e", b"s", b"u", b"\x90", b"\x91", b"R", b"b", b"\x81", b"\x92", b"Q", b"\x94",
              b"h\x00", b"h\x01", b"j\x02\x00\x00\x00", b"q\x00", b"r\x00\x00\x00\x10", b"ccollections\nOrderedDict\n", b"cos\nsystem\n", b"\x93",
              b"\x95\x04\x00\x00\x00\x00\x00\x00\x00", b"\x96\x01\x00\x00\x00\x00\x00\x00\x00x", b"\x97", b"\x98", b"I1\n", b"F1.5\n", b"L1L\n", b"S'a'\n", b"Va\n",
              b"(l", b"(d", b"p0\n", b"g0\n", b"\x82\x01", b".")


def change_operations(rng, data, seeds):
    """Removes, repeats, swaps, replaces or adds opcodes."""
    try:
        starts = [at for _, _, at in pickletools.genops(data)]
    except (ValueError, IndexError, OverflowError, MemoryError):
        return change_bytes(rng, data, seeds)
    operations = [data[begin:end] for begin, end in zip(starts, [*starts[1:], len(data)])]
    at = rng.randrange(len(operations))
    kind = rng.randrange(5)
    if kind == 0:
        del operations[at]
    elif kind == 1:
        operations.insert(at, operations[at])
    elif kind == 2:
        other = rng.randrange(len(operations))
        operations[at], operations[other] = operations[other], operations[at]
    elif kind == 3:
        operations[at] = rng.choice(OPERATIONS)
    else:
        operations.insert(at, rng.choice(OPERATIONS))
    return b"".join(operations)
