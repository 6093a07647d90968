"""The local sink on real files: short writes (reliability case 33), errors of write and fsync (31, 32), too many
files (35) and files removed under it (36). Errors of the system are put in by replacing the call in ``os``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock._sinks.local import LocalSink
from penstock._store import notices
from penstock._store.layout import RunFolder


@pytest.fixture(autouse=True)
def _fresh_notices() -> None:
    notices._process.reset()


def sink_of(tmp_path: Path, *, open_files: int = 8, suffix: str = "") -> LocalSink:
    return LocalSink(RunFolder(tmp_path / "run"), suffix, open_files=open_files, fsync=True)


def failing_once(call: Callable[..., Any], number: int) -> Callable[..., Any]:
    left = [1]

    def once(*args: Any) -> Any:
        if left:
            left.pop()
            raise OSError(number, os.strerror(number))
        return call(*args)

    return once


def test_chunks_are_appended_in_order_to_each_tracks_own_file(tmp_path: Path) -> None:
    sink = sink_of(tmp_path)
    for piece in (b"a\n", b"b\n"):
        assert sink.write("train/loss", piece) == 2
        assert sink.write("", b"log " + piece) == 6
    sink.close()
    assert sink.write("train/loss", b"c\n") == 2, "writing opens again"
    assert (tmp_path / "run/tracks/train/loss/data.jsonl").read_bytes() == b"a\nb\nc\n"
    assert (tmp_path / "run/logs/logs.jsonl").read_bytes() == b"log a\nlog b\n"
    other = sink_of(tmp_path, suffix="ff")
    other.write("train/loss", b"d\n")
    assert (tmp_path / "run/tracks/train/loss/data.ff.jsonl").read_bytes() == b"d\n"
    sink.close()
    other.close()


def test_many_tracks_share_few_descriptors(tmp_path: Path) -> None:
    sink = sink_of(tmp_path, open_files=4)
    before = len(os.listdir("/proc/self/fd"))
    for lap in range(2):
        for number in range(40):
            sink.write(f"t{number}", b"%d\n" % lap)
            assert sink.open_files <= 4
            assert len(os.listdir("/proc/self/fd")) <= before + 4
    assert sink.sync()
    sink.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert all((tmp_path / f"run/tracks/t{n}/data.jsonl").read_bytes() == b"0\n1\n" for n in range(40))


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr("os.write", lambda fd, data: write(fd, data[:7]))
    sink = sink_of(tmp_path)
    data = bytes(range(256)) * 3
    assert sink.write("t", data) == len(data)
    assert (tmp_path / "run/tracks/t/data.jsonl").read_bytes() == data
    sink.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EAGAIN, errno.EINTR, errno.EDQUOT, errno.EFBIG])
def test_a_refused_write_says_how_much_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    write = os.write
    taken = [3, 4]

    def partly(fd: int, data: Any) -> int:
        if not taken:
            raise OSError(number, os.strerror(number))
        return write(fd, data[: taken.pop()])

    sink = sink_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("os.write", partly)
        assert sink.write("t", b"0123456789") == 7
        with pytest.raises(OSError, match=os.strerror(number)):
            sink.write("t", b"789")
    assert sink.write("t", b"789") == 3
    assert (tmp_path / "run/tracks/t/data.jsonl").read_bytes() == b"0123456789"
    sink.close()


def test_an_fsync_error_is_no_success_until_the_bytes_were_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_of(tmp_path)
    sink.write("t", b"first\n")
    assert sink.sync()
    sink.write("t", b"second\n")
    again: list[tuple[bytes, int]] = []
    pwrite = os.pwrite

    def noting(fd: int, data: bytes, at: int) -> int:
        again.append((bytes(data), at))
        return pwrite(fd, data, at)

    monkeypatch.setattr("os.pwrite", noting)
    monkeypatch.setattr("os.fdatasync", failing_once(os.fdatasync, errno.EIO))
    assert not sink.sync()
    assert again == [(b"second\n", 6)], "the window that the kernel marked clean is dirty again"
    assert sink.dirty
    assert sink.sync()
    assert not sink.dirty
    assert (tmp_path / "run/tracks/t/data.jsonl").read_bytes() == b"first\nsecond\n"
    sink.close()


def test_a_folder_that_was_not_fsynced_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = failing_once(lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")), errno.EIO)
    monkeypatch.setattr("os.fsync", fsync)
    sink = sink_of(tmp_path)
    sink.write("t", b"1\n")
    assert not sink.sync()
    assert sink.sync()
    assert {Path(name).name for name in synced} >= {"t", "tracks"}, "all of them, the refused one at the second attempt"
    sink.close()


def test_a_file_system_that_cannot_fsync_folders_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("os.fsync", refuse)
    sink = sink_of(tmp_path)
    sink.write("t", b"1\n")
    assert sink.sync()
    sink.close()


def test_hundreds_of_files_whose_common_sync_fails_are_fsynced_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_of(tmp_path)
    for number in range(100):
        sink.write(f"t{number}", b"1\n")
    synced: list[str] = []
    monkeypatch.setattr("penstock._sinks.local._syncfs", lambda _folder: False, raising=False)
    monkeypatch.setattr("os.fdatasync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    assert sink.sync()
    assert len(synced) == 100
    sink.close()


def test_a_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    sink = sink_of(tmp_path)
    path = tmp_path / "run/tracks/t/data.jsonl"
    sink.write("t", b"gone\n")
    path.unlink()
    path.parent.rmdir()
    assert sink.write("t", b"new\n") == 4
    assert path.read_bytes() == b"new\n"
    assert sink.sync()
    sink.close()


def test_without_a_free_descriptor_the_sink_makes_do_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = sink_of(tmp_path)
    sink.write("a", b"1\n")
    sink.write("b", b"1\n")
    monkeypatch.setattr("os.open", failing_once(os.open, errno.EMFILE))
    assert sink.write("c", b"1\n") == 2
    assert sink.open_files == 1
    sink.close()
    monkeypatch.setattr("os.open", failing_once(os.open, errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        sink.write("d", b"1\n")
    assert sink.write("d", b"1\n") == 2
    sink.close()
