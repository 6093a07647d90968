"""Records of files: ids that do not repeat, places that stay inside the folder, documents that make no sense."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock._store import filerecords
from penstock._store.filerecords import FileIds, FileRecords, as_path, check_path, lies_under, place_of
from penstock._store.layout import RunFolder
from penstock.errors import DocumentError, NameRefusedError, NotStoredError


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "files").mkdir()
    return RunFolder(tmp_path)


def record(**changes: Any) -> dict[str, Any]:
    """A record as Dreamlake 0.2 wrote them."""
    return {
        "id": "7246000000000001",
        "sessionId": "vision/resnet50",
        "path": "/models",
        "filename": "model.pth",
        "description": None,
        "tags": [],
        "contentType": "application/octet-stream",
        "sizeBytes": 3,
        "checksum": "0" * 64,
        "metadata": None,
        "uploadedAt": "2025-12-15T10:00:00.000000Z",
        "updatedAt": "2025-12-15T10:00:00.000000Z",
        "deletedAt": None,
    } | changes


def store(folder: RunFolder, *records: Any, **further: Any) -> None:
    folder.files_document.write_bytes(msgspec.json.encode({"files": list(records)} | further))


def test_ids_are_decimal_and_as_long_as_dreamlakes() -> None:
    made = FileIds().new()
    assert made.isdecimal()
    assert len(made) == 16
    assert int(made) >> 12 > 1_700_000_000_000


def test_a_process_never_repeats_an_id_even_when_its_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = FileIds()
    many = [ids.new() for _ in range(20_000)]
    monkeypatch.setattr(filerecords, "now_ns", lambda: 10**18)
    many += [ids.new() for _ in range(10_000)]
    assert len(set(many)) == 30_000
    assert many == sorted(many, key=int)


def test_threads_never_get_the_same_id() -> None:
    ids, made = FileIds(), [[] for _ in range(8)]  # type: ignore[var-annotated]
    threads = [threading.Thread(target=lambda own=own: own.extend(ids.new() for _ in range(1000))) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({one for own in made for one in own}) == 8000


def test_an_id_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filerecords, "now_ns", lambda: 1_767_225_600_000_000_000)
    monkeypatch.setattr(os, "urandom", lambda _count: b"\x00\x10")
    first = 1_767_225_600_000 << 12 | 1
    assert FileIds().new() == str(first)
    assert FileIds().new({str(first), str(first + 1)}) == str(first + 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # pytest's own threads
def test_a_child_that_was_forked_in_the_middle_of_making_an_id_can_make_one() -> None:
    with filerecords._ids._lock:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if filerecords.new_id().isdecimal() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    ("given", "path"),
    [("/", "/"), ("", "/"), ("/models", "/models"), ("models", "/models"), ("/a/b/", "/a/b"), ("a/ü", "/a/ü")],
)
def test_a_path_has_one_spelling(given: str, path: str) -> None:
    assert check_path(given) == path


@pytest.mark.parametrize(
    "path", ["//", "/..", "../x", "/../../../../evil", "/a/./b", "/a//b", "/a\\b", "/a\0", "/CON", "///a"]
)
def test_a_path_that_leaves_the_folder_or_breaks_a_rule_is_refused(path: str) -> None:
    with pytest.raises(NameRefusedError):
        check_path(path)


@pytest.mark.parametrize("path", [None, 3, b"/a", Path("/a")], ids=repr)
def test_a_path_that_is_no_text_is_a_type_error(path: object) -> None:
    with pytest.raises(TypeError, match="path must be a str"):
        check_path(path)


def test_what_lies_under_a_path_is_told_by_whole_parts() -> None:
    assert lies_under("/models", "/models")
    assert lies_under("/models/a", "/models")
    assert lies_under("/models", "/")
    assert lies_under("/", "/")
    assert not lies_under("/models", "/mod")
    assert not lies_under("/", "/models")
    assert as_path("models/a/") == "/models/a"


@pytest.mark.parametrize(
    ("path", "filename"),
    [
        ("/", ".files_metadata.json"),
        ("/", ".FILES_METADATA.json"),
        ("/", ".files_metadata.json.corrupt-1"),
        ("/.files_metadata.json", "a"),
        ("/.deleted", "a"),
        ("/.Deleted/7", "a"),
        ("/", ".deleted"),
        ("/", ".upload.1-2-3.tmp"),
        ("/", "..files_metadata.json.1-2-3.tmp"),
    ],
)
def test_entries_of_our_own_are_refused_at_the_top_only(folder: RunFolder, path: str, filename: str) -> None:
    with pytest.raises(NameRefusedError, match="every run folder"):
        place_of(folder, path, filename)
    assert place_of(folder, "/x" + path, filename).is_relative_to(folder.files / "x")


@pytest.mark.parametrize("filename", ["../x", "..", "", "a/b", "/etc/passwd", "a\\b", "nul", "a."])
def test_a_record_cannot_lead_out_of_the_folder(folder: RunFolder, filename: str) -> None:
    store(folder, record(filename=filename))
    known = FileRecords(folder)
    with pytest.raises(NameRefusedError):
        known.bytes_of(known.records[0])
    store(folder, record(path="/../.."))
    known = FileRecords(folder)
    with pytest.raises(NameRefusedError):
        known.bytes_of(known.records[0])
    store(folder, record(id="../../x"))
    known = FileRecords(folder)
    for where in (known.bytes_of, known.aside_of):
        with pytest.raises(NameRefusedError):
            where(known.records[0])


def test_bytes_lie_where_they_were_put_by_us_or_by_dreamlake(folder: RunFolder) -> None:
    store(folder, record())
    known = FileRecords(folder)
    assert known.bytes_of(known.records[0]) == folder.files / "models" / "model.pth"
    legacy = folder.files / "models" / "7246000000000001" / "model.pth"
    legacy.parent.mkdir(parents=True)
    legacy.write_bytes(b"abc")
    assert known.bytes_of(known.records[0]) == legacy
    aside = folder.files / ".deleted" / "7246000000000001" / "model.pth"
    aside.parent.mkdir(parents=True)
    aside.write_bytes(b"abc")  # while it is replaced, and after a kill in the middle of that
    assert known.bytes_of(known.records[0]) == aside


def test_records_are_found_by_id_while_they_live_and_by_name_always(folder: RunFolder) -> None:
    store(folder, record(id="1", deletedAt="2026-01-01T00:00:00.000000Z"), record(id="2", path="models/"))
    known = FileRecords(folder)
    assert known.find("2")["id"] == "2"
    for missing in ("1", "3"):
        with pytest.raises(NotStoredError, match=f"No file with id '{missing}'"):
            known.find(missing)
    assert [one["id"] for one in known.named("/models", "model.pth")] == ["1", "2"]
    assert known.named("/", "model.pth") == []
    assert known.ids() == {"1", "2"}


def test_a_missing_document_has_no_records(folder: RunFolder) -> None:
    assert FileRecords(folder).records == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"files": {}}',
        b'{"files": [1]}',
        b'{"files": [{"id": "1"}]}',
        msgspec.json.encode({"files": [record(id=3)]}),
        msgspec.json.encode({"files": [record(sizeBytes="3")]}),
    ],
)
def test_a_document_that_makes_no_sense_is_kept_and_named(folder: RunFolder, raw: bytes) -> None:
    folder.files_document.write_bytes(raw)
    with pytest.raises(DocumentError, match=r"\.files_metadata\.json") as caught:
        FileRecords(folder)
    assert caught.value.kept_as is not None
    assert caught.value.kept_as.read_bytes() == folder.files_document.read_bytes() == raw


def test_what_this_version_does_not_know_is_kept(folder: RunFolder) -> None:
    store(folder, record(later=1), more=[2])
    FileRecords(folder).prepare().commit()
    assert msgspec.json.decode(folder.files_document.read_bytes()) == {"files": [record(later=1)], "more": [2]}


def test_a_place_is_free_unless_something_else_is_there(folder: RunFolder) -> None:
    store(folder, record())
    known = FileRecords(folder)
    assert known.check_free("/", "a.txt") == folder.files / "a.txt"
    (folder.files / "models").mkdir()
    (folder.files / "models" / "model.pth").write_bytes(b"abc")
    assert known.check_free("/models", "model.pth") == folder.files / "models" / "model.pth"
    with pytest.raises(NameRefusedError, match="is a file, so nothing can lie below it"):
        known.check_free("/models/model.pth/deeper", "x")
    with pytest.raises(NameRefusedError, match="is a folder"):
        known.check_free("/", "models")


def test_a_name_that_is_another_records_entry_on_a_disk_without_case_is_refused(folder: RunFolder) -> None:
    store(folder, record())
    known = FileRecords(folder)
    (folder.files / "models").mkdir()
    (folder.files / "models" / "model.pth").write_bytes(b"abc")
    if not _ignores_case(folder.files):
        (folder.files / "models" / "Model.pth").write_bytes(b"no upload")
        known.check_free("/models", "Model.pth")  # another file where the disk tells them apart
        os.link(folder.files / "models" / "model.pth", folder.files / "models" / "MODEL.pth")  # as if it did not
    with pytest.raises(NameRefusedError, match="only in case"):
        known.check_free("/models", "MODEL.pth")


def _ignores_case(folder: Path) -> bool:
    (folder / "probe").mkdir(exist_ok=True)
    return (folder / "PROBE").exists()
