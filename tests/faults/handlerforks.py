"""Children whose signal handlers fork in the middle of an append, a flush or a close.

Each function is one child's main: ``python tests/faults/handlerforks.py <function> ...``. A child of a handler either
logs in the handler and ends there, or returns into what was interrupted. There it may store the interrupted point for
itself, as its parent does, too: both called append.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading

import penstock
from penstock._engine.engine import Engine
from penstock._engine.host import Host
from penstock._engine.intake import Intake
from tests.faults.children import call
from tests.faults.evidence import Counters
from tests.faults.families import POINTS, end_of
from tests.faults.loggers import log_points, session

PERIOD_S = 0.003
FORK_AT: dict[str, tuple[type, str]] = {
    "an append asks for room": (Intake, "room"),
    "an append wakes the writer": (Engine, "wake"),
    "an append waits for room": (Intake, "_pause"),
    "a flush wakes the writer": (Host, "wake"),
    "a close wakes the writer": (Host, "wake"),
}


def by_timer(root: str, counters: str, forks: str, style: str) -> None:
    """A timer's handler forks in the middle of appends, many of which wait for room in a small ring."""
    counted = Counters(counters, int(forks) + 1)
    run = session(root, ring_bytes=64 << 10, flush_interval_s=0.01).open()
    track = run.track("loss")
    pids: list[int] = []
    child = 0

    def handler(_number: int, _frame: object) -> None:
        nonlocal child
        who = len(pids) + 1
        pid = os.fork()
        if pid:
            pids.append(pid)
            if len(pids) < int(forks):
                signal.setitimer(signal.ITIMER_REAL, PERIOD_S)
        elif style == "return":
            child = who
        else:
            log_points(track, counted, who, range(POINTS))
            os._exit(0)

    signal.signal(signal.SIGALRM, handler)
    log_points(track, counted, 0, range(100))
    signal.setitimer(signal.ITIMER_REAL, PERIOD_S)
    for n in itertools.count(100):
        track.append(value=n / 2, who=0, n=n)
        if child:
            log_points(track, counted, child, range(POINTS))
            os._exit(0)
        counted.slots[0] = n + 1
        if len(pids) == int(forks):
            break
    assert [end_of(pid) for pid in pids] == [0] * int(forks)
    run.close()


class Interruption:
    """A signal at a named place of the main thread, once, whose handler forks. The parent waits for the child there."""

    def __init__(self, place: str) -> None:
        self.armed = False
        self.forks = 0
        self.child = False
        owner, name = FORK_AT[place]
        real = getattr(owner, name)

        def interrupted(*arguments: object) -> object:
            if self.armed and threading.current_thread() is threading.main_thread():
                self.armed = False
                signal.raise_signal(signal.SIGALRM)
            return real(*arguments)

        setattr(owner, name, interrupted)
        signal.signal(signal.SIGALRM, self.handle)

    def handle(self, _number: int, _frame: object) -> None:
        self.forks += 1
        pid = os.fork()
        if pid:
            assert end_of(pid) == 0
        else:
            self.child = True


def at_place(root: str, counters: str, place: str) -> None:
    """The child returns into the operation that was interrupted, logs, and ends before its parent goes on."""
    counted = Counters(counters, 2)
    interruption = Interruption(place)
    run = session(root, ring_bytes=64 << 10, flush_interval_s=0.01).open()
    log_points(run.track("loss"), counted, 0, range(100))
    run.flush("disk")
    interruption.armed = True
    if place.startswith("a close"):
        run.close()
        if interruption.child:
            os._exit(0)
        assert interruption.forks == 1
        return
    if place.startswith("a flush"):
        assert run.flush("disk", timeout=20).reached
    else:
        append_until(run, counted, interruption)
    if interruption.child:
        log_points(run.track("loss"), counted, 1, range(POINTS))
        assert run.flush("disk", timeout=20).reached
        run.close()
        os._exit(0)
    assert interruption.forks == 1, "this place was not reached"
    log_points(run.track("loss"), counted, 0, range(counted.slots[0], counted.slots[0] + POINTS))
    run.close()


def append_until(run: penstock.Session, counted: Counters, interruption: Interruption) -> None:
    """Append until one append was interrupted; in the child, that one is its parent's and is not counted."""
    track = run.track("loss")
    for n in range(100, 1_000_000):
        track.append(value=n / 2, who=0, n=n)
        if interruption.child:
            return
        counted.slots[0] = n + 1
        if interruption.forks:
            return


if __name__ == "__main__":
    call(globals())
