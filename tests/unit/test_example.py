"""The demo, run briefly as a user runs it: it trains, logs, reads back what it logged, and shows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 60


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the run that the demo made, and what it printed."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: the demo cannot run (extra: demo)")
    root = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "examples/digits.py", "--steps", str(STEPS), "--root", str(root), "--name", "brief"]
    child = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONIOENCODING": "utf-8", "COLUMNS": "70"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=100,
    )
    assert child.returncode == 0, child.stderr
    return root / "demo" / "brief", child.stdout


def values(folder: Path, track: str) -> list[float]:
    lines = (folder / "tracks" / track / "data.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["data"]["value"] for line in lines]


@pytest.mark.parametrize(
    "track", ["train/loss", "train/accuracy", "train/lr", "grad/layer1", "grad/layer2", "grad/layer3", "grad/all"]
)
def test_each_step_leaves_one_point_in_each_track(demo: tuple[Path, str], track: str) -> None:
    assert len(values(demo[0], track)) == STEPS


def test_the_network_learns(demo: tuple[Path, str]) -> None:
    losses = values(demo[0], "train/loss")
    assert sum(losses[-5:]) < sum(losses[:5]) / 2


def test_the_learning_rate_climbs_and_then_falls(demo: tuple[Path, str]) -> None:
    rates = values(demo[0], "train/lr")
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_parameters_log_lines_and_the_model_are_kept(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    parameters = json.loads((folder / "parameters.json").read_text(encoding="utf-8"))["data"]
    assert parameters["lr.peak"] == 0.02
    assert parameters["model.layers"] == [64, 128, 64, 10]
    logs = [json.loads(line) for line in (folder / "logs" / "logs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert logs[-1]["message"].startswith("epoch ")
    assert (folder / "files" / "models" / "digits.npz").stat().st_size > 10_000


def test_the_summary_counts_what_is_on_disk_and_shows_the_curve(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    assert str(folder) in printed
    counted = re.search(r"points +([\d,]+) appended, ([\d,]+) found on disk; (\d+) dropped", printed)
    assert counted is not None
    assert counted[1] == counted[2]
    assert counted[3] == "0"
    assert re.search(r"log lines +(\d+) written, \1 found", printed)
    assert "files/models/digits.npz" in printed
    assert re.search(r"training +[\d.]+ s; [\d.]+ s with logging disabled", printed)
    picture = printed.partition("train/loss\n")[2]
    assert sum(0x2800 < ord(character) <= 0x28FF for character in picture) > 20
    assert max(map(len, picture.splitlines())) <= 70
