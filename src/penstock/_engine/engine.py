"""The engine of one open session in one process: its journal, intake, sink and writer, from open to close.

Threads
    Opened and closed by a user's thread; ``tend`` and ``fail`` run on the host's thread; ``revive`` on the first
    thread that appends in a forked child. What producers share with the writer is in ``intake`` and ``ring``.
Ordering
    open: recover what dead writers left, then take the run's plain line files (or a suffix of our own), then a journal.
    close: refuse appends, drain, write, fsync, and only then remove the journal.
Shutdown
    ``close`` waits with a time limit. What is not written by then stays in the journal, whose path is said.

Invariant: a journal file is removed only when every record that it ever held is in a line file, fsynced.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Final, Protocol

from penstock import limits
from penstock._codec.lines import LOG_KEY, POINT_KEY
from penstock._codec.times import now_ns
from penstock._engine import exits
from penstock._engine.host import forget_host, host, preload
from penstock._engine.intake import LOG, Intake
from penstock._engine.places import journal_folder
from penstock._engine.recover import Report, recover
from penstock._engine.writer import Ticket, Writer
from penstock._journal import format as fmt
from penstock._journal.file import Exported, JournalFile, new_writer_id
from penstock._journal.lane import Lane
from penstock._journal.ring import Position, Ring
from penstock._sinks.local import LocalSink
from penstock._store import environment, linefile, notices
from penstock._store.layout import RunFolder
from penstock._store.locks import FileLock
from penstock.config import Config
from penstock.records import Durability, Receipt

_LOG_WAKE_S: Final = 0.02  # log lines reach their file at once, but a flood of them wakes the host 50 times a second
_LOOK_S: Final = 0.25  # while waiting for the host: how often to see whether it still lives
_JOURNAL_RETRY_S: Final = 5.0  # how often a session without a journal file tries to make one


class Keeper(Protocol):
    """The session that an engine belongs to."""

    def at_exit(self) -> None:
        """The process ends: close the books."""

    def after_fork(self) -> None:
        """This is a forked child: locks that the parent's threads held are held for ever."""


