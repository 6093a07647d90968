"""Uploads: where bytes and record end up, what is refused before anything is created, and what a failure leaves."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock import limits
from penstock._codec.times import parse_ns
from penstock._store import documents, fileblobs, fileshelf
from penstock._store.layout import RunFolder
from penstock.errors import (
    FieldTypeError,
    FieldValueError,
    FileRefusedError,
    NameRefusedError,
    NotStoredError,
)
from penstock.files import FilesBuilder
from tests.unit.gates import SetGate

DATA = b"weights" * 1000
KEYS = (
    *("id", "sessionId", "path", "filename", "description", "tags", "contentType", "sizeBytes", "checksum"),
    *("metadata", "uploadedAt", "updatedAt", "deletedAt"),
)


@pytest.fixture
def gate() -> SetGate:
    return SetGate()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.fixture
def files(folder: RunFolder, gate: SetGate) -> FilesBuilder:
    return FilesBuilder(folder, gate, "vision/resnet50")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pth"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    path = tmp_path / "dest"
    path.mkdir()
    return path


def stored(folder: RunFolder) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = msgspec.json.decode(folder.files_document.read_bytes())["files"]
    return records


def tree(folder: RunFolder) -> list[str]:
    """Every file below files/, without the document."""
    found = (path.relative_to(folder.files).as_posix() for path in folder.files.rglob("*") if path.is_file())
    return sorted(name for name in found if name != ".files_metadata.json")


# -- upload -----------------------------------------------------------------------------------------------------------
def test_an_upload_lies_at_its_path_and_has_a_record_of_the_specified_shape(
    files: FilesBuilder, folder: RunFolder, model: Path
) -> None:
    record = files.upload(model, path="/models", description="best", tags=["a", "b"], metadata={"epoch": 3})
    assert (folder.files / "models" / "model.pth").read_bytes() == DATA
    assert tree(folder) == ["models/model.pth"]
    assert stored(folder) == [record]
    assert tuple(record) == KEYS
    assert record["id"].isdecimal()
    assert record["uploadedAt"] == record["updatedAt"]
    parse_ns(record["uploadedAt"])
    expected = {
        "sessionId": "vision/resnet50",
        "path": "/models",
        "filename": "model.pth",
        "description": "best",
        "tags": ["a", "b"],
        "contentType": "application/octet-stream",
        "sizeBytes": len(DATA),
        "checksum": hashlib.sha256(DATA).hexdigest(),
        "metadata": {"epoch": 3},
        "deletedAt": None,
    }
    assert record.items() >= expected.items()
    assert model.read_bytes() == DATA


def test_an_upload_needs_a_file_only(files: FilesBuilder, folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"")
    record = files.upload(str(tmp_path / "notes.txt"))
    assert (record["path"], record["contentType"], record["sizeBytes"]) == ("/", "text/plain", 0)
    assert (record["description"], record["tags"], record["metadata"]) == (None, [], None)
    assert tree(folder) == ["notes.txt"]


def test_a_second_upload_of_a_name_replaces_bytes_and_record(
    files: FilesBuilder, folder: RunFolder, model: Path
) -> None:
    first = files.upload(model, path="/models")
    model.write_bytes(b"better")
    second = files.upload(model, path="models/")
    assert second["id"] != first["id"]
    assert files.list() == [second]
    assert stored(folder) == [second]
    assert (folder.files / "models" / "model.pth").read_bytes() == b"better"
    assert tree(folder) == ["models/model.pth"]
    with pytest.raises(NotStoredError):
        files.download(first["id"])


def test_the_same_filename_under_another_path_is_another_file(
    files: FilesBuilder, folder: RunFolder, model: Path
) -> None:
    for path in ("/", "/a", "/a/b"):
        files.upload(model, path=path)
    assert tree(folder) == ["a/b/model.pth", "a/model.pth", "model.pth"]
    assert len(files.list()) == 3


@pytest.mark.parametrize("source", ["missing.pth", ".", "model.pth/x"])
def test_what_is_no_file_is_refused_and_nothing_is_created(
    files: FilesBuilder, folder: RunFolder, model: Path, source: str
) -> None:
    message = "Path is not a file: " if source == "." else "File not found: "
    with pytest.raises(FileRefusedError, match=message):
        files.upload(model.parent / source)
    with pytest.raises(ValueError, match=message):
        files.upload(str(model.parent / source))
    assert not folder.path.exists()


def test_a_file_over_the_limit_is_refused(files: FilesBuilder, folder: RunFolder, model: Path) -> None:
    try:
        os.truncate(model, limits.FILE_BYTES + 1)
    except OSError:
        pytest.skip("the file system holds no file of 5 GB")
    with pytest.raises(FileRefusedError, match="exceeds 5GB limit"):
        files.upload(model)
    assert not folder.path.exists()


@pytest.mark.parametrize(
    "path", ["/../../../../evil", "..", "/a/../b", "//", "/a\0b", "/CON", "/.deleted", "/a\\..\\b", "/\ud800"]
)
def test_a_path_that_must_not_be_is_refused_and_nothing_is_created(
    files: FilesBuilder, folder: RunFolder, model: Path, path: str
) -> None:
    before = sorted(os.listdir(model.parent))
    with pytest.raises(NameRefusedError):
        files.upload(model, path=path)
    assert sorted(os.listdir(model.parent)) == before
    assert not folder.path.exists()


@pytest.mark.parametrize("filename", [".files_metadata.json", ".deleted", "nul.txt", " x", ".upload.1-2-3.tmp"])
def test_a_filename_that_must_not_be_is_refused(
    files: FilesBuilder, folder: RunFolder, tmp_path: Path, filename: str
) -> None:
    (tmp_path / filename).write_bytes(b"x")
    with pytest.raises(NameRefusedError):
        files.upload(tmp_path / filename)
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"path": None}, TypeError),
        ({"path": b"/a"}, TypeError),
        ({"description": 3}, FieldTypeError),
        ({"description": "\ud800"}, FieldValueError),
        ({"tags": "baseline"}, FieldTypeError),
        ({"tags": [1]}, FieldTypeError),
        ({"tags": 3}, FieldTypeError),
        ({"metadata": [1]}, FieldTypeError),
        ({"metadata": {"a": object()}}, FieldTypeError),
        ({"metadata": {1: 2}}, FieldTypeError),
        ({"metadata": {"a": 2**63}}, FieldValueError),
    ],
    ids=ascii,
)
def test_a_description_that_cannot_be_stored_is_refused_before_anything_is_created(
    files: FilesBuilder, folder: RunFolder, model: Path, given: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        files.upload(model, **given)
    assert not folder.path.exists()


@pytest.mark.parametrize("source", [None, 3, b"model.pth"], ids=repr)
def test_a_source_that_is_no_path_is_a_type_error(files: FilesBuilder, source: Any) -> None:
    with pytest.raises(TypeError):
        files.upload(source)


def test_files_and_folders_of_one_name_are_told_apart(files: FilesBuilder, folder: RunFolder, model: Path) -> None:
    files.upload(model, path="/a")
    (model.parent / "a").write_bytes(b"x")
    with pytest.raises(NameRefusedError, match="is a folder"):
        files.upload(model.parent / "a")
    with pytest.raises(NameRefusedError, match="is a file, so nothing can lie below"):
        files.upload(model, path="/a/model.pth/deeper")
    assert tree(folder) == ["a/model.pth"]
    assert len(files.list()) == 1


def test_non_finite_metadata_comes_back(files: FilesBuilder, folder: RunFolder, model: Path) -> None:
    record = files.upload(model, metadata={"best": float("inf"), "deep": [{"x": float("-inf")}]})
    assert record["metadata"] == {"best": float("inf"), "deep": [{"x": float("-inf")}]}
    assert files.list() == [record]
    assert stored(folder)[0]["metadata"] == {"best": "Infinity", "deep": [{"x": "-Infinity"}]}


def test_a_description_may_be_the_text_that_stands_for_a_float(files: FilesBuilder, model: Path) -> None:
    record = files.upload(model, description="NaN", tags=["Infinity"])
    assert (record["description"], record["tags"]) == ("NaN", ["Infinity"])
    assert files.list() == [record]


def test_a_stored_file_can_be_uploaded_again_as_itself(files: FilesBuilder, folder: RunFolder, model: Path) -> None:
    files.upload(model, path="/models")
    place = folder.files / "models" / "model.pth"
    again = files.upload(place, path="/models")
    assert place.read_bytes() == DATA
    files.delete(again["id"])
    once_more = files.upload(place, path="/models")
    assert place.read_bytes() == DATA
    assert tree(folder) == [f".deleted/{again['id']}/model.pth", "models/model.pth"]
    assert files.list() == [once_more]


def test_a_file_that_changes_while_it_is_read_is_refused(
    files: FilesBuilder, folder: RunFolder, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = files.upload(model)
    real = fileblobs._copy

    def copy(*args: Any, **options: Any) -> Any:
        copied = real(*args, **options)
        with model.open("ab") as file:
            file.write(b"more")
        return copied

    monkeypatch.setattr(fileblobs, "_copy", copy)
    with pytest.raises(FileRefusedError, match="changed while"):
        files.upload(model)
    assert files.list() == [first]
    assert (folder.files / "model.pth").read_bytes() == DATA
    assert tree(folder) == ["model.pth"]


def no_space(*_args: Any, **_options: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["document", "folders", "rename"])
def test_a_failure_on_the_way_leaves_the_earlier_upload_whole(
    files: FilesBuilder, folder: RunFolder, model: Path, dest: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    first = files.upload(model, path="/models")
    model.write_bytes(b"better")
    with monkeypatch.context() as broken:
        if what == "document":
            broken.setattr(documents.msgspec.json, "format", no_space)
        else:
            broken.setattr(fileshelf, {"folders": "make_folders", "rename": "place"}[what], no_space)
        with pytest.raises(OSError, match="No space left"):
            files.upload(model, path="/models")
    assert files.list() == [first]
    assert Path(files.download(first["id"], dest)).read_bytes() == DATA
    assert tree(folder) == ["models/model.pth"]
    assert files.upload(model, path="/models")["sizeBytes"] == 6


KILLED = """
import os, sys
from pathlib import Path
from penstock._store import fileshelf
from penstock._store.layout import RunFolder
from penstock.files import FilesBuilder
from tests.unit.gates import SetGate

