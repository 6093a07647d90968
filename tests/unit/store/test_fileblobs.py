"""The bytes of files: whole copies with the right digest, or no copy at all."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock import limits
from penstock._store import fileblobs
from penstock._store.fileblobs import copy_in, copy_out, make_folders, place, put_back, remove_with_folders, set_aside
from penstock.errors import FileRefusedError

SOURCE = Path(fileblobs.__file__).parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.pth"
    path.write_bytes(b"weights" * 1000)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    return path


@pytest.mark.parametrize("size", [0, 1, limits.COPY_BYTES - 1, limits.COPY_BYTES, 2 * limits.COPY_BYTES + 3])
def test_a_copy_has_the_bytes_their_number_and_their_digest(source: Path, folder: Path, size: int) -> None:
    data = os.urandom(size)
    source.write_bytes(data)
    for copied in (copy_in(source, folder), copy_out(source, folder)):
        assert copied.path.read_bytes() == data
        assert copied.size_bytes == size
        assert copied.checksum == hashlib.sha256(data).hexdigest()
        assert copied.path.parent == folder
        assert copied.path.name.startswith(".upload.")


def changing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], Any]) -> None:
    """Let ``change`` happen between the reading of the last block and the second look at the file."""
    real = fileblobs._copy

    def copy(*args: Any, **options: Any) -> Any:
        copied = real(*args, **options)
        change()
        return copied

    monkeypatch.setattr(fileblobs, "_copy", copy)


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
def test_a_file_that_changes_while_it_is_read_is_refused_and_leaves_no_copy(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    def now() -> None:
        if change == "grow":
            with source.open("ab") as file:
                file.write(b"more")
        elif change == "shrink":
            os.truncate(source, 10)
        else:
            os.utime(source, (1, 1))

    changing(monkeypatch, now)
    with pytest.raises(FileRefusedError, match=r"changed while it was being read: .*model\.pth"):
        copy_in(source, folder)
    assert os.listdir(folder) == []


def test_what_is_no_readable_regular_file_is_refused(source: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileRefusedError, match=r"File not found: .*missing"):
        copy_in(tmp_path / "missing", folder)
    with pytest.raises(FileRefusedError, match="File not found: "):
        copy_in(source / "below a file", folder)
    with pytest.raises(FileRefusedError, match="Path is not a file: "):
        copy_in(tmp_path, folder)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileRefusedError, match=r"Path is not a file: .*pipe"):  # and does not wait for a writer
            copy_in(tmp_path / "pipe", folder)
    assert os.listdir(folder) == []


def test_a_file_over_the_limit_is_refused_before_it_is_read(source: Path, folder: Path) -> None:
    try:
        os.truncate(source, limits.FILE_BYTES + 1)  # sparse: takes no space
    except OSError:
        pytest.skip("the file system holds no file of 5 GB")
    with pytest.raises(FileRefusedError, match="exceeds 5GB limit"):
        copy_in(source, folder)
    assert os.listdir(folder) == []


def test_a_file_that_grows_over_the_limit_while_it_is_read_is_refused(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fileblobs, "COPY_BYTES", 100)
    monkeypatch.setattr(fileblobs, "FILE_BYTES", 7000)
    real = fileblobs.write_all

    def grows(write: Any, data: Any) -> None:
        real(write, data)
        with source.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(fileblobs, "write_all", grows)
    with pytest.raises(FileRefusedError, match="exceeds"):
        copy_in(source, folder)
    assert os.listdir(folder) == []


def test_a_link_is_copied_as_the_file_it_leads_to(source: Path, folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest.pth"
    try:
        link.symlink_to(source)
    except OSError:
        pytest.skip("no symbolic links here")
    copied = copy_in(link, folder)
    assert not copied.path.is_symlink()
    assert copied.path.read_bytes() == source.read_bytes()


def test_a_copy_is_placed_over_what_has_its_name(source: Path, folder: Path) -> None:
    (folder / "model.pth").write_bytes(b"old")
    place(copy_in(source, folder).path, folder / "model.pth")
    assert (folder / "model.pth").read_bytes() == source.read_bytes()
    assert os.listdir(folder) == ["model.pth"]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_setting_aside_makes_the_folders_and_can_be_undone(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, keep: bool, links: bool
) -> None:
    if not links:

        def refuse(*_names: Path) -> None:
            raise PermissionError(errno.EPERM, "no hard links on this file system")

        monkeypatch.setattr(os, "link", refuse)
    aside = folder / ".deleted" / "7" / "model.pth"
    set_aside(source, aside, keep=keep)
    assert source.exists() == (keep and links)
    assert aside.stat().st_size == 7000
    put_back(aside, source, folder)
    assert source.stat().st_size == 7000
    assert os.listdir(folder) == ([] if keep and links else [".deleted"])
    put_back(aside, source, folder)
    assert source.stat().st_size == 7000


def test_putting_back_undoes_a_replacement(source: Path, folder: Path) -> None:
    aside = folder / ".deleted" / "7" / "model.pth"
    set_aside(source, aside, keep=True)
    (folder / "new").write_bytes(b"new")
    place(folder / "new", source)
    assert aside.stat().st_size == 7000
    put_back(aside, source, folder)
    assert source.stat().st_size == 7000
    assert not aside.exists()


def test_folders_are_made_where_no_file_is_in_the_way(source: Path, folder: Path) -> None:
    make_folders(folder / "a" / "b")
    make_folders(folder / "a" / "b")
    assert (folder / "a" / "b").is_dir()
    with pytest.raises(NotADirectoryError, match=r"model\.pth is a file where a folder is needed"):
        make_folders(source / "a")


def test_folders_are_removed_with_their_last_file_only(folder: Path) -> None:
    inner = folder / ".deleted" / "7"
    inner.mkdir(parents=True)
    (inner / "a").write_bytes(b"")
    (inner / "b").write_bytes(b"")
    remove_with_folders(inner / "a", folder)
    assert os.listdir(inner) == ["b"]
    remove_with_folders(inner / "missing", folder)
    assert os.listdir(inner) == ["b"]
    remove_with_folders(inner / "b", folder)
    assert os.listdir(folder) == []
    assert folder.is_dir()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from penstock._store.fileblobs import copy_in
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    copy_in(Path(sys.argv[1]), Path(sys.argv[2]))
except OSError as error:
    print("OSError")
"""


@pytest.mark.skipif(os.name == "nt", reason="resource limits")
def test_a_disk_that_fills_up_leaves_no_half_of_a_copy(source: Path, folder: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(source), str(folder)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert child.stdout == "OSError\n", child.stderr
    assert os.listdir(folder) == []


def test_memory_does_not_grow_with_the_file(source: Path, folder: Path) -> None:
    import tracemalloc

    os.truncate(source, 32 * limits.COPY_BYTES)
    copy_out(source, folder)  # hashlib is loaded
    tracemalloc.start()
    try:
        copy_out(source, folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * limits.COPY_BYTES
