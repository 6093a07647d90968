"""Log lines of a session: ``session.log("text")``, the fluent builder, and a mapping as metrics.

Threads: any. Levels and messages are checked here, before anything is stored. This module must not know how a line
travels to its file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from penstock._codec.values import plain, text
from penstock.records import LEVEL_ALIASES, LEVELS

Put = Callable[[str, str, "dict[str, Any] | None"], None]
_WHERE: Final = "log"


def check_level(level: object) -> str:
    """The level as it is stored, lower-case. Raises ValueError for an unknown one, TypeError for no text."""
    if level is None:
        return LEVELS[0]
    if not isinstance(level, str):
        raise TypeError(f"log level must be a str, not {type(level).__name__}; one of {', '.join(LEVELS)}")
    lowered = level.lower()
    lowered = LEVEL_ALIASES.get(lowered, lowered)
    if lowered not in LEVELS:
        raise ValueError(f"Invalid log level: {level!r}. Must be one of: {', '.join(LEVELS)} (or 'warning')")
    return lowered


def check_line(
    message: object, level: object, metadata: Mapping[str, Any] | None, extra: Mapping[str, Any]
) -> tuple[str, str, dict[str, Any] | None]:
    """Level, message and metadata (``extra`` wins over ``metadata``) as plain values. Raises as ``append`` does."""
    checked = check_level(level)
    line = text(_WHERE, "message", message)
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"log metadata must be a mapping, not {type(metadata).__name__}")
    together = {**(metadata or {}), **extra}
    return checked, line, plain(_WHERE, "metadata", together) if together else None


class LogBuilder:
    """The fluent way: ``session.log(metadata={...}).info("message", key=value)``. Each method stores one line."""

    def __init__(self, put: Put, metadata: Mapping[str, Any] | None, extra: Mapping[str, Any]) -> None:
        self._put = put
        self._metadata = {**(metadata or {}), **extra}

    def _log(self, level: str, message: str, extra: Mapping[str, Any]) -> None:
        self._put(*check_line(message, level, self._metadata, extra))

    def info(self, message: str, **extra: Any) -> None:
        """Store one line of level info; ``extra`` joins its metadata."""
        self._log("info", message, extra)

    def warn(self, message: str, **extra: Any) -> None:
        """Store one line of level warn."""
        self._log("warn", message, extra)

    warning = warn

    def error(self, message: str, **extra: Any) -> None:
        """Store one line of level error."""
        self._log("error", message, extra)

    def debug(self, message: str, **extra: Any) -> None:
        """Store one line of level debug."""
        self._log("debug", message, extra)

    def fatal(self, message: str, **extra: Any) -> None:
        """Store one line of level fatal."""
        self._log("fatal", message, extra)
