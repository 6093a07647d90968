"""Children that log and count until somebody kills them, or until they end themselves in an ugly way.

Each function is one child's main: ``python tests/faults/loggers.py <function> ...``; see ``children`` and ``evidence``.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import penstock
from tests.faults.children import call, say
from tests.faults.evidence import WORKSPACE, Counters


def session(root: str, name: str = "run", **settings: Any) -> penstock.Session:
    return penstock.Session(name, WORKSPACE, local_path=root, **settings)


def log_points(track: penstock.Track, counters: Counters, who: int, numbers: Any, pause_s: float = 0.0) -> None:
    """Append points and count each one after its append has returned."""
    slots = counters.slots
    for n in numbers:
        track.append(value=n / 2, who=who, n=n)
        slots[who] = n + 1
        if pause_s and not n % 16:
            time.sleep(pause_s)  # the pace of a training loop, not a wait for anything


def endless(root: str, counters: str, threads: str, ring_bytes: str, flush_interval_s: str, pause_s: str) -> None:
    """Log from several threads to one track, for ever. Says "ready" before it opens the session."""
    counted = Counters(counters, int(threads))
    sys.setswitchinterval(0.0005)
    say("ready")
    track = session(root, ring_bytes=int(ring_bytes), flush_interval_s=float(flush_interval_s),
                    sync_interval_s=0.05).open().track("loss")  # fmt: skip
    for who in range(1, int(threads)):
        threading.Thread(
            target=log_points, args=(track, counted, who, itertools.count(), float(pause_s)), daemon=True
        ).start()
    log_points(track, counted, 0, itertools.count(), float(pause_s))


def slow(root: str, counters: str, pause_s: str) -> None:
    """Three points, one per ``pause_s``; says "logged" and waits to be killed."""
    track = session(root).open().track("loss")
    counted = Counters(counters, 1)
    for n in range(3):
        time.sleep(float(pause_s))
        log_points(track, counted, 0, [n])
    say("logged")
    sys.stdin.readline()


def burst(root: str, counters: str, way: str) -> None:
    """A burst of points from two threads, then an end that no exit handler sees."""
    counted = Counters(counters, 2)
    track = session(root).open().track("loss")
    other = threading.Thread(target=log_points, args=(track, counted, 1, range(3000)))
    other.start()
    log_points(track, counted, 0, range(3000))
    other.join()
    UGLY_ENDS[way]()


def with_handler(root: str, counters: str, number: str, then: str) -> None:
    """Log for ever, with a user's signal handler that logs too, closes the session and ends the process in its way.

    The handler was there before penstock, so it must be the one that is called. Slot 1 counts its points, slot 2 its
    calls.
    """
    counted = Counters(counters, 3)
    kind = int(number)

    def handler(received: int, _frame: object) -> None:
        counted.slots[2] += 1
        log_points(track, counted, 1, range(5))  # perhaps in the middle of an append of the main thread
        if then == "close and exit":
            run.close()
            sys.exit(128 + received)
        if then == "exit":
            sys.exit(128 + received)
        signal.signal(received, signal.SIG_DFL)
        os.kill(os.getpid(), received)

    signal.signal(kind, handler)
    run = session(root, ring_bytes=64 << 10, flush_interval_s=0.01).open()
    assert signal.getsignal(kind) is handler, "penstock took the place of a signal handler"
    track = run.track("loss")
    log_points(track, counted, 0, range(100))
    say("logging")
    log_points(track, counted, 0, itertools.count(100))


def interrupted(root: str, counters: str, style: str) -> None:
    """Log for ever with Python's own SIGINT handler: in a with block or without one."""
    counted = Counters(counters, 1)
    run = session(root)
    if style == "with":
        with run:
            track = run.track("loss")
            log_points(track, counted, 0, range(100))
            run.flush("disk")
            say("logging")
            log_points(track, counted, 0, itertools.count(100))
    track = run.open().track("loss")
    log_points(track, counted, 0, range(100))
    run.flush("disk")  # else the writer's thread still imports: then CPython forgets the status of a SIGINT
    say("logging")
    log_points(track, counted, 0, itertools.count(100))


def crowd(root: str, counters: str, threads: str, each: str, tracks: str) -> None:
    """Many threads append to few tracks, as one crowd: the interpreter changes threads as often as it can."""
    counted = Counters(counters, int(threads))
    sys.setswitchinterval(1e-5)
    gate = threading.Barrier(int(threads))
    with session(root, flush_interval_s=0.02) as run:

        def work(who: int) -> None:
            gate.wait()
            log_points(run.track(f"track{who % int(tracks)}"), counted, who, range(int(each)))

        workers = [threading.Thread(target=work, args=(who,)) for who in range(int(threads))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        books = run.flush("disk", timeout=600)
        say(f"{books.appended} {books.written} {books.waiting} {books.dropped}")


def one_of_many(root: str, counters: str, who: str, each: str, end: str) -> None:
    """One of several processes of one run. Says "ready", opens the run when told to, logs, waits to be told to end."""
    counted = Counters(counters, int(who) + 1)
    say("ready")
    sys.stdin.readline()
    run = session(root).open()
    log_points(run.track("loss"), counted, int(who), range(int(each)))
    run.track(f"rank{who}").append(value=float(who))
    say("logged")
    sys.stdin.readline()
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "close":
        run.close()


def handlers(root: str) -> None:
    """Open, log, close, and say which signals have another disposition than before."""
    before = {kind: signal.getsignal(kind) for kind in signal.valid_signals()}
    with session(root) as run:
        run.track("loss").append(value=0.0, who=0, n=0)
        run.flush("disk")
        during = {kind: signal.getsignal(kind) for kind in signal.valid_signals()}
    after = {kind: signal.getsignal(kind) for kind in signal.valid_signals()}
    changed = [kind for kind in before if not before[kind] == during[kind] == after[kind]]
    say(repr((changed, signal.set_wakeup_fd(-1))))


UGLY_ENDS: dict[str, Callable[[], object]] = {
    "os._exit": lambda: os._exit(7),
    "os.abort": os.abort,
    "segfault": lambda: ctypes.memset(0, 1, 1),
    "SIGBUS": lambda: signal.raise_signal(signal.SIGBUS),
    "SIGILL": lambda: signal.raise_signal(signal.SIGILL),
}


if __name__ == "__main__":
    call(globals())
