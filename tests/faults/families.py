"""Children that fork, with os.fork alone: everybody logs, and the parent and its children end in many ways.

Each function is one child's main: ``python tests/faults/families.py <function> ...``. The main process waits for the
processes that it forked and says how they ended. Logger ``who`` of a process is its slot of the counters.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import penstock
from penstock._engine.engine import Engine
from penstock._engine.writer import Writer
from tests.faults.children import call, say
from tests.faults.evidence import Counters
from tests.faults.loggers import log_points, session

POINTS = 40  # per forked child
ENDS = ("_exit", "close", "sys.exit", "killed", "flush")


def end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def forked(body: Callable[[], object]) -> int:
    """Fork; the child runs ``body`` and ends there, with status 1 if that raised."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        body()
        status = 0
    except SystemExit:
        raise  # through the interpreter's own end
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(status)


def child_of(run: penstock.Session, counted: Counters, who: int, end: str) -> None:
    """What a forked child does with its parent's session."""
    log_points(run.track("loss"), counted, who, range(POINTS))
    run.track(f"child/{who}").append(value=0.0, who=who, n=0, **{f"field{who}": True})
    run.log(f"child {who}")
    if end == "close":
        run.close()
    elif end == "sys.exit":
        sys.exit(0)
    elif end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif end == "flush":
        assert run.flush("disk", timeout=20).reached


def forks_beside_threads(root: str, counters: str, threads: str, forks: str, ring_bytes: str, pause_s: str) -> None:
    """Threads log, with small pauses or none, while the main thread forks children that log, too."""
    first = int(threads)
    counted = Counters(counters, first + int(forks))
    run = session(root, ring_bytes=int(ring_bytes), flush_interval_s=0.01).open()
    stop = threading.Event()
    pace = float(pause_s)
    others = [threading.Thread(target=log_until, args=(run, counted, who, stop, pace)) for who in range(first)]
    for other in others:
        other.start()
    statuses, waiting = [], []
    for number in range(int(forks)):
        waiting.append(forked(lambda: child_of(run, counted, first + number, ENDS[number % len(ENDS)])))  # noqa: B023
        if len(waiting) > 3:
            statuses.append(end_of(waiting.pop(0)))
    statuses += [end_of(pid) for pid in waiting]
    stop.set()
    for other in others:
        other.join()
    run.close()
    say(json.dumps(statuses))


def log_until(run: penstock.Session, counted: Counters, who: int, stop: threading.Event, pause_s: float) -> None:
    track = run.track("loss")
    numbers = itertools.count()
    while not stop.is_set():
        log_points(track, counted, who, itertools.islice(numbers, 50), pause_s)


def fork_after_first_append(root: str, counters: str, pause_s: str) -> None:
    """Fork while the writer's thread is still starting: the child must not inherit half of its imports."""
    counted = Counters(counters, 2)
    run = session(root).open()
    log_points(run.track("loss"), counted, 0, [0])
    time.sleep(float(pause_s))  # a different moment of the thread's start each time

    def body() -> None:
        log_points(run.track("loss"), counted, 1, range(POINTS))
        assert run.flush("disk", timeout=20).reached
        import anyio.from_thread  # noqa: F401 - what the parent was importing can be imported here

        run.close()

    assert end_of(forked(body)) == 0
    run.close()


def fork_before_first_append(root: str, counters: str) -> None:
    counted = Counters(counters, 3)
    run = session(root).open()
    pids = [forked(lambda: child_of(run, counted, who, "close")) for who in (1, 2)]  # noqa: B023
    log_points(run.track("loss"), counted, 0, range(POINTS))
    assert [end_of(pid) for pid in pids] == [0, 0]
    run.close()


def silent_children(root: str, counters: str) -> None:
    """Children that never log, and end in every way: nothing of the run is theirs."""
    counted = Counters(counters, 1)
    run = session(root)
    with run:
        log_points(run.track("loss"), counted, 0, range(POINTS))
        pids = [forked(body) for body in (lambda: None, run.close, lambda: sys.exit(0), lambda: run.flush("disk"))]
        assert [end_of(pid) for pid in pids] == [0, 0, 0, 0]
        assert run.status is penstock.Status.RUNNING
        log_points(run.track("loss"), counted, 0, range(POINTS, 2 * POINTS))


