"""What the house tests look at: the modules of the library, who imports whom, and the repository's files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src"
PACKAGE = "penstock"
WRITTEN_BY_HAND = ("src", "tests", "bench", "examples")


@dataclass(frozen=True)
class Import:
    """One imported module, as a dotted name, and how the import is reached."""

    target: str
    line: int
    in_function: bool
    types_only: bool


@dataclass(frozen=True)
class Module:
    """A file of the library. ``room`` is the first part of its name below the package, "" for the doorway."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.partition(".")[2].partition(".")[0]

    def imports(self) -> list[Import]:
        return list(_imports(self.tree, self._package(), in_function=False, types_only=False))

    def _package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


@cache
def modules() -> dict[str, Module]:
    """Every module of the library by its dotted name."""
    found = {}
    for path in sorted((SOURCE / PACKAGE).rglob("*.py")):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
    return found


def python_files() -> list[Path]:
    """Every Python file that people wrote for this repository."""
    return sorted(path for folder in WRITTEN_BY_HAND for path in (REPOSITORY / folder).rglob("*.py"))


def _imports(node: ast.AST, package: str, *, in_function: bool, types_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, inside, types_only)
        elif isinstance(child, ast.ImportFrom):
            for target in _targets(child, package):
                yield Import(target, child.lineno, inside, types_only)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _imports(ast.Module([statement], []), package, in_function=inside, types_only=True)
            for statement in child.orelse:
                yield from _imports(ast.Module([statement], []), package, in_function=inside, types_only=types_only)
        else:
            yield from _imports(child, package, in_function=inside, types_only=types_only)


def _targets(node: ast.ImportFrom, package: str) -> Iterator[str]:
    """``from a import b`` imports a.b where that is a module of the library, and a otherwise."""
    base = node.module or ""
    if node.level:
        anchor = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
        base = f"{anchor}.{base}" if base else anchor
    for alias in node.names:
        inner = f"{base}.{alias.name}"
        yield inner if _is_module(inner) else base


def _is_module(name: str) -> bool:
    path = SOURCE.joinpath(*name.split("."))
    return name.startswith(f"{PACKAGE}.") and (path.is_dir() or path.with_suffix(".py").is_file())
