"""JSON documents: replaced whole or not at all, and never lost because they are corrupt."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock._store import documents
from penstock._store.documents import (
    open_temporary,
    prepare_document,
    read_document,
    replace_document,
    sweep_temporaries,
)
from penstock.errors import DocumentError

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and resource limits")
SOURCE = Path(documents.__file__).parents[2]
CORRUPT = {
    "empty": b"",
    "blank": b" \n",
    "torn": b'{"a": 1, "b": [1, 2',
    "list": b"[1]",
    "text": b'"a"',
    "null": b"null",
    "two documents": b"{}{}",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "surrogate bytes": b'{"a": "\xed\xa0\x80"}',
    "zeros": bytes(100),
    "torn with NaN": b'{"a": NaN, "b": ',
    "list with NaN": b"[NaN]",
    "deep": b'{"a":' + b"[" * 100_000,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session.json"


def test_a_document_is_read_as_it_was_written(path: Path) -> None:
    value = {"name": "größe", "tags": ["a"], "n": 2**63 - 1, "x": 5e-324, "z": -0.0, "none": None, "e": {}}
    replace_document(path, value)
    assert read_document(path) == value
    assert math.copysign(1, read_document(path)["z"]) == -1  # type: ignore[index]
    assert list(read_document(path) or {}) == list(value)


def test_a_document_is_indented_text_that_ends_with_a_newline(path: Path) -> None:
    replace_document(path, {"a": 1, "b": {"c": [1, 2]}, "d": {}})
    text = '{\n  "a": 1,\n  "b": {\n    "c": [\n      1,\n      2\n    ]\n  },\n  "d": {}\n}\n'
    assert path.read_bytes() == text.encode()


def test_a_missing_document_is_none(tmp_path: Path) -> None:
    assert read_document(tmp_path / "missing.json") is None
    assert read_document(tmp_path / "no folder" / "missing.json") is None


def test_a_document_can_be_read_as_a_struct(path: Path) -> None:
    class Named(msgspec.Struct):
        name: str

    replace_document(path, Named("a"))
    assert read_document(path, Named) == Named("a")
    replace_document(path, {"name": 3})
    with pytest.raises(DocumentError, match="name"):
        read_document(path, Named)


def test_non_finite_floats_are_written_as_text_and_never_as_null(path: Path) -> None:
    replace_document(path, {"a": math.nan, "b": [math.inf, -math.inf]})
    assert read_document(path) == {"a": "NaN", "b": ["Infinity", "-Infinity"]}


def test_bare_nan_as_dreamlake_wrote_it_is_read(path: Path) -> None:
    path.write_text('{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN"}')
    value = read_document(path)
    assert value is not None
    assert math.isnan(value["a"])
    assert (value["b"], value["c"]) == ([math.inf, -math.inf], "NaN")


@pytest.mark.parametrize("raw", CORRUPT.values(), ids=CORRUPT)
def test_a_corrupt_document_is_kept_aside_and_the_error_names_both_files(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    with pytest.raises(DocumentError) as caught:
        read_document(path)
    kept = path.with_name("session.json.corrupt-1")
    assert (caught.value.path, caught.value.kept_as) == (path, kept)
    assert str(path) in str(caught.value)
    assert str(kept) in str(caught.value)
    assert kept.read_bytes() == path.read_bytes() == raw


def test_the_same_corrupt_bytes_are_kept_aside_once_and_other_bytes_again(path: Path) -> None:
    for raw, name in [(b"one", "corrupt-1"), (b"one", "corrupt-1"), (b"two", "corrupt-2"), (b"one", "corrupt-1")]:
        path.write_bytes(raw)
        with pytest.raises(DocumentError) as caught:
            read_document(path)
        assert str(caught.value.kept_as).endswith(name)
    assert sorted(os.listdir(path.parent)) == ["session.json", "session.json.corrupt-1", "session.json.corrupt-2"]


def test_a_corrupt_document_that_cannot_be_copied_is_still_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"{")
    real_fsync = os.fsync

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DocumentError) as caught:
        read_document(path)
    monkeypatch.setattr(os, "fsync", real_fsync)
    assert caught.value.kept_as is None
    assert os.listdir(path.parent) == ["session.json"]


def test_trouble_other_than_corruption_is_an_os_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match="session"):
        read_document(path)
    with pytest.raises(OSError, match="session"):
        replace_document(path, {"a": 1})
    assert os.listdir(path.parent) == ["session.json"]


@pytest.mark.parametrize(
    "value",
    [{"a": object()}, {"a": "\ud800"}, {(1, 2): 1}, {"a": [1, {"b": 1j}]}],
    ids=["object", "surrogate", "key", "deep"],
)
def test_a_value_that_json_cannot_hold_leaves_the_old_document(path: Path, value: Any) -> None:
    replace_document(path, {"a": 1})
    with pytest.raises((TypeError, ValueError)):
        replace_document(path, value)
    assert read_document(path) == {"a": 1}
    assert os.listdir(path.parent) == ["session.json"]


def test_a_missing_folder_is_an_error_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_document(tmp_path / "gone" / "session.json", {})
    assert os.listdir(tmp_path) == []


def test_a_prepared_document_changes_nothing_until_it_is_committed(path: Path) -> None:
    replace_document(path, {"a": 1})
    prepare_document(path, {"a": 2}).discard()
    assert read_document(path) == {"a": 1}
    assert os.listdir(path.parent) == ["session.json"]
    pending = prepare_document(path, {"a": 3})
    assert read_document(path) == {"a": 1}
    pending.commit()
    assert read_document(path) == {"a": 3}
    assert os.listdir(path.parent) == ["session.json"]


@posix_only
def test_the_mode_follows_the_umask(path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace_document(path, {})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_document_and_its_folder_are_fsynced(
    path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    order: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(fd: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")
        real_fsync(fd)

    def replace(source: Any, target: Any) -> None:
        order.append("rename")
        real_replace(source, target)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("tells files from folders in /proc")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    replace_document(path, {"a": 1}, durable=durable)
    assert order == (["file", "rename", "folder"] if durable else ["rename"])


def test_a_temporary_file_left_by_a_killed_process_is_not_in_the_way(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter([7, 8])
    monkeypatch.setattr(documents, "_counter", numbers)
    left = path.with_name(f".session.json.{os.getpid()}-{threading.get_ident()}-7.tmp")
    left.write_bytes(b"half")
    replace_document(path, {"a": 1})
    assert read_document(path) == {"a": 1}
    assert left.read_bytes() == b"half"


def test_only_old_temporary_files_are_swept(path: Path) -> None:
    folder = path.parent
    old = [open_temporary(folder, stem) for stem in ("upload", ".files_metadata.json")]
    young = open_temporary(folder, "session.json")
    for fd, _ in (*old, young):
        os.close(fd)
    others = ["model.pth", ".hidden", ".a.tmp", "a.1-2-3.tmp", ".a.1-2.tmp"]
    for name in others:
        (folder / name).write_bytes(b"x")
    for name in (*others, *(temporary.name for _, temporary in old)):
        os.utime(folder / name, (1, 1))
    sweep_temporaries(folder)
    assert sorted(os.listdir(folder)) == sorted([*others, young[1].name])
    sweep_temporaries(folder / "missing")


def test_many_threads_that_replace_at_once_leave_one_whole_document_and_no_litter(path: Path) -> None:
    def work(number: int) -> None:
        for _ in range(10):
            replace_document(path, {"by": number, "fill": "x" * 5000}, durable=False)
            assert read_document(path) is not None

    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert os.listdir(path.parent) == ["session.json"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from penstock._store.documents import replace_document
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    replace_document(path, {"fill": "x" * 10_000})
except OSError as error:
    print("OSError", error.errno)
"""


@posix_only
def test_a_disk_that_fills_up_leaves_the_old_document_and_no_litter(path: Path) -> None:
    replace_document(path, {"a": 1})
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(path)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert child.stdout == f"OSError {errno.EFBIG}\n", child.stderr
    assert read_document(path) == {"a": 1}
    assert os.listdir(path.parent) == ["session.json"]
