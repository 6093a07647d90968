"""Parameters: merging, flattening, what is stored, and that nothing that fails changes the document."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import limits
from penstock._codec.times import parse_ns
from penstock._store.layout import RunFolder
from penstock.errors import ClosedError, DocumentError, FieldTypeError, FieldValueError, WriteProtectedError
from penstock.parameters import ParametersBuilder
from tests.unit.gates import SetGate


@pytest.fixture
def gate() -> SetGate:
    return SetGate()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.fixture
def parameters(folder: RunFolder, gate: SetGate) -> ParametersBuilder:
    return ParametersBuilder(folder, gate)


def document(folder: RunFolder) -> dict[str, Any]:
    return msgspec.json.decode(folder.parameters.read_bytes(), type=dict[str, Any])


def test_nothing_set_is_nothing_stored(parameters: ParametersBuilder, folder: RunFolder) -> None:
    assert parameters.get() == {}
    assert parameters.get(flatten=False) == {}
    assert parameters.set() is parameters
    assert parameters.set({}) is parameters
    assert not folder.path.exists()


def test_nested_mappings_become_dot_keys_and_are_merged(parameters: ParametersBuilder) -> None:
    assert parameters.set(lr=0.1, model={"depth": 50, "head": {"width": 2}}) is parameters
    parameters.set({"model": {"head": {"bias": True}}, "seed": None}).set(lr=0.2)
    flat = {"lr": 0.2, "model.depth": 50, "model.head.width": 2, "model.head.bias": True, "seed": None}
    assert parameters.get() == flat
    nested = {"lr": 0.2, "model": {"depth": 50, "head": {"width": 2, "bias": True}}, "seed": None}
    assert parameters.get(flatten=False) == nested


def test_several_mappings_and_keywords_go_in_one_write_and_later_ones_win(
    parameters: ParametersBuilder, folder: RunFolder
) -> None:
    parameters.set({"a": 1, "b": 1}, MappingProxyType({"b": 2, "c": MappingProxyType({"d": 2})}), b=3)
    assert parameters.get() == {"a": 1, "b": 3, "c.d": 2}
    assert document(folder)["version"] == 1


def test_a_key_with_dots_counts_as_nested(parameters: ParametersBuilder) -> None:
    parameters.set({"model.depth": 1}).set(model={"depth": 2})
    assert parameters.get() == {"model.depth": 2}
    assert parameters.get(flatten=False) == {"model": {"depth": 2}}


def test_parameters_named_as_the_arguments_of_the_method_are_parameters(parameters: ParametersBuilder) -> None:
    parameters.set(self=0, mappings=1, values={"self": 2}, flatten=3)
    assert parameters.get() == {"self": 0, "mappings": 1, "values.self": 2, "flatten": 3}


def test_the_document_has_the_shape_of_the_specification(parameters: ParametersBuilder, folder: RunFolder) -> None:
    parameters.set(lr=0.1)
    first = document(folder)
    assert list(first) == ["version", "data", "createdAt", "updatedAt"]
    assert (first["version"], first["data"]) == (1, {"lr": 0.1})
    assert first["createdAt"] == first["updatedAt"]
    parse_ns(first["createdAt"])
    parameters.set(lr=0.1)
    second = document(folder)
    assert (second["version"], second["data"]) == (2, {"lr": 0.1})
    assert second["createdAt"] == first["createdAt"] <= second["updatedAt"]
    assert os.listdir(folder.path / ".journal") == ["documents.lock"]


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        ({"a": 1}, {"a": {"b": 2}}, {"a.b": 2}),
        ({"a": {"b": 2, "c": {"d": 3}}}, {"a": 1}, {"a": 1}),
        ({"a": {"b": 1}}, {"a.b.c.d": 2}, {"a.b.c.d": 2}),
        ({"a": {"b": {"c": 1}}, "ab": 2, "a-b": 3}, {"a.b": 4}, {"ab": 2, "a-b": 3, "a.b": 4}),
        ({"a": {}}, {"a": {"b": 1}}, {"a.b": 1}),
        ({"a": {"b": 1}}, {"a": {}}, {"a.b": 1}),
        ({"a": 1}, {"a": {}}, {"a": {}}),
        ({"a": {}}, {"a": 1}, {"a": 1}),
        ({"a": [1, {"b": 2}]}, {"a": {"b": 3}}, {"a.b": 3}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("at_once", [False, True])
def test_what_replaces_a_key_above_or_below_it_leaves_no_stale_one(
    parameters: ParametersBuilder, first: dict[str, Any], second: dict[str, Any], result: dict[str, Any], at_once: bool
) -> None:
    if at_once:
        parameters.set(first, second)
    else:
        parameters.set(first).set(second)
    assert parameters.get() == result
    assert parameters.flatten_dict(parameters.get(flatten=False)) == result


def test_lists_are_values_and_empty_mappings_do_not_vanish(parameters: ParametersBuilder) -> None:
    parameters.set(layers=[1, {"a": {"b": 2}}, (3, 4)], empty={}, deep={"empty": {}})
    assert parameters.get() == {"layers": [1, {"a": {"b": 2}}, [3, 4]], "empty": {}, "deep.empty": {}}
    assert parameters.get(flatten=False)["deep"] == {"empty": {}}


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -0.0, 5e-324, 2**63 - 1, -(2**63), True, None, "é"])
def test_values_come_back_as_they_were(parameters: ParametersBuilder, value: Any) -> None:
    parameters.set(x=value, inside=[value])
    for back in (parameters.get()["x"], parameters.get()["inside"][0]):
        assert type(back) is type(value)
        assert repr(back) == repr(value)


@pytest.mark.parametrize(
    ("mapping", "error", "field"),
    [
        ({"a": {"b": object()}}, FieldTypeError, "a.b"),
        ({"a": [1, {2}]}, FieldTypeError, r"a\[1\]"),
        ({"a": {1: 2}}, FieldTypeError, "a"),
        ({1: 2}, FieldTypeError, ""),
        ({"a": b"x"}, FieldTypeError, "a"),
        ({"a": 2**63}, FieldValueError, "a"),
        ({"a": "\ud800"}, FieldValueError, "a"),
        ({"a": {"\ud800": 1}}, FieldValueError, "a"),
        ({"\ud800": 1}, FieldValueError, ""),
        ({"a": "NaN"}, FieldValueError, "a"),
    ],
    ids=ascii,
)
def test_what_cannot_be_stored_is_refused_whole_and_leaves_the_old_document(
    parameters: ParametersBuilder, folder: RunFolder, mapping: Any, error: type[Exception], field: str
) -> None:
    parameters.set(lr=0.1)
    before = folder.parameters.read_bytes()
    with pytest.raises(error, match=f"parameters: field '{field}"):
        parameters.set({"fine": 1}, mapping)
    assert folder.parameters.read_bytes() == before


@pytest.mark.parametrize("mapping", [None, 3, [("a", 1)], "a"], ids=repr)
def test_a_positional_argument_that_is_no_mapping_is_refused(parameters: ParametersBuilder, mapping: Any) -> None:
    with pytest.raises(FieldTypeError, match="must come as a mapping"):
        parameters.set(mapping)


def test_a_mapping_that_contains_itself_is_refused(parameters: ParametersBuilder) -> None:
    ring: dict[str, Any] = {}
    ring["a"] = ring
    with pytest.raises(FieldValueError, match="contains itself"):
        parameters.set(ring)


def test_mappings_may_nest_as_deep_as_the_limit(parameters: ParametersBuilder) -> None:
    tree: Any = 1
    for _ in range(limits.DEPTH):
        tree = {"k": tree}
    parameters.set(tree)
    assert parameters.get() == {".".join("k" * limits.DEPTH): 1}
    with pytest.raises(FieldValueError, match="levels deep"):
        parameters.set({"k": tree})


@pytest.mark.parametrize(
    "raw", [b"", b'{"version": 1, "da', b"[]", b'{"data": [1]}', b'{"version": "x", "data": {}}', b"{}"]
)
def test_a_corrupt_document_raises_and_is_kept(parameters: ParametersBuilder, folder: RunFolder, raw: bytes) -> None:
    folder.path.mkdir()
    folder.parameters.write_bytes(raw)
    for call in (parameters.get, lambda: parameters.set(a=1)):
        with pytest.raises(DocumentError) as caught:
            call()
        assert caught.value.kept_as is not None
        assert caught.value.kept_as.read_bytes() == raw
    assert folder.parameters.read_bytes() == raw
    assert sorted(os.listdir(folder.path))[-2:] == ["parameters.json", "parameters.json.corrupt-1"]


def test_documents_of_dreamlake_are_read_and_continued(parameters: ParametersBuilder, folder: RunFolder) -> None:
    folder.path.mkdir()
    folder.parameters.write_text(
        '{"version": 2, "data": {"lr": NaN, "a": 1, "a.b": 2}, "updatedAt": "2025-12-15T10:00:00.000000Z"}'
    )
    assert math.isnan(parameters.get()["lr"])
    assert parameters.get(flatten=False)["a"] == 1
    assert parameters.get(flatten=False)["a.b"] == 2  # both were set, and neither is dropped
    parameters.set(c=1)
    now = document(folder)
    assert (now["version"], now["createdAt"]) == (3, "2025-12-15T10:00:00.000000Z")
    assert now["data"] == {"lr": "NaN", "a": 1, "a.b": 2, "c": 1}


def test_keys_that_this_version_does_not_know_are_kept(parameters: ParametersBuilder, folder: RunFolder) -> None:
    folder.path.mkdir()
    folder.parameters.write_text('{"later": [1], "version": 1, "data": {"a": 1}, "createdAt": "2025-12-15T10:00:00Z"}')
    parameters.set(b=2)
    assert document(folder)["later"] == [1]
    assert document(folder)["createdAt"] == "2025-12-15T10:00:00Z"


def test_a_closed_session_refuses_both_and_a_protected_one_the_write(
    parameters: ParametersBuilder, folder: RunFolder, gate: SetGate
) -> None:
    gate.protected = True
    with pytest.raises(WriteProtectedError):
        parameters.set(a=1)
    assert parameters.get() == {}
    gate.closed = True
    for call in (parameters.get, lambda: parameters.set(a=1)):
        with pytest.raises(ClosedError):
            call()
    assert not folder.path.exists()


def test_a_disabled_session_accepts_everything_and_stores_nothing(tmp_path: Path, gate: SetGate) -> None:
    parameters = ParametersBuilder(None, gate)
    assert parameters.set(a=1, b=object()) is parameters
    assert parameters.get() == {}
    gate.closed = True
    with pytest.raises(ClosedError):
        parameters.set(a=1)


def test_a_run_folder_that_went_away_is_made_again(parameters: ParametersBuilder, folder: RunFolder) -> None:
    parameters.set(a=1)
    folder.path.rename(folder.path.with_name("moved"))
    parameters.set(b=2)
    assert parameters.get() == {"b": 2}


def test_threads_that_set_different_keys_all_get_them_in(folder: RunFolder, gate: SetGate) -> None:
    def work(number: int) -> None:
        for step in range(5):
            ParametersBuilder(folder, gate).set({f"t{number}": {f"s{step}": step}})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert document(folder)["version"] == 30
    assert len(ParametersBuilder(folder, gate).get()) == 30


@pytest.mark.anyio
async def test_the_async_twins_do_the_same(parameters: ParametersBuilder) -> None:
    assert await parameters.aset({"a": {"b": 1}}, c=2) is parameters
    assert await parameters.aget() == {"a.b": 1, "c": 2}
    assert await parameters.aget(flatten=False) == {"a": {"b": 1}, "c": 2}
    with pytest.raises(FieldTypeError):
        await parameters.aset(a=object())


def test_flatten_and_unflatten_can_be_used_alone() -> None:
    flatten, unflatten = ParametersBuilder.flatten_dict, ParametersBuilder.unflatten_dict
    assert flatten({"a": {"b": 1, "c": {"d": (1, 2)}}, "e": []}) == {"a.b": 1, "a.c.d": (1, 2), "e": []}
    assert flatten({"a": {"b": 1}}, "top") == {"top.a.b": 1}
    assert flatten({"a": {"b": 1}, "c.d": 2}, sep="/") == {"a/b": 1, "c.d": 2}
    assert unflatten({"a/b": 1, "c.d": 2}, sep="/") == {"a": {"b": 1}, "c.d": 2}
    assert unflatten({"a.b": 1, "a": {}}) == {"a": {"b": 1}}
    assert unflatten({"a": {"x": 1}, "a.b.c": 2}) == {"a": {"x": 1}, "a.b.c": 2}
    assert unflatten({"a.b": {"x": 1}, "a.b.c": 2, "a.d": 3}) == {"a": {"b": {"x": 1}, "d": 3}, "a.b.c": 2}
    with pytest.raises(FieldTypeError):
        flatten({"a": {1: 2}})  # type: ignore[dict-item]


def test_flattening_leaves_its_argument_alone() -> None:
    source = {"a": {"b": {}}, "c": {}}
    nested = ParametersBuilder.unflatten_dict(ParametersBuilder.flatten_dict(source))
    assert nested == source
    nested["c"]["new"] = 1
    nested["a"]["b"]["new"] = 1
    assert source == {"a": {"b": {}}, "c": {}}


KEYS = st.text(st.characters(exclude_characters=".", exclude_categories=["Cs"]), max_size=3)


@given(st.recursive(st.integers(), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=12))
def test_unflatten_is_the_reverse_of_flatten(tree: Any) -> None:
    source = tree if isinstance(tree, dict) else {"top": tree}
    assert ParametersBuilder.unflatten_dict(ParametersBuilder.flatten_dict(source)) == source
