"""Python's own unpickler, with classes that do nothing: what CPython makes of a pickle, without importing or calling anything.

canonical(value) and canonical_tree(JSON of reader_driver) are equal where both readers found the same. Dicts and sets hold a key once, as Python
compares keys: 1 and True are the same, of which the first stays."""
import io
import pickle
import struct


class Opaque:
    """An instance of some class: what the pickle gave it."""

    def __new__(cls, /, *arguments, **keywords):
        self = object.__new__(cls)
        self.arguments = arguments + ((keywords,) if keywords else ())
        self.state, self.items, self.pairs = None, [], []
        return self

    def __init__(self, /, *arguments, **keywords):
        pass

    def __setstate__(self, state):
        self.state = state

    def __setitem__(self, key, value):
        self.pairs.append((key, value))

    def append(self, item):
        self.items.append(item)

    def extend(self, items):
        self.items.extend(items)


class Persistent:
    def __init__(self, identifier):
        self.identifier = identifier


# pickle._Unpickler: CPython's in Python, whose memo is a dict, so that a large slot number costs nothing.
class Unpickler(pickle._Unpickler):
    """allowed: (module, name) pairs; None: any. named: those that occurred."""

    def __init__(self, data, allowed):
        super().__init__(io.BytesIO(data))
        self.allowed, self.named, self.classes = allowed, set(), {}

    def find_class(self, module, name):
        if self.allowed is not None and (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"class {module}.{name} is not allowed")
        self.named.add((module, name))
        return self.classes.setdefault((module, name), type("Opaque", (Opaque,), {"place": f"{module} {name}"}))

    def persistent_load(self, pid):
        return Persistent(pid)


def load(data, allowed):
    return Unpickler(data, allowed).load()


def classes_of(data):
    reader = Unpickler(data, None)
    reader.load()
    return reader.named


def identity(value):
    """A hashable that equals that of another canonical value where Python's keys are equal. Objects equal none but themselves."""
    tag, content = value
    if tag in ("int", "bool"):
        return content
    if tag == "real":
        number = struct.unpack(">d", bytes.fromhex(content))[0]
        return number if number == number else object()
    if tag == "tuple":
        return ("tuple", *map(identity, content))
    if tag == "set":
        return frozenset(map(identity, content))
    return object() if tag in ("object", "persistent") else (tag, content)


def canonical_dict(pairs):
    kept = {}
    for key, value in pairs:
        kept.setdefault(identity(key), [key, value])[1] = value
    return "dict", tuple(map(tuple, kept.values()))


def canonical_set(items):
    kept = {}
    for item in items:
        kept.setdefault(identity(item), item)
    return "set", tuple(sorted(kept.values(), key=repr))


def canonical(value):
    if value is None or isinstance(value, (bool, int)):
        return {type(None): "none", bool: "bool", int: "int"}[type(value)], value
    if isinstance(value, float):
        return "real", struct.pack(">d", value).hex()
    if isinstance(value, str):
        return "text", value.encode("utf-8", "surrogatepass").hex()
    if isinstance(value, (bytes, bytearray)):
        return "bytes", value.hex()
    if isinstance(value, (tuple, list)):
        return type(value).__name__, tuple(map(canonical, value))
    if isinstance(value, (set, frozenset)):
        return canonical_set(map(canonical, value))
    if isinstance(value, dict):
        return canonical_dict((canonical(key), canonical(item)) for key, item in value.items())
    if isinstance(value, type):
        return "class", value.place
    if isinstance(value, Persistent):
        return "persistent", canonical(value.identifier)
    content = canonical(value.items) if value.items else None
    if value.pairs:
        content = canonical_dict((canonical(key), canonical(item)) for key, item in value.pairs)
    return "object", (canonical(type(value)), canonical(value.arguments), canonical(value.state), content)


def canonical_tree(tree):
    if tree is None or isinstance(tree, bool):
        return ("none", None) if tree is None else ("bool", tree)
    ((tag, content),) = tree.items()
    if tag == "int":
        return "int", int(content, 0)
    if tag in ("real", "text", "bytes", "class"):
        return tag, content
    items = [canonical_tree(item) for item in content]
    if tag == "dict":
        return canonical_dict(zip(items[::2], items[1::2]))
    if tag == "set":
        return canonical_set(items)
    if tag == "persistent":
        return tag, items[0]
    if tag == "object":  # class, arguments, and where they are given: state, content
        callee, arguments, state, filled = (*items, *[("none", None), None][len(items) - 2 :])
        return tag, (callee, arguments, state, filled)
    return tag, tuple(items)
