"""A child script: sessions on a file system that is full, fills up, or is read-only. Run by mounts.on_small_disk.

Each scenario prints its books and what went by as JSON, and copies the run out of the file system before that is
gone. An exception, or a step that takes too long, ends the child with a status that is not 0.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock import Session

WAIT_S = 20.0
RING = 1 << 16


def until(what: Callable[[], bool], limit_s: float = WAIT_S) -> float:
    """Wait for something; returns how long that took, in seconds."""
    started = time.monotonic()
    while not what():
        if time.monotonic() - started > limit_s:
            raise TimeoutError(f"not within {limit_s} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - started


def fill(disk: Path, leave_bytes: int = 0) -> Path:
    """Take all the room but this much."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    if leave_bytes:
        os.truncate(filler, max(0, filler.stat().st_size - leave_bytes))
    return filler


def session_of(disk: Path, **settings: Any) -> Session:
    return Session("run", "w", local_path=disk, ring_bytes=RING, flush_interval_s=0.02, **settings)


def told(session: Session) -> dict[str, Any]:
    return session.stats()._asdict()


def full_at_start(disk: Path, _kept: Path) -> dict[str, Any]:
    filler = fill(disk)
    session = session_of(disk).open()
    track = session.track("t")
    for place in range(300):
        track.append(value=float(place))
    before = told(session)
    filler.unlink()
    resumed_s = until(lambda: session.stats().durability == "journal" and session.stats().error is None)
    for place in range(300, 400):
        track.append(value=float(place))
    after = session.flush("disk", timeout=WAIT_S)._asdict()
    session.close()
    return {"before": before, "after": after, "resumed_s": resumed_s}


def full_in_append(disk: Path, _kept: Path) -> dict[str, Any]:
    session = session_of(disk).open()
    track = session.track("t")
    for place in range(200):
        track.append(value=float(place))
    first = session.flush("disk", timeout=WAIT_S)._asdict()
    filler = fill(disk, leave_bytes=20_000)
    place = 200
    slowest_s = 0.0
    while session.stats().dropped < 500:
        started = time.monotonic()
        track.append(value=float(place))
        slowest_s = max(slowest_s, time.monotonic() - started)
        place += 1
    full = told(session)
    refused = session.flush("disk", timeout=0.2)._asdict()
    session.parameters()  # reading still works
    filler.unlink()
    resumed_s = until(lambda: session.stats().error is None)
    for _ in range(100):
        track.append(value=float(place))
        place += 1
    after = session.flush("disk", timeout=WAIT_S)._asdict()
    session.close()
    return {
        "first": first, "full": full, "refused": refused, "after": after, "resumed_s": resumed_s, "appended": place,
        "slowest_s": slowest_s,
    }  # fmt: skip


def full_in_definitions(disk: Path, _kept: Path) -> dict[str, Any]:
    session = session_of(disk).open()
    session.track("first").append(value=0.0)
    session.flush("disk", timeout=WAIT_S)
    filler = fill(disk)
    for number in range(1200):  # more names than the definitions region holds: it cannot grow
        session.track(f"track {number} " + "x" * 60).append(value=float(number))
    full = told(session)
    filler.unlink()
    until(lambda: session.stats().durability == "journal" and session.stats().error is None)
    after = session.flush("disk", timeout=WAIT_S)._asdict()
    session.close()
    return {"full": full, "after": after}


def full_documents(disk: Path, _kept: Path) -> dict[str, Any]:
    session = session_of(disk).open()
    session.parameters().set(lr=0.1)
    filler = fill(disk)
    errors = []
    try:
        session.parameters().set(big="y" * 20_000)
    except OSError as error:
        errors.append(error.errno)
    kept = session.parameters().get()
    filler.unlink()
    session.parameters().set(after=1)
    final = session.parameters().get()
    session.close()
    return {"errors": errors, "kept": kept, "final": final}


def read_only(disk: Path, _kept: Path) -> dict[str, Any]:
    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True, timeout=WAIT_S)

    remount("ro")
    started = time.monotonic()
    session = session_of(disk).open()
    session.track("t").append(value=0.0)
    opened_s = time.monotonic() - started
    for place in range(1, 300):
        session.track("t").append(value=float(place))
    session.log("a line")
    before = told(session)
    remount("rw")
    until(lambda: session.stats().durability == "journal" and session.stats().error is None)
    session.track("t").append(value=300.0)
    after = session.flush("disk", timeout=WAIT_S)._asdict()
    session.close()
    return {"before": before, "after": after, "opened_s": opened_s}


def read_only_to_the_end(disk: Path, _kept: Path) -> dict[str, Any]:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=WAIT_S)
    with session_of(disk) as session:
        session.track("t").append(value=0.0)
        session.log("a line")
        before = told(session)
    return {"before": before}


def file_size_limit(disk: Path, _kept: Path) -> dict[str, Any]:
    session = session_of(disk).open()
    track = session.track("t")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, unlimited[1]))
    place = 0
    while session.stats().dropped < 100:
        track.append(value=float(place))
        place += 1
    full = told(session)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    until(lambda: session.stats().error is None)
    track.append(value=float(place))
    after = session.flush("disk", timeout=WAIT_S)._asdict()
    session.close()
    return {"full": full, "after": after, "appended": place + 1}


SCENARIOS = (
    full_at_start, full_in_append, full_in_definitions, full_documents, read_only, read_only_to_the_end,
    file_size_limit,
)  # fmt: skip


def main() -> None:
    scenario, disk, kept = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    found = next(function for function in SCENARIOS if function.__name__ == scenario)(disk, kept)
    if (disk / "w").exists():
        shutil.copytree(disk / "w", kept / "w")
    print(json.dumps(found))  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main()
