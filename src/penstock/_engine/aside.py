"""Blocking work for async callers: on a thread of its own, awaited on asyncio and trio alike.

Not on anyio's worker threads: these are no daemons and end only with the root task of their event loop, so a loop that
was interrupted or closed half-way would hang the exit of the interpreter for ever. Here the thread is a daemon, which
loses nothing, and it tells the loop by closing one end of a socket pair, which needs no loop. Runs on the event loop's
thread; the work runs beside it. This module must not know what the work is.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def aside(work: Callable[[], _T]) -> _T:
    """Run ``work`` and return or raise what it does. Cancelling waits for it: what was begun is not left half done."""
    import socket

    import anyio

    results: list[_T] = []
    errors: list[BaseException] = []
    context = contextvars.copy_context()
    ours, theirs = socket.socketpair()

    def run() -> None:
        try:
            results.append(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            errors.append(error)
        finally:
            theirs.close()

    with ours:
        try:
            threading.Thread(target=run, name="penstock-aside", daemon=True).start()
        except RuntimeError:  # no new threads at interpreter shutdown: then here
            run()
        with anyio.CancelScope(shield=True):
            await anyio.wait_readable(ours)
    if errors:
        raise errors.pop()
    return results.pop()
