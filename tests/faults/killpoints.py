"""Named places where a process is killed: on the way of a point to its line file, of a document, of a recovery.

Production code has no hooks for this: a child replaces one function of the library (or of ``os``) with one that ends
the process by SIGKILL before, in the middle of, or after its n-th call, and then runs its scenario. A place whose name
does not exist any more fails with AttributeError; one that is never reached lets the child end by itself, which fails
the test.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import penstock
from penstock._codec.lines import LineEncoder
from penstock._engine import writer as writer_module
from penstock._engine.coalescer import Coalescer
from penstock._engine.engine import Engine
from penstock._engine.fastdrain import FastDrain
from penstock._journal import file as file_module
from penstock._journal import recovery as recovery_module
from penstock._journal.file import JournalFile
from penstock._journal.ring import Ring
from penstock._sinks import local as local_module
from penstock._sinks.local import LocalSink
from penstock._store import documents as documents_module
from penstock._store import linefile as linefile_module
from penstock.lifecycle import SessionDocument
from tests.faults.children import call
from tests.faults.evidence import Counters
from tests.faults.loggers import session

LOSS, ACC, LOG = 0, 1, 2  # slots of the counters
Fits = Callable[..., bool]


class Place(NamedTuple):
    """``when`` is "before", "half" (of a write) or "after" the n-th call that ``fits``."""

    owner: Any
    name: str
    when: str
    nth: int = 1
    fits: Fits = lambda *_arguments: True


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def plant(place: Place) -> None:
    real: Callable[..., Any] = getattr(place.owner, place.name)
    calls = itertools.count(1)

    def stand_in(*arguments: Any, **keywords: Any) -> Any:
        hit = place.fits(*arguments) and next(calls) == place.nth
        if hit and place.when == "before":
            die()
        if hit and place.when == "half":
            fd, data = arguments
            real(fd, bytes(data)[: len(data) // 2])
            die()
        result = real(*arguments, **keywords)
        if hit:
            die()
        return result

    setattr(place.owner, place.name, stand_in)


def of_lines(_fd: int, data: bytes | memoryview) -> bool:
    return bytes(data[:9]) == b'{"index":'


def of_ring(path: Path, *_rest: object) -> bool:
    return path.suffix == ".ring"


def to_ring(_old: object, new: object) -> bool:
    return str(new).endswith(".ring")


REFERENCE: dict[str, Place] = {
    # the writer's thread, with the Python reference (PENSTOCK_CORE=python)
    "before the ring is copied": Place(Ring, "copy", "before", 3),
    "after the ring is copied": Place(Ring, "copy", "after", 3),
    "before records are decoded": Place(writer_module.drain, "runs", "before", 2),
    "after records are decoded": Place(writer_module.drain, "runs", "after", 2),
    "after lines are encoded": Place(LineEncoder, "points", "after", 2),
}
NATIVE: dict[str, Place] = {
    # the writer's thread, with the C core
    "before the C core drains": Place(FastDrain, "take", "before", 4),
    "after the C core drained and wrote": Place(FastDrain, "take", "after", 4),
    "before the books of the C core's write": Place(LocalSink, "wrote", "before", 2),
}
EITHER: dict[str, Place] = {
    # the writer's thread, with either core
    "before lines are coalesced": Place(Coalescer, "add", "before", 3),
    "after lines are coalesced": Place(Coalescer, "add", "after", 3),
    "before a line file is opened": Place(LocalSink, "_open_file", "before"),
    "after a line file is opened": Place(LocalSink, "_open_file", "after"),
    "before a write of lines": Place(os, "write", "before", 2, of_lines),
    "half of a write of lines": Place(os, "write", "half", 2, of_lines),
    "after a write of lines": Place(os, "write", "after", 2, of_lines),
    "after the sink's write": Place(LocalSink, "write", "after", 3),
    "after the books of a write": Place(Coalescer, "written", "after", 2),
    "before the ring is released": Place(Ring, "release", "before", 2),
    "between zeroing the ring and moving its tail": Place(Ring, "_move_tail", "before", 2),
    "after the ring is released": Place(Ring, "release", "after", 2),
    "after the tail is stamped": Place(JournalFile, "set_tail", "after", 2),
    "after the heartbeat": Place(JournalFile, "beat", "after"),
    "before fdatasync": Place(os, "fdatasync", "before"),
    "after fdatasync": Place(os, "fdatasync", "after"),
    "before a folder is fsynced": Place(local_module, "_sync_folder", "before"),
    "after a folder is fsynced": Place(local_module, "_sync_folder", "after"),
    # opening: the journal is made
    "before a journal is allocated": Place(file_module, "allocate", "before"),
    "after a journal is allocated": Place(file_module, "allocate", "after"),
    "before a journal gets its name": Place(os, "rename", "before", 1, to_ring),
    "after a journal got its name": Place(os, "rename", "after", 1, to_ring),
    # definitions
    "before a definition is stored": Place(JournalFile, "_define", "before", 5),
    "before the definitions grow": Place(JournalFile, "_grow", "before"),
    "while the definitions grow": Place(file_module, "allocate", "after", 2),
    "after the definitions grew": Place(JournalFile, "_grow", "after"),
    # session.json and the tracks' documents
    "after a temporary document is made": Place(documents_module, "open_temporary", "after"),
    "before a document takes its place": Place(os, "replace", "before"),
    "after a document took its place": Place(os, "replace", "after", 2),
    "before a document's folder is fsynced": Place(documents_module, "sync_folder", "before", 2),
    # closing
    "before the last lines are awaited": Place(Engine, "_settle", "before", 2),
    "after the last lines are written": Place(Engine, "_settle", "after", 2),
    "before the journal is removed": Place(Path, "unlink", "before", 1, of_ring),
    "after the journal is removed": Place(Path, "unlink", "after", 1, of_ring),
    "before the session's ending is stored": Place(SessionDocument, "end", "before"),
}
WRITING = REFERENCE | (NATIVE if penstock.core == "c" else {}) | EITHER

RECOVERING: dict[str, Place] = {
    "before a journal is read": Place(recovery_module, "scan", "before"),
    "after a journal is read": Place(recovery_module, "scan", "after"),
    "before a torn line is mended": Place(linefile_module, "repair", "before"),
    "after a torn line is mended": Place(linefile_module, "repair", "after"),
    "before the first lines": Place(os, "write", "before", 1, of_lines),
    "half of the first lines": Place(os, "write", "half", 1, of_lines),
    "after the first lines": Place(os, "write", "after", 1, of_lines),
    "half of the second lines": Place(os, "write", "half", 2, of_lines),
    "before recovered lines are fsynced": Place(LocalSink, "sync", "before"),
    "after recovered lines are fsynced": Place(LocalSink, "sync", "after"),
    "before the recovered journal is removed": Place(Path, "unlink", "before", 1, of_ring),
    "after the recovered journal is removed": Place(Path, "unlink", "after", 1, of_ring),
}


def workload(root: str, counters: str, *, ring_bytes: int, interval_s: float) -> None:
    """Points in two tracks (numbers, and text), log lines, ever new field names, documents, a flush, a close."""
    slots = Counters(counters, 3).slots
    run = session(root, ring_bytes=ring_bytes, flush_interval_s=interval_s, sync_interval_s=0.01, chunk_bytes=4096)
    run.open()
    loss, acc = run.track("loss"), run.track("val/acc")
    for n in range(4000):
        loss.append(value=n / 2, who=LOSS, n=n)
        slots[LOSS] = n + 1
        if not n % 4:
            acc.append(value=n / 8, who=ACC, n=n // 4, text="general")
            slots[ACC] = n // 4 + 1
        if not n % 10:
            run.log(f"line {n // 10}")
            slots[LOG] = n // 10 + 1
    for n in range(4000, 4300):  # the definitions of these field names outgrow the first 64 KiB
        loss.append(value=n / 2, who=LOSS, n=n, **{f"{'field' * 50}{n}": True})
        slots[LOSS] = n + 1
    run.update(description="nearly done")
    run.flush("disk")
    run.close()


def writing(root: str, counters: str, name: str) -> None:
    """The whole life of a session, up to the named place."""
    plant(WRITING[name])
    workload(root, counters, ring_bytes=64 << 10, interval_s=0.01)


def left(root: str, counters: str) -> None:
    """Leave a journal with thousands of records and a line file with a torn last line."""
    plant(WRITING["half of a write of lines"])
    workload(root, counters, ring_bytes=512 << 10, interval_s=60.0)


def recovering(run: str, name: str) -> None:
    """Recover the run, up to the named place."""
    plant(RECOVERING[name])
    penstock.recover(run)


def reopening(root: str, name: str) -> None:
    """Open the run again, up to the named place of its recovery."""
    plant(RECOVERING[name])
    session(root).open()


if __name__ == "__main__":
    call(globals())
