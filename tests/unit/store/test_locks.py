"""The file lock: among objects, threads, processes and forks, and on file systems that have none."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from penstock._store import locks, notices
from penstock._store.locks import FileLock

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions, flock and fork")
# From Python 3.12 on, fork warns about pytest's own threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
SOURCE = Path(locks.__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from penstock._store.locks import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.try_acquire(), flush=True)
sys.stdin.read()
"""


def in_child(action: object) -> int:
    """Run ``action`` in a forked child; its exit code, 99 for an exception."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = int(action())  # type: ignore[operator]
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@posix_only
def test_the_lock_file_is_made_with_its_folders_and_for_its_owner_only(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "a" / "b" / "x.lock")
    assert not lock.held
    with lock:
        assert lock.held
        assert (tmp_path / "a" / "b" / "x.lock").stat().st_mode & 0o777 == 0o600
        assert lock._fd is not None
        assert not os.get_inheritable(lock._fd)
    assert not lock.held
    assert (tmp_path / "a" / "b" / "x.lock").exists()


def test_one_at_a_time_and_again_after_release(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "x.lock"), FileLock(tmp_path / "x.lock")
    assert one.try_acquire()
    assert not other.try_acquire()
    assert not other.held
    one.release()
    one.release()
    assert other.acquire(0.0)
    assert not one.acquire(0.02)
    other.release()


def test_the_lock_is_not_reentrant(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x.lock")
    assert lock.try_acquire()
    assert not lock.try_acquire()
    assert lock.held
    lock.release()


def test_waiting_ends_when_the_holder_lets_go(tmp_path: Path) -> None:
    holder, waiter = FileLock(tmp_path / "x.lock"), FileLock(tmp_path / "x.lock")
    assert holder.try_acquire()
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(waiter.acquire(30.0)))
    thread.start()
    assert not got
    holder.release()
    thread.join(30)
    assert got == [True]
    waiter.release()


def test_threads_that_share_one_object_exclude_each_other(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x.lock")
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            with lock:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (inside, most) == (0, 1)
    assert not lock.held


def test_a_lock_that_is_not_let_go_is_a_timeout_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_S", 0.02)
    holder = FileLock(tmp_path / "x.lock")
    assert holder.try_acquire()
    with pytest.raises(TimeoutError, match=r"Could not acquire lock on .*x\.lock"), FileLock(tmp_path / "x.lock"):
        pass
    holder.release()


def test_the_lock_is_let_go_when_the_body_raises(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), FileLock(tmp_path / "x.lock"):
        raise ZeroDivisionError
    assert FileLock(tmp_path / "x.lock").try_acquire()


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"True"
        lock = FileLock(path)
        assert not lock.try_acquire()
        child.kill()
        child.wait(30)
    assert lock.acquire(30.0)
    lock.release()


@fork_only
def test_a_forked_child_does_not_hold_the_lock_and_cannot_let_go_of_it(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x.lock")
    assert lock.try_acquire()

    def child() -> int:
        held = lock.held
        lock.release()  # as the end of an inherited ``with`` block would
        lock.abandon()
        return int(held or lock._fd is not None or FileLock(tmp_path / "x.lock").try_acquire())

    assert in_child(child) == 0
    assert lock.held
    assert not FileLock(tmp_path / "x.lock").try_acquire()
    lock.release()


@fork_only
def test_a_forked_child_that_abandons_does_not_keep_the_lock_after_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    read_end, write_end = os.pipe()
    lock = FileLock(path)
    assert lock.try_acquire()
    pid = os.fork()
    if pid == 0:
        lock.abandon()
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    assert lock._fd is not None
    os.close(lock._fd)  # as the death of the parent does: the descriptor is gone, nothing was unlocked
    lock._fd = None
    assert FileLock(path).acquire(30.0)
    os.close(write_end)
    os.waitpid(pid, 0)
    os.close(read_end)


@fork_only
def test_a_child_that_was_forked_while_the_lock_was_held_does_not_keep_it_after_release(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x.lock")
    read_end, write_end = os.pipe()
    assert lock.try_acquire()
    pid = os.fork()
    if pid == 0:  # knows nothing of the lock, and keeps its copy of the descriptor
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    lock.release()
    assert FileLock(tmp_path / "x.lock").try_acquire()
    os.close(write_end)
    os.waitpid(pid, 0)
    os.close(read_end)


@fork_only
def test_a_forked_child_can_take_the_lock_through_the_object_it_inherited(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x.lock")
    assert lock.try_acquire()
    assert in_child(lock.try_acquire) == 0
    lock.release()
    assert in_child(lambda: lock.try_acquire() and lock.held) == 1


@posix_only
def test_a_lock_file_that_was_removed_and_made_again_is_locked_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    old, new = FileLock(path), FileLock(path)
    assert old.try_acquire()
    path.unlink()
    assert new.try_acquire()
    assert not FileLock(path).try_acquire()
    old.release()
    assert not FileLock(path).try_acquire()
    new.release()


@posix_only
def test_a_lock_whose_file_vanishes_while_it_is_taken_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.lock"
    lock_now = locks._lock_now

    def removed_meanwhile(fd: int) -> None:
        path.unlink(missing_ok=True)
        lock_now(fd)

    monkeypatch.setattr(locks, "_lock_now", removed_meanwhile)
    lock = FileLock(path)
    assert not lock.try_acquire()
    monkeypatch.setattr(locks, "_lock_now", lock_now)
    assert lock.acquire(0.0)
    lock.release()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_cannot_lock_says_no_and_lets_documents_be_changed_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(code, os.strerror(code))

    notices._process.reset()
    monkeypatch.setattr(locks, "_lock_now", refuse)
    lock = FileLock(tmp_path / "x.lock")
    assert not lock.try_acquire()
    assert lock.unsupported
    assert not lock.acquire(3600.0)  # waiting would not help
    with caplog.at_level(logging.WARNING, logger="penstock"):
        with lock:
            assert not lock.held
            assert locks._without_locks.locked()  # threads of this process still take turns
        assert not locks._without_locks.locked()
        with FileLock(tmp_path / "x.lock"):
            pass
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path) in caplog.text


@posix_only
def test_other_trouble_with_the_lock_file_is_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "x.lock", tmp_path):
        with pytest.raises(OSError, match=str(tmp_path)):
            FileLock(path).try_acquire()


@posix_only
def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("counts descriptors in /proc")
    held, waiting = FileLock(tmp_path / "x.lock"), FileLock(tmp_path / "x.lock")
    held.acquire()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        waiting.try_acquire()
    assert len(os.listdir("/proc/self/fd")) == before
    held.release()
    assert len(os.listdir("/proc/self/fd")) == before - 1
