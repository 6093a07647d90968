"""Files of a run: upload, list, download, update, delete: what a user sees, and every bad input."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock._codec.times import parse_ns
from penstock._store import fileshelf
from penstock._store.layout import RunFolder
from penstock.errors import (
    ChecksumError,
    ClosedError,
    DocumentError,
    FieldTypeError,
    FileRefusedError,
    NameRefusedError,
    NotStoredError,
    WriteProtectedError,
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


# -- list -------------------------------------------------------------------------------------------------------------
def test_a_list_is_filtered_by_whole_parts_of_the_path_and_by_any_tag(files: FilesBuilder, model: Path) -> None:
    assert files.list() == []
    names = {}
    for path, tags in [("/", ["x"]), ("/models", ["a", "b"]), ("/models/old", ["b"]), ("/mod", [])]:
        names[files.upload(model, path=path, tags=tags)["id"]] = path

    def paths(**filters: Any) -> list[str]:
        return [names[record["id"]] for record in files.list(**filters)]

    assert paths() == paths(path="/") == ["/", "/models", "/models/old", "/mod"]
    assert paths(path="/models") == paths(path="models/") == ["/models", "/models/old"]
    assert paths(path="/mod") == ["/mod"]
    assert paths(path="/missing") == []
    assert paths(tags=["b", "x"]) == ["/", "/models", "/models/old"]
    assert paths(path="/models", tags=["a"]) == ["/models"]
    assert paths(tags=[]) == []
    with pytest.raises(FieldTypeError):
        files.list(tags="a")
    with pytest.raises(NameRefusedError):
        files.list(path="/..")


# -- download ---------------------------------------------------------------------------------------------------------
def test_a_download_goes_to_a_file_into_a_folder_or_here(
    files: FilesBuilder, model: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = files.upload(model, path="/models")["id"]
    assert files.download(file_id=file_id, dest_path=dest / "new" / "copy.pth") == str(dest / "new" / "copy.pth")
    assert files.download(file_id=file_id, dest_path=str(dest)) == str(dest / "model.pth")
    monkeypatch.chdir(dest / "new")
    assert files.download(file_id=file_id) == "model.pth"
    for path in (dest / "new" / "copy.pth", dest / "model.pth", dest / "new" / "model.pth"):
        assert path.read_bytes() == DATA
    assert sorted(os.listdir(dest / "new")) == ["copy.pth", "model.pth"]


def test_damaged_bytes_are_not_given_out_and_replace_nothing(
    files: FilesBuilder, folder: RunFolder, model: Path, dest: Path
) -> None:
    record = files.upload(model)
    (folder.files / "model.pth").write_bytes(DATA[:-1] + b"!")
    (dest / "model.pth").write_bytes(b"precious")
    with pytest.raises(ChecksumError, match="does not match its sha256"):
        files.download(record["id"], dest)
    with pytest.raises(ValueError, match=record["checksum"]):
        files.download(record["id"], dest / "other.pth")
    assert os.listdir(dest) == ["model.pth"]
    assert (dest / "model.pth").read_bytes() == b"precious"


def test_a_file_that_is_replaced_while_it_is_downloaded_is_not_called_damaged(
    files: FilesBuilder, model: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = files.upload(model)
    real = fileshelf.copy_out

    def replaced_meanwhile(source: Path, folder: Path) -> Any:
        model.write_bytes(b"newer")
        files.upload(model)
        return real(source, folder)

    monkeypatch.setattr(fileshelf, "copy_out", replaced_meanwhile)
    with pytest.raises(NotStoredError):
        files.download(record["id"], dest)
    assert os.listdir(dest) == []


def test_missing_bytes_are_named(files: FilesBuilder, folder: RunFolder, model: Path, dest: Path) -> None:
    record = files.upload(model)
    (folder.files / "model.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"bytes of file .* are missing at .*model\.pth"):
        files.download(record["id"], dest)
    assert os.listdir(dest) == []


def test_a_record_that_leads_elsewhere_is_not_followed(
    files: FilesBuilder, folder: RunFolder, model: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = files.upload(model)
    (dest / "here").mkdir()
    monkeypatch.chdir(dest / "here")
    for changes in ({"filename": "../escaped"}, {"path": "/../.."}, {"path": "/.deleted"}):
        folder.files_document.write_bytes(msgspec.json.encode({"files": [record | changes]}))
        with pytest.raises(NameRefusedError):
            files.download(record["id"])
    assert os.listdir(dest) == ["here"]
    assert os.listdir(dest / "here") == []


# -- update and delete ------------------------------------------------------------------------------------------------
def test_an_update_changes_what_is_given_and_nothing_else(files: FilesBuilder, folder: RunFolder, model: Path) -> None:
    record = files.upload(model, description="d", tags=["a"], metadata={"k": 1})
    unchanged = files.update(record["id"])
    assert {**unchanged, "updatedAt": ""} == {**record, "updatedAt": ""}
    changed = files.update(file_id=record["id"], description="new")
    assert (changed["description"], changed["tags"], changed["metadata"]) == ("new", ["a"], {"k": 1})
    assert changed["updatedAt"] >= record["updatedAt"]
    changed = files.update(record["id"], tags=("b", "c"), metadata={"x": float("inf")})
    assert (changed["description"], changed["tags"], changed["metadata"]) == ("new", ["b", "c"], {"x": float("inf")})
    changed = files.update(record["id"], description=None, tags=[], metadata=None)
    assert (changed["description"], changed["tags"], changed["metadata"]) == (None, [], None)
    assert changed["uploadedAt"] == record["uploadedAt"]
    assert files.list() == [changed]
    assert stored(folder) == [changed]


def test_an_update_that_cannot_be_stored_changes_nothing(files: FilesBuilder, model: Path) -> None:
    record = files.upload(model, tags=["a"])
    for given in ({"tags": "ab"}, {"description": 3}, {"metadata": {"a": object()}}):
        with pytest.raises(FieldTypeError):
            files.update(record["id"], **given)  # type: ignore[arg-type]
    assert files.list() == [record]


def test_a_deleted_file_is_hidden_and_its_bytes_stay(
    files: FilesBuilder, folder: RunFolder, model: Path, dest: Path
) -> None:
    record = files.upload(model, path="/models")
    gone = files.delete(file_id=record["id"])
    assert list(gone) == ["id", "deletedAt"]
    assert gone["id"] == record["id"]
    parse_ns(gone["deletedAt"])
    assert files.list() == []
    assert tree(folder) == ["models/model.pth"]
    assert stored(folder)[0]["deletedAt"] == gone["deletedAt"]
    for call in (files.delete, files.update, lambda one: files.download(one, dest)):
        with pytest.raises(NotStoredError):
            call(record["id"])


def test_deleted_bytes_make_room_for_an_upload_of_the_same_name(
    files: FilesBuilder, folder: RunFolder, model: Path, dest: Path
) -> None:
    deleted = []
    for data in (b"one", b"two", b"three"):
        model.write_bytes(data)
        deleted.append(files.upload(model, path="/models"))
        assert sorted(os.listdir(folder.files))[:1] == ([".deleted"] if len(deleted) > 1 else [".files_metadata.json"])
        files.delete(deleted[-1]["id"])
    model.write_bytes(b"live")
    live = files.upload(model, path="/models")
    for record, data in zip(deleted, (b"one", b"two", b"three"), strict=True):
        assert (folder.files / ".deleted" / record["id"] / "model.pth").read_bytes() == data
    assert files.list() == [live]
    assert Path(files.download(live["id"], dest)).read_bytes() == b"live"
    model.write_bytes(b"newer")
    files.upload(model, path="/models")
    assert len(tree(folder)) == 4
    assert len(stored(folder)) == 4


def test_bytes_of_a_live_file_are_never_moved_aside_for_a_deleted_one(
    files: FilesBuilder, folder: RunFolder, model: Path
) -> None:
    first = files.upload(model)
    files.delete(first["id"])
    files.upload(model)
    (folder.files / ".deleted" / first["id"] / "model.pth").unlink()  # somebody made room by hand
    files.upload(model)
    assert tree(folder) == ["model.pth"]


@pytest.mark.parametrize("operation", ["download", "update", "delete"])
def test_a_file_id_must_be_given_and_known(files: FilesBuilder, model: Path, operation: str) -> None:
    files.upload(model)
    call: Callable[..., Any] = getattr(files, operation)
    for missing in ({}, {"file_id": None}, {"file_id": ""}):
        with pytest.raises(ValueError, match=f"file_id is required for {operation}\\(\\) operation"):
            call(**missing)
    with pytest.raises(FileNotFoundError, match="No file with id '123'"):
        call(file_id="123")


# -- documents, other writers, other modes ----------------------------------------------------------------------------
@pytest.mark.parametrize("raw", [b"", b'{"files": [', b'{"files": [{"id": "1"}]}'])
def test_corrupt_records_stop_every_call_and_are_never_replaced(
    files: FilesBuilder, folder: RunFolder, model: Path, raw: bytes
) -> None:
    record = files.upload(model)
    folder.files_document.write_bytes(raw)
    model.write_bytes(b"newer")
    for call in (
        lambda: files.upload(model),
        files.list,
        lambda: files.update(record["id"]),
        lambda: files.delete("1"),
    ):
        with pytest.raises(DocumentError) as caught:
            call()
        assert caught.value.kept_as is not None
        assert caught.value.kept_as.read_bytes() == raw
    assert folder.files_document.read_bytes() == raw
    assert (folder.files / "model.pth").read_bytes() == DATA
    assert tree(folder) == [".files_metadata.json.corrupt-1", "model.pth"]


def dreamlake_upload(folder: RunFolder, file_id: str, data: bytes) -> None:
    """What Dreamlake 0.2 leaves behind after ``upload("model.pth", path="/models")``."""
    place = folder.files / "models" / file_id / "model.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    record = {
        "id": file_id,
        "sessionId": "vision/resnet50",
        "path": "/models/",
        "filename": "model.pth",
        "description": None,
        "tags": ["old"],
        "contentType": "application/octet-stream",
        "sizeBytes": len(data),
        "checksum": hashlib.sha256(data).hexdigest(),
        "metadata": None,
        "uploadedAt": "2025-12-15T10:00:00.000000Z",
        "updatedAt": "2025-12-15T10:00:00.000000Z",
        "deletedAt": None,
    }
    folder.files_document.write_bytes(msgspec.json.encode({"files": [record]}))


def test_files_of_dreamlake_are_read_and_replaced(
    files: FilesBuilder, folder: RunFolder, model: Path, dest: Path
) -> None:
    dreamlake_upload(folder, "7246000000000001", b"from dreamlake")
    assert [record["id"] for record in files.list(path="/models", tags=["old"])] == ["7246000000000001"]
    assert Path(files.download("7246000000000001", dest)).read_bytes() == b"from dreamlake"
    record = files.upload(model, path="/models")
    assert files.list() == [record]
    assert tree(folder) == ["models/model.pth"]
    assert not (folder.files / "models" / "7246000000000001").exists()


def test_a_deleted_file_of_dreamlake_stays_where_it_is(files: FilesBuilder, folder: RunFolder, model: Path) -> None:
    dreamlake_upload(folder, "7246000000000001", b"from dreamlake")
    files.delete("7246000000000001")
    files.upload(model, path="/models")
    assert tree(folder) == ["models/7246000000000001/model.pth", "models/model.pth"]


def test_a_closed_session_refuses_everything_and_a_protected_one_each_write(
    files: FilesBuilder, folder: RunFolder, model: Path, dest: Path, gate: SetGate
) -> None:
    record = files.upload(model)
    before = folder.files_document.read_bytes()
    gate.protected = True
    writes: list[Callable[[], Any]] = [
        lambda: files.upload(model, path="/b"),
        lambda: files.update(record["id"], tags=["x"]),
        lambda: files.delete(record["id"]),
    ]
    for call in writes:
        with pytest.raises(WriteProtectedError):
            call()
    assert files.list() == [record]
    assert files.download(record["id"], dest)
    gate.closed = True
    for call in (*writes, files.list, lambda: files.download(record["id"], dest)):
        with pytest.raises(ClosedError):
            call()
    assert folder.files_document.read_bytes() == before


def test_a_disabled_session_accepts_everything_stores_nothing_and_reads_no_file(
    gate: SetGate, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dest)
    files = FilesBuilder(None, gate, "w/s")
    record = files.upload("missing.pth", path="models", description="d", tags=["a"], metadata={"k": 1})
    assert (record["path"], record["filename"], record["sizeBytes"], record["checksum"]) == (
        "/models",
        "missing.pth",
        0,
        "",
    )
    assert (record["description"], record["tags"], record["metadata"]) == ("d", ["a"], {"k": 1})
    assert files.list() == []
    assert files.update(record["id"], tags=["b"])["tags"] == ["b"]
    assert files.delete(record["id"])["id"] == record["id"]
    assert files.download(record["id"], "x") == "x"
    assert os.listdir(dest) == []
    gate.closed = True
    with pytest.raises(ClosedError):
        files.upload("missing.pth")


@pytest.mark.anyio
async def test_the_async_twins_do_the_same(files: FilesBuilder, model: Path, dest: Path) -> None:
    record = await files.aupload(model, path="/models", description="d", tags=["a"], metadata={"k": 1})
    assert await files.alist(path="/models", tags=["a"]) == [record]
    assert await files.adownload(record["id"], dest) == str(dest / "model.pth")
    changed = await files.aupdate(record["id"], tags=[])
    assert (changed["description"], changed["tags"], changed["metadata"]) == ("d", [], {"k": 1})
    assert (await files.adelete(record["id"]))["id"] == record["id"]
    assert await files.alist() == []
    with pytest.raises(FileRefusedError):
        await files.aupload(dest)
