"""The records of uploaded files (files/.files_metadata.json), their ids, and where each record's bytes lie.

::

    files/<path>/<filename>              the latest upload of that name; also after it was deleted
    files/.deleted/<id>/<filename>       bytes that made room for a new upload of the same name: deleted ones for good,
                                         live ones while they are replaced (and after a kill in the middle of that)
    files/<path>/<id>/<filename>         as Dreamlake 0.2 laid them; read and replaced, never written

Reading and preparing the document happen under the run's document lock, which the caller holds. Records are data
from a file that others may have written: every name in them is checked before it becomes a path.
Must not know sources, sessions or who asks.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Container
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from penstock._codec.times import now_ns
from penstock._store.documents import TEMPORARY_NAME, PendingDocument, corrupt_document, prepare_document, read_document
from penstock._store.layout import FILES_DOCUMENT, RunFolder
from penstock._store.names import check_name, check_part, same_name
from penstock.errors import NameRefusedError, NotStoredError
from penstock.records import FileRecord

_DELETED: Final = ".deleted"
# Top-level entries of files/ that are ours: the document and copies kept of it, deleted bytes, unfinished writes.
_OURS: Final = re.compile(
    rf"{re.escape(FILES_DOCUMENT)}.*|{re.escape(_DELETED)}|{TEMPORARY_NAME.pattern}", re.IGNORECASE
)
_ID_BITS: Final = 12


class _Document(msgspec.Struct):
    files: list[FileRecord]


class FileRecords:
    """All records of a run as they were when the document was read; change ``records``, then ``prepare``."""

    __slots__ = ("_document", "_folder", "records")

    def __init__(self, folder: RunFolder) -> None:
        """Raises :class:`DocumentError` when the document is corrupt or one of its records is no file record."""
        self._folder = folder
        document = read_document(folder.files_document)
        self._document: dict[str, Any] = {"files": []} if document is None else document
        try:
            msgspec.convert(self._document, _Document)
        except msgspec.ValidationError as error:
            raise corrupt_document(folder.files_document, str(error)) from error
        self.records = cast("list[FileRecord]", self._document["files"])

    def prepare(self) -> PendingDocument:
        """The document with the records as they are now, written but not in its place yet."""
        return prepare_document(self._folder.files_document, self._document | {"files": self.records})

    def ids(self) -> frozenset[str]:
        return frozenset(record["id"] for record in self.records)

    def find(self, file_id: str) -> FileRecord:
        """The record with that id; raises :class:`NotStoredError` when there is none or it was deleted."""
        for record in self.records:
            if record["id"] == file_id and record["deletedAt"] is None:
                return record
        raise NotStoredError(
            f"No file with id {file_id!r} is stored in {self._folder.path}; list() shows those that are"
        )

    def named(self, path: str, filename: str) -> list[FileRecord]:
        """Every record of that place and name, deleted ones too, oldest first."""
        return [one for one in self.records if one["filename"] == filename and as_path(one["path"]) == path]

    def bytes_of(self, record: FileRecord) -> Path:
        """Where the bytes of a live record lie; raises :class:`NameRefusedError` for names that leave the folder."""
        for own in (self.aside_of(record), self.legacy_bytes_of(record)):
            if own.is_file():
                return own
        return place_of(self._folder, record["path"], record["filename"])

    def legacy_bytes_of(self, record: FileRecord) -> Path:
        """Where Dreamlake 0.2 put the bytes of a record."""
        place = place_of(self._folder, record["path"], record["filename"])
        return place.parent / check_part("file id", record["id"]) / place.name

    def aside_of(self, record: FileRecord) -> Path:
        """Where a record's bytes go when an upload of the same name needs their place."""
        filename = check_part("file", record["filename"])
        return self._folder.files / _DELETED / check_part("file id", record["id"]) / filename

    def check_free(self, path: str, filename: str) -> Path:
        """The place for an upload; raises :class:`NameRefusedError` when something else is there already."""
        place = place_of(self._folder, path, filename)
        shown = f"{path.rstrip('/')}/{filename}"
        for parent in place.relative_to(self._folder.files).parents:
            above = self._folder.files / parent
            if above.exists() and not above.is_dir():
                raise NameRefusedError("file", shown, f"{above} is a file, so nothing can lie below it")
        if place.is_dir():
            raise NameRefusedError("file", shown, f"{place} is a folder; choose another filename or path")
        if place.exists() and not self.named(path, filename):  # ours by another spelling, where the disk ignores case?
            for record in self.records:
                other = f"{as_path(record['path']).rstrip('/')}/{record['filename']}"
                if same_name(other, shown) and place.samefile(
                    place_of(self._folder, record["path"], record["filename"])
                ):
                    raise NameRefusedError("file", shown, f"it differs from {other!r} only in case or Unicode form")
        return place


def check_path(path: object) -> str:
    """The folder of an upload in its one spelling: "/" or "/models/final". Raises as ``names.check_name``."""
    if not isinstance(path, str):
        raise TypeError(f"path must be a str like '/models', not {type(path).__name__}: {path!r:.200}")
    if path in {"", "/"}:
        return "/"
    return f"/{check_name('file', path.removeprefix('/').removesuffix('/'))}"


def place_of(folder: RunFolder, path: str, filename: str) -> Path:
    """``files/<path>/<filename>``; raises :class:`NameRefusedError` for what must not be stored there."""
    parts = (*as_path(check_path(path)).split("/")[1:], check_part("file", filename))
    parts = tuple(part for part in parts if part)
    if _OURS.fullmatch(parts[0]):
        raise NameRefusedError("file", "/".join(parts), f"{parts[0]!r} is an entry that every run folder has itself")
    return folder.files.joinpath(*parts)


def as_path(path: str) -> str:
    """A recorded path in the spelling of :func:`check_path`, unchecked: Dreamlake kept what it was given."""
    return "/" + path.strip("/")


def lies_under(path: str, above: str) -> bool:
    """Whether ``path`` is ``above`` or below it, by whole parts: "/models" does not lie under "/mod"."""
    return above in {"/", path} or path.startswith(f"{above}/")


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


class FileIds:
    """Makes ids: decimal text of ``ms since 1970 << 12 | 12 bits``, as Dreamlake's.

    The low bits are random each time the clock has moved on, so that processes rarely meet, and count up within a
    millisecond, so that one process never repeats an id, even when its clock is set back. Ids that the run has
    already are passed over by the caller's ``taken``, under the lock, so a run never has one twice.
    """

    __slots__ = ("_last", "_lock")

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._unlock)

    def new(self, taken: Container[str] = ()) -> str:
        with self._lock:
            while True:
                low_bits = int.from_bytes(os.urandom(2), "big") >> (16 - _ID_BITS)
                self._last = max(now_ns() // 1_000_000 << _ID_BITS | low_bits, self._last + 1)
                if str(self._last) not in taken:
                    return str(self._last)

    def _unlock(self) -> None:
        self._lock = threading.Lock()  # the thread that may have held it does not exist in the child


_ids: Final = FileIds()  # of this process, so that its runs share the one clock
new_id: Final = _ids.new
