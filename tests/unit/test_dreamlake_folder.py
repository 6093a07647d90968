"""A run folder as Dreamlake 0.2 wrote it (contracts/dreamlake.md, 1.2 and 1.3, built by hand) opens here, and is
continued: indices, sequence numbers and parameters go on, and what was created then stays created then.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock import Session
from tests.faults import diskbooks

CREATED = "2025-12-01T08:00:00.123456Z"
UPDATED = "2025-12-02T09:00:00.654321Z"


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def put_lines(path: Path, lines: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "vision" / "resnet"
    put(run / "session.json", {
        "name": "resnet", "workspace": "vision", "description": "old", "tags": ["baseline"], "folder": "/2025",
        "metadata": {"k": 1}, "created_at": CREATED, "write_protected": False,
    })  # fmt: skip
    put(run / "parameters.json", {"version": 2, "data": {"lr": 0.1, "model.depth": 50}, "updatedAt": UPDATED})
    put_lines(run / "logs/logs.jsonl", [
        {"sequenceNumber": 0, "timestamp": CREATED, "level": "info", "message": "start"},
        {"sequenceNumber": 1, "timestamp": UPDATED, "level": "debug", "message": "m", "metadata": {"epoch": 1}},
    ])  # fmt: skip
    (run / "logs/.log_sequence").write_text("2")
    put_lines(run / "tracks/loss/data.jsonl", [
        {"index": place, "data": {"value": 0.5 + place, "epoch": place}, "createdAt": CREATED} for place in range(3)
    ])  # fmt: skip
    put(run / "tracks/loss/metadata.json", {
        "trackId": "local-track-loss", "name": "loss", "description": "d", "tags": ["t"], "metadata": None,
        "totalDataPoints": 3, "nextIndex": 3, "createdAt": CREATED, "updatedAt": UPDATED,
    })  # fmt: skip
    for lock in (".session.lock", ".parameters.lock", "logs/.log_sequence.lock", "tracks/loss/.track.lock"):
        (run / lock).touch()
    put(run / "files/.files_metadata.json", {"files": []})
    return run


def test_it_opens_and_everything_is_continued(tmp_path: Path, run: Path) -> None:
    with Session("resnet", "vision", local_path=tmp_path) as session:
        assert (session.description, session.tags, session.folder, session.metadata) == (
            "old",
            ["baseline"],
            "/2025",
            {"k": 1},
        )
        assert [point["data"]["epoch"] for point in session.track("loss").read()["data"]] == [0, 1, 2]
        assert session.track("loss").stats()["description"] == "d"
        session.track("loss").append(value=3.5, epoch=3)
        session.log("more")
        session.parameters().set(lr=0.2)
        assert session.parameters().get() == {"lr": 0.2, "model.depth": 50}
        assert session.files().list() == []
    assert [point["index"] for point in diskbooks.points(run, "loss")] == [0, 1, 2, 3]
    assert diskbooks.data(run, "loss")[-1] == {"value": 3.5, "epoch": 3}
    assert [line["sequenceNumber"] for line in diskbooks.log_lines(run)] == [0, 1, 2]
    document = json.loads((run / "session.json").read_text())
    assert document["created_at"] == CREATED
    assert document["updated_at"] > UPDATED
    track = json.loads((run / "tracks/loss/metadata.json").read_text())
    assert (track["createdAt"], track["nextIndex"], track["totalDataPoints"], track["tags"]) == (CREATED, 4, 4, ["t"])
    parameters = json.loads((run / "parameters.json").read_text())
    assert parameters["version"] == 3
    assert parameters["createdAt"] == UPDATED, (
        "0.2 dropped createdAt at the second write: the oldest time known stands in"
    )


def test_what_is_written_here_has_the_shapes_that_dreamlake_reads(tmp_path: Path) -> None:
    with Session("new", "vision", local_path=tmp_path, tags=["x"]) as session:
        session.track("loss").append(value=0.5, epoch=1)
        session.log("m", epoch=1)
        session.parameters().set(model={"depth": 50})
    run = tmp_path / "vision/new"
    assert list(json.loads((run / "tracks/loss/data.jsonl").read_text())) == ["index", "data", "createdAt"]
    assert list(json.loads((run / "logs/logs.jsonl").read_text())) == [
        "sequenceNumber", "timestamp", "level", "message", "metadata",
    ]  # fmt: skip
    assert {"version", "data", "createdAt", "updatedAt"} == json.loads((run / "parameters.json").read_text()).keys()
    assert {
        "name",
        "workspace",
        "description",
        "tags",
        "folder",
        "metadata",
        "created_at",
        "write_protected",
    } <= json.loads((run / "session.json").read_text()).keys()
    assert json.loads((run / "tracks/loss/metadata.json").read_text()).keys() == {
        "trackId", "name", "description", "tags", "metadata", "totalDataPoints", "nextIndex", "createdAt", "updatedAt",
    }  # fmt: skip


def test_a_torn_last_line_and_a_lost_sequence_file_do_not_matter(tmp_path: Path, run: Path) -> None:
    (run / "logs/.log_sequence").unlink()
    with (run / "tracks/loss/data.jsonl").open("a") as file:
        file.write('{"index": 3, "data": {"val')
    with Session("resnet", "vision", local_path=tmp_path) as session:
        session.track("loss").append(value=9.0)
        session.log("more")
    assert [point["index"] for point in diskbooks.points(run, "loss")] == [0, 1, 2, 3]
    assert diskbooks.data(run, "loss")[-1] == {"value": 9.0}
    assert diskbooks.log_lines(run)[-1]["sequenceNumber"] == 2
