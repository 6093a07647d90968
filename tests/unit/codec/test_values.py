"""Values: what is taken and what it becomes, what is refused and how that is said, and that floats come back."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import math
import struct
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import limits
from penstock._codec.values import from_stored, plain, scalar, text, to_stored
from penstock.errors import FieldTypeError, FieldValueError

FLOATS = st.floats(allow_nan=False) | st.sampled_from(
    [-0.0, 5e-324, -5e-324, 1e-320, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1e16, 1e22, 2.0**63]
)
INTS = st.integers(limits.INT_MIN, limits.INT_MAX) | st.sampled_from([limits.INT_MIN, limits.INT_MAX, 2**53 + 1])
TEXTS = st.text().filter(lambda value: value not in {"NaN", "Infinity", "-Infinity"})
SCALARS = FLOATS | st.floats() | INTS | st.booleans() | st.none() | TEXTS
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def bits(tree: Any) -> Any:
    """A tree that is equal only if types are and floats have the same bits (one NaN is as good as another)."""
    if type(tree) is float:
        return "nan" if math.isnan(tree) else struct.pack("<d", tree)
    if type(tree) is list:
        return [bits(element) for element in tree]
    if type(tree) is dict:
        return {key: bits(value) for key, value in tree.items()}
    return (type(tree), tree)


def through_json(tree: Any) -> Any:
    return from_stored(msgspec.json.decode(msgspec.json.encode(to_stored(plain("t", "x", tree)))))


@given(TREES)
def test_every_value_comes_back_bit_equal_through_json(tree: Any) -> None:
    assert bits(through_json(tree)) == bits(tree)


@pytest.mark.parametrize(
    "value",
    [-0.0, 0.0, 5e-324, 1e-320, 2**63 - 1, -(2**63), math.inf, -math.inf, math.nan, 1e22, 0.1, 2**53 + 1, True, None],
    ids=repr,
)
def test_the_edges_come_back_bit_equal_with_their_types(value: Any) -> None:
    assert bits(through_json(value)) == bits(value)
    assert bits(through_json({"a": [value]})) == bits({"a": [value]})
    if value == value and value is not None and type(value) is float:
        assert struct.pack("<d", through_json(value)) == struct.pack("<d", value)


class Level(enum.IntEnum):
    HIGH = 3


class Name(str):
    __slots__ = ()


class Weight(float):
    __slots__ = ()


class Count(int):
    __slots__ = ()

    def __int__(self) -> int:
        return -1


class Colour(enum.StrEnum):
    RED = "red"


class OnlyFloat:
    def __float__(self) -> float:
        return 1.5


class OnlyIndex:
    def __index__(self) -> int:
        return 7


class FloatTensor:
    """As tensors of some libraries: both protocols, and the wrong one fails when it is called."""

    def __index__(self) -> int:
        raise TypeError("only integer tensors of a single element can be converted to an index")

    def __float__(self) -> float:
        return 2.5


class Shaped:
    """What array libraries have in common, for the cases that numpy cannot show."""

    def __init__(self, shape: Any, item: Any) -> None:
        self.shape = shape
        self._item = item

    def item(self) -> Any:
        return self._item

    def __float__(self) -> float:
        raise AssertionError("item() is exact and silent; float() may warn")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (Level.HIGH, 3),
        (Count(5), 5),
        (Weight(0.5), 0.5),
        (Name("a"), "a"),
        (Colour.RED, "red"),
        (OnlyFloat(), 1.5),
        (OnlyIndex(), 7),
        (FloatTensor(), 2.5),
        (fractions.Fraction(1, 4), 0.25),
        (decimal.Decimal("0.5"), 0.5),
        (decimal.Decimal("-Infinity"), -math.inf),
        (Shaped((), 0.25), 0.25),
        (Shaped([], 4), 4),
        (Shaped((), True), True),
        ("nan", "nan"),
        ("", ""),
    ],
    ids=repr,
)
def test_kin_of_the_plain_types_become_plain(value: object, stored: object) -> None:
    for result in (scalar("t", "x", value), plain("t", "x", value)):
        assert result == stored
        assert type(result) is type(stored)


def test_bool_stays_bool_and_does_not_become_int() -> None:
    assert scalar("t", "x", True) is True
    assert plain("t", "x", [False])[0] is False


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ((1, 2.5, "a"), [1, 2.5, "a"]),
        ([(1,), {"a": ()}], [[1], {"a": []}]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (namedtuple("Pair", "x y")(1, 2), [1, 2]),  # noqa: PYI024
        ({Name("k"): {Colour.RED: Level.HIGH}}, {"k": {"red": 3}}),
        ([OnlyFloat(), None, True], [1.5, None, True]),
    ],
    ids=repr,
)
def test_containers_become_lists_and_dicts_of_plain_values(value: object, stored: object) -> None:
    result = plain("t", "x", value)
    assert bits(result) == bits(stored)


def test_keys_keep_their_order_and_become_plain_text() -> None:
    result = plain("t", "x", {Name("z"): 1, "a": 2})
    assert list(result) == ["z", "a"]
    assert all(type(key) is str for key in result)


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (b"a", "bytes"),
        (bytearray(b"a"), "bytearray"),
        (1j, "complex"),
        ({1}, "set"),
        (frozenset(), "frozenset"),
        (dt.date(2026, 1, 1), "datetime.date"),
        (dt.timedelta(1), "datetime.timedelta"),
        (Path("a"), "Path"),
        (object(), "object"),
        (float, "type"),
        (range(3), "range"),
        (Shaped((), b"raw"), "Shaped holding bytes"),
        (Shaped((), 1j), "Shaped holding complex"),
    ],
    ids=repr,
)
def test_other_types_are_refused_with_where_field_and_type(value: object, type_name: str) -> None:
    with pytest.raises(FieldTypeError) as caught:
        scalar("train/loss", "value", value)
    assert (caught.value.where, caught.value.field) == ("train/loss", "value")
    assert type_name in caught.value.type_name
    with pytest.raises(FieldTypeError, match=r"train/loss: field 'a\.b\[2\]' has a value of type"):
        plain("train/loss", "a", {"b": [0, 1, value]})


def test_lists_and_dicts_are_no_scalars() -> None:
    for value in ([1], {"a": 1}, (1,)):
        with pytest.raises(FieldTypeError):
            scalar("t", "x", value)


@pytest.mark.parametrize(
    "value", [Shaped((3,), 0), Shaped((1,), 0), Shaped((2, 2), 0)], ids=lambda value: str(value.shape)
)
def test_an_array_is_refused_with_the_way_out(value: Shaped) -> None:
    with pytest.raises(FieldTypeError, match=r"of shape .*append_columns\(\).*tolist\(\).*item\(\)"):
        plain("t", "x", value)


@pytest.mark.parametrize("key", [1, None, (1,), b"a"], ids=repr)
def test_keys_that_are_no_text_are_refused(key: object) -> None:
    with pytest.raises(FieldTypeError, match=r"field 'x\.a' .*key of type .*keys must be str"):
        plain("t", "x", {"a": {key: 1}})


def test_two_keys_with_one_text_are_refused_rather_than_one_of_them_lost() -> None:
    class Strange(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            return self is other

    with pytest.raises(FieldValueError, match="same text"):
        plain("t", "x", {"a": 1, Strange("a"): 2})


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, 10**5000, Count(2**64)], ids=["2**63", "-2**63-1", "huge", "sub"]
)
def test_ints_outside_64_bits_are_refused(value: int) -> None:
    with pytest.raises(FieldValueError, match="outside 64 bits"):
        scalar("t", "x", value)
    with pytest.raises(FieldValueError, match=r"'x\[0\]'"):
        plain("t", "x", [value])


@pytest.mark.parametrize("value", ["\ud800", "a\udfffb", "é\udc80"], ids=ascii)
def test_lone_surrogates_are_refused_in_values_and_keys(value: str) -> None:
    for tree in (value, [value], {value: 1}, {"k": {value: 1}}):
        with pytest.raises(FieldValueError, match="lone surrogate"):
            plain("t", "x", tree)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", Name("NaN")])
def test_the_texts_that_stand_for_floats_are_refused_as_text_but_not_as_keys(value: str) -> None:
    with pytest.raises(FieldValueError, match="stands for a float"):
        plain("t", "x", {"a": [value]})
    assert bits(through_json({value: 1})) == bits({str(value): 1})


@pytest.mark.parametrize("value", ["NAN", "inf", "Infinity ", "+Infinity"])
def test_texts_that_only_resemble_them_are_text(value: str) -> None:
    assert through_json(value) == value


def nested(levels: int) -> Any:
    tree: Any = 1
    for level in range(levels):
        tree = [tree] if level % 2 else {"k": tree}
    return tree


def test_the_depth_of_nesting_has_a_limit() -> None:
    deepest = nested(limits.DEPTH)
    assert plain("t", "x", deepest) == deepest
    with pytest.raises(FieldValueError, match="levels deep"):
        plain("t", "x", nested(limits.DEPTH + 1))


def test_a_value_that_contains_itself_is_refused() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    table: dict[str, Any] = {}
    table["self"] = {"again": table}
    for value in (ring, table):
        with pytest.raises(FieldValueError, match="contains itself"):
            plain("t", "x", value)


def test_what_a_value_raises_itself_passes_through() -> None:
    class Broken:
        def __float__(self) -> float:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        plain("t", "x", [Broken()])


def test_a_value_too_large_for_a_float_does_not_become_infinite() -> None:
    with pytest.raises(FieldValueError, match="too large"):
        scalar("t", "x", decimal.Decimal("1e400"))


def test_a_list_that_its_own_element_changes_is_stored_as_it_was() -> None:
    values: list[Any] = []

    class Grows:
        def __float__(self) -> float:
            values.append(self)
            return 1.0

    values += [Grows(), Grows()]
    assert plain("t", "x", values) == [1.0, 1.0]


def test_a_tree_without_non_finite_floats_is_given_back_itself() -> None:
    tree = plain("t", "x", {"a": [1, 2.5, {"b": "x"}], "c": None})
    assert to_stored(tree) is tree
    assert from_stored(tree) is tree


def test_the_translation_does_not_change_the_tree_it_is_given() -> None:
    tree = {"a": [1.0, math.inf], "b": {"c": -math.inf}, "d": [2]}
    stored = to_stored(tree)
    assert stored == {"a": [1.0, "Infinity"], "b": {"c": "-Infinity"}, "d": [2]}
    assert tree == {"a": [1.0, math.inf], "b": {"c": -math.inf}, "d": [2]}
    assert stored["d"] is tree["d"]
    assert from_stored(stored) == tree
    assert stored["a"] == [1.0, "Infinity"]


def test_text_takes_text_only() -> None:
    assert text("session", "description", "déjà vu NaN") == "déjà vu NaN"
    assert text("session", "description", "NaN") == "NaN"  # no field of a point, so nothing reads it as a float
    assert type(text("session", "tags[0]", Name("a"))) is str
    with pytest.raises(FieldTypeError):
        text("session", "description", 3)
    with pytest.raises(FieldValueError):
        text("session", "description", "\ud800")


@pytest.mark.parametrize(
    ("make", "stored"),
    [
        ("float64(0.1)", 0.1),
        ("float32(0.5)", 0.5),
        ("float16(1.5)", 1.5),
        ("longdouble(0.25)", 0.25),
        ("float64('nan')", math.nan),
        ("float32('-inf')", -math.inf),
        ("int8(-3)", -3),
        ("uint64(2**63 - 1)", 2**63 - 1),
        ("int64(-2**63)", -(2**63)),
        ("bool_(True)", True),
        ("str_('a')", "a"),
        ("array(3)", 3),
        ("array(0.5)", 0.5),
        ("array([1.5, 2.5])[0]", 1.5),
    ],
)
def test_numpy_scalars_become_plain(make: str, stored: object) -> None:
    np = pytest.importorskip("numpy")
    value = eval(f"np.{make}", {"np": np})
    for result in (scalar("t", "x", value), plain("t", "x", [value])[0]):
        assert bits(result) == bits(stored)


@pytest.mark.parametrize(
    "make",
    [
        "array([1])",
        "zeros((2, 2))",
        "zeros(0)",
        "datetime64('2026-01-01')",
        "datetime64(5, 'ns')",
        "timedelta64(5, 'ns')",
        "complex64(1)",
        "bytes_(b'a')",
        "array(b'a')",
        "array(None, dtype=object).reshape(1)",
        "array({}, dtype=object)",
    ],
)
def test_numpy_values_that_are_no_number_are_refused(make: str) -> None:
    np = pytest.importorskip("numpy")
    with pytest.raises(FieldTypeError):
        plain("t", "x", eval(f"np.{make}", {"np": np}))


@pytest.mark.parametrize("make", ["uint64(2**64 - 1)", "ma.masked", "array('NaN')", "finfo(np.longdouble).max"])
def test_numpy_values_that_would_not_come_back_are_refused(make: str) -> None:
    np = pytest.importorskip("numpy")
    value = eval(f"np.{make}", {"np": np})
    if make.startswith("finfo") and np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("longdouble is a 64-bit float here")
    with pytest.raises(FieldValueError):
        plain("t", "x", value)
