"""Every exception that penstock raises on purpose, grouped by what the caller can do about it.

::

    PenstockError
    |-- NameRefusedError      (ValueError)         choose another name
    |-- FieldTypeError        (TypeError)          convert the value before logging it
    |-- FieldValueError       (ValueError)         the type is right, this value cannot be stored exactly
    |-- ClosedError           (RuntimeError)       open the session (again)
    |-- WriteProtectedError   (RuntimeError)       the run was closed for good by its owner
    |-- RingFullError         (RuntimeError)       only with on_full="raise": slow down or drop
    |-- DocumentError         (ValueError)         a JSON document on disk is corrupt; it was kept aside
    |-- JournalError          (ValueError)         a journal cannot be read (other version, not a journal)
    |-- ConfigError           (ValueError)         mend the named setting
    |-- FileRefusedError      (ValueError)         a file cannot be taken in (missing, directory, too large)
    |-- ChecksumError         (ValueError)         stored bytes do not match their checksum
    `-- NotStoredError        (FileNotFoundError)  no track or file of that name or id

Each class is also the built-in that an experienced hand would catch. Messages say what was wrong, what was
expected and what to do; the facts are attributes. Trouble with the disk or the network is never raised
by a logging call: it is counted, warned about once, and shown by ``session.stats()``.
"""

from __future__ import annotations

from pathlib import Path


class PenstockError(Exception):
    """Root of the tree: ``except PenstockError`` catches whatever penstock raises on purpose."""


class NameRefusedError(PenstockError, ValueError):
    """A name of a session, workspace, track or file breaks a rule; nothing was created.

    ``kind`` is what was being named ("track"), ``name`` the text as given, ``rule`` the rule that it breaks.
    """

    def __init__(self, kind: str, name: str, rule: str) -> None:
        super().__init__(f"{kind} name {name!r} is refused: {rule}")
        self.kind = kind
        self.name = name
        self.rule = rule


class FieldTypeError(PenstockError, TypeError):
    """A value of a type that no point can hold; nothing of the call was stored.

    ``where`` is the track (or "parameters", "log"), ``field`` the field's path, ``type_name`` the refused type.
    """

    def __init__(self, where: str, field: str, type_name: str, hint: str = "") -> None:
        expected = "float, int, bool, None, str, a numpy or torch scalar, or lists and dicts of these"
        super().__init__(f"{where}: field {field!r} has a value of type {type_name}; expected {expected}{hint}")
        self.where = where
        self.field = field
        self.type_name = type_name


class FieldValueError(PenstockError, ValueError):
    """A value that cannot be stored so that the same value comes back; nothing of the call was stored."""

    def __init__(self, where: str, field: str, reason: str) -> None:
        super().__init__(f"{where}: field {field!r} {reason}")
        self.where = where
        self.field = field
        self.reason = reason


class ClosedError(PenstockError, RuntimeError):
    """The session is not open (or was closed while a handle of it was kept)."""


class WriteProtectedError(PenstockError, RuntimeError):
    """The run is write-protected: it can be read, but no kind of write is let through."""

    def __init__(self) -> None:
        super().__init__("Session is write-protected and cannot be modified.")


class RingFullError(PenstockError, RuntimeError):
    """The ring is full and the session was opened with ``on_full="raise"``; the point was counted as dropped."""


class DocumentError(PenstockError, ValueError):
    """A JSON document of a run cannot be read. ``path`` is the document, ``kept_as`` where its bytes lie now."""

    def __init__(self, path: Path, kept_as: Path | None, reason: str) -> None:
        kept = f"; its bytes are kept in {kept_as}" if kept_as is not None else ""
        super().__init__(f"{path} is not a readable document ({reason}){kept}. Mend or remove it, then try again")
        self.path = path
        self.kept_as = kept_as
        self.reason = reason


class JournalError(PenstockError, ValueError):
    """A file is no journal of a version that this penstock reads. ``path`` names it; it was not changed."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"journal {path} cannot be read: {reason}")
        self.path = path
        self.reason = reason


class ConfigError(PenstockError, ValueError):
    """A setting is unknown or has a value out of bounds. ``setting`` is its name, ``origin`` where it was set."""

    def __init__(self, setting: str, origin: str, reason: str) -> None:
        super().__init__(f"setting {setting!r} from {origin}: {reason}")
        self.setting = setting
        self.origin = origin
        self.reason = reason


class FileRefusedError(PenstockError, ValueError):
    """A file cannot be uploaded: it is missing, no regular file, or over the size limit."""


class ChecksumError(PenstockError, ValueError):
    """The bytes of a stored file do not match the sha256 in its record; the partial copy was removed."""


class NotStoredError(PenstockError, FileNotFoundError):
    """No track or file of that name or id is stored in this run."""
