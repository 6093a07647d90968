"""What a user may log, turned into plain Python that JSON can hold, and the one spelling of non-finite floats.

* :func:`scalar` and :func:`plain` take any user value and return exact float, int, bool, None, str, list and dict,
  or raise before anything is stored. They may run the value's own ``__float__``, ``__index__`` or ``item``, so
  nothing may be reserved or locked while they run.
* :func:`to_stored` and :func:`from_stored` translate NaN and infinities to and from text, since JSON has no
  spelling for them. What goes through both comes back bit-equal (a NaN as the NaN, whatever its payload was).

Runs on the caller's thread. Pure apart from that; knows no ring, file or encoder.
"""

from __future__ import annotations

import operator
from math import isfinite, isinf
from typing import Any, Final, SupportsFloat, SupportsIndex, TypeAlias, cast

from penstock.errors import FieldTypeError, FieldValueError
from penstock.limits import DEPTH, INT_MAX, INT_MIN

Plain: TypeAlias = Any  # float, int, bool, None, str, or lists and dicts of these; all of exact type

NAN_TEXT: Final = "NaN"
INFINITY_TEXT: Final = "Infinity"
MINUS_INFINITY_TEXT: Final = "-Infinity"
_NON_FINITE: Final = {
    NAN_TEXT: float("nan"),
    INFINITY_TEXT: float("inf"),
    MINUS_INFINITY_TEXT: float("-inf"),
}
_ARRAY_HINT: Final = (
    ". An array is not one value: log a series with append_columns(), keep it whole with .tolist(), "
    "or take its one number with .item()"
)
# Kinds of numpy scalars that have a __float__ which drops their meaning: times, complex numbers, bytes.
_REFUSED_KINDS: Final = frozenset("mMcS")


def scalar(where: str, field: str, value: object) -> float | int | bool | None | str:
    """One value as an exact float, int, bool, None or str.

    ``where`` is the track (or "parameters", "log") and ``field`` the field's path; both are for messages. Raises
    :class:`FieldTypeError` for a type that no field holds, :class:`FieldValueError` for a value that would not
    come back the same; what the value's own ``__float__`` raises passes through.
    """
    kind = type(value)
    if kind is float or kind is bool or value is None:
        return cast("float | bool | None", value)
    if kind is int:
        return _whole(where, field, cast("int", value))
    if isinstance(value, str):
        return _value_text(where, field, value)
    if isinstance(value, int):
        return _whole(where, field, int.__int__(value))
    if isinstance(value, float):
        return float.__float__(value)
    return _number(where, field, value)


def plain(where: str, field: str, value: object, depth: int = 0) -> Plain:
    """As :func:`scalar`, and lists, tuples and dicts with text keys too; tuples become lists.

    ``depth`` counts the lists and dicts around the value. More than ``limits.DEPTH`` of them, and so a value that
    contains itself, raises :class:`FieldValueError`. Errors name the path to the value: ``"a.b[2]"``.
    """
    if isinstance(value, dict):
        return _plain_dict(where, field, value, _deeper(where, field, depth))
    if isinstance(value, list | tuple):
        inner = _deeper(where, field, depth)
        return [  # a copy is walked, since converting an element may run code that changes the list
            element if type(element) is float else plain(where, f"{field}[{place}]", element, inner)
            for place, element in enumerate(tuple(value))
        ]
    return scalar(where, field, value)


def text(where: str, field: str, value: object) -> str:
    """A str that UTF-8 can hold, as a plain ``str``; for descriptions, tags, messages and keys.

    Raises :class:`FieldTypeError` for anything but text and :class:`FieldValueError` for lone surrogates.
    """
    if not isinstance(value, str):
        raise FieldTypeError(where, field, type_name_of(value), "; here only str")
    result = str.__str__(value)
    if not result.isascii():
        _check_encodable(where, field, result)
    return result


def to_stored(tree: Plain) -> Plain:
    """The tree with each non-finite float as text; the same object when there is none. ``tree`` is not changed."""
    kind = type(tree)
    if kind is float:
        return tree if isfinite(tree) else _text_of(tree)
    if kind is list:
        elements = [to_stored(element) for element in tree]
        return tree if all(map(operator.is_, elements, tree)) else elements
    if kind is dict:
        values = {key: to_stored(value) for key, value in tree.items()}
        return tree if all(map(operator.is_, values.values(), tree.values())) else values
    return tree


