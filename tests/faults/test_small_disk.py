"""Reliability cases 30 and 34 on a real file system: a tmpfs of a few hundred KiB, mounted by the test, that is full
at the start, fills up in the middle of appends, has no room for names, is read-only, or limits the size of a file.
The child must not be killed by SIGBUS, no append may raise, the books are exact, and logging goes on when there is
space again.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.faults import diskbooks, mounts, smalldisk


def run_of(tmp_path: Path, scenario: str, size_bytes: int = 1 << 20) -> dict[str, Any]:
    return mounts.on_small_disk(smalldisk.__file__, scenario, tmp_path, size_bytes)


def balanced(books: dict[str, Any]) -> None:
    diskbooks.balance(SimpleNamespace(**books))


def values(run: Path, track: str = "t") -> list[float]:
    return [point["value"] for point in diskbooks.data(run, track)]


def once(told: dict[str, Any], text: str) -> None:
    assert told["stderr"].count(text) == 1, told["stderr"]


def test_a_disk_that_is_full_at_the_start_keeps_points_in_memory_until_there_is_space(tmp_path: Path) -> None:
    told = run_of(tmp_path, "full_at_start")
    balanced(told["before"])
    assert told["before"]["durability"] == "memory"
    once(told, "no journal can be made")
    once(told, "a new journal was made")
    balanced(told["after"])
    assert told["resumed_s"] <= 7
    assert told["after"]["reached"]
    assert told["after"]["dropped"] == 0
    assert told["after"]["written"] == 400
    assert values(tmp_path / "w/run") == [float(place) for place in range(400)]


def test_a_disk_that_fills_up_stops_no_append_and_every_point_is_written_or_counted(tmp_path: Path) -> None:
    told = run_of(tmp_path, "full_in_append")
    for books in ("first", "full", "refused", "after"):
        balanced(told[books])
    assert told["first"]["reached"]
    assert told["full"]["durability"] == "journal"
    assert told["full"]["reasons"].keys() == {"disk refuses writes"}
    assert not told["refused"]["reached"]
    assert told["after"]["reached"]
    assert told["resumed_s"] <= 5
    assert told["after"]["appended"] == told["appended"]
    found = values(tmp_path / "w/run")
    assert len(found) == told["after"]["written"] == told["appended"] - told["after"]["dropped"]
    assert found == sorted(set(found))
    assert found[:200] == [float(place) for place in range(200)]
    assert found[-100:] == [float(place) for place in range(told["appended"] - 100, told["appended"])]
    once(told, "the disk refuses")
    assert "Traceback" not in told["stderr"]


def test_without_room_for_new_names_the_session_goes_on_in_memory_and_back(tmp_path: Path) -> None:
    told = run_of(tmp_path, "full_in_definitions", 8 << 20)
    balanced(told["full"])
    assert told["full"]["durability"] == "memory"
    once(told, "the journal cannot grow")
    balanced(told["after"])
    assert told["after"]["reached"]
    run = tmp_path / "w/run"
    found = {track: values(run, track) for track in diskbooks.tracks(run)}
    assert sum(map(len, found.values())) == told["after"]["written"] == 1201 - told["after"]["dropped"]
    for track, points in found.items():
        assert points == [0.0 if track == "first" else float(track.split()[1])]
    assert diskbooks.journals(run) == []


def test_parameters_that_find_no_room_leave_the_old_ones_whole(tmp_path: Path) -> None:
    told = run_of(tmp_path, "full_documents")
    assert told["errors"] == [28]
    assert told["kept"] == {"lr": 0.1}
    assert told["final"] == {"lr": 0.1, "after": 1}


def test_a_read_only_folder_is_said_at_once_and_goes_on_when_it_is_writable(tmp_path: Path) -> None:
    told = run_of(tmp_path, "read_only")
    assert told["opened_s"] <= 1
    assert told["before"]["durability"] == "memory"
    once(told, "no journal can be made")
    balanced(told["before"])
    balanced(told["after"])
    assert told["after"]["reached"]
    assert told["after"]["dropped"] == 0
    assert values(tmp_path / "w/run") == [float(place) for place in range(301)]
    assert [line["message"] for line in diskbooks.log_lines(tmp_path / "w/run")] == ["a line"]


def test_a_folder_that_stays_read_only_ends_without_an_error_and_says_what_is_lost(tmp_path: Path) -> None:
    told = run_of(tmp_path, "read_only_to_the_end")
    balanced(told["before"])
    assert "2 points could not be written" in told["stderr"]
    assert "Traceback" not in told["stderr"]


def test_a_limit_on_file_sizes_is_like_a_full_disk(tmp_path: Path) -> None:
    told = run_of(tmp_path, "file_size_limit", 4 << 20)
    balanced(told["full"])
    balanced(told["after"])
    assert told["after"]["reached"]
    found = values(tmp_path / "w/run")
    assert len(found) == told["after"]["written"] == told["appended"] - told["after"]["dropped"]
    assert found == sorted(set(found))
    once(told, "the disk refuses")
