"""One journal file: how it is made, what may read it, how its definitions grow, and that it is gone or kept as asked
(reliability cases 30, 36, and section 5 S20: nobody else reads a journal).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from penstock._journal import format as fmt
from penstock._journal import recovery
from penstock._journal.file import JournalFile, allocate, try_lock
from tests.unit.journal.rings import HEADER


def made(folder: Path, definitions_bytes: int = 4096) -> JournalFile:
    return JournalFile.create(folder, HEADER, definitions_bytes)


def place(journal: JournalFile) -> Path:
    assert journal.path is not None
    return journal.path


def test_a_journal_is_private_has_real_blocks_and_is_locked(tmp_path: Path) -> None:
    journal = made(tmp_path / "run" / ".journal")
    found = place(journal).stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(place(journal).parent.stat().st_mode) == 0o700
    assert found.st_size == 4096 + 8192 + 4096
    assert found.st_blocks * 512 >= found.st_size, "a hole would be a SIGBUS on a full disk"
    fd = os.open(place(journal), os.O_RDWR)
    assert not try_lock(fd)
    journal.close(remove=False)
    assert try_lock(fd)
    os.close(fd)


def test_a_child_program_does_not_inherit_the_journal(tmp_path: Path) -> None:
    journal = made(tmp_path)
    assert journal.fd is not None
    assert not os.get_inheritable(journal.fd)
    journal.close(remove=True)


@pytest.mark.parametrize("step", ["flock", "allocate", "rename"])
def test_a_journal_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    targets = {"flock": "fcntl.flock", "allocate": "penstock._journal.file.allocate", "rename": "os.rename"}
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(targets[step], fail)
        with pytest.raises(OSError, match="No space left"):
            made(tmp_path / "j")
    assert list((tmp_path / "j").iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_close_removes_the_file_only_when_asked(tmp_path: Path) -> None:
    kept = made(tmp_path)
    kept.close(remove=False)
    assert place(kept).exists()
    place(kept).unlink()
    gone = made(tmp_path)
    gone.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_close_never_removes_somebody_elses_file(tmp_path: Path) -> None:
    journal = made(tmp_path)
    place(journal).unlink()
    place(journal).write_text("somebody else's")
    assert journal.vanished()
    journal.close(remove=True)
    assert place(journal).read_text() == "somebody else's"


def test_a_removed_journal_is_noticed(tmp_path: Path) -> None:
    journal = made(tmp_path)
    assert not journal.vanished()
    place(journal).unlink()
    assert journal.vanished()
    journal.close(remove=True)
    assert not JournalFile.in_memory(HEADER, 4096).vanished()


@pytest.mark.parametrize("durable", [True, False])
def test_definitions_grow_and_all_of_them_are_readable(tmp_path: Path, durable: bool) -> None:
    journal = made(tmp_path) if durable else JournalFile.in_memory(HEADER, 4096)
    names = {journal.define_track(f"track/{number}" + "x" * (number % 200)): number for number in range(500)}
    fields = {journal.define_names((f"field {number}", "value")): number for number in range(300)}
    long = journal.define_track("y" * 9000)
    exported = journal.export()
    if durable:
        data = place(journal).read_bytes()
        found = recovery.fmt.parse_definitions(data[4096 + 8192 :])
        assert found.identity is not None
        on_disk = place(journal).stat()
        assert on_disk.st_blocks * 512 >= on_disk.st_size
    else:
        found = fmt.parse_definitions(exported.records)
    assert {number: f"track/{n}" + "x" * (n % 200) for number, n in names.items()} | {long: "y" * 9000} == found.tracks
    assert {number: (f"field {n}", "value") for number, n in fields.items()} == found.names
    assert (exported.tracks, exported.names) == (501, 300)
    journal.close(remove=True)


def test_another_journal_can_take_definitions_and_numbers_over(tmp_path: Path) -> None:
    old = made(tmp_path)
    for number in range(100):
        old.define_track(f"track {number}")
    old.define_names(("value",))
    exported = old.export()
    old.close(remove=True)
    new = made(tmp_path)
    new.adopt(exported)
    assert new.define_track("next") == 101
    assert new.define_names(("more",)) == 2
    found = fmt.parse_definitions(place(new).read_bytes()[4096 + 8192 :])
    assert len(found.tracks) == 101
    assert found.names == {1: ("value",), 2: ("more",)}
    assert new.export().tracks == 101
    new.close(remove=True)


def test_a_definition_that_finds_no_room_raises_and_the_next_one_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = made(tmp_path)

    def fail(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("penstock._journal.file.allocate", fail)
        with pytest.raises(OSError, match="No space left"):  # noqa: PT012
            for _ in range(100):
                journal.define_track("x" * 200)
    number = journal.define_track("after")
    found = fmt.parse_definitions(place(journal).read_bytes()[4096 + 8192 :])
    assert found.tracks[number] == "after"
    assert [n for n in found.tracks if n < number] == list(range(1, number - 1)), "only the refused one is missing"
    journal.close(remove=True)


def test_allocating_without_posix_fallocate_writes_the_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.posix_fallocate", raising=False)
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    allocate(fd, 0, 3_000_000)
    found = os.fstat(fd)
    assert found.st_size == 3_000_000
    assert found.st_blocks * 512 >= found.st_size
    os.pwrite(fd, b"x", 2_999_999)
    allocate(fd, 1_000_000, 4_000_000)
    assert os.fstat(fd).st_size == 5_000_000
    assert os.pread(fd, 1, 2_999_999) == b"x", "what is there is not overwritten"
    os.close(fd)
