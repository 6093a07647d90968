"""The bytes of uploaded files: copy with a digest, move, place; no records and no names to judge.

A copy goes to a hidden temporary file (``.upload.*.tmp``) first and is fsynced before it gets its name, so no file
under ``files/`` is ever half of one. Copies run in blocks of ``limits.COPY_BYTES``; memory does not grow with files.

Runs on the caller's thread, without a lock while bytes are copied. Must not know records, sessions or JSON.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from penstock._store.documents import open_temporary, sync_folder, write_all
from penstock.errors import FileRefusedError
from penstock.limits import COPY_BYTES, FILE_BYTES

_STEM: Final = "upload"


class Copied(NamedTuple):
    """A finished copy: where it lies, its size, and its sha256 in hex."""

    path: Path
    size_bytes: int
    checksum: str


def check_source(source: Path) -> None:
    """Raises :class:`FileRefusedError` unless ``source`` is a regular file within ``limits.FILE_BYTES``."""
    try:
        found = os.stat(source)
    except (FileNotFoundError, NotADirectoryError):
        raise FileRefusedError(f"File not found: {source}") from None
    _check_stat(source, found)


def copy_in(source: Path, folder: Path) -> Copied:
    """A temporary copy of ``source`` in ``folder``, on the disk when this returns.

    The copy is the whole file as it was at one moment, or there is none: a file whose size or modification time
    changes while it is read raises :class:`FileRefusedError` (half of a growing checkpoint looks like a whole
    one). A change within one tick of the file system's clock that keeps the size is not noticed.
    """
    check_source(source)  # before opening: opening a pipe would wait for its other end
    with open(source, "rb", buffering=0) as reader:
        before = os.fstat(reader.fileno())
        _check_stat(source, before)
        copied = _copy(reader.readinto, folder, durable=True)
        after = os.fstat(reader.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or copied.size_bytes != after.st_size:
        copied.path.unlink(missing_ok=True)
        raise FileRefusedError(
            f"File changed while it was being read: {source}. Upload it when it is complete, or upload a copy"
        )
    return copied


def copy_out(source: Path, folder: Path) -> Copied:
    """A temporary copy of a stored file in ``folder``, for the caller to compare, rename or remove."""
    with open(source, "rb", buffering=0) as reader:
        return _copy(reader.readinto, folder, durable=False)


def place(temporary: Path, target: Path) -> None:
    """Give a finished copy its name, replacing what has it, durably."""
    os.replace(temporary, target)
    sync_folder(target.parent)


def set_aside(target: Path, aside: Path, *, keep: bool) -> None:
    """Give stored bytes the name ``aside``, making its folders, durably; with ``keep`` they have both names then.

    Where the file system has no second names, ``keep`` moves them as well: readers look aside first.
    """
    make_folders(aside.parent)
    if not (keep and _linked(target, aside)):
        os.replace(target, aside)
        sync_folder(target.parent)
    sync_folder(aside.parent)


def _linked(target: Path, aside: Path) -> bool:
    try:
        os.link(target, aside)
    except OSError:  # no links here at all, or none to files of others
        return False
    return True


def put_back(aside: Path, target: Path, top: Path) -> None:
    """Undo :func:`set_aside` as far as that goes; readers look aside first, so trouble here loses nothing."""
    with suppress(OSError):
        if aside.is_file():
            os.replace(aside, target)
        remove_with_folders(aside, top)  # a rename over another name of the same file leaves both names


def make_folders(folder: Path) -> None:
    """``folder`` and the ones above it, each durable before something is put into it."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        sync_folder(folder.parent)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file where a folder is needed")


def remove_with_folders(path: Path, top: Path) -> None:
    """Remove a file, if it is there, and the folders below ``top`` that are empty then; trouble leaves litter."""
    with suppress(OSError):
        path.unlink()
        for folder in path.parents:
            if folder == top:
                return
            folder.rmdir()


def _check_stat(source: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise FileRefusedError(f"Path is not a file: {source}")
    if found.st_size > FILE_BYTES:
        raise FileRefusedError(f"File {source} has {found.st_size} bytes, which exceeds {FILE_BYTES >> 30}GB limit")


def _copy(readinto: Callable[[Any], int | None], folder: Path, *, durable: bool) -> Copied:
    import hashlib  # loads OpenSSL, which a run without files never needs

    digest, size_bytes = hashlib.sha256(), 0
    block = memoryview(bytearray(COPY_BYTES))
    fd, temporary = open_temporary(folder, _STEM)
    try:
        with open(fd, "wb", buffering=0) as writer:
            while count := readinto(block):
                digest.update(block[:count])
                write_all(writer.write, block[:count])
                size_bytes += count
                if size_bytes > FILE_BYTES:
                    raise FileRefusedError(f"File grew while it was read and exceeds {FILE_BYTES >> 30}GB limit")
            if durable:
                os.fsync(fd)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Copied(temporary, size_bytes, digest.hexdigest())
