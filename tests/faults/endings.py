"""Children that end in each of the ways in which Python programs end, with a session open or just closed.

Each function is one child's main: ``python tests/faults/endings.py <function> <root> [...]``. All log to track "loss"
as logger 0, 100 points except where they say otherwise.
"""

from __future__ import annotations

import atexit
import gc
import itertools
import sys
import threading
from typing import Any

import penstock
from tests.faults.children import call, say
from tests.faults.evidence import Counters
from tests.faults.loggers import log_points, session


def log(run: penstock.Session, numbers: Any = range(100)) -> None:
    track = run.track("loss")
    for n in numbers:
        track.append(value=n / 2, who=0, n=n)


# -- normal and abnormal ends of the main thread (cases 10 and 11)


def falls_off_the_end(root: str) -> None:
    log(session(root).open())


def falls_off_the_end_at_once(root: str) -> None:
    """The writer's thread has just been started."""
    log(session(root).open(), range(1))


def falls_off_the_end_unlogged(root: str) -> None:
    session(root).open()


def worker_logs_on(root: str) -> None:
    """The main thread is through; a thread that is no daemon goes on, and opens a session only now."""

    def work() -> None:
        threading.main_thread().join()
        log(session(root).open())

    threading.Thread(target=work).start()


def with_block(root: str) -> None:
    with session(root) as run:
        log(run)


def error_in_with(root: str) -> None:
    with session(root) as run:
        log(run)
        raise ValueError("this is the reason")


def error_outside(root: str) -> None:
    log(session(root).open())
    raise ValueError("this is the reason")


def error_after_with(root: str) -> None:
    with session(root) as run:
        log(run)
    raise ValueError("not of the run")


def handled_error(root: str) -> None:
    log(session(root).open())
    try:
        raise ValueError("handled")
    except ValueError:
        pass


def exit_3_in_with(root: str) -> None:
    with session(root) as run:
        log(run)
        sys.exit(3)


def exit_0_in_with(root: str) -> None:
    with session(root) as run:
        log(run)
        sys.exit()


def exit_text_in_with(root: str) -> None:
    with session(root) as run:
        log(run)
        sys.exit("no data")


def exit_3_outside(root: str) -> None:
    log(session(root).open())
    sys.exit(3)


def thread_exits(root: str) -> None:
    run = session(root).open()

    def work() -> None:
        log(run)
        raise SystemExit(5)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def interrupt_in_with(root: str) -> None:
    with session(root) as run:
        log(run)
        run.flush("disk")
        raise KeyboardInterrupt


def interrupt_outside(root: str) -> None:
    run = session(root).open()
    log(run)
    run.flush("disk")
    raise KeyboardInterrupt


def told_to_end(root: str) -> None:
    """With a time limit of one second for the exit."""
    run = session(root, exit_timeout_s=1).open()
    log(run)
    say("logged")
    sys.stdin.readline()


# -- exit hooks, teardown, daemon threads (cases 16 and 17)


def hook_after_open(root: str) -> None:
    run = session(root).open()
    atexit.register(log, run)


def hook_before_open(root: str) -> None:
    """The hook is older than the session, so it runs later."""
    made: list[penstock.Session] = []
    atexit.register(lambda: log(made[0]))
    made.append(session(root).open())


def hook_opens(root: str) -> None:
    atexit.register(lambda: log(session(root).open()))


def hook_opens_beside(root: str) -> None:
    """The process had another session, whose writer's thread runs."""
    log(session(root, "other").open())
    atexit.register(lambda: log(session(root).open()))


def hook_has_a_with_block(root: str) -> None:
    atexit.register(with_block, root)


def hook_flushes(root: str) -> None:
    run = session(root).open()

    def hook() -> None:
        log(run)
        assert run.flush("disk", timeout=20).reached
        run.close()

    atexit.register(hook)


def daemon_holds(root: str) -> None:
    """A daemon thread has opened a session and waits for ever."""
    logged = threading.Event()

    def work() -> None:
        log(session(root).open())
        logged.set()
        threading.Event().wait()

    threading.Thread(target=work, daemon=True).start()
    assert logged.wait(20)


def daemon_logs_on(root: str, counters: str) -> None:
    """A daemon thread logs on while the interpreter ends, until it is told that the session was closed."""
    counted = Counters(counters, 1)

    def work() -> None:
        track = session(root).open().track("loss")
        log_points(track, counted, 0, range(1000))
        logged.set()
        try:
            log_points(track, counted, 0, itertools.count(1000))
        except penstock.ClosedError:
            pass

    logged = threading.Event()
    threading.Thread(target=work, daemon=True).start()
    assert logged.wait(20)


class Owner:
    """An object in a reference cycle, so that it lives until the modules are torn down."""

    def __init__(self, root: str) -> None:
        self.run = session(root).open()
        self.track = self.run.track("loss")
        log(self.run)
        self.me = self


class Closer(Owner):
    def __del__(self) -> None:
        self.run.close()


class Appender(Owner):
    def __del__(self) -> None:
        try:
            self.track.append(value=0.0, who=0, n=100)
        except penstock.ClosedError:
            pass


def teardown_closes(root: str) -> None:
    globals()["kept"] = Closer(root)


def teardown_appends(root: str) -> None:
    globals()["kept"] = Appender(root)


def dropped_unclosed(root: str) -> None:
    """Nobody holds the session any more, long before the end."""
    log(session(root).open())
    gc.collect()


if __name__ == "__main__":
    call(globals())
