"""What one append costs the thread that calls it: means, percentiles, threads, and beside a training-like loop.

Baselines of the same run: a method that does nothing with the same keywords, and ``deque.append`` of a tuple with the
time in it. Nothing is subtracted; the pair of clock readings is inside every percentile, the loop inside every mean.
"""

from __future__ import annotations

import array
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import child
from bench.report import LATENCY_COLUMNS, Part, Plan, Table, latency, latency_cells, number

FIELDS: Final = {
    1: "value=v",
    2: "value=v, epoch=i",
    8: "value=v, epoch=i, loss=v, accuracy=v, rate=v, norm=v, step=i, grad=v",
}
THREADS: Final = (1, 4, 16)
KINDS: Final = ("empty", "penstock", "deque")
BUSY_STEPS: Final = 50  # additions between two looks at the clock: about 2 us
STEP_NS: Final = 1_000_000
WARM_UP: Final = 2000  # calls before anything is measured: first imports, first record of the track, specialisation

Loop = Callable[..., Any]


class Empty:
    """The method that an append is compared with."""

    def append(self, **fields: object) -> None:
        """Do nothing, with the same keywords."""


# -- the parent -------------------------------------------------------------------------------------------------------
def run(plan: Plan) -> Part:
    """All cells of the part, one child process each."""
    part = Part()
    _tight(plan, part)
    for busy_thread in (False, True):
        _training(plan, part, busy_thread=busy_thread)
    return part


def _tight(plan: Plan, part: Part) -> None:
    sizes = {"burst": 50_000, "rounds": 21, "timed": 1_000_000}
    if plan.short:
        sizes = {"burst": 20_000, "rounds": 9, "timed": 300_000}
    bursts = Table(
        "append in a tight loop: bursts that fit in the ring",
        ("fields", "called on", "threads", "empty ns", "deque ns", "append ns", "append/empty", "append/deque"),
        note=f"Wall time of {sizes['burst']:,} calls / calls, the loop inside; medians of {sizes['rounds']} rounds in"
        " turn (empty, append, deque); the ratios are medians of the rounds' ratios.",
    )
    timed = Table(
        "append in a tight loop, each call timed, until long after the ring is full",
        ("what", "fields", "called on", "threads", *LATENCY_COLUMNS),
        note=f"{sizes['timed']:,} calls per row without a pause: the waits for room in the ring are inside. The pair of"
        " clock readings is inside every number; the rows of the empty method show what it costs.",
    )
    for fields in FIELDS:
        for through in ("handle", "session.track()"):
            for threads in THREADS:
                cell = child.measure(
                    "bench.hot_path:tight_cell",
                    fields=fields, through=through, threads=threads, folder=str(plan.folder), **sizes,
                )  # fmt: skip
                part.raw[f"tight/{fields}/{through}/{threads}"] = cell
                _tight_rows(bursts, timed, cell, (str(fields), through, str(threads)))
                if threads == 1:
                    kind = "append" if through == "handle" else "track"
                    part.figures[f"{kind}_ratio_{fields}"] = cell["ratio_empty"]
    alone, together = (median(part.raw[f"tight/2/handle/{threads}"]["burst"]["penstock"]) for threads in (1, 16))
    part.figures["threads_ratio"] = alone / together
    part.tables += [bursts, timed]


def _tight_rows(bursts: Table, timed: Table, cell: dict[str, Any], name: tuple[str, str, str]) -> None:
    means = [number(median(cell["burst"][kind])) for kind in ("empty", "deque", "penstock")]
    bursts.rows.append((*name, *means, number(cell["ratio_empty"]), number(cell["ratio_deque"])))
    fields, through, threads = name
    for kind in KINDS:
        if kind == "penstock" or through == "handle":  # the baselines are the same for both ways
            on = through if kind == "penstock" else "kept object"
            what = "append" if kind == "penstock" else kind
            timed.rows.append((what, fields, on, threads, *latency_cells(cell["latency"][kind])))


def _training(plan: Plan, part: Part, *, busy_thread: bool) -> None:
    seconds, repetitions = (4.0, 1) if plan.short else (12.0, 3)
    beside = "a busy loop on the same thread" + (" and a second busy thread" if busy_thread else "")
    samples: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for _ in range(repetitions):
        for kind in KINDS:
            found = child.measure(
                "bench.hot_path:training_cell",
                kind=kind, seconds=seconds, busy_thread=busy_thread, folder=str(plan.folder),
            )  # fmt: skip
            samples[kind] += found["samples"]
    table = Table(
        f"one append per ms beside {beside} (2 fields, kept handle)",
        ("what", "calls", *LATENCY_COLUMNS),
        note=f"{repetitions} x {seconds:g} s in turn, a process each, samples pooled. Under 10,000 calls p99.99 is the"
        " maximum. The empty method's tail is what the machine and the interpreter add to anything.",
    )
    for kind in KINDS:
        found = latency(samples[kind])
        part.raw[f"training/{'two' if busy_thread else 'one'}/{kind}"] = found
        what = "append" if kind == "penstock" else kind
        table.rows.append((what, number(found["n"]), *latency_cells(found)))
        if kind == "penstock" and not busy_thread:
            part.figures["training_p99_99_us"] = found["p99.99"] / 1000
    part.tables.append(table)


