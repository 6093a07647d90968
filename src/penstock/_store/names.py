"""Which names a workspace, session, track or uploaded file may have, and which would clash on another machine.

Names become directory entries, so every rule here keeps a run folder inside its root, readable by every tool,
and movable to Linux, macOS and Windows alike: a name that only one of them can hold is refused on all of them.

Runs on the caller's thread. Checks are pure, except :func:`find_clash`, which lists one folder; nothing is created.
Must not know what the names are used for beyond their kind.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Final

from penstock._store.layout import RESERVED, TRACK_DOCUMENT, line_file_suffix
from penstock.errors import NameRefusedError
from penstock.limits import NAME_BYTES, NAME_PART_BYTES

# Each class of characters has its own sentence, because they are invisible in a message.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_DEVICE_DIGITS: Final = "123456789\u00b9\u00b2\u00b3"  # Windows takes superscript one to three for digits here
_DEVICES: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{port}{digit}" for port in ("COM", "LPT") for digit in _DEVICE_DIGITS}
)
# Meaningless to Linux, but NTFS would open a hidden stream for "a:b" and refuse the rest.
_REFUSED_ON_WINDOWS: Final = '<>:"|?*' if os.name == "nt" else ""
_IN_RUNS: Final = frozenset({"session", "workspace"})
_SHOWN_CHARACTERS: Final = 200  # a refused name may be megabytes long; its message is for people


def check_name(kind: str, name: object) -> str:
    """The name as a plain ``str`` if it keeps every rule; "/" nests.

    ``kind`` is "session", "workspace", "track" or "file": it is named in the error, and adds the rules about
    entries that a run folder uses itself. Raises TypeError when the name is no text and
    :class:`NameRefusedError`, which names the rule, for everything else. Nothing is created.
    """
    text = _text(kind, name)
    if text.startswith("/"):
        raise _refused(kind, text, "it must not be absolute: leave out the leading '/'")
    if text.endswith("/"):
        raise _refused(kind, text, "it must not end with '/'")
    if _bytes_of(text) > NAME_BYTES:
        raise _refused(kind, text, f"it is longer than {NAME_BYTES} bytes in UTF-8")
    for part in text.split("/"):
        rule = _rule_broken_by(part) or _rule_of_kind(kind, part)
        if rule is not None:
            raise _refused(kind, text, rule)
    return text


def check_part(kind: str, part: object) -> str:
    """As :func:`check_name` for a name that is one directory entry, so that "/" is refused as well."""
    text = _text(kind, part)
    if "/" in text:
        raise _refused(kind, text, "it must not contain '/'")
    return check_name(kind, text)


def find_clash(parent: Path, part: str) -> str | None:
    """The entry of ``parent`` that differs from ``part`` only in upper and lower case or in Unicode form.

    None when there is none, when ``part`` itself is there already (it may be continued), or when ``parent`` does
    not exist. Two such names are one folder on macOS and Windows, and nobody can tell them apart in a listing.
    """
    key = _folded(part)
    clash = None
    try:
        with os.scandir(parent) as entries:
            for entry in entries:
                if entry.name == part:
                    return None
                if _folded(entry.name) == key:
                    clash = entry.name
    except (FileNotFoundError, NotADirectoryError):
        return None
    return clash


def same_name(one: str, other: str) -> bool:
    """Whether two names would be one entry on a file system that ignores case and Unicode form."""
    return _folded(one) == _folded(other)


def _text(kind: str, name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{kind} name must be a str, not {type(name).__name__}: {name!r:.{_SHOWN_CHARACTERS}}")
    text = str.__str__(name)  # a plain str also from subclasses and enumerations
    if not text:
        raise _refused(kind, text, "it must not be empty")
    return text


def _rule_broken_by(part: str) -> str | None:
    """The first rule for a single directory entry that ``part`` breaks, whatever it names."""
    if not part:
        return "it must not have an empty part ('//')"
    if part in (".", ".."):
        return "'.' and '..' must not be a part of it"
    if "\\" in part:
        return "it must not contain a backslash; '/' nests"
    unseen = _UNSEEN.search(part)
    if unseen is not None:
        return f"it must not contain {_what_is(unseen.group())}"
    if part[0] == " " or part[-1] in ". ":
        return f"the part {part!r} must not begin with a space or end with a dot or space"
    if _bytes_of(part) > NAME_PART_BYTES:
        return f"a part of it is longer than {NAME_PART_BYTES} bytes in UTF-8"
    if part.split(".", 1)[0].rstrip(" ").upper() in _DEVICES:
        return f"the part {part!r} is a device name on Windows"
    if _REFUSED_ON_WINDOWS and any(character in _REFUSED_ON_WINDOWS for character in part):
        return f"it must not contain any of {_REFUSED_ON_WINDOWS} on Windows"
    return None


def _rule_of_kind(kind: str, part: str) -> str | None:
    """The rule about entries that penstock itself writes at this place."""
    folded = part.casefold()
    if kind in _IN_RUNS and folded in RESERVED:
        return f"the part {part!r} is an entry that every run folder has itself"
    if kind == "track" and (folded == TRACK_DOCUMENT or line_file_suffix("data", folded) is not None):
        return f"the part {part!r} is a file that every track has itself"
    return None


def _what_is(character: str) -> str:
    code = ord(character)
    if code == 0:
        return "NUL"
    if code >= 0xD800 and code <= 0xDFFF:
        return f"the lone surrogate U+{code:04X}, which UTF-8 cannot hold"
    if code in (0x2028, 0x2029):
        return f"the line separator U+{code:04X}"
    if code >= 0x202A:
        return f"U+{code:04X}, which reverses the text that follows it"
    return f"the control character U+{code:04X}"


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _refused(kind: str, name: str, rule: str) -> NameRefusedError:
    shown = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."
    return NameRefusedError(kind, shown, rule)