def with_block_left_in_child(root: str, counters: str) -> None:
    """The child leaves the parent's with block by sys.exit."""
    counted = Counters(counters, 2)
    with session(root) as run:
        log_points(run.track("loss"), counted, 0, range(POINTS))
        pid = os.fork()
        if not pid:
            log_points(run.track("loss"), counted, 1, range(POINTS))
            sys.exit(0)
        assert end_of(pid) == 0
        log_points(run.track("loss"), counted, 0, range(POINTS, 2 * POINTS))


def grandchildren(root: str, counters: str) -> None:
    counted = Counters(counters, 4)
    run = session(root).open()
    track = run.track("loss")
    log_points(track, counted, 0, range(POINTS))

    def generation(who: int) -> None:
        log_points(track, counted, who, range(POINTS))
        if who < 3:
            assert end_of(forked(lambda: generation(who + 1))) == 0
        log_points(track, counted, who, range(POINTS, 2 * POINTS))
        threads = [threading.Thread(target=run.log, args=(f"{who}.{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert end_of(forked(lambda: generation(1))) == 0
    run.close()


def first_appends_together(root: str, counters: str, threads: str) -> None:
    """In a forked child, many threads make their first appends while one of them begins the child's journal.

    That takes longer here than it does: thread switches at the worst moments, which cannot be had otherwise.
    """
    counted = Counters(counters, int(threads) + 1)
    run = session(root, flush_interval_s=0.01).open()
    track = run.track("loss")
    log_points(track, counted, int(threads), range(POINTS))

    def body() -> None:
        gate = threading.Barrier(int(threads))
        make_writer = Engine._make_writer

        def slowly(engine: Engine) -> Writer:
            time.sleep(0.02)
            return make_writer(engine)

        Engine._make_writer = slowly  # type: ignore[method-assign]

        def work(who: int) -> None:
            gate.wait()
            time.sleep(0.003 * who)
            log_points(track, counted, who, range(POINTS))

        workers = [threading.Thread(target=work, args=(who,)) for who in range(int(threads))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        run.close()

    assert end_of(forked(body)) == 0
    run.close()


def orphan(root: str, counters: str) -> None:
    """The parent is killed; its child says so, and goes on when it is told to."""
    counted = Counters(counters, 2)
    run = session(root).open()
    log_points(run.track("loss"), counted, 0, range(POINTS))

    def body() -> None:
        log_points(run.track("loss"), counted, 1, range(POINTS))
        os.kill(os.getppid(), signal.SIGKILL)
        say("orphaned")
        sys.stdin.readline()
        log_points(run.track("loss"), counted, 1, range(POINTS, 2 * POINTS))
        run.close()

    end_of(forked(body))


def daemon(root: str, counters: str) -> None:
    """Become a daemon by two forks, with the session of before; the daemon opens another one, too."""
    counted = Counters(counters, 2)
    run = session(root).open()
    log_points(run.track("loss"), counted, 0, range(POINTS))
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    log_points(run.track("loss"), counted, 1, range(POINTS))
    with session(root, "second") as second:
        log_points(second.track("loss"), counted, 0, range(POINTS))


LIST = """
import os
found = []
for number in os.listdir("/proc/self/fd"):
    try:
        found.append(os.readlink(f"/proc/self/fd/{number}"))
    except FileNotFoundError:
        pass  # the listing's own
print(len(found), found[3:])
"""


def descriptors(root: str) -> None:
    """Say what a program sees that is started in each of three ways while sessions are busy."""
    with session(root) as run, session(root, "second") as second:
        for number in range(20):
            run.track(f"track{number}").append(value=0.0)
        run.log("line")
        second.track("loss").append(value=0.0)
        run.flush("disk")
        second.flush("disk")
        own = os.listdir("/proc/self/fd")
        assert len(own) > 25, "the sessions hold their files open: else this would say nothing"
        command = [sys.executable, "-c", LIST]
        subprocess.run(command, close_fds=False, check=True)
        pid = os.fork()
        if not pid:
            os.execv(command[0], command)
        assert end_of(pid) == 0
        pid = os.posix_spawn(command[0], command, os.environ)
        assert end_of(pid) == 0


if __name__ == "__main__":
    call(globals())
