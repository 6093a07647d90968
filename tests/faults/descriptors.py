"""A child script: a process with very few file descriptors, or none left. Arguments: scenario, root. Prints its books
as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any

from penstock import Session


def few(root: str) -> dict[str, Any]:
    """100 tracks in a process that may have 32 files open."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    session = Session("run", "w", local_path=root, flush_interval_s=0.02).open()
    for place in range(3000):
        session.track(f"t{place % 100}").append(value=float(place))
        if place % 100 == 0:
            session.log("line")
    receipt = session.flush("disk", timeout=30)
    session.close()
    return {"after": receipt._asdict()}


def none_left(root: str) -> dict[str, Any]:
    """Somebody takes every descriptor before the first append, and gives them back later."""
    session = Session("run", "w", local_path=root, flush_interval_s=0.02).open()
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for place in range(300):
        session.track(f"t{place % 3}").append(value=float(place))
    session.log("line")
    refused = session.flush("disk", timeout=0.3)
    for fd in taken:
        os.close(fd)
    started = time.monotonic()
    receipt = session.flush("disk", timeout=20)
    waited_s = time.monotonic() - started
    session.close()
    return {"refused": refused._asdict(), "after": receipt._asdict(), "waited_s": waited_s}


def main() -> None:
    scenario = {"few": few, "none_left": none_left}[sys.argv[1]]
    if scenario is none_left:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    print(json.dumps(scenario(sys.argv[2])))  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main()
