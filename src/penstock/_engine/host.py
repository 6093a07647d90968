"""The host: the one background thread of a process, which runs anyio and drives the writers of all open sessions.

Threads
    One daemon thread, started by the first append of a session; a daemon, because a thread that the interpreter waits
    for can hang an exit. Nothing is lost with it: the journal has every point. Producers reach it by a byte on a
    socket pair, which needs no lock and may be sent from a signal handler. fsync runs on worker threads of anyio.
Ordering
    Per session: drain until the ring is empty (or for SLICE_S, so that other sessions get their turn), then tickets,
    then fsync.
Shutdown
    The thread is never joined. Whoever closes a session hands in a final ticket and waits for it with a time limit. A
    forked child has no host until it needs one: ``host()`` then makes a new one.

An unexpected error in one session's writer stops that writer, is logged, and leaves its journal for recovery.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from penstock._engine.writer import Ticket, Writer
from penstock._store import notices

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

SLICE_S: Final = 0.25
_IMPORTS_S: Final = 5.0  # a fork waits so long for the thread's imports, which take about 0.1 s; then it goes ahead
_RESTART_S: Final = 1.0  # a thread that ended is started again no more often than this


class Guest(Protocol):
    """A session as the host sees it."""

    @property
    def writer(self) -> Writer:
        """What the host drives; another one after a fork."""

    @property
    def interval_s(self) -> float:
        """How often to look at the ring when nobody wakes the host."""

    def tend(self, now_s: float) -> None:
        """Once per round: stamp the journal, mend it if it vanished."""

    def fail(self, error: Exception) -> None:
        """The writer met an error that it does not understand."""


class Host:
    """The background thread and its guests."""

    def __init__(self) -> None:
        self.pid: Final = os.getpid()
        self.ident: int | None = None
        self._guests: dict[int, Guest] = {}
        self._syncing: set[int] = set()
        self._place: list[None] = [None]  # taken by whoever starts the thread; pop and append are atomic
        import socket

        self._receive, self._send = socket.socketpair()
        self._receive.setblocking(False)
        self._send.setblocking(False)
        self._thread: threading.Thread | None = None
        self._imported = threading.Event()  # clear while the thread starts and imports
        self._imported.set()
        self._died_s: float | None = None  # when the thread ended: it could not make its event loop

    @property
    def alive(self) -> bool:
        """Whether the thread runs and can be waited for."""
        return self._thread is not None and self._thread.is_alive() and not sys.is_finalizing()

    def add(self, guest: Guest) -> None:
        """Drive this guest's writer from now on, until its final ticket."""
        self._guests[id(guest)] = guest
        self._start()
        self.wake()

    def _start(self) -> None:
        """Start the thread unless it runs. Producers may come here together: the one that gets the place does it."""
        try:
            self._place.pop()
        except IndexError:
            return
        try:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._main, name="penstock-writer", daemon=True)
                self._imported.clear()
                thread.start()
                self._thread = thread
        except BaseException:
            self._imported.set()
            raise
        finally:
            self._place.append(None)

    def await_imports(self) -> None:
        """Wait, for a while, until the thread has imported what it needs."""
        if threading.get_ident() != self.ident:
            self._imported.wait(_IMPORTS_S)

    def remove(self, guest: Guest) -> None:
        self._guests.pop(id(guest), None)

    def wake(self) -> None:
        """Have the host look at its guests now. Never blocks, takes no lock."""
        with contextlib.suppress(OSError):  # full: it is awake already; closed: the interpreter is going down
            self._send.send(b"\0")
        if self._died_s is not None and time.monotonic() - self._died_s > _RESTART_S:
            self._died_s = None
            self._start()

    def abandon(self) -> None:
        """In a forked child: close the copies of the parent's sockets."""
        self._receive.close()
        self._send.close()

    # -- the thread -----------------------------------------------------------------------------------------------

    def _main(self) -> None:
        self.ident = threading.get_ident()
        try:
            import anyio

            anyio.run(self._rounds, backend="asyncio")
        except OSError as error:  # the process is out of descriptors; whoever waits drains by itself meanwhile
            notices.warn("host", f"the writer's thread cannot run now ({error}); it is tried again")
        finally:
            self.ident = None
            self._imported.set()
            self._died_s = time.monotonic()

    async def _rounds(self) -> None:
        import anyio

        async with anyio.create_task_group() as tasks:
            while True:
                tick = True
                with anyio.move_on_after(self._pause()):
                    await anyio.wait_readable(self._receive)
                    tick = False
                self._imported.set()
                self._clear()
                for guest in list(self._guests.values()):
                    try:
                        await self._serve(guest, tasks, tick=tick)
                    except Exception as error:  # noqa: BLE001 - one session's trouble must not stop the others
                        self._give_up(guest, error)
                    finally:
                        del guest  # a host that sleeps must not keep a closed session alive

    def _pause(self) -> float | None:
        guests = list(self._guests.values())
        return min(guest.interval_s for guest in guests) if guests else None

    def _clear(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._receive.recv(4096)) == 4096:
                pass

    async def _serve(self, guest: Guest, tasks: TaskGroup, *, tick: bool) -> None:
        import anyio

        writer = guest.writer
        if writer.failed is not None:
            _answer_all(writer)
            return
        started = time.monotonic()
        guest.tend(started)
        while writer.step():
            await anyio.lowlevel.checkpoint()
            if time.monotonic() - started > SLICE_S:
                self.wake()  # there is more: come back after the other guests had their turn
                break
        if tick:
            writer.write(time.monotonic())
        for ticket in list(writer.tickets):  # all of them: on a full disk a flush must not keep a close waiting
            if await self._attend(guest, ticket):
                with contextlib.suppress(ValueError):  # given up meanwhile
                    writer.tickets.remove(ticket)
        if writer.sync_due(time.monotonic()) and id(guest) not in self._syncing:
            self._syncing.add(id(guest))
            tasks.start_soon(self._sync, guest)

    async def _attend(self, guest: Guest, ticket: Ticket) -> bool:
        """Whether the ticket is answered; if not it stays in line."""
        writer = guest.writer
        if not writer.settled(ticket):
            writer.write(time.monotonic())
        if writer.settled(ticket):
            reached = await _in_thread(writer.sync) if ticket.sync else True
        elif ticket.final and writer.stall is not None:
            reached = False
        else:
            if writer.stall is None:
                self.wake()
            return False
        if ticket.final:
            self.remove(guest)
        ticket.answer(reached=reached)
        return True

    async def _sync(self, guest: Guest) -> None:
        try:
            await _in_thread(guest.writer.sync)
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(guest, error)
        finally:
            self._syncing.discard(id(guest))

    def _give_up(self, guest: Guest, error: Exception) -> None:
        guest.fail(error)
        _answer_all(guest.writer)


