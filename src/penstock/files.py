"""Files of a run: copied in under ``files/<path>/<filename>``, recorded with their sha256, and read back checked.

This is what a user calls: it checks and converts what was given before anything is created, and leaves the work to
``_store/fileshelf``. Deleted files are hidden, never erased.

Runs on the caller's thread; the ``a`` twins move to a worker thread of the running event loop. Must not know the
session, the journal or the writer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict, cast

import msgspec

from penstock._codec.times import iso, now_ns
from penstock._codec.values import from_stored, plain, text, to_stored, type_name_of
from penstock._engine.aside import aside
from penstock._store.documents import sweep_temporaries
from penstock._store.fileblobs import check_source, copy_in, make_folders
from penstock._store.filerecords import FileRecords, as_path, check_path, lies_under, new_id
from penstock._store.fileshelf import change, enter, take_out
from penstock._store.gate import Gate
from penstock._store.layout import RunFolder
from penstock.errors import FieldTypeError
from penstock.records import FileRecord

StrPath: TypeAlias = str | os.PathLike[str]
Records: TypeAlias = list[FileRecord]  # inside the class, ``list`` is its method
Strings: TypeAlias = list[str]
_Unset: TypeAlias = msgspec.UnsetType
_UNSET: Final = msgspec.UNSET  # "not given", which is neither None nor empty
_WHERE: Final = "files"
_UNKNOWN_CONTENT: Final = "application/octet-stream"


class DeletedFile(TypedDict):
    """What ``delete`` returns; ``deletedAt`` is UTC, ISO 8601."""

    id: str
    deletedAt: str


class FilesBuilder:
    """What ``session.files()`` returns. ``folder`` None (``mode="disabled"``) stores nothing and reads no file."""

    __slots__ = ("_folder", "_gate", "_session_id")

    def __init__(self, folder: RunFolder | None, gate: Gate, session_id: str) -> None:
        self._folder = folder
        self._gate = gate
        self._session_id = session_id

    def upload(
        self,
        file_path: StrPath,
        *,
        path: str = "/",
        description: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> FileRecord:
        """Copy a file of at most 5 GB into the run and return its record.

        ``path`` is the folder inside the run ("/models"); the name stays. A second upload of the same path and
        name replaces bytes and record, with a new id. Durable when it returns.

        Raises ValueError: FileRefusedError for a file that is missing, no regular file, too large, or changes
        while it is read; NameRefusedError for a path or name that cannot be stored; DocumentError when the
        records are corrupt. TypeError for values that cannot be stored. Nothing was stored then.
        """
        self._gate.check_writable()
        source = Path(file_path)
        if self._folder is None:
            return self._record(as_path(path), source.name, description, [*(tags or ())], dict(metadata or {}) or None)
        check_source(source)
        record = self._record(
            check_path(path), source.name, _description(description), _tags(tags), _metadata(metadata)
        )
        record["contentType"] = _content_type(source.name)
        FileRecords(self._folder).check_free(record["path"], record["filename"])  # before copying gigabytes
        make_folders(self._folder.files)
        sweep_temporaries(self._folder.files)
        copied = copy_in(source, self._folder.files)
        try:
            return _returned(enter(self._folder, record, copied))
        finally:
            copied.path.unlink(missing_ok=True)  # there only if entering it failed

    def list(self, *, path: str | None = None, tags: Iterable[str] | None = None) -> Records:
        """Records of the stored files, oldest first: those under ``path``, and with any of ``tags``, if given."""
        self._gate.check_open()
        if self._folder is None:
            return []
        wanted = None if tags is None else set(_tags(tags))
        above = "/" if path is None else check_path(path)
        return [
            _returned(record)
            for record in FileRecords(self._folder).records
            if record["deletedAt"] is None
            and lies_under(as_path(record["path"]), above)
            and (wanted is None or not wanted.isdisjoint(record["tags"]))
        ]

    def download(self, file_id: str | None = None, dest_path: StrPath | None = None) -> str:
        """Copy a stored file out, checked against its sha256, and return where it lies now.

        ``dest_path`` is a file, or an existing folder to put it into; by default the bare filename in the current
        folder. What was there before is replaced only when the check succeeded. Raises ValueError without
        ``file_id``, NotStoredError for an unknown or deleted one, ChecksumError when the bytes do not match.
        """
        self._gate.check_open()
        wanted = _given(file_id, "download")
        if self._folder is None:
            return os.fspath(dest_path) if dest_path is not None else wanted
        return str(take_out(self._folder, wanted, None if dest_path is None else Path(dest_path)))

    def update(
        self,
        file_id: str | None = None,
        *,
        description: str | None | _Unset = _UNSET,
        tags: Iterable[str] | None | _Unset = _UNSET,
        metadata: Mapping[str, Any] | None | _Unset = _UNSET,
    ) -> FileRecord:
        """Change what is given of a file's description, tags and metadata (None empties); return the record.

        Raises ValueError without ``file_id`` and NotStoredError for an unknown or deleted one.
        """
        self._gate.check_writable()
        wanted = _given(file_id, "update")
        changes: dict[str, Any] = {}
        if description is not _UNSET:
            changes["description"] = _description(description)
        if tags is not _UNSET:
            changes["tags"] = _tags(tags)
        if metadata is not _UNSET:
            changes["metadata"] = _metadata(metadata)
        changes["updatedAt"] = iso(now_ns())
        if self._folder is None:
            return cast("FileRecord", self._record("/", "", None, [], None) | {"id": wanted} | changes)
        return _returned(change(self._folder, wanted, changes))

    def delete(self, file_id: str | None = None) -> DeletedFile:
        """Hide a file from ``list`` and ``download``; its bytes and record stay in the run folder.

        Raises ValueError without ``file_id`` and NotStoredError for an unknown or already deleted one.
        """
        self._gate.check_writable()
        wanted, now = _given(file_id, "delete"), iso(now_ns())
        if self._folder is not None:
            change(self._folder, wanted, {"deletedAt": now, "updatedAt": now})
        return {"id": wanted, "deletedAt": now}

    async def aupload(
        self,
        file_path: StrPath,
        *,
        path: str = "/",
        description: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> FileRecord:
        """:meth:`upload` without blocking the event loop (asyncio or trio)."""
        return await aside(
            partial(self.upload, file_path, path=path, description=description, tags=tags, metadata=metadata)
        )

    async def alist(self, *, path: str | None = None, tags: Iterable[str] | None = None) -> Records:
        """:meth:`list` without blocking the event loop (asyncio or trio)."""
        return await aside(partial(self.list, path=path, tags=tags))

    async def adownload(self, file_id: str | None = None, dest_path: StrPath | None = None) -> str:
        """:meth:`download` without blocking the event loop (asyncio or trio)."""
        return await aside(partial(self.download, file_id, dest_path))

    async def aupdate(
        self,
        file_id: str | None = None,
        *,
        description: str | None | _Unset = _UNSET,
        tags: Iterable[str] | None | _Unset = _UNSET,
        metadata: Mapping[str, Any] | None | _Unset = _UNSET,
    ) -> FileRecord:
        """:meth:`update` without blocking the event loop (asyncio or trio)."""
        return await aside(partial(self.update, file_id, description=description, tags=tags, metadata=metadata))

    async def adelete(self, file_id: str | None = None) -> DeletedFile:
        """:meth:`delete` without blocking the event loop (asyncio or trio)."""
        return await aside(partial(self.delete, file_id))

    def _record(
        self, path: str, filename: str, description: str | None, tags: Strings, metadata: dict[str, Any] | None
    ) -> FileRecord:
        """A record with what is known before a byte is read."""
        now = iso(now_ns())
        return {
            "id": new_id(),
            "sessionId": self._session_id,
            "path": path,
            "filename": filename,
            "description": description,
            "tags": tags,
            "contentType": _UNKNOWN_CONTENT,
            "sizeBytes": 0,
            "checksum": "",
            "metadata": metadata,
            "uploadedAt": now,
            "updatedAt": now,
            "deletedAt": None,
        }


def _returned(record: FileRecord) -> FileRecord:
    """The record as the caller sees it: non-finite floats in its metadata are floats again."""
    return record | {"metadata": from_stored(record["metadata"])}


def _given(file_id: str | None, operation: str) -> str:
    if not file_id:
        raise ValueError(f"file_id is required for {operation}() operation")
    return file_id


def _description(description: object) -> str | None:
    return None if description is None else text(_WHERE, "description", description)


def _tags(tags: object) -> list[str]:
    if tags is None:
        return []
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise FieldTypeError(_WHERE, "tags", type_name_of(tags), "; here only a list of str")
    return [text(_WHERE, f"tags[{place}]", tag) for place, tag in enumerate(tags)]


def _metadata(metadata: object) -> dict[str, Any] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise FieldTypeError(_WHERE, "metadata", type_name_of(metadata), "; here only a mapping")
    stored: dict[str, Any] = to_stored(plain(_WHERE, "metadata", dict(metadata)))
    return stored


def _content_type(filename: str) -> str:
    import mimetypes  # reads the system's tables at its first call

    return mimetypes.guess_type(filename)[0] or _UNKNOWN_CONTENT