# -- the child --------------------------------------------------------------------------------------------------------
def tight_cell(
    *, fields: int, through: str, threads: int, folder: str, burst: int, rounds: int, timed: int
) -> dict[str, Any]:
    """Bursts in turn, then every call timed; ns per call, for each kind."""
    session = open_session(folder, f"tight-{fields}-{threads}-{'track' if through != 'handle' else 'handle'}")
    track = session.track("loss")
    calls = {kind: _call(kind, fields, through) for kind in KINDS}
    targets: dict[str, Any] = {"empty": Empty(), "penstock": track if through == "handle" else session}
    means: dict[str, list[float]] = {kind: [] for kind in KINDS}
    plain = {kind: compile_loop(call, timed=False) for kind, call in calls.items()}
    for number_of_round in range(rounds + 1):
        for kind in KINDS:
            target = deque() if kind == "deque" else targets[kind]
            wall = run_threads(plain[kind], target, burst if number_of_round else WARM_UP, threads)
            if kind == "penstock":
                session.flush("disk")  # outside the measurement: the next kind must not meet the writer at work
            if number_of_round:
                means[kind].append(wall / burst)
    found: dict[str, dict[str, float]] = {}
    for kind, call in calls.items():
        out = array.array("q", bytes(8 * timed))
        target = deque() if kind == "deque" else targets[kind]
        run_threads(compile_loop(call, timed=True), target, timed, threads, out)
        if kind == "penstock":
            session.flush("disk")
        found[kind] = latency(out)
    session.close()
    return {
        "burst": means,
        "ratio_empty": median(a / b for a, b in zip(means["penstock"], means["empty"], strict=True)),
        "ratio_deque": median(a / b for a, b in zip(means["penstock"], means["deque"], strict=True)),
        "latency": found,
    }


def training_cell(*, kind: str, seconds: float, busy_thread: bool, folder: str) -> dict[str, Any]:
    """Samples in ns of one call per ms. Late steps are not made up for, so that calls never come in bursts."""
    session = open_session(folder, f"training-{time.time_ns()}") if kind == "penstock" else None
    target = session.track("loss") if session is not None else Empty() if kind == "empty" else deque()
    compile_loop(_call(kind, 2, "handle"), timed=False)(WARM_UP, target, None, 0)
    if session is not None:
        session.flush("disk")
    stop = threading.Event()
    second = threading.Thread(target=_burn, args=(stop,))
    if busy_thread:
        second.start()
    steps = int(seconds * 1000)
    out = array.array("q", bytes(8 * steps))
    done = compile_training(_call(kind, 2, "handle"))(steps, target, out, time.perf_counter_ns() + int(seconds * 1e9))
    stop.set()
    if busy_thread:
        second.join()
    if session is not None:
        session.close()
    return {"samples": out[:done].tolist()}


def open_session(folder: str, name: str) -> Any:
    """A session with the default settings under ``folder``."""
    from penstock import Session

    session = Session(name=name, workspace="bench", local_path=Path(folder))
    session.open()
    return session


def _call(kind: str, fields: int, through: str) -> str:
    if kind == "deque":
        values = ", ".join(part.split("=")[1] for part in FIELDS[fields].split(", "))
        return f"target.append((time_ns(), {values}))"
    on = 'target.track("loss")' if kind == "penstock" and through != "handle" else "target"
    return f"{on}.append({FIELDS[fields]})"


def compile_loop(call: str, *, timed: bool) -> Loop:
    """A function with the call written into its loop, so that nothing stands between the loop and the call."""
    body = f"t = clock(); {call}; out[first + i] = clock() - t" if timed else call
    return _compile(f"def loop(n, target, out, first):\n    v = 0.5\n    for i in range(n):\n        {body}\n")


def compile_training(call: str) -> Loop:
    """A loop that computes for a millisecond, makes one timed call, and returns the number of calls at the deadline."""
    return _compile(
        "def loop(n, target, out, deadline):\n"
        "    v = 0.0\n"
        f"    after = clock() + {STEP_NS}\n"
        "    for i in range(n):\n"
        "        while clock() < after:\n"
        f"            for j in range({BUSY_STEPS}): v += j * 0.5\n"
        f"        t = clock(); {call}; out[i] = clock() - t\n"
        f"        after = t + {STEP_NS}\n"
        "        if t > deadline: return i + 1\n"
        "    return n\n"
    )


def _compile(source: str) -> Loop:
    names: dict[str, Any] = {"clock": time.perf_counter_ns, "time_ns": time.time_ns}
    exec(source, names)
    loop: Loop = names["loop"]
    return loop


def run_threads(loop: Loop, target: Any, calls: int, threads: int, out: Any = None) -> float:
    """ns from the first thread's start to the last one's end; the calls are divided evenly."""
    share = calls // threads
    if threads == 1:
        begin = time.perf_counter_ns()
        loop(share, target, out, 0)
        return time.perf_counter_ns() - begin
    barrier = threading.Barrier(threads)
    spans: list[tuple[int, int]] = []

    def work(first: int) -> None:
        barrier.wait()
        begin = time.perf_counter_ns()
        loop(share, target, out, first)
        spans.append((begin, time.perf_counter_ns()))

    workers = [threading.Thread(target=work, args=(place * share,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(end for _, end in spans) - min(begin for begin, _ in spans)


def _burn(stop: threading.Event) -> None:
    total = 0.0
    while not stop.is_set():
        for j in range(1000):
            total += j * 0.5
