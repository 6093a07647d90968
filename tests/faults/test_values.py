"""Reliability cases 61 and 62: every value comes back bit-equal or its append raises a documented error and stores
nothing; whatever ``append`` is called with, the books balance. Values are read back with the stdlib json module, and
with ``track.read``.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import random
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock import FieldTypeError, FieldValueError, Session
from tests.faults import diskbooks

BIG = "x" * 1_000_000
EXACT: list[Any] = [
    0.0, -0.0, 0.1, 1 / 3, 5e-324, 1e-320, 2.2250738585072014e-308, 1.7976931348623157e308, math.pi, -1e-5, 1e22,
    123456789.0,
    0, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), True, False, None, "", "text", "ä\u2028\n\0\"\\", "\U0001f600", BIG,
    [], {}, [1, 2.5, None, True, "x"], {"a": {"b": [1, {"c": -0.0}]}}, {"": 1}, {"a.b": 1}, [[[]]],
]  # fmt: skip
NON_FINITE = [math.nan, math.inf, -math.inf]
CONVERTED: list[tuple[Any, Any]] = [
    (np.float64(0.1), 0.1), (np.float32(0.1), float(np.float32(0.1))), (np.float16(1.5), 1.5),
    (np.longdouble(0.5), 0.5), (np.int8(-128), -128), (np.int16(5), 5), (np.int32(5), 5),
    (np.int64(-(2**63)), -(2**63)),
    (np.uint8(255), 255), (np.uint16(5), 5), (np.uint32(2**32 - 1), 2**32 - 1), (np.uint64(2**63 - 1), 2**63 - 1),
    (np.bool_(True), True), (np.str_("s"), "s"), (np.array(3), 3), (np.array(2.5), 2.5), (Fraction(1, 2), 0.5),
    (decimal.Decimal("0.25"), 0.25), ((1, 2), [1, 2]), ([np.float64(0.5), (np.int8(1),)], [0.5, [1]]),
]  # fmt: skip
REFUSED: list[tuple[Any, type[Exception]]] = [
    (2**63, FieldValueError), (-(2**63) - 1, FieldValueError), (10**5000, FieldValueError),
    (np.uint64(2**63), FieldValueError), ("\ud800", FieldValueError), ("a\udfffb", FieldValueError),
    ("NaN", FieldValueError),
    ("Infinity", FieldValueError), ({"k": "\ud800"}, FieldValueError), ({"\ud800": 1}, FieldValueError),
    ([2**64], FieldValueError), (object(), FieldTypeError), (b"bytes", FieldTypeError), (1j, FieldTypeError),
    ({1: 2}, FieldTypeError), ({1, 2}, FieldTypeError), (np.zeros(3), FieldTypeError),
    (np.zeros((2, 2)), FieldTypeError),
    (np.complex128(1), FieldTypeError), (np.datetime64("2026-01-01"), FieldTypeError),
    (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), FieldTypeError), (int, FieldTypeError), (iter([1]), FieldTypeError),
    ([[object()]], FieldTypeError), ("y" * 4_000_000, FieldValueError), (np.float64, FieldTypeError),
]  # fmt: skip


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and type(other) is float:
        return struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, list):
        return type(other) is list and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return type(other) is dict and list(one) == list(other) and all(map(same, one.values(), other.values()))
    return type(one) is type(other) and one == other


def stored(value: Any) -> Any:
    """What the file holds: text in place of what JSON cannot spell."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [stored(element) for element in value]
    if isinstance(value, dict):
        return {key: stored(element) for key, element in value.items()}
    return value


@pytest.fixture
def session(tmp_path: Path) -> Any:
    with Session("run", "w", local_path=tmp_path) as session:
        yield session


def back(session: Session, expected: list[Any]) -> None:
    """Both ways of reading give exactly these values of field ``value`` of track "t"."""
    session.flush("disk", timeout=30)
    on_disk = [data["value"] for data in diskbooks.data(session.folder_path, "t")]
    assert len(on_disk) == len(expected)
    for found, value in zip(on_disk, expected, strict=True):
        assert same(stored(value), found), f"{value!r:.80} is {found!r:.80} on disk"
    page = session.track("t").read(limit=10_000)
    for point, value in zip(page["data"], expected, strict=True):
        assert same(value, point["data"]["value"]), f"{value!r:.80} is read as {point['data']['value']!r:.80}"


@pytest.mark.parametrize("company", [{}, {"note": "text"}, {"step": 1}])
def test_values_come_back_bit_equal(session: Session, company: dict[str, Any]) -> None:
    track = session.track("t")
    expected = []
    for value in [
        *EXACT,
        *NON_FINITE,
        {"a": [math.nan, -math.inf]},
    ] * 2:  # twice: the general way, then the compiled one
        track.append(value=value, **company)
        expected.append(value)
    for value, plain in CONVERTED:
        track.append(value=value, **company)
        expected.append(plain)
    back(session, expected)


def test_a_track_of_floats_keeps_every_special_one(session: Session) -> None:
    track = session.track("t")
    expected = [float(value) for value in EXACT if type(value) is float] + NON_FINITE
    for value in expected * 50:
        track.append(value)
    back(session, expected * 50)


