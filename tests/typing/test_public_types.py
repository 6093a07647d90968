"""What a type checker sees of the public API: `make type` reads this file strictly, and the tests run it.

`assert_type` fails in mypy when a type changes; a `type: ignore` that is no longer needed fails there too, so the
calls that must be refused stay refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import pytest

from penstock import Session
from penstock.records import Point, Receipt, SessionStats, TrackPage


def test_the_calls_of_a_session_have_the_types_that_the_documentation_gives(tmp_path: Path) -> None:
    with Session(name="typed", workspace="types", local_path=tmp_path, tags=["a"]) as session:
        assert_type(session, Session)
        assert_type(session.folder_path, Path)
        session.parameters().set(lr=1e-3, model={"depth": 50})
        assert_type(session.parameters().get(), dict[str, Any])
        track = session.track("train/loss")
        track.append(value=0.5, step=1)
        track.append(0.25, step=2)
        receipt = session.flush("disk", timeout=30)
        assert_type(receipt, Receipt)
        assert_type(receipt.appended, int)
        page = track.read(start_index=0, limit=10)
        assert_type(page, TrackPage)
        assert_type(page["data"], list[Point])
        assert_type(session.stats(), SessionStats)
        assert [point["data"] for point in page["data"]] == [{"value": 0.5, "step": 1}, {"value": 0.25, "step": 2}]


def test_a_durability_level_that_does_not_exist_is_refused_by_checker_and_call(tmp_path: Path) -> None:
    with Session("typed", "types", local_path=tmp_path) as session, pytest.raises(ValueError, match="moon"):
        session.flush("moon")  # type: ignore[arg-type]


def test_a_session_needs_a_name_and_a_workspace() -> None:
    with pytest.raises(TypeError):
        Session(workspace="types")  # type: ignore[call-arg]


def test_the_package_says_that_it_is_typed() -> None:
    import penstock

    assert (Path(penstock.__path__[0]) / "py.typed").is_file()
