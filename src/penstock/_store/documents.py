"""JSON documents (session.json, parameters.json, ...): read whole, replaced whole, never half of either.

A document is encoded first, written to a temporary file in the same folder, fsynced and renamed over the old one.
So whatever fails (a value that JSON cannot hold, a full disk, a kill) leaves the old document, and a reader sees
the old or the new one. A corrupt document is never replaced in silence: its bytes are copied aside once, and
reading it raises until somebody mends or removes it.

Runs on the caller's thread. Read-change-replace needs a lock, which the caller holds (see locks.py).
Must not know what a document says.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar, overload

import msgspec

from penstock._codec.values import to_stored
from penstock.errors import DocumentError

_T = TypeVar("_T")
_DOCUMENT_MODE: Final = 0o644  # less what the umask takes; readable by the tools of others, as Dreamlake's were
TEMPORARY_NAME: Final = re.compile(r"\..+\.\d+-\d+-\d+\.tmp", re.ASCII)
_STALE_S: Final = 24 * 3600.0  # whoever writes a temporary file touches it all the time; a day is beyond doubt
_OPEN_FLAGS: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP})  # some file systems cannot fsync a folder
_counter = itertools.count()  # one next() is atomic; with process and thread in the name, names never meet


@overload
def read_document(path: Path) -> dict[str, Any] | None: ...
@overload
def read_document(path: Path, type: type[_T]) -> _T | None: ...
def read_document(path: Path, type: Any = dict) -> Any:  # noqa: A002
    """The document as ``type`` (a dict, or anything msgspec decodes to), or None if there is none.

    Raises :class:`DocumentError` for what is no UTF-8, no JSON or not of that type, after its bytes were copied
    aside; the original stays where it is. Other trouble with the file raises OSError.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return _decode(raw, type)
    except (ValueError, RecursionError) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        raise corrupt_document(path, str(error), raw) from error


def corrupt_document(path: Path, reason: str, raw: bytes | None = None) -> DocumentError:
    """The error to raise about a document that makes no sense, after its bytes (``raw``) were copied aside."""
    kept_as: Path | None = None
    with suppress(OSError):  # a full disk or a read-only folder: the original is still there
        kept_as = _keep_aside(path, path.read_bytes() if raw is None else raw)
    return DocumentError(path, kept_as, reason)


def replace_document(path: Path, value: object, *, durable: bool = True) -> None:
    """Write ``value`` as the document, atomically; with ``durable`` it is on the disk when this returns.

    Raises TypeError or ValueError for a value that JSON cannot hold and OSError for trouble with the disk; the old
    document is whole in every case. Non-finite floats in dicts and lists are stored as text.
    """
    prepare_document(path, value, durable=durable).commit()


def prepare_document(path: Path, value: object, *, durable: bool = True) -> PendingDocument:
    """All of :func:`replace_document` that can run out of space: one rename is left for ``commit``."""
    encoded = msgspec.json.format(msgspec.json.encode(to_stored(value)), indent=2) + b"\n"
    fd, temporary = open_temporary(path.parent, path.name)
    try:
        with open(fd, "wb", buffering=0) as file:
            write_all(file.write, encoded)
            if durable:
                os.fsync(fd)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return PendingDocument(path, temporary, durable)


class PendingDocument:
    """A document that is written but not in its place yet; exactly one of ``commit`` and ``discard`` follows."""

    __slots__ = ("_durable", "_path", "_temporary")

    def __init__(self, path: Path, temporary: Path, durable: bool) -> None:
        self._path = path
        self._temporary = temporary
        self._durable = durable

    def commit(self) -> None:
        try:
            os.replace(self._temporary, self._path)
        except BaseException:
            self.discard()
            raise
        if self._durable:
            sync_folder(self._path.parent)

    def discard(self) -> None:
        self._temporary.unlink(missing_ok=True)


def open_temporary(folder: Path, stem: str) -> tuple[int, Path]:
    """A new, empty, hidden file in ``folder``, open for writing, that no other process or thread uses."""
    while True:
        name = f".{stem}.{os.getpid()}-{threading.get_ident()}-{next(_counter)}.tmp"
        with suppress(FileExistsError):  # left by a process that was killed and had our number
            fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS, _DOCUMENT_MODE)
            return fd, folder / name


def sweep_temporaries(folder: Path) -> None:
    """Remove what killed processes left of :func:`open_temporary` in ``folder``: files untouched for a day."""
    oldest_s = time.time() - _STALE_S
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY_NAME.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < oldest_s:
                os.unlink(entry.path)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable; nothing on systems whose folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY | _OPEN_FLAGS)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(fd)


def write_all(write: Callable[[memoryview], int | None], data: bytes | memoryview) -> None:
    """Write all of ``data`` through an unbuffered ``write``, which may take only a part of it at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[write(rest) or 0 :]


def _decode(raw: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError:
        if b"NaN" not in raw and b"Infinity" not in raw:
            raise
    import json  # Dreamlake 0.2 wrote bare NaN and Infinity, which JSON does not know and this decoder does

    return msgspec.convert(json.loads(raw), kind)


def _keep_aside(path: Path, raw: bytes) -> Path:
    """Copy the bytes to ``<name>.corrupt-<n>``, unless an earlier copy already has them."""
    for number in itertools.count(1):
        copy = path.with_name(f"{path.name}.corrupt-{number}")
        try:
            fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS, _DOCUMENT_MODE)
        except FileExistsError:
            if copy.read_bytes() == raw:
                return copy
            continue
        try:
            with open(fd, "wb", buffering=0) as file:
                write_all(file.write, raw)
                os.fsync(fd)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        return copy
    raise AssertionError("unreachable: the numbers never end")
