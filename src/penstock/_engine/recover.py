"""Recovery: the points that a dead process left in its journal become lines of its run.

Runs on the thread that opens a run, closes one beside others, or calls :func:`penstock.recover`; in as many processes
at once as like: a journal belongs to whoever holds its lock, the plain line files to whoever holds the run's writer
lock. Idempotent: a line that is there is recognised by its index, so recovery may be killed and run again at any
step. The rules are in docs/format/journal.md. A journal is removed only after its lines are fsynced."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from penstock import limits
from penstock._codec.lines import LOG_KEY, POINT_KEY, LineEncoder
from penstock._engine.places import journal_folder
from penstock._journal import drain, recovery
from penstock._journal import file as journal_file
from penstock._journal import format as fmt
from penstock._sinks.local import LocalSink
from penstock._store import linefile
from penstock._store.documents import write_all
from penstock._store.layout import RunFolder
from penstock._store.locks import FileLock
from penstock.errors import JournalError

_UNFINISHED_S: Final = 60.0  # a journal is made in milliseconds


class Report(NamedTuple):
    """What :func:`recover` found and did.

    ``live`` journals belong to running writers and were left alone, like those in ``refused`` (path and reason: another
    version, damaged beyond reading, or the disk refused the lines). ``points`` and ``logs`` were written now, ``known``
    records were in the line files already, ``unreadable`` ones have no names.
    """

    recovered: int = 0
    live: int = 0
    points: int = 0
    logs: int = 0
    known: int = 0
    unreadable: int = 0
    refused: tuple[tuple[Path, str], ...] = ()

    @property
    def owner_refused(self) -> bool:
        """Whether a journal of the run's plain line files could not be recovered (or may be one)."""
        return bool(self.refused)


def recover_folder(run_folder: str | Path, *, journal_dir: str | Path | None = None) -> Report:
    """Write the points that dead processes left in the journals of a run into its line files.

    May be called at any time, by anybody, and again: journals of living writers are left alone, points that are there
    are recognised. ``run_folder`` is ``<root>/<workspace>/<name>``; ``journal_dir`` the setting of that name, if
    the run was logged with it. Raises FileNotFoundError when the folder does not exist.
    """
    folder = RunFolder(Path(run_folder).absolute())
    if not folder.path.is_dir():
        raise FileNotFoundError(f"{folder.path} is no run folder: there is no such folder")
    return recover(folder, journal_folder(folder, None if journal_dir is None else Path(journal_dir)))


def recover(folder: RunFolder, journals: Path, *, owner: bool | None = None) -> Report:
    """Recover every dead journal of a run in the folder ``journals``.

    ``owner`` says whether the caller holds the run's writer lock; None takes it here if it is free. Raises nothing that
    one journal causes: see ``Report.refused``.
    """
    if not journals.is_dir():
        return Report()
    _sweep(journals)
    paths = sorted(journals.glob("*.ring"))
    if not paths:
        return Report()
    lock = FileLock(folder.writer_lock)
    mine = False
    try:
        if owner is None:
            mine = owner = lock.try_acquire()
        report = Report()
        for path in paths:
            report = _recover_one(folder, path, report, owner=owner)
        return report
    finally:
        if mine:
            lock.release()


def _recover_one(folder: RunFolder, path: Path, report: Report, *, owner: bool) -> Report:
    try:
        fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return report  # somebody else has just recovered it
    except OSError as error:
        return report._replace(refused=(*report.refused, (path, str(error))))
    try:
        if not journal_file.try_lock(fd) or not _same_file(fd, path):
            return report._replace(live=report.live + 1)
        salvage = recovery.scan(path)
        if salvage.header.owner and not owner:
            return report._replace(live=report.live + 1)  # its lines belong to whoever holds the run's writer lock
        report = _write(folder, salvage, report)
        if salvage.unreadable:
            path.rename(path.with_suffix(".unreadable"))  # its names are damaged, not its values: kept for a person
        else:
            path.unlink()
        return report._replace(recovered=report.recovered + 1)
    except (JournalError, OSError) as error:
        return report._replace(refused=(*report.refused, (path, str(error))))
    except Exception as error:  # noqa: BLE001 - a journal that makes no sense must not keep a run from being opened
        return report._replace(refused=(*report.refused, (path, f"{type(error).__name__}: {error}")))
    finally:
        os.close(fd)


def _sweep(journals: Path) -> None:
    """Remove what was left by processes that died while they made a journal: nothing was ever logged into it."""
    for path in journals.glob(".*.new"):
        try:
            fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            continue
        try:
            # The age, because a journal is not locked at the very moment in which it is made.
            old = time.time() - os.fstat(fd).st_mtime > _UNFINISHED_S
            if old and journal_file.try_lock(fd) and _same_file(fd, path):
                path.unlink()
        except OSError:
            pass
        finally:
            os.close(fd)


def _same_file(fd: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except OSError:
        return False
    mine = os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _write(folder: RunFolder, salvage: recovery.Salvage, report: Report) -> Report:
    suffix = "" if salvage.header.owner else salvage.header.writer.hex()
    sink = LocalSink(folder, suffix, open_files=limits.OPEN_LINE_FILES, fsync=True)
    encoder = LineEncoder()
    points = logs = known = 0
    try:
        for name, blocks in salvage.blocks.items():
            last = linefile.repair(sink.path(name), POINT_KEY if name else LOG_KEY)
            fresh = list(_above(blocks, last))
            known += sum(len(block.indices) for block in blocks)
            for block in fresh:
                _append(sink, name, _encode(encoder, salvage.names, block))
                known -= len(block.indices)
                if name:
                    points += len(block.indices)
                else:
                    logs += len(block.indices)
        if not sink.sync():
            raise OSError("the disk did not confirm the recovered lines")
    finally:
        sink.close()
    return report._replace(
        points=report.points + points, logs=report.logs + logs, known=report.known + known,
        unreadable=report.unreadable + salvage.unreadable,
    )  # fmt: skip


def _above(blocks: list[drain.Block], last: int) -> Iterator[drain.Block]:
    for block in blocks:
        rows = [row for row, index in enumerate(block.indices) if index > last]
        if len(rows) == len(block.indices):
            yield block
        elif rows:
            first = rows[0]  # the indices of a block ascend
            yield block._replace(
                indices=block.indices[first:], times=block.times[first:], columns=[c[first:] for c in block.columns]
            )


def _append(sink: LocalSink, name: str, lines: bytes) -> None:
    write_all(lambda rest: sink.write(name, bytes(rest)), lines)


def _encode(encoder: LineEncoder, names: dict[int, tuple[str, ...]], block: drain.Block) -> bytes:
    if block.kind == fmt.KIND_POINT:
        return encoder.points(names[block.names], block.indices, block.times, block.columns)
    if block.kind == fmt.KIND_GENERAL:
        return encoder.general(block.indices, block.times, block.columns[0])
    return encoder.logs(block.indices, block.times, block.columns[0])
