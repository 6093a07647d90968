"""Lines of data.jsonl and logs.jsonl: what the encoder writes is JSON to everybody, and comes back bit-equal
(reliability case 61).
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock._codec.lines import LineEncoder, encode_fields, encode_log, parse_log, parse_place, parse_point

T0 = 1_772_366_400_000_000_000
TEXTS = {"NaN", "Infinity", "-Infinity"}


def bits(value: Any) -> Any:
    return (type(value), struct.pack("<d", value)) if type(value) is float and not math.isnan(value) else repr(value)


def read(lines: bytes) -> list[Any]:
    assert lines.endswith(b"\n")
    for line in lines.splitlines():
        json.loads(line, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    found = [parse_point(line) for line in lines.splitlines()]
    assert all(found)
    return found


@given(st.lists(st.floats(width=64), min_size=1))
def test_floats_come_back_bit_equal(values: list[float]) -> None:
    lines = LineEncoder().points(("value",), range(len(values)), [T0] * len(values), [values])
    assert [bits(point.fields()["value"]) for point in read(lines)] == [bits(value) for value in values]


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none()), min_size=1))
def test_ints_bools_and_none_come_back_with_their_types(rows: list[tuple[int, bool, None]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)]
    lines = LineEncoder().points(("i", "b", "n"), range(len(rows)), [T0] * len(rows), columns)
    for point, row in zip(read(lines), rows, strict=True):
        assert [bits(value) for value in point.fields().values()] == [bits(value) for value in row]


@pytest.mark.parametrize("values", [[1e308, 1e308, -1.0], [math.inf, -math.inf], [math.nan], [-1e308] * 3])
def test_a_column_whose_sum_is_not_finite_is_looked_at_value_by_value(values: list[float]) -> None:
    lines = LineEncoder().points(("value",), range(len(values)), [T0] * len(values), [values])
    assert [bits(point.fields()["value"]) for point in read(lines)] == [bits(value) for value in values]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=16, unique=True))
def test_every_field_name_that_a_point_can_have_can_be_written(names: list[str]) -> None:
    lines = LineEncoder().points(tuple(names), [3], [T0], [[float(place)] for place in range(len(names))])
    (point,) = [json.loads(line) for line in lines.splitlines()]
    assert point["data"] == {name: float(place) for place, name in enumerate(names)}
    assert list(point["data"]) == names


@pytest.mark.parametrize("index", [0, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_indices_are_exact_beyond_what_a_float_holds(index: int) -> None:
    lines = LineEncoder().points(("value",), [index], [T0], [[0.5]])
    assert json.loads(lines)["index"] == index
    assert read(lines)[0].index == index


def test_a_line_has_the_shape_of_the_contract() -> None:
    encoder = LineEncoder()
    lines = encoder.points(("value", "epoch"), [0], [T0 + 1999], [[0.5], [1]])
    assert lines == b'{"index":0,"data":{"value":0.5,"epoch":1},"createdAt":"2026-03-01T12:00:00.000001Z"}\n'
    lines = encoder.general(
        [1], [T0], [encode_fields({"text": "ä\n", "nan": math.nan, "list": [math.inf, {"a": -0.0}]})]
    )
    assert lines.decode() == (
        '{"index":1,"data":{"text":"ä\\n","nan":"NaN","list":["Infinity",{"a":-0.0}]},'
        '"createdAt":"2026-03-01T12:00:00.000000Z"}\n'
    )
    payloads = [encode_log("info", "done", {"epoch": 1, "loss": math.nan}), encode_log("warn", "x", None)]
    assert [json.loads(line) for line in encoder.logs([4, 5], [T0, T0], payloads).splitlines()] == [
        {"sequenceNumber": 4, "timestamp": "2026-03-01T12:00:00.000000Z", "level": "info", "message": "done",
         "metadata": {"epoch": 1, "loss": "NaN"}},
        {"sequenceNumber": 5, "timestamp": "2026-03-01T12:00:00.000000Z", "level": "warn", "message": "x"},
    ]  # fmt: skip


def test_more_sets_of_names_than_are_kept_are_written_all_the_same() -> None:
    encoder = LineEncoder()
    for number in range(1100):
        lines = encoder.points((f"n{number}",), [0], [T0], [[1]])
        assert json.loads(lines)["data"] == {f"n{number}": 1}


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"null", b"3", b'{"index":0}', b'{"index":0,"data":[]}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_line_is_none(line: bytes) -> None:
    assert parse_point(line) is None
    assert parse_log(line) is None
    assert parse_place("sequenceNumber", line) is None
