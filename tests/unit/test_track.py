"""Handles of tracks: shapes of calls, batches that are checked before any of them is stored, columns of numpy,
reading back (case 61, 62).
"""

from __future__ import annotations

import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import FieldTypeError, FieldValueError, Session
from tests.faults import diskbooks


@pytest.fixture
def session(tmp_path: Path) -> Any:
    with Session("run", "w", local_path=tmp_path) as session:
        yield session


def data(session: Session, track: str = "t") -> list[dict[str, Any]]:
    session.flush("disk", timeout=20)
    return diskbooks.data(session.folder_path, track)


def test_the_handle_of_a_name_is_always_the_same(session: Session) -> None:
    assert session.track("t") is session.track("t")
    assert session.track("t") is not session.track("u")
    assert session.track("t").name == "t"


def test_a_value_by_position_is_the_field_value(session: Session) -> None:
    track = session.track("t")
    for place in range(3):
        track.append(0.5, step=place)
    track.append(1)
    track.append("text")
    track.append(None)
    assert data(session) == [
        *({"value": 0.5, "step": n} for n in range(3)),
        {"value": 1},
        {"value": "text"},
        {"value": None},
    ]


@pytest.mark.parametrize("compiled", [False, True])
def test_calls_that_make_no_sense_raise_a_type_error_and_store_nothing(session: Session, compiled: bool) -> None:
    track = session.track("t")
    if compiled:
        track.append(value=1.0)
    calls: list[Any] = [lambda: track.append(), lambda: track.append(1.0, value=2.0), lambda: track.append(1.0, 2.0)]  # type: ignore[call-arg]  # noqa: PLW0108
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert session.stats().appended == compiled


def test_shapes_may_change_from_call_to_call(session: Session) -> None:
    track = session.track("t")
    calls: list[dict[str, Any]] = [
        {"value": 1.0}, {"value": 2}, {"value": 1.5, "step": 1}, {"step": 1, "value": 1.5}, {"other": True},
        {"value": "x"},
        {"value": None}, {f"f{place}": float(place) for place in range(16)},
        {f"f{place}": place for place in range(17)},
        {"value": [1]}, {"value": np.float32(0.5), "step": np.int64(3)},
    ]  # fmt: skip
    for fields in calls * 3:
        track.append(**fields)
    expected = [
        {key: value.item() if isinstance(value, np.generic) else value for key, value in f.items()} for f in calls
    ]
    assert data(session) == expected * 3
    assert [type(point.get("value")) for point in data(session)[:2]] == [float, int]


def test_a_batch_may_be_any_iterable(session: Session) -> None:
    track = session.track("t")
    assert track.extend([{"value": 1.0}, {"value": "x", "n": None}]) == 2
    assert track.append_batch({"value": float(place)} for place in range(100)) == 100
    assert track.extend(iter([{"value": 2}])) == 1
    assert len(data(session)) == 103


BAD: list[tuple[Any, type[Exception]]] = [
    ({"value": object()}, FieldTypeError), ({"value": 2**64}, FieldValueError), ({}, TypeError), (3.0, FieldTypeError),
    ({"\ud800": 1.0}, FieldValueError), ({"x" * 2000: 1.0}, FieldValueError),
    ({"value": "y" * 4_000_000}, FieldValueError),
    ({1: 2.0}, TypeError), (None, FieldTypeError),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "error"), BAD, ids=[str(place) for place in range(len(BAD))])
def test_a_batch_with_one_bad_point_stores_none(session: Session, bad: Any, error: type[Exception]) -> None:
    track = session.track("t")
    with pytest.raises(error):
        track.extend([{"value": 1.0}, {"value": "text"}, bad])
    assert session.stats().appended == 0
    assert data(session) == []


def test_a_mapping_of_metrics_with_one_bad_value_stores_none(session: Session) -> None:
    for bad in (object(), 2**64, "y" * 4_000_000, {"deep": b"x"}):
        with pytest.raises((FieldTypeError, FieldValueError)):
            session.log({"a": 1.0, "b": bad}, step=1)
    with pytest.raises(ValueError, match="refused"):
        session.log({"a": 1.0, "../b": 2.0})
    with pytest.raises(TypeError, match="value was given twice"):
        session.log({"a": 1.0}, value=2.0)
    assert session.stats().appended == 0


@pytest.mark.parametrize("empty", [[], (), iter(())])
def test_an_empty_batch_is_refused(session: Session, empty: Any) -> None:
    with pytest.raises(ValueError, match="data_points cannot be empty"):
        session.track("t").extend(empty)
    with pytest.raises(ValueError, match="data_points cannot be empty"):
        session.track("t").append_batch(empty)


