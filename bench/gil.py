"""How much of the time the writer holds the GIL while 100,000 points a second are logged.

The clock of the writer's thread says how much CPU it used, and how much of that in calls that do not hold the GIL: the
C core's drain, `os.write` and fsync run without it. The rest is an upper bound of the time that it held the GIL: what
the interpreter spends on waiting for work is in it, too.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import child
from bench.report import Part, Plan, Table, number

RATE: Final = 100_000
BURST: Final = 100  # points per ms: the pace is kept by bursts of this size


def run(plan: Plan) -> Part:
    """Three runs, a process each; medians."""
    seconds = 5.0 if plan.short else 20.0
    runs = [child.measure("bench.gil:cell", seconds=seconds, folder=str(plan.folder)) for _ in range(3)]
    part = Part(raw={"runs": runs})
    keys = ("points_per_s", "writer_cpu_percent", "released_percent", "held_percent")
    found = {key: median(one[key] for one in runs) for key in keys}
    part.figures["held_percent"] = found["held_percent"]
    table = Table(
        f"the writer's thread at {RATE:,} points/s (2 fields)",
        ("points/s", "CPU, % of wall", "of it without the GIL", "GIL held at most, % of wall"),
        note=f"Medians of three runs of {seconds:g} s. CPU of the writer's thread only; fsync runs on other threads.",
    )
    table.rows.append(tuple(number(found[key]) for key in keys))
    part.tables.append(table)
    return part


class Timed:
    """A callable and the CPU time of the calling thread inside it."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.spent_s = 0.0

    def __call__(self, *args: Any) -> Any:
        begin = time.thread_time()
        try:
            return self.call(*args)
        finally:
            self.spent_s += time.thread_time() - begin


class Drainer:
    """The C core's drainer, with its drain timed."""

    def __init__(self, real: Any) -> None:
        self.define, self.attach, self.drain = real.define, real.attach, Timed(real.drain)


def cell(seconds: float, folder: str) -> dict[str, float]:
    """One measurement, in a fresh process."""
    from penstock import Session

    with Session("gil", "bench", local_path=Path(folder) / f"gil-{os.getpid()}") as session:
        track = session.track("loss")
        track.append(value=0.5, epoch=0)
        session.flush("disk")
        engine = session._engine
        assert engine is not None
        released = [Timed(os.write)]
        if engine.writer._fast is not None:
            engine.writer._fast._drainer = Drainer(engine.writer._fast._drainer)
            released.append(engine.writer._fast._drainer.drain)
        os.write = released[0]
        try:
            points, wall_s, cpu_s = _log(track, seconds)
        finally:
            os.write = released[0].call
        assert session.flush("disk").written == points + 1
    free_s = sum(each.spent_s for each in released)
    return {
        "points_per_s": points / wall_s,
        "writer_cpu_percent": 100 * cpu_s / wall_s,
        "released_percent": 100 * free_s / wall_s,
        "held_percent": 100 * (cpu_s - free_s) / wall_s,
    }


def _log(track: Any, seconds: float) -> tuple[int, float, float]:
    """Points logged, wall time, and CPU of the writer's thread meanwhile."""
    writer = _writer_clock()
    begin, cpu = time.perf_counter(), time.clock_gettime(writer)
    points = 0
    while (now := time.perf_counter()) - begin < seconds:
        if points >= (now - begin) * RATE:
            time.sleep(0.0002)
            continue
        for step in range(BURST):
            track.append(value=0.5, epoch=step)
        points += BURST
    return points, time.perf_counter() - begin, time.clock_gettime(writer) - cpu


def _writer_clock() -> int:
    import threading

    thread = next(thread for thread in threading.enumerate() if thread.name == "penstock-writer")
    assert thread.ident is not None
    return time.pthread_getcpuclockid(thread.ident)
