"""What a session refuses: names that break a rule, every kind of write to a protected run, every handle after close.
Nothing is created or changed by a refused call.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from penstock import (
    ClosedError,
    NameRefusedError,
    Session,
    WriteProtectedError,
)
from tests.faults import diskbooks


def make(tmp_path: Path, name: str = "run", **more: Any) -> Session:
    return Session(name, "w", local_path=tmp_path, **more)


def document(tmp_path: Path, name: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "w" / name / "session.json").read_text())
    return found


REFUSED = ["", ".", "..", "a/../b", "/abs", "a//b", "a/", "nul\0", "tab\t", "CON", "con.txt", "dot.", "space ",
"\ud800",
           "x" * 256, "a\\b", "session.json/x", "\u202eabc"]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_name_names_the_rule_and_creates_nothing(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    for arguments in ((name, "w"), ("run", name)):
        with pytest.raises(NameRefusedError, match="name"):
            Session(*arguments, local_path=root).open()
    assert not root.exists()
    with Session("run", "w", local_path=root) as session:
        if name != "session.json/x":
            with pytest.raises(NameRefusedError):
                session.track(name)
    assert list((root / "w").iterdir()) == [root / "w/run"]
    assert list((root / "w/run").glob("tracks/*")) == []


@pytest.mark.parametrize(("one", "other"), [("Run", "run"), ("stra\u00dfe", "STRASSE"), ("caf\u00e9", "cafe\u0301")])
def test_a_name_that_differs_only_in_case_or_unicode_form_is_refused(tmp_path: Path, one: str, other: str) -> None:
    with make(tmp_path, one):
        pass
    with pytest.raises(NameRefusedError, match="differs only in case or Unicode form"):
        make(tmp_path, other).open()
    assert [path.name for path in (tmp_path / "w").iterdir()] == [one]


def test_nested_names_nest(tmp_path: Path) -> None:
    with Session("a/b", "x/y", local_path=tmp_path) as session:
        session.track("train/loss").append(1.0)
        assert [track["name"] for track in session.tracks()] == ["train/loss"]
    assert (tmp_path / "x/y/a/b/tracks/train/loss/data.jsonl").exists()


def writes(session: Session, tmp_path: Path) -> list[Any]:
    file = tmp_path / "file.txt"
    file.write_text("x")
    return [
        lambda: session.track("t").append(value=1.0),
        lambda: session.track("t").extend([{"value": 1.0}]),
        lambda: session.track("t").append_columns(value=[1.0]),
        lambda: session.track("t", description="d"),
        lambda: session.log("x"),
        lambda: session.log({"t": 1.0}),
        lambda: session.log().info("x"),  # type: ignore[union-attr]
        lambda: session.parameters().set(a=1),
        lambda: session.files().upload(str(file)),
        lambda: session.files().delete("1"),
        lambda: session.files().update("1", description="d"),
        lambda: session.update(description="d"),
    ]


def test_a_protected_run_refuses_every_kind_of_write_also_when_reopened(tmp_path: Path) -> None:
    with make(tmp_path) as session:
        session.track("t").append(value=1.0)
        session.log("line")
        session.parameters().set(a=1)
    run = tmp_path / "w/run"
    with make(tmp_path, write_protected=True):
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and ".lock" not in path.name}
    for protected in (True, None):
        with make(tmp_path, write_protected=protected) as session:
            assert session.write_protected
            for write in writes(session, tmp_path):
                with pytest.raises(WriteProtectedError):
                    write()
            assert session.track("t").read()["total"] == 1
            assert session.parameters().get() == {"a": 1}
            assert session.flush("disk").reached
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and ".lock" not in path.name}
    assert after == before
    with make(tmp_path, write_protected=False) as session:
        session.track("t").append(value=2.0)
    assert len(diskbooks.points(run, "t")) == 2
    with make(tmp_path) as session:
        assert not session.write_protected


def test_every_handle_of_a_closed_session_raises(tmp_path: Path) -> None:
    session = make(tmp_path).open()
    fresh, used = session.track("fresh"), session.track("used")
    for _ in range(3):
        used.append(value=1.0)
    kept = used.append
    builder, parameters, files = session.log(), session.parameters(), session.files()
    assert builder is not None
    session.close()
    calls: list[Any] = [
        lambda: fresh.append(value=1.0), lambda: used.append(value=1.0), lambda: kept(value=1.0),
        lambda: used.append("x"),
        lambda: used.extend([{"a": 1}]), lambda: used.append_columns(a=[1]), lambda: used.read(), lambda: used.stats(),  # noqa: PLW0108
        lambda: used.list_all(), lambda: builder.info("x"), lambda: parameters.set(a=1), lambda: parameters.get(),  # noqa: PLW0108
        lambda: files.list(), lambda: session.log("x"), lambda: session.track("t"), lambda: session.parameters(),  # noqa: PLW0108
        lambda: session.flush(), lambda: session.stats(), lambda: session.tracks(), lambda: session.update(tags=[]),  # noqa: PLW0108
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(RuntimeError) as caught:
            call()
        assert isinstance(caught.value, ClosedError)
    session.open()
    for call in (lambda: used.append(value=1.0), lambda: kept(value=1.0), lambda: fresh.append(value=1.0)):
        with pytest.raises(ClosedError):
            call()
    session.track("used").append(value=2.0)
    session.close()
    assert diskbooks.data(tmp_path / "w/run", "used") == [{"value": 1.0}] * 3 + [{"value": 2.0}]


def test_closing_while_threads_append_keeps_what_was_accepted(tmp_path: Path) -> None:
    session = make(tmp_path, ring_bytes=1 << 16).open()
    track = session.track("t")
    accepted = [0] * 4
    going = threading.Barrier(5, timeout=20)

    def work(number: int) -> None:
        going.wait()
        try:
            while True:
                track.append(value=accepted[number], thread=number)
                accepted[number] += 1
        except ClosedError:
            pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    going.wait()
    while sum(accepted) < 5000:
        pass
    session.close()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    found = diskbooks.data(tmp_path / "w/run", "t")
    for number in range(4):
        assert [point["value"] for point in found if point["thread"] == number] == list(range(accepted[number]))