where, run, source = sys.argv[1], RunFolder(Path(sys.argv[2])), sys.argv[3]
name = fileshelf.place
if where == "before the name":
    fileshelf.place = lambda *_paths: os._exit(9)
elif where == "before the record":
    fileshelf.place = lambda *paths: (name(*paths), os._exit(9))
elif where == "after the record":
    fileshelf.remove_with_folders = lambda *_paths: os._exit(9)
FilesBuilder(run, SetGate(), "w/s").upload(source, path="/models")
"""


@pytest.mark.parametrize("where", ["before the name", "before the record", "after the record"])
def test_a_kill_in_the_middle_of_a_replacement_leaves_one_upload_whole(
    files: FilesBuilder, folder: RunFolder, model: Path, dest: Path, where: str
) -> None:
    first = files.upload(model, path="/models")
    model.write_bytes(b"better")
    root = Path(__file__).parents[2]
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLED, where, str(folder.path), str(model)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert child.returncode == 9, child.stderr
    (record,) = files.list()
    assert (record["id"] == first["id"]) == (where != "after the record")
    data = b"better" if where == "after the record" else DATA
    assert Path(files.download(record["id"], dest)).read_bytes() == data
    if where != "after the record":
        files.delete(record["id"])  # the bytes that were recorded are the ones that are kept
        assert (folder.files / ".deleted" / first["id"] / "model.pth").read_bytes() == DATA
    last = files.upload(model, path="/models")
    assert Path(files.download(last["id"], dest)).read_bytes() == b"better"
    assert (folder.files / "models" / "model.pth").read_bytes() == b"better"


def test_the_next_upload_tidies_up_after_a_kill(
    files: FilesBuilder, folder: RunFolder, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = files.upload(model)
    aside = folder.files / ".deleted" / first["id"] / "model.pth"
    fileblobs.set_aside(folder.files / "model.pth", aside, keep=True)
    (folder.files / "model.pth").unlink()
    (folder.files / "model.pth").write_bytes(b"not recorded")
    model.write_bytes(b"newest")
    record = files.upload(model)
    assert files.list() == [record]
    assert sorted(os.listdir(folder.files)) == [".files_metadata.json", "model.pth"]
    assert (folder.files / "model.pth").read_bytes() == b"newest"


def test_an_upload_removes_what_killed_ones_left_long_ago(files: FilesBuilder, folder: RunFolder, model: Path) -> None:
    files.upload(model)
    for name in (".upload.1-2-3.tmp", ".upload.4-5-6.tmp"):
        (folder.files / name).write_bytes(b"half")
    os.utime(folder.files / ".upload.1-2-3.tmp", (1, 1))
    files.upload(model, path="/b")
    assert tree(folder) == [".upload.4-5-6.tmp", "b/model.pth", "model.pth"]


def test_threads_that_upload_at_once_all_get_their_records_in(folder: RunFolder, gate: SetGate, tmp_path: Path) -> None:
    def work(number: int) -> None:
        for name in ("same.bin", f"own-{number}.bin"):
            source = tmp_path / str(number) / name
            source.parent.mkdir(exist_ok=True)
            source.write_bytes(bytes([number]) * 100)
            FilesBuilder(folder, gate, "w/s").upload(source, path="/p")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    records = FilesBuilder(folder, gate, "w/s").list()
    assert len(records) == len({record["id"] for record in records}) == 9
    for record in records:
        data = (folder.files / "p" / record["filename"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == record["checksum"]
    assert len(tree(folder)) == 9


def test_a_run_folder_that_went_away_is_made_again(files: FilesBuilder, folder: RunFolder, model: Path) -> None:
    files.upload(model)
    folder.path.rename(folder.path.with_name("moved"))
    record = files.upload(model, path="/again")
    assert files.list() == [record]
