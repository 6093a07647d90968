"""A child script: appends that are interrupted by other appends, wherever CPython lets that happen.

Arguments: root, number of appends per thread, bytes of the ring. Threads append through one handle while a timer
signal's handler appends, values with a ``__float__`` append while they are converted, and a ``__del__`` in garbage
cycles appends while memory is collected. Prints how often each kind was accepted, as JSON.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
import threading
from types import FrameType

from penstock import Session

THREADS = 6


def main(root: str, count: int, ring_bytes: int) -> None:  # noqa: C901
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    session = Session("run", "work", local_path=root, ring_bytes=ring_bytes, flush_interval_s=0.02).open()
    shared = session.track("shared")
    texts = session.track("texts")
    tally = {"thread": 0, "text": 0, "signal": 0, "float": 0, "del": 0}
    lock = threading.Lock()
    signals = iter(range(10**9))
    dels = iter(range(10**9))
    floats = iter(range(10**9))

    nested = []
    over = threading.Event()

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        if len(nested) >= 5:  # the next alarm may hit this handler, again and again while it waits for room
            return
        nested.append(1)
        place = next(signals)
        shared.append(kind=1, value=float(place))
        texts.append(kind="signal", place=place)
        nested.pop()

    class Appending:
        def __float__(self) -> float:
            shared.append(kind=2, value=float(next(floats)))
            return 1.5

    class Dying:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            if over.is_set():
                return
            shared.append(kind=3, value=float(next(dels)))
            texts.append(kind="del", place=0)

    def work(number: int) -> None:
        for place in range(count):
            shared.append(kind=10 + number, value=float(place))
            if place % 7 == 0:
                texts.append(kind="thread", place=place)
            if place % 11 == 0:
                shared.append(kind=20 + number, value=Appending())
            if place % 13 == 0:
                Dying()
        with lock:
            tally["thread"] += count
            tally["text"] += len(range(0, count, 7))
            tally["float"] += len(range(0, count, 11))

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    work(THREADS)  # the main thread appends as well: signal handlers run on it, in the middle of its appends
    for thread in threads:
        thread.join()
    signal.setitimer(signal.ITIMER_REAL, 0)
    over.set()
    session.flush("disk", timeout=60)  # the writer answers: whatever it was collecting is collected
    tally["signal"], tally["del"] = next(signals), next(dels)
    receipt = session.flush("disk", timeout=60)
    session.close()
    print(json.dumps({"tally": tally, "receipt": receipt._asdict()}))  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
