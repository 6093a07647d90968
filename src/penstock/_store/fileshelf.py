"""Putting uploaded bytes and their records into a run together, and taking them out checked.

Bytes were copied before and without a lock, since a checkpoint takes minutes. Then, under the run's document lock,
the new document is written beside the old one, the bytes get their name, and the document gets its own: only
renames are left once something changes, so a full disk changes nothing. A kill between the two renames leaves new
bytes with the old record: a download says that they do not match, the next upload of that name mends it.

Runs on the caller's thread. Must not know the session, or whether the caller may write.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from penstock._store.fileblobs import Copied, copy_out, make_folders, move_aside, place, remove_with_folder
from penstock._store.filerecords import FileRecords, new_id
from penstock._store.layout import RunFolder
from penstock._store.locks import FileLock
from penstock.errors import ChecksumError, NotStoredError
from penstock.records import FileRecord


def enter(folder: RunFolder, record: FileRecord, copied: Copied) -> FileRecord:
    """Give the copied bytes their name and their record, in place of an earlier upload of that name."""
    path, filename = record["path"], record["filename"]
    with FileLock(folder.documents_lock):
        known = FileRecords(folder)
        target = known.check_free(path, filename)
        record = record | {
            "id": new_id(known.ids()),
            "sizeBytes": copied.size_bytes,
            "checksum": copied.checksum,
        }
        same = known.named(path, filename)
        replaced = [one for one in same if one["deletedAt"] is None]
        known.records = [one for one in known.records if one not in replaced] + [record]
        pending = known.prepare()
        try:
            make_folders(target.parent)
            if not replaced:
                _make_room(known, same, target)
            place(copied.path, target)
        except BaseException:
            pending.discard()
            raise
        pending.commit()
        for one in replaced:
            legacy = known.legacy_bytes_of(one)
            if legacy.is_file():
                remove_with_folder(legacy)
    return record


def _make_room(known: FileRecords, deleted: list[FileRecord], target: Path) -> None:
    """Move the bytes of the last deleted upload aside; those of earlier ones were when it was uploaded."""
    for record in reversed(deleted):
        aside = known.aside_of(record)
        if target.is_file() and not aside.exists() and not known.legacy_bytes_of(record).exists():
            move_aside(target, aside)
            return


def take_out(folder: RunFolder, file_id: str, dest: Path | None) -> Path:
    """Copy a live file out, checked against its sha256, to ``dest`` (a folder: into it; None: the current folder)."""
    known = FileRecords(folder)
    record = known.find(file_id)
    source = known.bytes_of(record)
    target = Path(record["filename"]) if dest is None else dest
    if target.is_dir():
        target = target / record["filename"]
    if not source.is_file():
        raise NotStoredError(f"The bytes of file {file_id!r} are missing at {source}")
    target.parent.mkdir(parents=True, exist_ok=True)
    copied = copy_out(source, target.parent)
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
