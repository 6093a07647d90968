"""Reliability case 35: a process with 32 file descriptors, and one that has none left, goes on logging. Real limits,
in a child.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.faults import descriptors, diskbooks


def _child(scenario: str, root: Path) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", descriptors.__file__, scenario, str(root)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_hundred_tracks_share_32_descriptors(tmp_path: Path) -> None:
    told, stderr = _child("few", tmp_path)
    assert "Traceback" not in stderr
    diskbooks.balance(SimpleNamespace(**told["after"]))
    assert told["after"]["reached"]
    assert (told["after"]["written"], told["after"]["dropped"]) == (3030, 0)
    run = tmp_path / "w/run"
    for track in range(100):
        assert [p["value"] for p in diskbooks.data(run, f"t{track}")] == [float(n) for n in range(track, 3000, 100)]
    assert len(diskbooks.log_lines(run)) == 30


def test_without_any_descriptor_points_wait_in_the_journal(tmp_path: Path) -> None:
    told, stderr = _child("none_left", tmp_path)
    assert "Traceback" not in stderr
    diskbooks.balance(SimpleNamespace(**told["refused"]))
    assert not told["refused"]["reached"]
    assert told["refused"]["waiting"] == 301
    assert told["after"]["reached"]
    assert told["waited_s"] <= 5
    run = tmp_path / "w/run"
    for track in range(3):
        assert [p["value"] for p in diskbooks.data(run, f"t{track}")] == [float(n) for n in range(track, 300, 3)]
    assert len(diskbooks.log_lines(run)) == 1
