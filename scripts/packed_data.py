#!/usr/bin/env python3
"""Unpacks the checkpoints of data/packed, or packs one.

    scripts/packed_data.py              data/packed/X.tar.xz -> data/X, where that is not what is there
    scripts/packed_data.py pack X...    data/X -> data/packed/X.tar.xz, the same bytes whoever does it

A checkpoint and its converted form hold the same tensors; together in one archive they take a third of the space.

1. Beside each archive, X.unpacked holds the SHA-256 of the archive data/X came from. It is written last.
2. A folder is unpacked under another name and then renamed, one process at a time (a lock on data/packed).
3. An archive holds regular files below the name of its folder, and nothing else; anything else is an error.
"""
import fcntl
import hashlib
import io
import os
import pathlib
import shutil
import sys
import tarfile

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
PACKED = DATA / "packed"
SUFFIX = ".tar.xz"
PRESET = 9  # its window of 64 MiB spans both forms of a checkpoint


def stamp_of(archive):
    return archive.with_name(archive.name.removesuffix(SUFFIX) + ".unpacked")


def folder_of(archive):
    return DATA / archive.relative_to(PACKED).with_name(archive.name.removesuffix(SUFFIX))


def is_current(archive):
    stamp = stamp_of(archive)
    return stamp.is_file() and folder_of(archive).is_dir() and stamp.read_text() == hashlib.sha256(archive.read_bytes()).hexdigest()


def unpack(archive):
    folder, content = folder_of(archive), archive.read_bytes()
    fresh = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(fresh, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:xz") as members:
        for member in members:
            path = pathlib.PurePosixPath(member.name)
            if not member.isreg() or path.is_absolute() or ".." in path.parts or path.parts[0] != folder.name or len(path.parts) < 2:
                sys.exit(f"{archive}: {member.name}: not a file below {folder.name}/")
            target = fresh.joinpath(*path.parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(members.extractfile(member).read())
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    stamp_of(archive).write_text(hashlib.sha256(content).hexdigest())


def unpack_all():
    stale = [archive for archive in sorted(PACKED.rglob("*" + SUFFIX)) if not is_current(archive)]
    if not stale:
        return
    lock = os.open(PACKED, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for archive in stale:
            if not is_current(archive):  # another process may have done it meanwhile
                unpack(archive)
    finally:
        os.close(lock)


def pack(name):
    folder, archive = DATA / name, PACKED / (name + SUFFIX)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz", format=tarfile.USTAR_FORMAT, preset=PRESET) as members:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            member = tarfile.TarInfo(str(pathlib.PurePosixPath(folder.name, path.relative_to(folder))))
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    stamp_of(archive).unlink(missing_ok=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["pack"] and len(sys.argv) > 2:
        for each in sys.argv[2:]:
            pack(each)
    elif len(sys.argv) == 1:
        unpack_all()
    else:
        sys.exit("usage: packed_data.py [pack FOLDER...]")
