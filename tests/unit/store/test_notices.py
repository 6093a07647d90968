"""The library's own book: who is heard, how often, and where nothing may go wrong."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import limits
from penstock._store import notices
from penstock._store.notices import Notices

SOURCE = Path(notices.__file__).parents[2]


class Clock:
    """Seconds that a test turns by hand; starts at 0 to prove that the first message does not wait."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> Notices:
    return Notices(clock)


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


def test_lost_is_an_error_and_recovered_and_warn_are_warnings(book: Notices, caplog: pytest.LogCaptureFixture) -> None:
    book.lost("a", "one")
    book.recovered("b", "two")
    book.warn("c", "three")
    assert caplog.record_tuples == [
        ("penstock", logging.ERROR, "one"),
        ("penstock", logging.WARNING, "two"),
        ("penstock", logging.WARNING, "three"),
    ]


def test_a_kind_is_heard_once_a_minute_and_then_says_how_many_were_kept_back(
    book: Notices, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        book.lost("disk", "disk is full")
    clock.now = limits.WARNING_INTERVAL_S - 0.001
    book.lost("disk", "disk is full")
    clock.now = limits.WARNING_INTERVAL_S
    book.lost("disk", "disk is still full")
    clock.now = 2 * limits.WARNING_INTERVAL_S
    book.lost("disk", "disk is full again")
    assert caplog.messages == [
        "disk is full",
        "disk is still full (5 more of this kind since the last one)",
        "disk is full again",
    ]


def test_kinds_do_not_silence_each_other(book: Notices, caplog: pytest.LogCaptureFixture) -> None:
    book.warn("a", "first")
    book.warn("b", "second")
    book.lost("a", "third")
    assert caplog.messages == ["first", "second"]


def test_a_percent_sign_in_a_message_is_a_percent_sign(book: Notices, caplog: pytest.LogCaptureFixture) -> None:
    book.warn("a", "disk is 100% full %s %d")
    assert caplog.messages == ["disk is 100% full %s %d"]


def test_threads_that_say_the_same_at_once_are_heard_once_and_all_counted(
    book: Notices, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    barrier = threading.Barrier(8)

    def speak() -> None:
        barrier.wait()
        for _ in range(500):
            book.warn("busy", "busy")

    threads = [threading.Thread(target=speak) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now = limits.WARNING_INTERVAL_S
    book.warn("busy", "busy")
    assert len(caplog.messages) == 2
    # The first one heard need not be the first one counted: only calls numbered after it are added up.
    kept_back = int(caplog.messages[1].split("(")[1].split()[0])
    assert 4000 - 8 <= kept_back <= 3999


class Broken(logging.Handler):
    """A handler of a user that raises, which logging lets through."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise RuntimeError(record.getMessage())


class Chatty(logging.Handler):
    """A handler that makes the library speak again while it speaks."""

    def __init__(self, book: Notices) -> None:
        super().__init__()
        self.book = book
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())
        self.book.warn("again", "again")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("penstock")
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def test_a_handler_that_raises_does_not_reach_the_caller(book: Notices, logger: logging.Logger) -> None:
    logger.addHandler(Broken())
    book.lost("a", "not heard, not raised")


def test_a_handler_that_logs_again_neither_hangs_nor_recurses(book: Notices, logger: logging.Logger) -> None:
    handler = Chatty(book)
    logger.addHandler(handler)
    book.warn("again", "first")
    book.warn("other", "second")
    assert handler.seen == ["first", "second"]


def test_a_broken_clock_does_not_reach_the_caller_and_does_not_silence_the_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times: Iterator[float] = iter([5.0])
    broken = iter([True, False])

    def clock() -> float:
        if next(broken):
            raise RuntimeError("no clock")
        return next(times)

    book = Notices(clock)
    book.warn("a", "not heard")
    book.warn("a", "heard")
    assert caplog.messages == ["heard (1 more of this kind since the last one)"]


def test_without_a_logging_configuration_the_lines_reach_stderr() -> None:
    done = run("from penstock._store import notices; notices.lost('a', 'disk is full'); notices.warn('b', 'look')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "disk is full\nlook\n")


def test_logging_is_imported_only_when_there_is_something_to_say() -> None:
    done = run(
        "import sys; from penstock._store import notices; assert 'logging' not in sys.modules;"
        "notices.warn('a', 'b'); assert 'logging' in sys.modules"
    )
    assert (done.returncode, done.stderr) == (0, "b\n")


def test_a_line_at_interpreter_exit_is_heard_and_nothing_is_raised() -> None:
    done = run(
        "import atexit; from penstock._store import notices\n"
        "class Last:\n"
        "    def __del__(self, lost=notices.lost): lost('late', 'said in __del__')\n"
        "last = Last(); last.itself = last\n"
        "import sys; sys.modules['keep'] = last\n"
        "atexit.register(notices.lost, 'exit', 'said in atexit')\n"
    )
    assert done.returncode == 0
    assert "said in atexit" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_speaks_even_if_the_turn_was_held_in_the_parent() -> None:
    done = run(
        "import os; from penstock._store import notices\n"
        "notices.warn('a', 'parent')\n"
        "notices._process._kinds['a'].turn.clear()\n"  # as if another thread were speaking at this instant
        "child = os.fork()\n"
        "if child == 0:\n"
        "    notices.warn('a', 'child'); os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    assert (done.returncode, done.stderr) == (0, "parent\nchild\n")
