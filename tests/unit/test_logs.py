"""Log lines: plain, fluent, levels, mappings as metrics; that they reach their file while the session is open; bad
calls store nothing.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from penstock import FieldTypeError, FieldValueError, Session
from tests.faults import diskbooks


@pytest.fixture
def session(tmp_path: Path) -> Any:
    with Session("run", "w", local_path=tmp_path, flush_interval_s=30) as session:
        yield session


def lines(session: Session) -> list[dict[str, Any]]:
    session.flush("disk", timeout=20)
    return diskbooks.log_lines(session.folder_path)


def test_plain_and_fluent_lines_have_the_shape_of_the_contract(session: Session) -> None:
    assert session.log("plain") is None
    session.log("full", "ERROR", {"a": 1, "b": 1}, b=2, c=math.inf)
    builder = session.log(metadata={"run": 1}, more=2)
    assert builder is not None
    builder.info("i")
    builder.warn("w", more=3)
    builder.warning("w2")
    builder.error("e")
    builder.debug("d")
    builder.fatal("f")
    session.log("aliased", level="Warning")
    found = lines(session)
    assert [line["sequenceNumber"] for line in found] == list(range(9))
    assert [line["level"] for line in found] == [
        "info",
        "error",
        "info",
        "warn",
        "warn",
        "error",
        "debug",
        "fatal",
        "warn",
    ]
    assert found[0].keys() == {"sequenceNumber", "timestamp", "level", "message"}
    assert found[1]["metadata"] == {"a": 1, "b": 2, "c": "Infinity"}
    assert found[3]["metadata"] == {"run": 1, "more": 3}
    assert found[0]["timestamp"].endswith("Z")


def test_a_line_reaches_its_file_while_the_session_is_open(session: Session) -> None:
    session.log("now")
    deadline_s = time.monotonic() + 20
    while not diskbooks.log_lines(session.folder_path):
        assert time.monotonic() < deadline_s, "the flush interval is 30 s: a line must not wait for it"
        time.sleep(0.005)


@pytest.mark.parametrize("level", ["", "notice", "INFOO", "inf\u00f6"])
def test_an_unknown_level_is_refused(session: Session, level: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid log level: .*info, warn, error, debug, fatal"):
        session.log("x", level=level)
    assert session.stats().appended == 0


@pytest.mark.parametrize("level", [1, b"info", ["info"]])
def test_a_level_that_is_no_text_is_refused(session: Session, level: Any) -> None:
    with pytest.raises(TypeError, match="log level"):
        session.log("x", level=level)


BAD: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception]]] = [
    ((1.5,), {}, FieldTypeError), ((b"x",), {}, FieldTypeError), (("a\ud800",), {}, FieldValueError),
    (("x",), {"k": object()}, FieldTypeError), (("x",), {"k": 2**70}, FieldValueError),
    (("x",), {"metadata": [1]}, TypeError),
    (({"a": 1.0},), {"level": "info"}, TypeError), (({"a": 1.0},), {"metadata": {}}, TypeError),
    (("z" * 4_000_000,), {}, FieldValueError),
]  # fmt: skip


@pytest.mark.parametrize(("args", "more", "error"), BAD, ids=[str(place) for place in range(len(BAD))])
def test_a_line_that_cannot_be_kept_raises_and_stores_nothing(
    session: Session, args: tuple[Any, ...], more: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        session.log(*args, **more)
    assert session.stats().appended == 0


def test_a_mapping_appends_one_point_per_key(session: Session) -> None:
    session.log({"loss": 0.3, "acc": 0.9, "val": {"loss": 0.4}}, step=10)
    session.flush("disk", timeout=20)
    for track, value in (("loss", 0.3), ("acc", 0.9), ("val/loss", 0.4)):
        assert diskbooks.data(session.folder_path, track) == [{"value": value, "step": 10}]
    assert lines(session) == []
