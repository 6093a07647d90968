"""penstock: experiment tracking at memory speed that loses nothing. This is the doorway; see ``Session``."""

from penstock._journal.native import core  # first: it says clearly where penstock does not run

# isort: split
from penstock._engine.recover import recover_folder as recover
from penstock.config import Config, load_config
from penstock.decorator import with_session
from penstock.errors import (
    ChecksumError,
    ClosedError,
    ConfigError,
    DocumentError,
    FieldTypeError,
    FieldValueError,
    FileRefusedError,
    JournalError,
    NameRefusedError,
    NotStoredError,
    PenstockError,
    RingFullError,
    WriteProtectedError,
)
from penstock.records import Receipt, SessionStats, Status
from penstock.session import Session
from penstock.track import Track

__version__ = "0.1.0"

__all__ = [
    "ChecksumError",
    "ClosedError",
    "Config",
    "ConfigError",
    "DocumentError",
    "FieldTypeError",
    "FieldValueError",
    "FileRefusedError",
    "JournalError",
    "NameRefusedError",
    "NotStoredError",
    "PenstockError",
    "Receipt",
    "RingFullError",
    "Session",
    "SessionStats",
    "Status",
    "Track",
    "WriteProtectedError",
    "core",
    "load_config",
    "recover",
    "with_session",
]