def test_a_batch_whose_iterable_raises_stores_none(session: Session) -> None:
    def points() -> Any:
        yield {"value": 1.0}
        raise OSError("made by the test")

    with pytest.raises(OSError, match="made by the test"):
        session.track("t").extend(points())
    assert session.stats().appended == 0


COLUMNS: list[tuple[Any, list[Any]]] = [
    (np.array([0.1, -0.0, np.inf]), [0.1, -0.0, "Infinity"]), (np.array([1, 2, 3]), [1, 2, 3]),
    (np.array([True, False, True]), [True, False, True]),
    (np.array([0.5, 0.25, 0.1], np.float32), [0.5, 0.25, float(np.float32(0.1))]),
    (np.array([1, 2, 255], np.uint8), [1, 2, 255]), (np.array([0.5, 1.5, 2.5], np.float16), [0.5, 1.5, 2.5]),
    (np.array(["a", "b", "c"]), ["a", "b", "c"]), (np.arange(6)[::2], [0, 2, 4]),
    (np.array([1, None, "x"], object), [1, None, "x"]),
    ([1, "x", None], [1, "x", None]), ((1.0, 2.0, 3.0), [1.0, 2.0, 3.0]), (range(3), [0, 1, 2]),
    (array.array("d", [1.5, 2.5, 3.5]), [1.5, 2.5, 3.5]),
    (np.array([2**63 - 1, -(2**63), 0]), [2**63 - 1, -(2**63), 0]),
]  # fmt: skip


@pytest.mark.parametrize(("column", "expected"), COLUMNS, ids=[str(place) for place in range(len(COLUMNS))])
def test_columns_are_stored_row_by_row_with_exact_values(session: Session, column: Any, expected: list[Any]) -> None:
    assert session.track("t").append_columns(value=column, step=np.arange(3)) == 3
    found = data(session)
    assert [repr(point["value"]) for point in found] == [repr(value) for value in expected]
    assert [point["step"] for point in found] == [0, 1, 2]


BAD_COLUMNS: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"a": [1, 2], "b": [1]}, ValueError), ({"a": np.zeros((2, 2))}, ValueError), ({"a": np.array(1.0)}, ValueError),
    ({"a": []}, ValueError), ({"a": np.array([])}, ValueError), ({}, TypeError), ({"a": "text"}, FieldTypeError),
    ({"a": 1.0}, FieldTypeError), ({"a": {"b": 1}}, FieldTypeError), ({"a": b"xy"}, FieldTypeError),
    ({"a": np.array([1j])}, FieldTypeError), ({"a": np.array([2**64 - 1], np.uint64)}, FieldValueError),
    ({"a": np.array(["2026-01-01"], "datetime64[D]")}, FieldTypeError), ({"a": [1.0, object()]}, FieldTypeError),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "error"), BAD_COLUMNS, ids=[str(place) for place in range(len(BAD_COLUMNS))])
def test_columns_that_make_no_sense_raise_and_store_nothing(
    session: Session, columns: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        session.track("t").append_columns(**columns)
    assert session.stats().appended == 0


def test_reading_pages_through_a_series(session: Session) -> None:
    track = session.track("t")
    track.append_columns(value=np.arange(25.0))
    page = track.read(start_index=10, limit=10)
    assert [point["data"]["value"] for point in page["data"]] == [float(place) for place in range(10, 20)]
    assert (page["startIndex"], page["endIndex"], page["total"], page["hasMore"]) == (10, 19, 10, True)
    page = track.read(start_index=20, limit=10)
    assert (page["endIndex"], page["total"], page["hasMore"]) == (24, 5, False)
    assert track.read(start_index=25)["data"] == []
    assert track.read(limit=0)["hasMore"] is True
    for wrong in ({"start_index": -1}, {"limit": -1}):
        with pytest.raises(ValueError, match="must not be negative"):
            track.read(**wrong)


def test_facts_about_a_track_are_kept(session: Session) -> None:
    session.track("t", description="a loss", tags=["x"], metadata={"unit": "nats"}).append(1.0)
    session.track("t", description="the loss")
    session.flush("disk", timeout=20)
    stats = session.track("t").stats()
    assert (stats["description"], stats["tags"], stats["metadata"]) == ("the loss", ["x"], {"unit": "nats"})
    assert (stats["name"], stats["totalDataPoints"]) == ("t", 1)
    assert stats["firstDataAt"] == stats["lastDataAt"] is not None


def test_the_last_time_is_right_also_behind_a_very_long_line(session: Session) -> None:
    track = session.track("t")
    track.append(value=0.0)
    session.flush("disk", timeout=20)
    track.append(value="x" * 200_000)
    last = track.read()["data"][-1]["createdAt"]
    session.flush("disk", timeout=20)
    assert track.stats()["lastDataAt"] == last