def from_stored(tree: Plain) -> Plain:
    """The reverse of :func:`to_stored`, for what a JSON decoder returned; the same object when nothing changes."""
    kind = type(tree)
    if kind is str:
        return _NON_FINITE.get(tree, tree)
    if kind is list:
        elements = [from_stored(element) for element in tree]
        return tree if all(map(operator.is_, elements, tree)) else elements
    if kind is dict:
        values = {key: from_stored(value) for key, value in tree.items()}
        return tree if all(map(operator.is_, values.values(), tree.values())) else values
    return tree


def type_name_of(value: object) -> str:
    """The type as messages show it: ``datetime.date``, but plain ``set``."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _whole(where: str, field: str, value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    shown = value if value.bit_length() <= 128 else f"of {value.bit_length()} bits"
    raise FieldValueError(
        where, field, f"is the int {shown}, outside 64 bits ({INT_MIN} to {INT_MAX}); log it as a float or a str"
    )


def _value_text(where: str, field: str, value: str) -> str:
    result = text(where, field, value)
    if result in _NON_FINITE:
        raise FieldValueError(
            where, field, f"is the text {result!r}, which stands for a float and would be read back as one; "
            f"log float({result!r}) or another text"
        )  # fmt: skip
    return result


def _check_encodable(where: str, field: str, value: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise FieldValueError(
            where, field, f"has the lone surrogate U+{code:04X} at position {error.start}, which UTF-8 cannot hold"
        ) from None


def _plain_dict(where: str, field: str, value: dict[object, object], inner: int) -> dict[str, Plain]:
    result: dict[str, Plain] = {}
    for key, element in list(value.items()):
        if not isinstance(key, str):
            raise FieldTypeError(where, field, f"dict with a key of type {type_name_of(key)}", "; keys must be str")
        name = text(where, field, key)
        result[name] = plain(where, f"{field}.{name}", element, inner)
    if len(result) < len(value):
        raise FieldValueError(where, field, "has keys of different types with the same text; one would be lost")
    return result


def _deeper(where: str, field: str, depth: int) -> int:
    if depth >= DEPTH:
        raise FieldValueError(where, field, f"is nested more than {DEPTH} levels deep, or contains itself")
    return depth + 1


def _number(where: str, field: str, value: object) -> float | int | bool | None | str:
    """What is no built-in: a scalar of an array library, or any object with ``__index__`` or ``__float__``."""
    shape = _shape_of(value)
    if shape:
        raise FieldTypeError(where, field, f"{type_name_of(value)} of shape {shape}", _ARRAY_HINT)
    if shape == () and hasattr(value, "item"):
        return _array_scalar(where, field, value)
    return _by_protocol(where, field, value)


def _shape_of(value: object) -> tuple[object, ...] | None:
    try:
        return tuple(getattr(value, "shape", None))  # type: ignore[arg-type]
    except TypeError:
        return None


def _array_scalar(where: str, field: str, value: Any) -> float | int | bool | None | str:
    """A numpy or torch scalar: ``item()`` is exact, and warns about nothing (``float(tensor)`` may)."""
    if getattr(value, "mask", False) is not False and bool(value.mask):
        raise FieldValueError(where, field, "is masked, so it has no value; log None or float('nan') instead")
    if getattr(getattr(value, "dtype", None), "kind", "") in _REFUSED_KINDS:
        raise FieldTypeError(where, field, type_name_of(value))
    inner = value.item()
    if inner is None or type(inner) in (float, int, bool, str):
        return scalar(where, field, inner)
    if type(inner) is type(value):  # numpy.longdouble has no built-in type to become
        return _by_protocol(where, field, value)
    raise FieldTypeError(where, field, f"{type_name_of(value)} holding {type_name_of(inner)}")


def _by_protocol(where: str, field: str, value: object) -> float | int:
    kind = type(value)
    has_float = hasattr(kind, "__float__")
    if hasattr(kind, "__index__"):
        try:
            return _whole(where, field, int.__int__(operator.index(cast("SupportsIndex", value))))
        except TypeError:  # a float tensor has __index__ too, and says so only when it is called
            if not has_float:
                raise
    if not has_float:
        raise FieldTypeError(where, field, type_name_of(value))
    result = float(cast("SupportsFloat", value))
    if isinf(result) and value != result:
        raise FieldValueError(where, field, f"of type {type_name_of(value)} is too large for a 64-bit float")
    return result


def _text_of(value: float) -> str:
    if value != value:
        return NAN_TEXT
    return INFINITY_TEXT if value > 0 else MINUS_INFINITY_TEXT
