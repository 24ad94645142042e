"""Makes the torch.save archives beside this file (torch 2.11, Python 3.11). What each one holds is said in
tests/io/torch_item_test.cpp, which reads them. Usage: python make_items.py"""
import io
import zipfile

import torch

DTYPES = ("bool uint8 int8 int16 uint16 int32 uint32 int64 uint64 float16 bfloat16 float32 float64 "
          "float8_e4m3fn float8_e5m2 float8_e8m0fnu").split()


def saved(value):
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def write(name, value):
    with open(name + ".pt", "wb") as out:
        out.write(saved(value))


for dtype in DTYPES:
    write(dtype, torch.zeros((3, 1, 2), dtype=getattr(torch, dtype)))
write("bfloat16_8", torch.arange(8, dtype=torch.bfloat16))
write("view", torch.arange(20, dtype=torch.float32)[4:10].view(2, 3))
write("parameter", torch.nn.Parameter(torch.ones(2, 2), requires_grad=False))
write("transposed", torch.arange(6).view(2, 3).t())
write("scalar", torch.tensor(7, dtype=torch.int64))
write("empty", torch.empty((0, 4), dtype=torch.uint8))
write("one_row", torch.empty_strided((1, 3), (77, 1), dtype=torch.uint8).fill_(9))
write("conjugate", torch.tensor([1 + 2j]).conj())
write("list_of_none", [None])
torch.serialization.set_crc32_options(False)
write("without_crc", torch.arange(4, dtype=torch.int16))
torch.serialization.set_crc32_options(True)

# The same entries through Python's own zip writer: sizes in the local headers, no zip64 records.
with zipfile.ZipFile("zipfile.pt", "w") as out, zipfile.ZipFile("bfloat16_8.pt") as source:
    for entry in source.infolist():
        out.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
with zipfile.ZipFile("deflated.pt", "w", zipfile.ZIP_DEFLATED) as out, zipfile.ZipFile("bfloat16_8.pt") as source:
    for entry in source.infolist():
        out.writestr(entry.filename, source.read(entry), zipfile.ZIP_DEFLATED)