def _answer_all(writer: Writer) -> None:
    while writer.tickets:
        writer.tickets.popleft().answer(reached=False)


async def _in_thread(work: Any) -> bool:
    import anyio.to_thread

    try:
        done: bool = await anyio.to_thread.run_sync(work)
    except RuntimeError:  # no new threads at interpreter shutdown: then here
        done = work()
    return done


_watching_forks = False
_hosts: dict[int, Host] = {}  # by process id, so that a forked child never meets its parent's


def host() -> Host:
    """The host of this process; made at the first call, and anew in a forked child."""
    pid = os.getpid()
    current = _hosts.get(pid)
    if current is None:
        made = Host()
        current = _hosts.setdefault(pid, made)  # atomic: producers may come here together
        if current is not made:
            made.abandon()
    return current


def preload() -> None:
    """Import what the thread will need, here and now.

    A session is opened before its training loop starts; an import in the background would slow its first steps down.
    """
    global _watching_forks
    import asyncio  # noqa: F401

    import anyio.to_thread  # noqa: F401

    # Only now: such hooks run in reverse order, and that of `logging`, which asyncio imports, takes a lock that the
    # starting thread needs. Ours has to wait for the thread before that lock is taken.
    if not _watching_forks and hasattr(os, "register_at_fork"):
        _watching_forks = True
        os.register_at_fork(before=_await_imports)


def _await_imports() -> None:
    """Before a fork: let the thread finish its imports. What is half imported then stays so in the child, for ever."""
    current = _hosts.get(os.getpid())
    if current is not None:
        current.await_imports()


def forget_host() -> None:
    """In a forked child: the parent's host is not here."""
    while _hosts:
        _hosts.popitem()[1].abandon()
