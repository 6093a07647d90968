"""session.json: what a run is called and how it stands, from its first opening to its last ending.

Runs on the thread that opens, updates or closes the session; every change is read-change-replace under the run's
documents lock, so several processes of one run can do it. A disk that refuses is warned about and does not stop
training; a corrupt document stops ``open``, before anything is written. Rules of the status: opening sets RUNNING; an
error sets ERROR at once; DONE is set by the last writer that closes, and never over an ERROR. This module must not
know engines, journals or tracks."""

from __future__ import annotations

import errno
import sys
from typing import Any, Final, NamedTuple

from penstock import limits
from penstock._codec.times import iso, now_ns
from penstock._codec.values import text
from penstock._store import environment, notices
from penstock._store.documents import read_document, replace_document
from penstock._store.facts import Facts
from penstock._store.layout import RunFolder
from penstock._store.locks import FileLock
from penstock._store.names import find_clash
from penstock.config import Config
from penstock.errors import DocumentError, NameRefusedError
from penstock.records import Status

_TRACEBACK_CHARACTERS: Final = 65_536  # a recursion error may print megabytes; the end tells where it was
_DISK_REFUSES: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG,
                                  errno.EMFILE, errno.ENFILE, errno.EIO})  # fmt: skip


class Identity(NamedTuple):
    """What the user says a run is; None is "not said", except for name and workspace."""

    name: str
    workspace: str
    description: str | None
    tags: list[str] | None
    folder: str | None
    metadata: dict[str, Any] | None
    write_protected: bool | None

    @classmethod
    def of(
        cls, name: str, workspace: str, facts: Facts, folder: str | None, write_protected: bool | None = None
    ) -> Identity:
        """Checked names and facts together. Raises as ``Facts.checked`` for a folder that is no text."""
        label = None if folder is None else text("session", "folder", folder)
        return cls(name, workspace, facts.description, facts.tags, label, facts.metadata, write_protected)


class Ending(NamedTuple):
    """How a session ended: ``reason`` is "closed", "exit", "exception" or "aborted"; ``code`` the exit code where
    known."""

    status: Status
    reason: str
    code: int | None = None
    exception: dict[str, str] | None = None

    @classmethod
    def of_error(cls, error: BaseException | None) -> Ending:
        """The ending of a with-block that was left with this exception (None: without one)."""
        if error is None:
            return cls(Status.DONE, "closed")
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            return cls(Status.ERROR if code else Status.DONE, "exit", code, _told(error) if code else None)
        if isinstance(error, KeyboardInterrupt):
            return cls(Status.ERROR, "aborted", 130, _told(error))
        if not isinstance(error, Exception):  # an event loop cancels its tasks with such, also at a keyboard interrupt
            return cls(Status.ERROR, "aborted", None, _told(error))
        return cls(Status.ERROR, "exception", None, _told(error))

    @classmethod
    def of_exit(cls) -> Ending:
        """The ending of a session that was still open at interpreter exit. An uncaught exception of the main thread
        is known there; the code of a bare sys.exit() is not."""
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if isinstance(error, BaseException) and not hasattr(sys, "ps1"):  # in a shell it is about some earlier line
            return cls.of_error(error)._replace(code=130 if isinstance(error, KeyboardInterrupt) else 1)
        return cls(Status.DONE, "exit")


def _told(error: BaseException) -> dict[str, str]:
    import traceback

    lines = "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
    told = {"type": type(error).__qualname__, "message": str(error), "traceback": lines}
    return {key: value.encode("utf-8", "replace").decode() for key, value in told.items()}


