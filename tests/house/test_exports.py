"""The doorway: `penstock/__init__.py` re-exports, lists and does nothing else; every public name says what it is."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

import pytest

import penstock
from tests.house.source import modules

DOORWAY = modules()["penstock"]
NAMES = list(penstock.__all__)


def public_methods(kind: type) -> Iterator[tuple[str, object]]:
    """Methods and properties that a public class adds itself."""
    for name, member in vars(kind).items():
        wrapped = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.isfunction(wrapped):
            yield name, wrapped


def is_own(value: object) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] == "penstock"


def test_all_is_sorted_and_has_no_name_twice() -> None:
    assert sorted(set(NAMES)) == NAMES


def test_all_lists_exactly_what_the_doorway_imports() -> None:
    imported = {
        alias.asname or alias.name
        for node in DOORWAY.tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    assert {name for name in NAMES if not name.startswith("__")} == {n for n in imported if not n.startswith("_")}


def test_the_doorway_holds_nothing_but_imports_and_all() -> None:
    docstring, *rest = DOORWAY.tree.body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    for node in rest:
        if isinstance(node, ast.Assign):
            targets = [ast.unparse(target) for target in node.targets]
            assert targets in (["__all__"], ["__version__"]), f"line {node.lineno}: {targets}"
        else:
            assert isinstance(node, ast.ImportFrom), f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_can_be_imported_and_is_documented(name: str) -> None:
    value = getattr(penstock, name)
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return  # constants and type aliases carry their comment in their own module
    if not is_own(value):
        return
    text = value.__doc__ or ""
    assert text.strip(), f"{name} has no docstring"
    assert not text.startswith(f"{name}("), f"{name} has only the docstring that Python made up"


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isclass(getattr(penstock, name, None))])
def test_the_public_methods_of_a_public_class_are_documented(name: str) -> None:
    kind = getattr(penstock, name)
    silent = [method for method, value in public_methods(kind) if is_own(value) and not inspect.getdoc(value)]
    assert silent == []
