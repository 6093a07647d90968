"""Children that use multiprocessing: processes, pools and data loaders that log, by every start method.

Each function is one child's main: ``python tests/faults/workers.py <function> ...``. A worker is logger ``who``: it
logs to its parent's session if it was forked with one, else it opens the run by its name and never closes it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.context import BaseContext
from typing import Any

import penstock
from tests.faults.children import call
from tests.faults.evidence import Counters
from tests.faults.loggers import log_points, session

PARENT = 0
WORKERS = 4
BATCHES = 60
run: penstock.Session | None = None  # the parent's, seen by forked workers; else the worker's own
counted: Counters | None = None


def begin(root: str, counters: str) -> tuple[penstock.Session, Counters]:
    """The session and the counters of this process, opened at the first call."""
    global run, counted
    if run is None or counted is None:
        counted = Counters(counters, 1 + WORKERS)
        run = session(root).open()
    return run, counted


def log(root: str, counters: str, who: int, first: int, end: int) -> int:
    opened, slots = begin(root, counters)
    log_points(opened.track("loss"), slots, who, range(first, end))
    return who


def log_then_wait(root: str, counters: str, who: int, logged: Any) -> None:
    log(root, counters, who, 0, 100)
    logged.put(who)
    signal.pause()


def context(method: str) -> BaseContext:
    return multiprocessing.get_context(method)


def processes(root: str, counters: str, method: str) -> None:
    """Some workers end by themselves; the others are terminated when they have logged."""
    opened, slots = begin(root, counters)
    log_points(opened.track("loss"), slots, PARENT, range(100))
    made = context(method)
    logged = made.Queue()
    ending = [made.Process(target=log, args=(root, counters, who, 0, 100)) for who in (1, 2)]
    waiting = [made.Process(target=log_then_wait, args=(root, counters, who, logged)) for who in (3, 4)]
    for process in (*ending, *waiting):
        process.start()
    assert {logged.get(timeout=30) for _process in waiting} == {3, 4}
    for process in waiting:
        process.terminate()
    for process in (*ending, *waiting):
        process.join(30)
    assert [process.exitcode for process in (*ending, *waiting)] == [0, 0, -signal.SIGTERM, -signal.SIGTERM]
    log_points(opened.track("loss"), slots, PARENT, range(100, 200))
    logged.close()
    logged.join_thread()
    opened.close()


def alone(root: str, counters: str, method: str) -> None:
    """Workers in a run that this process never opens: nobody but they themselves can close it."""
    made = context(method)
    workers = [made.Process(target=log, args=(root, counters, who, 0, 100)) for who in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]


def pool(root: str, counters: str, method: str, end: str) -> None:
    """A pool whose tasks log; the pool is closed, or terminated with its workers' sessions open."""
    opened, slots = begin(root, counters)
    log_points(opened.track("loss"), slots, PARENT, range(100))
    with context(method).Pool(2) as workers:  # leaving the block terminates the workers
        tasks = [(root, counters, who, 0, 100) for who in range(1, 1 + WORKERS)]
        assert workers.starmap(log, tasks, chunksize=1) == [1, 2, 3, 4]
        if end == "close":
            workers.close()
            workers.join()
    log_points(opened.track("loss"), slots, PARENT, range(100, 200))
    workers.join()
    opened.close()


def load(root: str, counters: str, who: int, orders: Any, batches: Any) -> None:
    """A worker of a data loader: for each order it logs and delivers a batch, until it is told to end."""
    while (number := orders.get()) is not None:
        log(root, counters, who, number, number + 1)
        batches.put((who, number))


def loader(root: str, counters: str, method: str, end: str) -> None:
    """Persistent workers over several epochs; at the end they are told to end, terminated, or killed."""
    opened, slots = begin(root, counters)
    made = context(method)
    batches = made.Queue()
    orders = [made.Queue() for _who in range(WORKERS)]
    workers = [
        made.Process(target=load, args=(root, counters, 1 + place, queue, batches), daemon=True)
        for place, queue in enumerate(orders)
    ]
    for worker in workers:
        worker.start()
    for number in range(BATCHES):
        for queue in orders:
            queue.put(number)
        for who in sorted(batches.get(timeout=30)[0] for _worker in workers):
            assert who in range(1, 1 + WORKERS)
        log_points(opened.track("loss"), slots, PARENT, [number])  # the training step
    for worker, queue in zip(workers, orders, strict=True):
        if end == "told":
            queue.put(None)
        elif end == "terminated":
            worker.terminate()
        else:
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
    for worker in workers:
        worker.join(30)
        assert worker.exitcode is not None
    opened.close()


if __name__ == "__main__":
    call(globals())