class SessionDocument:
    """session.json of one run, as one session sees it."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._seen: dict[str, Any] | None = None  # the document as last read or written by us

    def identity(self, given: Identity) -> Identity:
        """What is known about the run: as stored, if it has been read, else as given."""
        if self._seen is None:
            return given
        seen = self._seen
        return given._replace(
            description=seen.get("description"), tags=seen.get("tags"), folder=seen.get("folder"),
            metadata=seen.get("metadata"), write_protected=seen.get("write_protected"),
        )  # fmt: skip

    def status(self) -> Status:
        """The stored status; PENDING when there is none (or none that is known)."""
        document = self._seen
        if document is None:
            try:
                document = read_document(self._run.session)
            except (OSError, DocumentError):
                document = None
        try:
            return Status((document or {}).get("status", Status.PENDING.value))
        except ValueError:
            return Status.PENDING

    # -- open -----------------------------------------------------------------------------------------------------

    def begin(self, given: Identity, config: Config) -> bool:
        """Make the run's folder and look at what is stored there; returns whether the run is write-protected.

        Raises NameRefusedError for a clash of names, DocumentError for a corrupt session.json, and OSError when the
        place can never hold a run (a file is in the way); a full or read-only disk is only warned about."""
        self._refuse_clash(given)
        try:
            self._run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in _DISK_REFUSES:
                raise
            notices.warn("session", f"{self._run.path} cannot be made ({error}); points wait in memory until it can")
        stored = read_document(self._run.session) or {}
        protected = stored.get("write_protected") is True if given.write_protected is None else given.write_protected
        self._seen = self._changed(stored, given, config)
        if protected and given.write_protected and stored.get("write_protected") is not True:
            self._replace(lambda old: self._changed(old, given, config))
        elif protected:
            self._seen = stored
        return protected

    def _refuse_clash(self, given: Identity) -> None:
        parts = f"{given.workspace}/{given.name}".split("/")
        parent = self._run.path.parents[len(parts) - 1]
        for part in parts:
            clash = find_clash(parent, part) if parent.is_dir() else None
            if clash is not None:
                raise NameRefusedError(
                    "session",
                    part,
                    f"{parent} holds {clash!r}, which differs only in case or Unicode form: on another machine both "
                    "would be one folder. Use that name or a different one",
                )  # fmt: skip
            parent = parent / part

    def _changed(self, stored: dict[str, Any], given: Identity, config: Config | None) -> dict[str, Any]:
        now = iso(now_ns())
        said = {key: value for key, value in given._asdict().items() if value is not None}
        document = {
            "name": given.name, "workspace": given.workspace, "description": None, "tags": [], "folder": None,
            "metadata": None, "created_at": now, "write_protected": False, **stored, **said,
        }  # fmt: skip
        if stored:
            document["updated_at"] = now
        if config is not None and config.capture_environment:
            document["environment"] = environment.capture()
        return document

    def running(self, given: Identity, config: Config, recovered: int) -> None:
        """The session is open: store what was given, and RUNNING."""

        def change(stored: dict[str, Any]) -> dict[str, Any]:
            document = self._changed(stored, given, config)
            document.update(status=Status.RUNNING.value, started_at=iso(now_ns()), finished_at=None, exit=None)
            if recovered:
                document["recovered_points"] = document.get("recovered_points", 0) + recovered
            return document

        self._replace(change)

    # -- while open, and at the end -------------------------------------------------------------------------------

    def update(self, given: Identity) -> None:
        """Store what was given. Raises OSError and DocumentError: the user asked for this, it must not fail in
        silence."""
        with FileLock(self._run.documents_lock):
            self._seen = self._changed(read_document(self._run.session) or {}, given, None)
            replace_document(self._run.session, self._seen)

    def end(self, ending: Ending, *, alone: bool, timeout_s: float) -> None:
        """A writer of the run has ended; ``alone`` says that no other is left. Waits ``timeout_s`` for the document."""

        def change(stored: dict[str, Any]) -> dict[str, Any]:
            document = stored or dict(self._seen or {})
            failed = document.get("status") == Status.ERROR.value
            if ending.status is Status.ERROR or (alone and not failed):
                document["status"] = ending.status.value
                document["exit"] = {"reason": ending.reason, "code": ending.code, "exception": ending.exception}
            if alone:
                document["finished_at"] = iso(now_ns())
            return document

        self._replace(change, timeout_s)

    def _replace(self, change: Any, timeout_s: float = limits.LOCK_TIMEOUT_S) -> None:
        """Read, change and replace the document; a disk that refuses or a corrupt document is warned about."""
        try:
            with FileLock(self._run.documents_lock, timeout_s):
                self._seen = change(read_document(self._run.session) or {})
                replace_document(self._run.session, self._seen)
        except (OSError, DocumentError) as error:
            if self._seen is not None:
                self._seen = change(self._seen)
            notices.warn("session document", f"{self._run.session} was not brought up to date: {error}")
