"""A session: the run that a script holds. Open it, log into it, close it; reopening the name continues it.

Threads: every method may be called from any thread; open and close take a lock, logging does not. Async twins
(``a...``) run the same code on a worker thread or await room, on asyncio and trio alike. Life: constructed (nothing
on disk) -> open -> closed -> open again. A process that ends, by whatever means, without closing loses nothing: what
it left is taken up by the next session of that name. This module puts the rooms together; it must not know bytes of
the journal, lines, or the writer's thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from penstock import limits
from penstock._engine.aside import aside
from penstock._engine.engine import LOG, Engine
from penstock._engine.intake import CLOSED
from penstock._engine.places import journal_folder
from penstock._engine.recover import recover as _recover
from penstock._engine.trackdocs import TrackDocuments
from penstock._journal.native import core, native
from penstock._store import notices
from penstock._store.documents import sweep_temporaries
from penstock._store.facts import Facts
from penstock._store.layout import RunFolder
from penstock._store.names import check_name
from penstock.config import SETTINGS, Config, load_config
from penstock.errors import ClosedError, ConfigError, WriteProtectedError
from penstock.files import FilesBuilder
from penstock.lifecycle import Ending, Identity, SessionDocument
from penstock.logs import LogBuilder, check_line
from penstock.parameters import ParametersBuilder
from penstock.query import points
from penstock.records import FlushLevel, Receipt, SessionStats, Status, TrackSummary
from penstock.track import NullTrack, Track

_LEAST_S: Final = 0.5  # session.json's ending gets this long, however little time closing has left
_READ_WAIT_S: Final = 2.0  # reading shows what is in the journal anyway; this only lets the writer finish its files


class Session:
    """One run of an experiment, stored under ``<local_path>/<workspace>/<name>/``.

    ``name`` and ``workspace`` may nest with "/". ``local_path`` is the root folder; without it the configured root
    (``./penstock_runs``). ``description``, ``tags``, ``folder`` (a label, no directory) and ``metadata`` are stored;
    when a name is reopened, those that are given replace the stored ones (``tags=[]`` clears).
    ``write_protected=True`` refuses every kind of write, now and when the run is reopened, until somebody opens it
    with ``write_protected=False``. ``mode="disabled"`` accepts every call and stores nothing. Further keywords are
    settings (docs/configuration.md), for example ``on_full="drop"`` or ``ring_bytes=32 << 20``; ``config`` takes a
    whole Config instead.

    Raises NameRefusedError for a name that breaks a rule, ConfigError for a bad setting. Nothing is created before
    ``open``."""

    def __init__(
        self, name: str, workspace: str | None = None, *, description: str | None = None,
        tags: Sequence[str] | None = None, folder: str | None = None, write_protected: bool | None = None,
        metadata: Mapping[str, Any] | None = None, local_path: str | Path | None = None, remote: str | None = None,
        api_key: str | None = None, user_name: str | None = None, config: Config | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        unknown = settings.keys() - SETTINGS.keys()
        if unknown:
            raise TypeError(f"Session() got unexpected keywords {sorted(unknown)}; settings are {', '.join(SETTINGS)}")
        if workspace is not None:
            workspace = check_name("workspace", workspace)  # before it is a setting: the error names the rule
        if config is None:
            config = load_config(root=local_path, remote=remote, api_key=api_key, workspace=workspace, **settings)
        elif settings:
            raise TypeError(f"Session() got both config and {sorted(settings)}; put them into load_config(...)")
        root = config.root if local_path is None else Path(local_path)
        self.config: Final = config
        self.workspace: Final = check_name("workspace", config.workspace if workspace is None else workspace)
        self.name: Final = check_name("session", name)
        self.user_name = user_name
        self.mode: Final = "disabled" if config.mode == "disabled" else "local"
        if config.remote is not None and self.mode != "disabled":
            raise ConfigError("remote", config.origin("remote"), "remote sessions are not in this version of penstock; "
                              "leave it out and the run is stored on local disk")  # fmt: skip
        self.folder_path: Final = (root / self.workspace / self.name).absolute()
        facts = Facts.checked("session", description, tags, metadata)
        self._given: Final = Identity.of(self.name, self.workspace, facts, folder, write_protected)
        self._run: Final = RunFolder(self.folder_path)
        self._document = SessionDocument(self._run)
        self._life = threading.RLock()
        self._engine: Engine | None = None
        self._documents = TrackDocuments(self._run)
        self._tracks: dict[str | None, Track] = {}
        self._open = False
        self._protected = False

    def __repr__(self) -> str:
        return f"<Session {self.workspace}/{self.name} {'open' if self._open else 'closed'} at {self.folder_path}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Session cannot be pickled: it holds files of this process. Open the same name in the other process, "
            f"Session(name={self.name!r}, workspace={self.workspace!r}, ...): both may log into the run at once"
        )

    # -- what is stored about the run -----------------------------------------------------------------------------

    @property
    def description(self) -> str | None:
        """As given to the constructor, or as stored once the session has been opened."""
        return self._document.identity(self._given).description

    @property
    def tags(self) -> list[str] | None:
        """As ``description``."""
        return self._document.identity(self._given).tags

    @property
    def folder(self) -> str | None:
        """The label in which the run is filed, as ``description``."""
        return self._document.identity(self._given).folder

    @property
    def metadata(self) -> dict[str, Any] | None:
        """As ``description``."""
        return self._document.identity(self._given).metadata

    @property
    def write_protected(self) -> bool:
        """Whether every kind of write is refused."""
        return bool(self._document.identity(self._given).write_protected)

    @property
    def status(self) -> Status:
        """Where the run stands: as this session left it, else as stored; PENDING before it was ever opened."""
        return self._document.status()

    @property
    def durability(self) -> str:
        """How safe an appended point is at once: "journal" survives the process, "memory" does not, "disabled" is
        nothing."""
        if self.mode == "disabled":
            return "disabled"
        return self._engine.durability if self._engine is not None else "journal"

    def update(self, *, description: str | None = None, tags: Sequence[str] | None = None, folder: str | None = None,
               metadata: Mapping[str, Any] | None = None) -> None:  # fmt: skip
        """Change what is stored about the run; what is not given stays. Raises ClosedError, WriteProtectedError,
        OSError."""
        self.check_writable()
        given = Identity.of(self.name, self.workspace, Facts.checked("session", description, tags, metadata), folder)
        if self.mode != "disabled":
            self._document.update(given)

    # -- life -----------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Open the run, creating or continuing it; returns the session. Opening an open session does nothing.

        Recovers what a dead writer of the run left. Raises NameRefusedError when another run's name differs only in
        case or Unicode form, DocumentError when session.json is corrupt. A folder that cannot be written is no error:
        a warning says so and points wait in memory."""
        with self._life:
            if self._open:
                return self
            if self.mode != "disabled":
                self._protected = self._document.begin(self._given, self.config)
                if not self._protected:
                    sweep_temporaries(self._run.path)
                    self._engine = Engine(self._run, self.config, self)
                    report = self._engine.report
                    self._document.running(self._given, self.config, report.points + report.logs)
            self._know_tracks(opening=True)
            self._open = True
        return self

    def _know_tracks(self, *, opening: bool) -> None:
        """Forget all handles, those that a kept ``session.track`` finds included. With the C core the look-up of a
        handle costs no more than one in a dict while the session is open."""
        self._tracks.clear()
        self.__dict__.pop("track", None)
        if opening and native is not None and type(self).track is Session.track:
            self.__dict__["track"] = native.Lookup(self._tracks, partial(Session.track, self)).get

    def close(self) -> None:
        """Write everything, close the run with status DONE and let go of it. Closing twice does nothing.

        Waits at most ``flush_timeout_s``; what is not written by then is safe in the journal, and a warning says where.
        """
        self._close(Ending(Status.DONE, "closed"), self.config.flush_timeout_s)

    def _close(self, ending: Ending, timeout_s: float) -> None:
        with self._life:
            if not self._open:
                return
            self._open = False
            self._know_tracks(opening=False)
            engine, self._engine = self._engine, None
            if engine is None:
                return
            deadline_s = time.monotonic() + timeout_s
            engine.close(timeout_s)
            if not engine.intake.forked:  # nothing of the run was this child's
                self._write_track_documents(engine)
                left_s = max(_LEAST_S, deadline_s - time.monotonic())
                self._document.end(ending, alone=not self._others(), timeout_s=min(left_s, limits.LOCK_TIMEOUT_S))

    def _others(self) -> int:
        """How many other writers of the run live; what dead ones left is recovered."""
        try:
            return _recover(self._run, journal_folder(self._run, self.config.journal_dir)).live
        except OSError as error:
            notices.warn("recovery", f"{self._run.path}: the run's journals cannot be looked at ({error})")
            return 0

    def _write_track_documents(self, engine: Engine) -> None:
        lanes = list(engine.intake.lanes.items())
        self._documents.write({name: lane.counter[0] for name, lane in lanes if name}, engine.suffix)

    def at_exit(self) -> None:
        """The interpreter ends with the session open: close it within ``exit_timeout_s``. Called by the exit hook."""
        self._close(Ending.of_exit(), self.config.exit_timeout_s)

    def after_fork(self) -> None:
        """In a forked child: no thread of the parent is here to release a lock."""
        self._life = threading.RLock()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:  # else closed in the block; at the interpreter's end not even the error can be told
            self._close(Ending.of_error(error), self.config.flush_timeout_s)

    async def aopen(self) -> Self:
        """As ``open``, on a worker thread."""
        return await aside(self.open)

    async def aclose(self) -> None:
        """As ``close``, on a worker thread."""
        await aside(self.close)

    async def __aenter__(self) -> Self:
        return await self.aopen()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            return  # closed in the block, or by the exit hook before the interpreter dropped the coroutine
        ending = Ending.of_error(error)
        if isinstance(error, GeneratorExit):  # the coroutine was dropped: it cannot await
            self._close(ending, self.config.exit_timeout_s)
            return
        import anyio

        with anyio.CancelScope(shield=True):  # a cancelled task still closes its books
            await aside(partial(self._close, ending, self.config.flush_timeout_s))

    def check_open(self) -> None:
        """Raises ClosedError unless the session is open."""
        if not self._open:
            raise ClosedError(CLOSED)

    def check_writable(self) -> None:
        """Raises ClosedError or WriteProtectedError unless the run may be written."""
        self.check_open()
        if self._protected:
            raise WriteProtectedError

    # -- tracks ---------------------------------------------------------------------------------------------------

    def track(self, name: str | None = None, description: str | None = None, tags: Sequence[str] | None = None,
              metadata: Mapping[str, Any] | None = None) -> Track:  # fmt: skip
        """The handle of a track ("/" nests), the same object each time. Nothing is stored before the first append.

        ``description``, ``tags`` and ``metadata`` are stored in the track's metadata.json. Without a name the handle
        can only ``list_all``. Raises ClosedError and NameRefusedError."""
        handle = self._tracks.get(name)
        if handle is None:
            self.check_open()
            made = NullTrack if self.mode == "disabled" else Track
            handle = self._tracks.setdefault(name, made(self, check_name("track", name) if name is not None else ""))
        if description is not None or tags is not None or metadata is not None:
            self.check_writable()
            self._documents.say(handle.name, Facts.checked(f"track {name!r}", description, tags, metadata))
        return handle

    def tracks(self) -> list[TrackSummary]:
        """The summaries of all tracks of the run, by name."""
        if self.mode == "disabled":
            self.check_open()
            return []
        folder, journals = self._readable()
        return points.summaries(folder, journals)

    def _engine_for(self, track: Track) -> Engine:
        self.check_writable()
        engine = self._engine
        if engine is None or self._tracks.get(track.name) is not track:
            raise ClosedError(
                f"this handle of track {track.name!r} is from before the session was closed; call session.track again"
            )
        return engine

    def _readable(self) -> tuple[RunFolder, Path]:
        """Where to read, once the writer has written what is in the ring."""
        self.check_open()
        if self._engine is not None:
            self._engine.flush(sync=False, timeout_s=_READ_WAIT_S)
        return self._run, journal_folder(self._run, self.config.journal_dir)

    async def _await_room(self) -> None:
        import anyio
        import anyio.lowlevel

        await anyio.lowlevel.checkpoint()
        engine = self._engine
        while engine is not None and not engine.intake.has_room(engine.intake.ring.record_max // 8):
            engine.wake()
            await anyio.sleep(limits.ASYNC_LOOK_S)

    # -- logs

    def log(self, message: str | Mapping[str, Any] | None = None, level: str | None = None,
            metadata: Mapping[str, Any] | None = None, **extra: Any) -> LogBuilder | None:  # fmt: skip
        """Store a text line; or, given a mapping, one point per key; or, given nothing, return the fluent builder.

        ``log("done", level="info", epoch=1)`` stores a line whose metadata is ``metadata`` joined with the further
        keywords (these win). Levels: info, warn (or warning), error, debug, fatal, in any case. ``log({"loss": 0.3},
        step=10)`` appends ``value=0.3, step=10`` to track "loss"; nested mappings nest with "/".
        ``log(metadata={...}).info("text")`` is the fluent way. Raises ClosedError, WriteProtectedError, ValueError
        for an unknown level, and as ``Track.append``."""
        self.check_writable()
        if message is None:
            return LogBuilder(self._put_line, metadata, extra)
        if isinstance(message, Mapping):
            if level is not None or metadata is not None:
                raise TypeError(
                    "log(mapping) appends points, which have no level and no metadata; log a text line for these"
                )
            self._put_points(message, extra)
        else:
            self._put_line(*check_line(message, level, metadata, extra))
        return None

    async def alog(
        self, message: str | Mapping[str, Any], level: str | None = None, metadata: Mapping[str, Any] | None = None, *,
        wait: FlushLevel | None = None, **extra: Any,
    ) -> None:  # fmt: skip
        """As ``log``, awaiting room in a full ring; with ``wait`` also until that durability level is reached.

        Raises as ``log``, and TimeoutError when ``wait`` took longer than ``flush_timeout_s``.
        """
        await self._await_room()
        self.log(message, level, metadata, **extra)
        if wait is not None:
            receipt = await self.aflush(wait)
            if not receipt.reached and self.mode != "disabled":
                raise TimeoutError(f"{wait!r} was not reached within {self.config.flush_timeout_s} s: {receipt}")

    def _put_line(self, level: str, message: str, metadata: dict[str, Any] | None) -> None:
        self.check_writable()
        engine = self._engine
        if engine is not None:
            engine.intake.put_log(engine.lane(LOG), level, message, metadata)
            engine.logged()

    def _put_points(self, values: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        if self._engine is None:
            return
        flat = ParametersBuilder.flatten_dict(values, sep="/")
        intake = self._engine.intake
        ready = []
        if "value" in extra:
            raise TypeError("log(mapping): value was given twice, in the mapping and by name")
        for name, value in flat.items():  # all are checked before the first is stored
            track = self.track(name)
            ready.append((track, intake.convert(f"track {name!r}", {"value": value, **extra})))
        for track, (shape, converted) in ready:
            lane, _intake = track._ready()
            intake.put_point(lane, shape, converted)

    # -- parameters and files -------------------------------------------------------------------------------------

    def parameters(self) -> ParametersBuilder:
        """The run's parameters: ``set(lr=..., model={...})`` and ``get()``. Raises ClosedError."""
        self.check_open()
        return ParametersBuilder(None if self.mode == "disabled" else self._run, self)

    def files(self) -> FilesBuilder:
        """The run's files: ``upload``, ``list``, ``download``, ``update``, ``delete``. Raises ClosedError."""
        self.check_open()
        return FilesBuilder(None if self.mode == "disabled" else self._run, self, f"{self.workspace}/{self.name}")

    # -- durability

    def flush(self, level: FlushLevel = "disk", timeout: float | None = None) -> Receipt:
        """Wait until everything appended before the call has reached ``level``; returns the books.

        "journal": survives this process (at once). "disk": in the line files and fsynced. "server": raises ValueError
        here, the run has none. ``timeout`` is in seconds (default: the setting flush_timeout_s); when it passes, also
        because the disk refuses until then, ``receipt.reached`` is False and nothing is lost. Raises ClosedError."""
        self.check_open()
        if level not in ("journal", "disk", "server"):
            raise ValueError(f"unknown durability level {level!r}; one of 'journal', 'disk', 'server'")
        if level == "server":
            raise ValueError("this run is stored on local disk only: flush('disk') is the strongest level it has")
        engine = self._engine
        if engine is None:
            return Receipt(level, self._protected, 0, 0, 0, 0, 0, {})
        if level == "journal":
            return engine.books(level, reached=engine.intake.journal.durable)
        limit_s = self.config.flush_timeout_s if timeout is None else timeout
        reached = engine.flush(sync=True, timeout_s=limit_s)
        self._write_track_documents(engine)
        return engine.books(level, reached=reached)

    async def aflush(self, level: FlushLevel = "disk", timeout: float | None = None) -> Receipt:  # noqa: ASYNC109
        """As ``flush``, on a worker thread."""
        return await aside(partial(self.flush, level, timeout))

    def stats(self) -> SessionStats:
        """The books and the state of the engine, now. Raises ClosedError."""
        self.check_open()
        engine = self._engine
        if engine is None:
            return SessionStats(core, "disabled", "", 0, 0, 0, 0, 0, {}, 0, 0, 0, 0, None)
        books = engine.books("journal", reached=True)
        writer, ring = engine.writer, engine.intake.ring
        error = writer.failed or writer.stall
        return SessionStats(
            core, engine.durability, engine.writer_id, *books[2:], ring.capacity, ring.used(),
            sum(1 for name in list(engine.intake.lanes) if name), writer.sink.open_files, str(error) if error else None,
        )  # fmt: skip
