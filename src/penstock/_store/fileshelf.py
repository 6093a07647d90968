"""Putting uploaded bytes and their records into a run together, and taking them out checked.

Bytes were copied before and without a lock, since a checkpoint takes minutes. Then, under the run's document lock,
the new document is written beside the old one, the bytes that it replaces are linked under their id, the new bytes
get their name, the document gets its own, and the link goes. Only names change after the first two steps, so a full
disk changes nothing; and a kill at any moment leaves a record whose own bytes are found, the old one or the new one.

Runs on the caller's thread. Must not know the session, or whether the caller may write.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from penstock._store.fileblobs import Copied, copy_out, make_folders, place, put_back, remove_with_folders, set_aside
from penstock._store.filerecords import FileRecords, new_id
from penstock._store.layout import RunFolder
from penstock._store.locks import FileLock
from penstock.errors import ChecksumError, NotStoredError
from penstock.records import FileRecord


def enter(folder: RunFolder, record: FileRecord, copied: Copied) -> FileRecord:
    """Give the copied bytes their name and their record, in place of an earlier upload of that name."""
    with FileLock(folder.documents_lock):
        known = FileRecords(folder)
        target = known.check_free(record["path"], record["filename"])
        record = record | {
            "id": new_id(known.ids()),
            "sizeBytes": copied.size_bytes,
            "checksum": copied.checksum,
        }
        same = known.named(record["path"], record["filename"])
        replaced = [one for one in same if one["deletedAt"] is None]
        known.records = [one for one in known.records if one not in replaced] + [record]
        pending = known.prepare()
        try:
            make_folders(target.parent)
            _make_room(known, replaced or same, target, keep=bool(replaced))
            place(copied.path, target)
        except BaseException:
            pending.discard()
            for one in replaced:
                put_back(known.aside_of(one), target, folder.files)
            raise
        pending.commit()
        for one in replaced:
            remove_with_folders(known.aside_of(one), folder.files)
            remove_with_folders(known.legacy_bytes_of(one), target.parent)
    return record


def _make_room(known: FileRecords, owners: list[FileRecord], target: Path, *, keep: bool) -> None:
    """Set the bytes at ``target`` aside under the id of the last record that they belong to, if they still do.

    They do not when that record's bytes lie elsewhere already: then an earlier upload was killed before its record
    was written, and what lies at ``target`` is its unrecorded rest. ``keep`` leaves the bytes at ``target`` too, so
    that whoever reads that path finds old or new bytes at any moment.
    """
    for record in reversed(owners):
        aside = known.aside_of(record)
        if target.is_file() and not aside.exists() and not known.legacy_bytes_of(record).exists():
            set_aside(target, aside, keep=keep)
            return


def take_out(folder: RunFolder, file_id: str, dest: Path | None) -> Path:
    """Copy a live file out, checked against its sha256, to ``dest`` (a folder: into it; None: the current folder)."""
    known = FileRecords(folder)
    record = known.find(file_id)
    source = known.bytes_of(record)
    target = Path(record["filename"]) if dest is None else dest
    if target.is_dir():
        target = target / record["filename"]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        copied = copy_out(source, target.parent)
    except FileNotFoundError:
        if source.is_file():
            raise  # it is the destination that went away
        FileRecords(folder).find(file_id)  # replaced or deleted meanwhile: that says so
        raise NotStoredError(f"The bytes of file {file_id!r} are missing at {source}") from None
    try:
        if copied.checksum != record["checksum"]:
            FileRecords(folder).find(file_id)  # replaced or deleted meanwhile: that is no damage, and says so
            raise ChecksumError(
                f"File {file_id!r} ({source}) does not match its sha256: recorded {record['checksum']}, "
                f"found {copied.checksum}. Nothing was written to {target}"
            )
        os.replace(copied.path, target)
    finally:
        copied.path.unlink(missing_ok=True)  # there only if the check failed
    return target


def change(folder: RunFolder, file_id: str, changes: dict[str, Any]) -> FileRecord:
    """Give a live file's record other values; raises :class:`NotStoredError` when there is none."""
    with FileLock(folder.documents_lock):
        known = FileRecords(folder)
        record = known.find(file_id)
        cast("dict[str, Any]", record).update(changes)
        known.prepare().commit()
    return record
