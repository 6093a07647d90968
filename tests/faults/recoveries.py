"""A child script: recovers a run and is killed, by a real SIGKILL, at its n-th step on the disk; half of a write may
be taken.

Arguments: run folder, n. A step is a write, truncation, fsync or unlink of something below the run. Ends with status
0 when there are fewer than n steps.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import penstock


def main(run: str, nth: int) -> None:
    steps = 0

    def wrapped(name: str) -> None:
        call = getattr(os, name)

        def counting(*args: Any, **more: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == nth:
                if name == "write":
                    call(args[0], args[1][: len(args[1]) // 2])
                elif nth % 2:
                    call(*args, **more)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **more)

        setattr(os, name, counting)

    for name in ("write", "ftruncate", "pwrite", "fdatasync", "fsync", "unlink"):
        wrapped(name)
    penstock.recover(run)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
