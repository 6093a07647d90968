"""What happens to open engines when the process forks or ends: one fork hook and one exit hook for all of them.

Neither is needed for durability (the journal has every point); the exit hook writes the rest of the lines and closes
the books, within a time limit. No signal handler is installed. At exit the hook runs after all non-daemon threads
have ended; it starts no thread and imports nothing. multiprocessing's children run no atexit hooks, so there the hook
is a ``multiprocessing.util.Finalize`` as well. This module must not know what closing means."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Protocol


class Mortal(Protocol):
    """Something open that must know of forks and of the end."""

    def after_fork(self) -> None: ...

    def at_exit(self) -> None: ...


_open: dict[int, Mortal] = {}
_finalized_pid = 0  # the process in which multiprocessing knows our exit hook
_forked_hook: Callable[[], None] | None = None


def watch(mortal: Mortal) -> None:
    """Tell ``mortal`` of forks and of the end of the process, until ``forget``."""
    _open[id(mortal)] = mortal
    watch_child()


def forget(mortal: Mortal) -> None:
    _open.pop(id(mortal), None)


def watch_child() -> None:
    """In a child made by multiprocessing: have its own exit hook run ours, once. Elsewhere nothing."""
    global _finalized_pid
    if _finalized_pid == os.getpid():
        return
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        _finalized_pid = os.getpid()
        util.Finalize(None, _at_exit, exitpriority=100)


def _at_exit() -> None:
    for mortal in list(_open.values()):
        mortal.at_exit()


def _after_fork() -> None:
    for mortal in list(_open.values()):
        mortal.after_fork()
    if _forked_hook is not None:
        _forked_hook()


def on_fork(hook: Callable[[], None]) -> None:
    """Run ``hook`` last in every forked child."""
    global _forked_hook
    _forked_hook = hook


# At import, not when the first session opens: exit hooks run in reverse order, and a user's hook that was registered
# between the import and the session shall still find the session open.
atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
