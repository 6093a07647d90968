"""The pages and the files themselves: links lead somewhere, examples run, nothing grows beyond what one can read."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.house.source import PACKAGE, REPOSITORY, SOURCE, modules, python_files

FILE_LINES = 450
FUNCTION_LINES = 70  # without its docstring
VAGUE = {"utils", "util", "helpers", "helper", "manager", "common", "core", "misc", "stuff"}
INDEX = REPOSITORY / "docs" / "index.md"
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```\s*$", re.MULTILINE | re.DOTALL)


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def links(page: Path) -> Iterator[str]:
    """Targets of the links on a page that stay within the repository."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for match in LINK.finditer(re.sub(r"`[^`\n]*`", "", prose)):
        target = match[1] or match[2]
        if not re.match(r"[a-z][a-z0-9+.-]*:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """The fragments that headings of a page can be reached by, as hosts of Markdown make them."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks() -> list[tuple[str, str, str]]:
    """Every block of Python on the pages: where it stands, its mark, its code."""
    return [
        (f"{relative(page)}:{text.count(chr(10), 0, match.start()) + 1}", match["info"].strip(), match["code"])
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for match in FENCE.finditer(text)
        if match["info"].split()[:1] == ["python"]
    ]


BLOCKS = blocks()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_on_a_page_leads_somewhere(page: Path) -> None:
    for target in links(page):
        place, _, fragment = unquote(target).partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.is_relative_to(REPOSITORY), f"{relative(page)}: {target} leaves the repository"
        assert file.exists(), f"{relative(page)}: {target} does not exist"
        if fragment and file.suffix == ".md":
            assert fragment in anchors(file), f"{relative(page)}: no heading for {target}"


def test_every_page_can_be_reached_from_the_index() -> None:
    reached, ahead = {INDEX}, [INDEX]
    while ahead:
        page = ahead.pop()
        for target in links(page):
            file = (page.parent / unquote(target).partition("#")[0]).resolve()
            if file.suffix == ".md" and file.exists() and file not in reached:
                reached.add(file)
                ahead.append(file)
    lost = [relative(page) for page in PAGES if page not in reached]
    assert lost == [], "link them from docs/index.md, or from a page that is linked there"


@pytest.mark.parametrize(("place", "_mark", "code"), BLOCKS, ids=[place for place, _, _ in BLOCKS])
def test_every_python_block_compiles(place: str, _mark: str, code: str) -> None:
    compile(code, place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


RUNNABLE = [(place, code) for place, mark, code in BLOCKS if mark.split()[1:] == ["run"]]


@pytest.mark.parametrize(("place", "code"), RUNNABLE, ids=[place for place, _ in RUNNABLE])
def test_a_block_marked_run_does_so(place: str, code: str, tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert child.returncode == 0, f"{place} failed:\n{child.stderr}"


def test_the_readme_has_a_block_that_is_run() -> None:
    assert any(place.startswith("README.md:") for place, _ in RUNNABLE)


@pytest.mark.parametrize("path", python_files(), ids=relative)
def test_a_file_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "__init__.py" and not path.is_relative_to(SOURCE) and not text.strip():
        return
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "begin with a docstring: what it is, which thread runs it, what it must not know"


@pytest.mark.parametrize("path", python_files(), ids=relative)
def test_a_file_and_its_functions_can_be_read_in_one_go(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= FILE_LINES, "look for a seam"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            begin = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
            length = (node.end_lineno or 0) - (begin or 0)
            assert length <= FUNCTION_LINES, f"{relative(path)}:{node.lineno}: {node.name} has {length} lines"


def test_no_file_has_a_vague_name() -> None:
    named = [*python_files(), *(path.parent for path in python_files())]
    vague = {relative(path) for path in named if VAGUE & set(re.split(r"[._-]+", path.stem.lower()))}
    assert vague == set()


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    declared = {re.split(r"[^\w-]", line, maxsplit=1)[0] for line in [*project["dependencies"], *extras]}
    for module in modules().values():
        for found in module.imports():
            library = found.target.partition(".")[0]
            if library != PACKAGE and library not in sys.stdlib_module_names:
                assert library in declared, f"{module.path}:{found.line}: {library} is not in pyproject.toml"
