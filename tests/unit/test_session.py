"""A session in its three synchronous styles: opened, closed, reopened and continued (reliability case 11 in part, and
contracts/dreamlake.md 1.1).
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from penstock import (
    ConfigError,
    Session,
    Status,
    with_session,
)
from tests.faults import diskbooks


def make(tmp_path: Path, name: str = "run", **more: Any) -> Session:
    return Session(name, "w", local_path=tmp_path, **more)


def document(tmp_path: Path, name: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "w" / name / "session.json").read_text())
    return found


def test_nothing_is_created_before_open(tmp_path: Path) -> None:
    session = make(tmp_path / "root", description="d", tags=["a"])
    assert not (tmp_path / "root").exists()
    assert (session.name, session.workspace, session.description, session.tags) == ("run", "w", "d", ["a"])
    assert session.status is Status.PENDING


def test_the_three_styles_store_the_same(tmp_path: Path) -> None:
    session = make(tmp_path, "direct")
    assert session.open() is session
    session.track("t").append(value=1.0)
    session.close()
    with make(tmp_path, "block") as session:
        session.track("t").append(value=1.0)

    @with_session("decorated", "w", local_path=tmp_path)
    def train(factor: float, session: Session) -> float:
        """Its docstring."""
        session.track("t").append(value=factor)
        return 2 * factor

    assert train(1.0) == 2.0
    assert train.__name__ == "train"
    assert train.__doc__ == "Its docstring."
    for name in ("direct", "block", "decorated"):
        assert diskbooks.data(tmp_path / "w" / name, "t") == [{"value": 1.0}]
        assert document(tmp_path, name)["status"] == "done"
        assert diskbooks.journals(tmp_path / "w" / name) == []


def test_opening_and_closing_twice_does_nothing_more(tmp_path: Path) -> None:
    session = make(tmp_path)
    session.close()
    assert session.open() is session.open()
    session.track("t").append(1.0)
    session.close()
    session.close()
    assert len(diskbooks.points(tmp_path / "w/run", "t")) == 1


def test_an_exception_passes_through_and_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), make(tmp_path) as session:  # noqa: PT012
        session.track("t").append(1.0)
        1 / 0  # noqa: B018
    found = document(tmp_path)
    assert found["status"] == "error"
    assert found["exit"]["exception"]["type"] == "ZeroDivisionError"
    assert "1 / 0" in found["exit"]["exception"]["traceback"]
    assert session.status is Status.ERROR
    assert len(diskbooks.points(tmp_path / "w/run", "t")) == 1


def test_a_decorated_function_without_the_parameter_is_called_without_it(tmp_path: Path) -> None:
    @with_session("run", "w", local_path=tmp_path)
    def train(value: int) -> int:
        return value + 1

    assert train(1) == 2
    assert document(tmp_path)["status"] == "done"


def test_a_decorated_function_that_raises_leaves_status_error(tmp_path: Path) -> None:
    @with_session("run", "w", local_path=tmp_path)
    def train(**more: Any) -> None:
        more["session"].log("before")
        raise KeyError("made by the test")

    with pytest.raises(KeyError):
        train()
    assert document(tmp_path)["status"] == "error"
    assert [line["message"] for line in diskbooks.log_lines(tmp_path / "w/run")] == ["before"]


def test_a_generator_cannot_be_decorated() -> None:
    with pytest.raises(TypeError, match="generator"):

        @with_session("run", "w")
        def train() -> Any:
            yield 1


def test_each_call_of_a_decorated_function_continues_the_run(tmp_path: Path) -> None:
    @with_session("run", "w", local_path=tmp_path)
    def train(session: Session) -> None:
        session.track("t").append(1.0)

    for _ in range(3):
        train()
    assert [point["index"] for point in diskbooks.points(tmp_path / "w/run", "t")] == [0, 1, 2]


def test_a_reopened_name_is_continued(tmp_path: Path) -> None:
    for lap in range(3):
        with make(tmp_path) as session:
            session.track("t").append(value=float(lap))
            session.log(f"lap {lap}")
            session.parameters().set({f"p{lap}": lap})
            assert session.track("t").stats()["totalDataPoints"] == lap + 1
    run = tmp_path / "w/run"
    assert [(p["index"], p["data"]["value"]) for p in diskbooks.points(run, "t")] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert [line["sequenceNumber"] for line in diskbooks.log_lines(run)] == [0, 1, 2]
    assert json.loads((run / "parameters.json").read_text())["data"] == {"p0": 0, "p1": 1, "p2": 2}
    metadata = json.loads((run / "tracks/t/metadata.json").read_text())
    assert (metadata["totalDataPoints"], metadata["nextIndex"], metadata["trackId"]) == (3, 3, "local-track-t")


def test_the_same_object_can_be_opened_again(tmp_path: Path) -> None:
    session = make(tmp_path)
    for lap in range(3):
        with session:
            session.track("t").append(value=lap)
    assert [data["value"] for data in diskbooks.data(tmp_path / "w/run", "t")] == [0, 1, 2]


def test_what_is_given_replaces_what_is_stored_and_the_rest_stays(tmp_path: Path) -> None:
    with make(tmp_path, description="first", tags=["a", "b"], folder="/f", metadata={"k": 1}):
        created = document(tmp_path)["created_at"]
    with make(tmp_path, description="second") as session:
        assert (session.description, session.tags, session.folder, session.metadata) == (
            "second",
            ["a", "b"],
            "/f",
            {"k": 1},
        )
    with make(tmp_path, tags=[]) as session:
        session.update(metadata={"m": 2})
        assert session.metadata == {"m": 2}
    found = document(tmp_path)
    assert (found["description"], found["tags"], found["folder"], found["metadata"]) == ("second", [], "/f", {"m": 2})
    assert found["created_at"] == created
    assert {"name", "workspace", "write_protected", "updated_at"} <= found.keys()


def test_a_session_cannot_be_pickled(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Open the same name"):
        pickle.dumps(make(tmp_path))


def test_keywords_that_are_no_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="flush_intervall"):
        make(tmp_path, flush_intervall=1)
    with pytest.raises(ConfigError):
        make(tmp_path, ring_bytes=1)
