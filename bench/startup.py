"""What penstock costs a script that hardly logs: importing it, opening and closing a session, an idle session.

Baselines: an interpreter that does nothing, a folder with one document written by hand, a process that only sleeps.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench import child
from bench.hot_path import open_session
from bench.report import Part, Plan, Table, number

IMPORT = """
import time
begin = time.perf_counter()
import penstock
end = time.perf_counter()
import os, threading
print(end - begin, threading.active_count(), len(os.listdir("/proc/self/task")))
"""


# -- the parent -------------------------------------------------------------------------------------------------------
def run(plan: Plan) -> Part:
    """Import, open + close, idle."""
    part = Part()
    _import(plan, part)
    _open_close(plan, part)
    _idle(plan, part)
    return part


def _import(plan: Plan, part: Part) -> None:
    repetitions = 9 if plan.short else 25
    child.run_code(IMPORT)  # the first import writes the bytecode and warms the page cache
    seconds: dict[str, list[float]] = {"pass": [], "import penstock": []}
    inside: list[float] = []
    threads: list[int] = []
    for _ in range(repetitions):
        for code, walls in seconds.items():
            begin = time.perf_counter()
            child.run_code(code + "\nprint(0)")
            walls.append(time.perf_counter() - begin)
        taken, *counts = child.run_code(IMPORT).split()
        inside.append(float(taken))
        threads.append(max(map(int, counts)))
    bare = median(seconds["pass"])
    table = Table(
        "import penstock",
        ("what", "median ms", "least", "x python -c pass"),
        note=f"{repetitions} fresh interpreters each, in turn, warm page cache, bytecode written. Threads after the"
        f" import: {max(threads)}.",
    )
    for code, walls in seconds.items():
        cells = (number(1000 * median(walls)), number(1000 * min(walls)), number(median(walls) / bare))
        table.rows.append((f"python -c '{code}'", *cells))
    table.rows.append(("the import statement alone", number(1000 * median(inside)), number(1000 * min(inside)), ""))
    part.tables.append(table)
    part.raw["import"] = {"whole": seconds, "statement": inside, "threads": threads}
    part.figures["import_ms"] = 1000 * median(inside)
    part.figures["import_threads"] = max(threads)


def _open_close(plan: Plan, part: Part) -> None:
    sessions = 15 if plan.short else 60
    found = child.measure("bench.startup:open_close_cell", sessions=sessions, folder=str(plan.folder))
    table = Table(
        "open + close of a session in a warm process",
        ("what", "median ms", "least", "most", "x by hand"),
        note=f"{sessions} sessions of different names. By hand: make a folder, write a document, fsync it, rename it."
        f" The first session of the process (its imports are made then): {number(1000 * found['first_s'])} ms.",
    )
    by_hand = median(found["by_hand"])
    for what, key in (("open + close", "empty"), ("open, one append, close", "one_point"), ("by hand", "by_hand")):
        walls = found[key]
        cells = [number(1000 * value) for value in (median(walls), min(walls), max(walls))]
        table.rows.append((what, *cells, number(median(walls) / by_hand)))
    part.tables.append(table)
    part.raw["open_close"] = found
    part.figures["open_close_ms"] = 1000 * median(found["empty"])


def _idle(plan: Plan, part: Part) -> None:
    seconds = 6.0 if plan.short else 20.0
    table = Table(
        "an idle process",
        ("what", "wake-ups/s", "by thread", "CPU ms/s"),
        note=f"Voluntary context switches of all threads over {seconds:g} s, the sleeping main thread included, begun"
        " 2 s after the last append.",
    )
    for kind in ("sleeping", "session"):
        found = child.measure("bench.startup:idle_cell", kind=kind, seconds=seconds, folder=str(plan.folder))
        part.raw[f"idle/{kind}"] = found
        threads = ", ".join(f"{name} {number(count / seconds)}" for name, count in found["by_thread"])
        what = "an open session" if kind == "session" else "only sleeping"
        table.rows.append((what, number(found["wakes_per_s"]), threads, number(found["cpu_ms_per_s"])))
    part.tables.append(table)
    part.figures["idle_wakes_per_s"] = part.raw["idle/session"]["wakes_per_s"]


# -- the child --------------------------------------------------------------------------------------------------------
def open_close_cell(*, sessions: int, folder: str) -> dict[str, Any]:
    """Seconds of each session, the kinds in turn; the first one apart."""
    first = _one_session(folder, "first", points=0)
    found: dict[str, Any] = {"empty": [], "one_point": [], "by_hand": []}
    for place in range(sessions):
        found["empty"].append(_one_session(folder, f"empty-{place}", points=0))
        found["one_point"].append(_one_session(folder, f"point-{place}", points=1))
        found["by_hand"].append(_document_by_hand(Path(folder) / "by-hand" / str(place)))
    return {**found, "first_s": first}


def _one_session(folder: str, name: str, *, points: int) -> float:
    begin = time.perf_counter()
    session = open_session(folder, name)
    for i in range(points):
        session.track("loss").append(value=0.5, epoch=i)
    session.close()
    return time.perf_counter() - begin


def _document_by_hand(folder: Path) -> float:
    begin = time.perf_counter()
    folder.mkdir(parents=True)
    with open(folder / "session.json.new", "wb") as file:
        file.write(b'{"name": "by hand"}\n')
        file.flush()
        os.fsync(file.fileno())
    os.replace(folder / "session.json.new", folder / "session.json")
    return time.perf_counter() - begin


def idle_cell(*, kind: str, seconds: float, folder: str) -> dict[str, Any]:
    """Voluntary context switches of every thread of this process while nothing is logged."""
    session = open_session(folder, "idle") if kind == "session" else None
    if session is not None:
        session.track("loss").append(value=0.5, epoch=0)
        session.flush("disk")
    time.sleep(2)
    before, cpu = _switches(), time.process_time()
    time.sleep(seconds)
    after, cpu = _switches(), time.process_time() - cpu
    if session is not None:
        session.close()
    counts = {task: count - before.get(task, 0) for task, count in after.items()}
    return {
        "wakes_per_s": sum(counts.values()) / seconds,
        "by_thread": [(name, count) for (_, name), count in counts.items()],
        "cpu_ms_per_s": 1000 * cpu / seconds,
    }


def _switches() -> dict[tuple[str, str], int]:
    found = {}
    for task in os.listdir("/proc/self/task"):
        text = Path(f"/proc/self/task/{task}/status").read_text("utf-8", "replace")
        lines = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        found[task, lines["Name"]] = int(lines["voluntary_ctxt_switches"])
    return found