class Engine:
    """Everything between an append and the disk, for one session in one process (and, after a fork, in the child)."""

    def __init__(self, folder: RunFolder, config: Config, keeper: Keeper) -> None:
        self.folder: Final = folder
        self._keeper: Final = keeper
        self.config: Final = config
        self.pid = os.getpid()
        self.report = Report()
        self._lock = FileLock(folder.writer_lock)
        self.owner = self._own()
        journal = self._make_journal(limits.DEFINITIONS_BYTES)
        self.intake: Final = Intake(lambda room: Ring(journal, room), journal, config.on_full, self)
        self.writer = self._make_writer()
        self._hosted = False
        self._retired: list[tuple[JournalFile, Position]] = []
        preload()
        self._inherited: Exported | None = None
        self._beaten_s = 0.0
        self._journal_retry_s = 0.0
        self._log_woken_s = 0.0
        exits.watch(self)

    # -- opening --------------------------------------------------------------------------------------------------

    def _own(self) -> bool:
        """Recover what is left, and say whether the plain line files are ours to write."""
        try:
            owner = self._lock.try_acquire()
            self.report = recover(self.folder, journal_folder(self.folder, self.config.journal_dir), owner=owner)
        except OSError as error:
            notices.warn("recovery", f"{self.folder.path}: the run's journals cannot be looked at ({error})")
            return False
        if self.report.points or self.report.logs:
            notices.recovered(
                "recovery", f"{self.folder.path}: {self.report.points} points and {self.report.logs} log lines of a "
                "writer that had died were recovered from its journal",
            )  # fmt: skip
        if self.report.unreadable:
            notices.lost(
                "unreadable",
                f"{self.folder.path}: {self.report.unreadable} records of a journal have no names and are lost",
            )
        for path, reason in self.report.refused:
            notices.warn("recovery", f"{path} was not recovered: {reason}")
        if owner and self.report.owner_refused:
            self._lock.release()  # its lines may belong into the plain files: those must wait for it
            return False
        return owner

    def _make_journal(self, definitions_bytes: int) -> JournalFile:
        header = fmt.Header(
            new_writer_id(), self.config.ring_bytes, os.getpid(), environment.process_start(os.getpid()), now_ns(),
            environment.boot_id(), self.owner, environment.host(),
        )  # fmt: skip
        try:
            return JournalFile.create(journal_folder(self.folder, self.config.journal_dir), header, definitions_bytes)
        except OSError as error:
            notices.warn(
                "journal",
                f"{self.folder.path}: no journal can be made ({error}). Points wait in memory for the disk: "
                'they do not survive a kill of this process (session.stats().durability is "memory")',
            )  # fmt: skip
            return JournalFile.in_memory(header, definitions_bytes)

    def _make_writer(self) -> Writer:
        sink = LocalSink(self.folder, self.suffix, open_files=self.config.open_line_files, fsync=self.config.fsync)
        return Writer(
            self.intake, sink, chunk_bytes=self.config.chunk_bytes, interval_s=self.config.flush_interval_s,
            sync_interval_s=self.config.sync_interval_s,
        )  # fmt: skip

    @property
    def suffix(self) -> str:
        """What our line files are called by: "" for the owner of the run, else the writer id."""
        return "" if self.owner else self.writer_id

    @property
    def writer_id(self) -> str:
        return self.intake.journal.header.writer.hex()

    @property
    def durability(self) -> Durability:
        return "journal" if self.intake.journal.durable else "memory"

    # -- producers ------------------------------------------------------------------------------------------------

    def lane(self, name: str) -> Lane:
        """The lane of a track; of the log for "". Raises OSError when its line file cannot be read."""
        if self.intake.forked:
            self.revive()
        return self.intake.lane(name, lambda: self._next_index(name))

    def _next_index(self, name: str) -> int:
        return linefile.repair(self.writer.sink.path(name), POINT_KEY if name else LOG_KEY) + 1

    def logged(self) -> None:
        """A log line was put: people read these while the run goes on."""
        now_s = time.monotonic()
        if now_s - self._log_woken_s >= _LOG_WAKE_S:
            self._log_woken_s = now_s
            self.wake()

    # -- what the intake asks for (Outlet)

    def wake(self) -> None:
        try:
            if self._hosted:
                host().wake()
            elif not self.intake.closed and not self.intake.forked:
                self._hosted = True
                host().add(self)
        except (
            RuntimeError,
            OSError,
        ):  # no new threads at interpreter shutdown, or no descriptors: whoever closes drains
            self._hosted = False

    def stalled(self) -> bool:
        return self.writer.stall is not None or self.writer.failed is not None

    def drain_here(self) -> bool:
        if self._hosted and host().alive:
            return False
        self.writer.finish()
        return True

    def in_writer(self) -> bool:
        return self.writer.turn.mine() or (self._hosted and host().ident == threading.get_ident())

    def degrade(self, error: OSError) -> None:
        """No room for a new name in the journal file: go on in memory, and keep the file until it is written."""
        notices.warn(
            "journal",
            f"{self.intake.journal.path}: the journal cannot grow ({error}). New points wait in memory: they do not "
            "survive a kill of this process",
        )  # fmt: skip
        old = self.intake.journal
        self._move(JournalFile.in_memory(old.header, 4 * limits.DEFINITIONS_BYTES))
        self._journal_retry_s = time.monotonic() + _JOURNAL_RETRY_S
        self._retired.append((old, self.intake.ring.window().head))

    @property
    def interval_s(self) -> float:
        """How often the host looks at the ring when nobody wakes it."""
        return self.config.flush_interval_s

    # -- the host's thread (Guest)

    def tend(self, now_s: float) -> None:
        """Once per round: stamp the journal's header; replace a journal that vanished, or that could not be made."""
        if now_s - self._beaten_s < limits.HEARTBEAT_S:
            return
        first, self._beaten_s = not self._beaten_s, now_s
        ring, journal = self.intake.ring, self.intake.journal
        if first:
            ring.populate()
        window = ring.window()
        journal.beat(now_ns(), ring.total(window.head), ring.total(window.tail), self.intake.dropped)
        self._retired = [kept for kept in self._retired if not self._given_up(kept, window.tail)]
        if journal.vanished() or (not journal.durable and now_s >= self._journal_retry_s and not self._retired):
            self._journal_retry_s = now_s + _JOURNAL_RETRY_S
            self._replace_journal(journal)

    def _given_up(self, kept: tuple[JournalFile, Position], tail: Position) -> bool:
        journal, position = kept
        if tail < position:
            return False
        journal.close(remove=True)
        return True

    def _replace_journal(self, old: JournalFile) -> None:
        if self.owner and old.vanished():
            self._lock_again()
        header = old.header._replace(writer=new_writer_id()) if self.owner else old.header
        try:
            places = journal_folder(self.folder, self.config.journal_dir)
            size = 2 * max(limits.DEFINITIONS_BYTES, len(old.export().records))
            fresh = JournalFile.create(places, header, -(-size // fmt.PAGE) * fmt.PAGE)
        except OSError:
            return  # still no room: the warning was given when it began
        self._move(fresh)
        notices.recovered(
            "journal again", f"{fresh.path}: a new journal was made; points survive a kill of this process again"
        )
        old.close(remove=False)

    def _lock_again(self) -> None:
        """The run's folder may be a new one, and our lock the old one's: whoever opens the run now has to see it."""
        with contextlib.suppress(OSError):
            self._lock.release()
            if not self._lock.try_acquire():
                notices.warn("removed", f"{self.folder.path} was removed, and opened by another before we saw it")

    def _move(self, fresh: JournalFile) -> None:
        with self.intake.moving():
            fresh.adopt(self.intake.journal.export())
            self.intake.ring.rebase(fresh)
            self.intake.journal = fresh

    def fail(self, error: Exception) -> None:
        import traceback

        self.writer.failed = error
        notices.lost(
            "writer", f"{self.folder.path}: the writer stopped on an unexpected error; points stay in the journal "
            f"{self.intake.journal.path} and are recovered when the run is opened again\n"
            + "".join(traceback.format_exception(error)),
        )  # fmt: skip

    # -- flush and close

    def flush(self, *, sync: bool, timeout_s: float) -> bool:
        """Wait until everything appended so far is written (and fsynced). False when the time was not enough."""
        if self.intake.forked:
            return True  # nothing appended in this child
        return self._settle(Ticket(self.intake.ring.window().head, sync=sync), timeout_s)

    def _settle(self, ticket: Ticket, timeout_s: float) -> bool:
        if self._hosted and host().alive and not self.in_writer():
            self.writer.tickets.append(ticket)
            host().wake()
            deadline_s = time.monotonic() + timeout_s
            while host().alive:
                left_s = deadline_s - time.monotonic()
                if ticket.answered.wait(max(0.0, min(left_s, _LOOK_S))) or left_s <= 0:
                    return ticket.reached
        if self.intake.forked:
            return True  # a signal handler forked while this thread waited: what it waited for is the parent's
        if self.in_writer():
            return False  # a __del__ on the writer's own thread: it cannot wait for itself
        done = self.writer.finish()
        return (self.writer.sync() if ticket.sync else True) and done

    def close(self, timeout_s: float) -> bool:
        """Drain, write, fsync, remove the journal. False when something stays in the journal (its path is logged)."""
        self.intake.close()
        if self.intake.forked:
            return self._left_to_parent()
        ticket = Ticket(self.intake.ring.window().head, sync=True, final=True)
        complete = self._settle(ticket, timeout_s) and self.writer.failed is None
        if self.intake.forked:  # a signal handler forked while this thread waited: everything here is the parent's
            return self._left_to_parent()
        if not complete and self._hosted and host().alive and not ticket.answered.is_set():
            self._say_left()
            return False  # the host still works on it: whatever it does not finish is recovered later
        host().remove(self)
        if complete:
            self.writer.sink.close()
        else:
            self.writer.sink.abandon()  # its thread may have been frozen in the middle of a drain
            self._say_left()
        self.intake.ring.detach()
        for journal in (self.intake.journal, *(kept for kept, _position in self._retired)):
            journal.close(remove=complete)
        self._lock.release()
        exits.forget(self)  # last: a fork in the middle of this has to know of it
        return complete

    def _left_to_parent(self) -> bool:
        exits.forget(self)
        return True

    def _say_left(self) -> None:
        left = self.intake.accepted - self.writer.written
        journal = self.intake.journal
        if journal.durable:
            notices.warn(
                "left",
                f"{left} points are not yet written; they are safe in {journal.path} and will be written when the "
                f"run is next opened, or by penstock.recover({str(self.folder.path)!r})",
            )
        elif left:
            notices.lost(
                "left", f"{left} points could not be written ({self.writer.stall}) and are lost: there was no journal"
            )

    def books(self, level: str, *, reached: bool) -> Receipt:
        """The books now. Written is read before accepted, so waiting is never negative."""
        written, synced = self.writer.written, self.writer.synced
        accepted, reasons = self.intake.accepted, dict(self.intake.drops)
        dropped = sum(reasons.values())
        return Receipt(
            level, reached, accepted + dropped, written, synced, accepted - written, dropped,
            {reason: count for reason, count in reasons.items() if count},
        )  # fmt: skip

    # -- forks ----------------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """In a forked child: let go of everything that is the parent's. Nothing is made before the first append."""
        journal = self.intake.journal
        if not self.intake.forked:
            self._inherited = journal.export()
        self.intake.after_fork()
        self.writer.turn.retired = True
        self.intake.ring.detach()
        journal.abandon()
        for kept, _position in self._retired:
            kept.abandon()
        self._retired = []
        self.writer.sink.abandon()
        self._lock.abandon()
        self._hosted = False
        self._keeper.after_fork()

    def revive(self) -> None:
        """In a forked child, at its first append: a journal, line files and a writer of its own."""
        with self.intake.moving():
            if not self.intake.forked:
                return
            self.pid = os.getpid()
            self.owner = False
            inherited = self._inherited or Exported(b"", 0, 0)
            size = 2 * max(limits.DEFINITIONS_BYTES, len(inherited.records))
            journal = self._make_journal(-(-size // fmt.PAGE) * fmt.PAGE)
            journal.adopt(inherited)
            self.intake.restart(journal)
            self.writer = self._make_writer()
            exits.watch_child()
            self.intake.forked = False  # last: until then every other thread of this child waits for us here

    def at_exit(self) -> None:
        self._keeper.at_exit()


exits.on_fork(forget_host)

__all__ = ["LOG", "Engine"]
