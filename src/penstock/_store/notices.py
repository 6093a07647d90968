"""The library's own log: few lines, to the stdlib logger "penstock".

Any thread calls it, the writer most of all; also in a signal handler, in ``__del__``, in a forked child and at
interpreter exit. Invariants: it never raises, never blocks and holds no lock (a lock would hang for ever where a
dead thread of a fork or of a finished interpreter held it); each kind is said at most once in
``limits.WARNING_INTERVAL_S``, with the number of those kept back added to the next one. Levels follow the data:
lost = ERROR, recovered = WARNING. No handler is installed, so that a script without logging still sees the lines
on stderr. Must not know what the kinds mean; they are a fixed few, written in the code of the callers.

Ordering: one caller at a time holds a kind's turn, a value in a one-place list (``pop`` and ``append`` are atomic).
Whoever finds the list empty meets another caller who is saying the same thing, and is only counted.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from penstock import limits

LOGGER: Final = "penstock"
_WARNING: Final = (
    30  # the values of logging.WARNING and ERROR; logging itself is imported when there is something to say
)
_ERROR: Final = 40


class _Kind:
    """What is known of one kind of message: calls so far, and (time, number of the call) that was last said."""

    __slots__ = ("calls", "turn")

    def __init__(self) -> None:
        self.calls: Iterator[int] = itertools.count(1)
        self.turn: list[tuple[float, int]] = [(float("-inf"), 0)]


class Notices:
    """A log that does not repeat itself; ``clock`` returns seconds and never goes back."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, interval_s: float = limits.WARNING_INTERVAL_S
    ) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._kinds: dict[str, _Kind] = {}

    def lost(self, kind: str, message: str) -> None:
        """Data was lost, or will be: ERROR."""
        self._say(_ERROR, kind, message)

    def recovered(self, kind: str, message: str) -> None:
        """Something went wrong and was made good again: WARNING."""
        self._say(_WARNING, kind, message)

    def warn(self, kind: str, message: str) -> None:
        """Something needs attention, no data is concerned so far: WARNING."""
        self._say(_WARNING, kind, message)

    def reset(self) -> None:
        """Forget what was said. In a forked child: the turn may be held by a thread that does not exist here."""
        self._kinds = {}

    def _say(self, level: int, kind: str, message: str) -> None:
        try:
            kept_back = self._turn(kind)
            if kept_back is not None:
                more = f" ({kept_back} more of this kind since the last one)" if kept_back else ""
                _emit(level, message + more)
        except Exception:  # noqa: BLE001 - a log that cannot speak must not stop what it speaks about
            pass

    def _turn(self, kind: str) -> int | None:
        """Messages of this kind kept back since the last one; None when this one is to be kept back too."""
        known = self._kinds.setdefault(kind, _Kind())
        number = next(known.calls)
        try:
            last = known.turn.pop()
        except IndexError:
            return None
        try:
            now = self._clock()
            if now - last[0] < self._interval_s:
                return None
            kept_back = number - last[1] - 1
            last = (now, number)
        finally:
            known.turn.append(last)
        return kept_back


def _emit(level: int, message: str) -> None:
    if sys.is_finalizing():  # a frozen thread may hold the lock of a handler, and logging may be half gone
        if sys.stderr is not None:
            sys.stderr.write(f"penstock: {message}\n")
        return
    import logging

    logging.getLogger(LOGGER).log(level, "%s", message)


_process = Notices()
lost = _process.lost
recovered = _process.recovered
warn = _process.warn
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.reset)
