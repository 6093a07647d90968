"""Names: every rule with names that break it and near misses that keep it, and clashes with what is there."""

from __future__ import annotations

import enum
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock._store import names
from penstock._store.names import check_name, check_part, find_clash
from penstock.errors import NameRefusedError

KINDS = ("session", "workspace", "track", "file")
REFUSED = {
    "": "empty",
    ".": "'.' and '..'",
    "..": "'.' and '..'",
    "a/../b": "'.' and '..'",
    "a/.": "'.' and '..'",
    "/a": "absolute",
    "//a": "absolute",
    "a/": "end with '/'",
    "a//b": "empty part",
    "a\\b": "backslash",
    "..\\a": "backslash",
    "a\0b": "NUL",
    "a\nb": "U+000A",
    "a\x1bb": "U+001B",
    "a\x7f": "U+007F",
    "a\x85": "U+0085",
    "a\u2028b": "U+2028",
    "a\u2029b": "U+2029",
    "a\u202egnp.exe": "U+202E",
    "\u2066a": "U+2066",
    "a\ud800": "lone surrogate U+D800",
    "\udfff": "lone surrogate",
    "x" * 256: "255 bytes",
    "é" * 128: "255 bytes",
    "/".join(["x" * 200] * 6): "1024 bytes",
    "CON": "device",
    "con": "device",
    "a/NUL": "device",
    "prn.txt": "device",
    "Aux .log": "device",
    "COM1": "device",
    "lpt9.x.y": "device",
    "com\u00b9": "device",
    "CONOUT$": "device",
    "a.": "dot or space",
    "a/b...": "dot or space",
    "a ": "dot or space",
    "a /b": "dot or space",
    " a": "space",
    "a/ b": "space",
}
ACCEPTED = [
    "a",
    "resnet50",
    "2026/resnet/try 1",
    ".hidden",
    "a..b",
    "train/loss",
    "x" * 255,
    "é" * 127,
    "CONSOLE",
    "com10",
    "comma",
    "nul-loss",
    "größe/精度/\U0001f680",
    "lr=1e-3,bs=32 (copy)",
    "~",
    "-rf",
    "%2e%2e",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "rule"), REFUSED.items(), ids=ascii)
def test_a_name_that_breaks_a_rule_is_refused_with_the_rule(kind: str, name: str, rule: str) -> None:
    with pytest.raises(NameRefusedError) as caught:
        check_name(kind, name)
    assert rule in caught.value.rule
    assert caught.value.kind == kind
    assert kind in str(caught.value)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ACCEPTED, ids=ascii)
def test_a_name_that_keeps_the_rules_comes_back_as_it_is(kind: str, name: str) -> None:
    assert check_name(kind, name) == name


@pytest.mark.parametrize("name", [None, 3, b"a", Path("a"), ["a"]], ids=repr)
def test_a_name_that_is_no_text_is_a_type_error(name: object) -> None:
    with pytest.raises(TypeError, match="track name must be a str, not"):
        check_name("track", name)
    with pytest.raises(TypeError):
        check_part("file", name)


def test_a_name_from_an_enumeration_becomes_plain_text() -> None:
    class Metric(enum.StrEnum):
        LOSS = "loss"

    name = check_name("track", Metric.LOSS)
    assert name == "loss"
    assert type(name) is str


@pytest.mark.parametrize("name", ["logs", "a/tracks", "Files/x", ".journal", "session.json", "x/PARAMETERS.json"])
def test_entries_of_a_run_are_refused_in_names_of_runs_and_accepted_in_tracks(name: str) -> None:
    for kind in ("session", "workspace"):
        with pytest.raises(NameRefusedError, match="every run folder"):
            check_name(kind, name)
    assert check_name("track", name) == name


@pytest.mark.parametrize("name", ["data.jsonl", "loss/data.jsonl", "data.0f3a.jsonl/x", "metadata.json", "Data.JSONL"])
def test_files_of_a_track_are_refused_in_track_names_and_accepted_in_others(name: str) -> None:
    with pytest.raises(NameRefusedError, match="every track"):
        check_name("track", name)
    assert check_name("session", name) == name


def test_a_track_may_have_names_that_only_resemble_its_files() -> None:
    for name in ("data", "data.json", "xdata.jsonl", "data.a.b.jsonl", "data..jsonl", "metadata", "logs.jsonl"):
        assert check_name("track", name) == name


def test_a_part_does_not_nest() -> None:
    assert check_part("file", "model.pth") == "model.pth"
    for part in ("a/b", "/a", "a/", "/"):
        with pytest.raises(NameRefusedError, match="'/'"):
            check_part("file", part)
    with pytest.raises(NameRefusedError):
        check_part("file", "..")


def test_windows_refuses_what_its_file_system_would_take_for_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.name != "nt":
        assert check_name("track", "a:b?") == "a:b?"
    monkeypatch.setattr(names, "_REFUSED_ON_WINDOWS", '<>:"|?*')
    with pytest.raises(NameRefusedError, match="on Windows"):
        check_name("track", "a:b")


@given(st.text(max_size=40))
def test_an_accepted_name_stays_inside_the_folder_it_is_joined_to(name: str) -> None:
    try:
        check_name("track", name)
    except NameRefusedError:
        return
    root = Path("/root/of/runs")
    joined = Path(os.path.normpath(root.joinpath(*name.split("/"))))
    assert joined.is_relative_to(root)
    assert joined != root
    assert joined.relative_to(root).parts == tuple(name.split("/"))
    os.fsencode(joined)


@pytest.mark.parametrize(
    ("there", "new"),
    [
        ("Exp", "exp"),
        ("exp", "EXP"),
        (unicodedata.normalize("NFD", "café"), unicodedata.normalize("NFC", "café")),
        (unicodedata.normalize("NFC", "CAFÉ"), unicodedata.normalize("NFD", "café")),
        ("straße", "STRASSE"),
        ("\u212aelvin", "kelvin"),  # the Kelvin sign
    ],
    ids=ascii,
)
def test_a_sibling_that_differs_only_in_case_or_form_clashes(tmp_path: Path, there: str, new: str) -> None:
    (tmp_path / there).mkdir()
    (tmp_path / "other").mkdir()
    assert find_clash(tmp_path, new) == there
    assert find_clash(tmp_path, there) is None


def test_the_same_name_and_other_names_do_not_clash(tmp_path: Path) -> None:
    for name in ("exp", "exp1", "epx"):
        (tmp_path / name).mkdir()
    assert find_clash(tmp_path, "exp") is None
    assert find_clash(tmp_path, "exp2") is None


def test_a_name_that_exists_itself_may_be_continued_beside_its_look_alike(tmp_path: Path) -> None:
    for name in ("Exp", "exp"):
        (tmp_path / name).mkdir(exist_ok=True)
    assert find_clash(tmp_path, min(os.listdir(tmp_path))) is None


def test_nothing_clashes_where_there_is_no_folder(tmp_path: Path) -> None:
    assert find_clash(tmp_path / "missing", "a") is None
    (tmp_path / "file").write_text("x")
    assert find_clash(tmp_path / "file", "a") is None
