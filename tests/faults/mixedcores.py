"""Children that log and recover with the core that PENSTOCK_CORE names, and one whose journal is cut off under it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import penstock
from tests.faults.children import call, say
from tests.faults.evidence import Counters, run_folder
from tests.faults.loggers import log_points, session


def life(root: str, counters: str, who: str) -> None:
    """Open the run, which recovers what the life before left, and log for ever: numbers, text and log lines."""
    counted = Counters(counters, 8)
    run = session(root, ring_bytes=1 << 20).open()
    track = run.track("loss")
    say(penstock.core)
    for n in itertools.count():
        log_points(track, counted, int(who), [n])
        if n % 50 == 0:
            run.track("notes").append(who=int(who), n=n, text="a line")
            run.log("a line", who=int(who), n=n)
        if n == 200:
            say("logging")


def recover(root: str) -> None:
    report = penstock.recover(run_folder(root))
    again = penstock.recover(run_folder(root))
    say(penstock.core)
    say(f"{report.points + report.logs > 0} {report.unreadable} {report.refused} {again.points}")


def cut_off(root: str, size: str) -> None:
    """Somebody truncates the journal of this process, which goes on logging."""
    with session(root, ring_bytes=1 << 20) as run:
        track = run.track("loss")
        for n in range(100):
            track.append(value=n / 2, who=0, n=n)
        run.flush("disk")
        (journal,) = Path(run_folder(root), ".journal").glob("*.ring")
        os.truncate(journal, int(size))
        say("cut")
        for n in range(100, 1 << 20):
            track.append(value=n / 2, who=0, n=n)
    say("survived")


if __name__ == "__main__":
    call(globals())
