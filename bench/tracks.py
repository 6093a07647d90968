"""Many tracks at once: 10,000 tracks x 100 points, round robin, and how many files are open meanwhile.

The baseline is one thread that writes the same files one after the other, 100 lines in one write each.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import child
from bench.report import Part, Plan, Table, number

POINTS: Final = 100
LOOK_EVERY: Final = 1000  # appends between two looks at /proc/self/fd
LOOK_S: Final = 0.02  # between two looks while close() works


# -- the parent -------------------------------------------------------------------------------------------------------
def run(plan: Plan) -> Part:
    """The same number of tracks in both forms: the target is about 10,000 of them."""
    tracks, repetitions = 10_000, 1 if plan.short else 3
    found: dict[str, list[dict[str, Any]]] = {"penstock": [], "by_hand": [], "by_hand_synced": []}
    for number_of_round in range(repetitions):
        for kind, runs in found.items():
            folder = plan.folder / f"tracks-{kind}-{number_of_round}"
            folder.mkdir()
            # Not removed before all is measured: ext4 will not use an inode again that was deleted within the last half
            # minute, and looking for others makes creating a file 200 times slower (measured: 3 us against 700 us).
            runs.append(child.measure("bench.tracks:cell", kind=kind, tracks=tracks, folder=str(folder)))
    part = Part(raw={"tracks": tracks, "points": POINTS, "runs": found})
    part.figures["seconds"] = median(one["seconds"] for one in found["penstock"])
    part.figures["open_files"] = max(one["open_files"] for one in found["penstock"])
    part.tables.append(_table(tracks, repetitions, found))
    return part


def _table(tracks: int, repetitions: int, found: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table(
        f"{tracks:,} tracks x {POINTS} points",
        ("what", "seconds", "of these close()", "points/s", "x by hand", "most open files"),
        note=f"Medians of {repetitions} run(s) in turn; open files: the most that were seen, of all runs."
        " By hand: folder, file, one write of 100 encoded lines, close; 'synced' with an fsync of each file.",
    )
    names = {"penstock": "penstock, round robin", "by_hand": "by hand, not synced", "by_hand_synced": "by hand, synced"}
    by_hand = median(one["seconds"] for one in found["by_hand"])
    for kind, runs in found.items():
        seconds = median(one["seconds"] for one in runs)
        table.rows.append(
            (
                names[kind],
                number(seconds),
                number(median(one["close_s"] for one in runs)),
                number(tracks * POINTS / seconds),
                number(seconds / by_hand),
                number(max(one["open_files"] for one in runs)),
            )
        )
    return table


# -- the child --------------------------------------------------------------------------------------------------------
def cell(*, kind: str, tracks: int, folder: str) -> dict[str, Any]:
    """One run; raises if a track or a line is missing afterwards."""
    if kind == "penstock":
        found = _penstock(tracks, Path(folder))
    else:
        found = _by_hand(tracks, Path(folder), synced=kind == "by_hand_synced")
    files = list(Path(folder).rglob("data*.jsonl"))
    lines = sum(path.read_bytes().count(b"\n") for path in files)
    if len(files) != tracks or lines != tracks * POINTS:
        raise RuntimeError(f"expected {tracks} files with {tracks * POINTS} lines, found {len(files)} with {lines}")
    return found


def _penstock(tracks: int, folder: Path) -> dict[str, Any]:
    from penstock import Session

    session = Session(name="many-tracks", workspace="bench", local_path=folder)
    session.open()
    most = open_files()
    begin = time.perf_counter()
    handles = [session.track(f"layer/{number_of_track}") for number_of_track in range(tracks)]
    appended = 0
    for i in range(POINTS):
        for handle in handles:
            handle.append(value=0.5, epoch=i)
            appended += 1
            if appended % LOOK_EVERY == 0:
                most = max(most, open_files())
    closing = time.perf_counter()
    closed = threading.Event()
    seen: list[int] = [most]

    def look() -> None:
        while not closed.wait(LOOK_S):
            seen.append(open_files())

    watcher = threading.Thread(target=look)
    watcher.start()
    session.close()
    end = time.perf_counter()
    closed.set()
    watcher.join()
    return {"seconds": end - begin, "close_s": end - closing, "open_files": max(seen)}


def _by_hand(tracks: int, folder: Path, *, synced: bool) -> dict[str, Any]:
    import msgspec

    encode_lines = msgspec.json.Encoder().encode_lines
    most = open_files()
    begin = time.perf_counter()
    for number_of_track in range(tracks):
        stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        block = [{"index": i, "data": {"value": 0.5, "epoch": i}, "createdAt": stamp} for i in range(POINTS)]
        home = folder / "layer" / str(number_of_track)
        home.mkdir(parents=True)
        with open(home / "data.jsonl", "wb", buffering=0) as file:
            file.write(encode_lines(block))
            if synced:
                os.fsync(file.fileno())
    return {"seconds": time.perf_counter() - begin, "close_s": 0.0, "open_files": most}


def open_files() -> int:
    """Open file descriptors of this process (the one that lists them included)."""
    return len(os.listdir("/proc/self/fd"))