@pytest.mark.parametrize(("value", "error"), REFUSED, ids=[type(value).__name__ for value, _error in REFUSED])
@pytest.mark.parametrize("first", [True, False], ids=["first", "compiled"])
def test_a_value_that_cannot_be_kept_raises_and_stores_nothing(
    session: Session, value: Any, error: type[Exception], first: bool
) -> None:
    track = session.track("t")
    if not first:
        for _ in range(3):
            track.append(value=0.5, step=1)
    before = session.stats().appended
    with pytest.raises(error) as caught:
        track.append(value=value, step=1)
    assert "track 't'" in str(caught.value)
    if error is FieldTypeError:
        assert "value" in str(caught.value)
    assert session.stats().appended == before
    assert session.flush("disk", timeout=20).written == before
    track.append(value=1.5, step=2)
    assert session.flush("disk", timeout=20).written == before + 1
    assert diskbooks.data(session.folder_path, "t")[-1] == {"value": 1.5, "step": 2}


def test_what_a_values_own_conversion_raises_passes_through(session: Session) -> None:
    class Broken:
        def __float__(self) -> float:
            raise ArithmeticError("made by the test")

    track = session.track("t")
    track.append(value=1.0)
    with pytest.raises(ArithmeticError, match="made by the test"):
        track.append(value=Broken())
    back(session, [1.0])


@pytest.mark.parametrize(
    "name", ["type", "float", "int", "bool", "self", "value", "fields", "_p_index", "__debug__", "__class__",
    "class", "None", "é",
             'a"b', "a\\b", "a\nb", "", " ", "print", "crc32", "index", "a.b", "\u212b", "x" * 1024],
)  # fmt: skip
def test_every_field_name_works_the_first_time_and_compiled(session: Session, name: str) -> None:
    track = session.track("t")
    for place in range(4):
        track.append(**{name: float(place)})
    for place in range(4):
        track.append(**{name: place, "other": True})
    session.flush("disk", timeout=20)
    assert diskbooks.data(session.folder_path, "t") == [{name: float(place)} for place in range(4)] + [
        {name: place, "other": True} for place in range(4)
    ]


@pytest.mark.parametrize("name", ["\ud800", "x" * 1025])
def test_a_field_name_that_cannot_be_kept_raises_and_stores_nothing(session: Session, name: str) -> None:
    for value in (1.0, "text"):
        if value == "text" and len(name) > 1:
            continue  # long names are only refused where they would lie in the journal's definitions
        with pytest.raises(FieldValueError):
            session.track("t").append(**{name: value})
    assert session.stats().appended == 0


def test_points_whose_field_names_alternate_keep_their_order(session: Session) -> None:
    track = session.track("t")
    for place in range(200):
        track.append(**{("train", "val", "test")[place % 3]: float(place)})
    session.flush("disk", timeout=20)
    points = diskbooks.points(session.folder_path, "t")
    assert [next(iter(point["data"].values())) for point in points] == [float(place) for place in range(200)]
    assert [point["index"] for point in session.track("t").read()["data"]] == list(range(200))


# -- fuzz --------------------------------------------------------------------------------------------------------------

ALLOWED = (FieldTypeError, FieldValueError, TypeError)


def _random_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(16 if depth < 3 else 10)
    if kind < 3:
        return struct.unpack("<d", rng.randbytes(8))[0]
    if kind < 5:
        return rng.choice([rng.getrandbits(63), -rng.getrandbits(70), rng.getrandbits(8)])
    if kind < 9:
        return rng.choice([True, None, "", "text", "\ud800", "NaN", b"x", 1j, object(), np.float32(rng.random())])
    if kind == 9:
        return chr(rng.randrange(0x110000)) * rng.randrange(1, 30)
    if kind < 13:
        return [_random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(["a", "b", "\ud800", 1, ""]): _random_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def _fuzz(root: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    names = ["value", "step", "type", "epoch", "a b", "é", "_p_state", "", "\ud800", "self", "int"]
    stored_count = refused = 0
    with Session("run", "w", local_path=root, ring_bytes=1 << 16) as session:
        for number in range(count):
            track = session.track(f"t{rng.randrange(3)}")
            size = rng.choice([0, 1, 1, 1, 2, 2, 3, 17, 20])
            fields: dict[str, Any] = {rng.choice(names): _random_value(rng) for _ in range(size)}
            if size > 3 and rng.random() < 0.8:
                fields = {f"f{place}": rng.random() for place in range(size)}
            args = [_random_value(rng) for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2]))]
            try:
                track.append(*args, **fields)
            except ALLOWED:
                refused += 1
            else:
                stored_count += 1
            if number % 1000 == 999:
                diskbooks.balance(session.stats())
                assert session.stats().appended == stored_count
        receipt = session.flush("disk", timeout=60)
        diskbooks.balance(receipt)
        assert receipt.reached
        assert receipt.written == receipt.appended == stored_count
    assert diskbooks.counted(root / "w/run") == stored_count
    assert stored_count > count / 10
    assert refused > count / 10
    json.dumps(stored_count)


def test_a_fuzz_of_appends_raises_only_documented_errors_and_the_books_balance(tmp_path: Path) -> None:
    _fuzz(tmp_path, 20_000, seed=62)


@pytest.mark.long
def test_a_million_fuzzed_appends_raise_only_documented_errors(tmp_path: Path) -> None:
    for seed in range(10):
        _fuzz(tmp_path / str(seed), 100_000, seed)
