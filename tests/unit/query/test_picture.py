"""The text picture of a series: what is drawn, what is left out, and that it always fits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.query.picture import MIN_HEIGHT, MIN_WIDTH, curve, encodes_braille

NOT_NUMBERS = (math.nan, math.inf, -math.inf)
floats = st.floats(allow_nan=True, allow_infinity=True)


def plot_lines(picture: str) -> list[str]:
    """What stands to the right of the value axis, top first."""
    lines = [line for line in picture.splitlines() if "┤" in line or "│" in line]
    return [line[max(line.find("┤"), line.find("│")) + 1 :] for line in lines]


def dots(picture: str) -> set[tuple[int, int]]:
    """The dots that are set as (column, row), row 0 at the top."""
    bits = {(0, 0): 0x01, (0, 1): 0x02, (0, 2): 0x04, (1, 0): 0x08}
    bits |= {(1, 1): 0x10, (1, 2): 0x20, (0, 3): 0x40, (1, 3): 0x80}
    return {
        (2 * x + dx, 4 * y + dy)
        for y, line in enumerate(plot_lines(picture))
        for x, cell in enumerate(line)
        for (dx, dy), bit in bits.items()
        if cell != " " and (ord(cell) - 0x2800) & bit
    }


def test_a_falling_line_starts_in_the_top_left_corner_and_ends_in_the_bottom_right() -> None:
    picture = curve([0, 10], [1.0, 0.0], width=40, height=10)
    drawn = dots(picture)
    assert min(drawn) == (0, 0)
    assert max(drawn) == (max(x for x, _ in drawn), max(y for _, y in drawn))
    assert max(x for x, _ in drawn) == 2 * (40 - len("1 ┤")) - 1
    assert max(y for _, y in drawn) == 4 * (10 - 2) - 1


def test_a_line_has_no_holes() -> None:
    drawn = dots(curve([0, 1, 2], [0, 9, 3], width=30, height=12))
    columns = {x: {y for cx, y in drawn if cx == x} for x, _ in drawn}
    assert sorted(columns) == list(range(max(columns) + 1))
    for x in range(1, max(columns) + 1):
        assert min(abs(a - b) for a in columns[x - 1] for b in columns[x]) <= 1
        assert len(columns[x]) == max(columns[x]) - min(columns[x]) + 1


def test_highest_lowest_first_and_last_are_labelled() -> None:
    lines = curve([100, 200, 350], [0.25, 2.5, 0.5], width=40, height=8, title="train/loss").splitlines()
    assert lines[0] == "train/loss"
    assert lines[1].startswith(" 2.5 ┤")
    assert lines[-3].startswith("0.25 ┤")
    assert lines[-1].split() == ["100", "350"]


@pytest.mark.parametrize("at", [0, 1, 49_999, 77_777, 99_999])
def test_a_spike_of_one_point_among_a_hundred_thousand_is_drawn(at: int) -> None:
    ys = [0.0] * 100_000
    ys[at] = 1.0
    top = plot_lines(curve(range(100_000), ys, width=60, height=12))[0]
    places = [x for x, cell in enumerate(top) if cell != " "]
    assert len(places) == 1
    assert abs(places[0] - at / 100_000 * (60 - len("1 ┤"))) <= 1


def test_two_spikes_of_one_column_keep_both_signs() -> None:
    ys = [0.0] * 10_000
    ys[5000], ys[5001] = 1.0, -1.0
    lines = plot_lines(curve(range(10_000), ys, width=60, height=12))
    assert lines[0].strip()
    assert lines[-1].strip()


def test_values_that_are_not_finite_are_marked_counted_and_not_joined_over() -> None:
    xs = list(range(9))
    ys = [1.0, 1.0, 1.0, math.nan, math.inf, -math.inf, 1.0, 1.0, 1.0]
    picture = curve(xs, ys, width=40, height=8)
    *_, floor, labels, counted = picture.splitlines()
    assert counted == "× 1 NaN, 1 Inf, 1 -Inf not drawn"
    assert floor.count("×") == 3
    assert labels.split() == ["0", "8"]
    drawn_columns = {x for x, _ in dots(picture)}
    widest = max(drawn_columns)
    assert not any(0.3 < x / widest < 0.7 for x in drawn_columns)
    assert any(x / widest <= 0.25 for x in drawn_columns)


def test_a_step_that_is_not_finite_is_counted_too() -> None:
    picture = curve([0, math.nan, 2], [1, 2, 3], width=40, height=8)
    assert picture.splitlines()[-1] == "× 1 NaN not drawn"


def test_a_run_taken_up_at_an_earlier_step_is_not_joined_backwards() -> None:
    picture = curve([0, 100, 0, 100], [0, 0, 1, 1], width=40, height=10)
    rows = {y for _, y in dots(picture)}
    assert len(rows) == 2


@pytest.mark.parametrize("value", [0.0, -0.0, 3.5, -1e300, 5e-324])
def test_a_constant_series_is_a_level_line_with_one_label(value: float) -> None:
    picture = curve(range(50), [value] * 50, width=40, height=9)
    assert len({y for _, y in dots(picture)}) == 1
    labelled = [line for line in picture.splitlines() if "┤" in line]
    assert len(labelled) == 1
    assert float(labelled[0].split("┤")[0]) == value
    assert labelled[0].split("┤")[1].strip()


def test_a_single_point_is_one_dot_above_its_step() -> None:
    picture = curve([7], [3.5], width=40, height=8)
    assert len(dots(picture)) == 1
    row = next(line for line in picture.splitlines() if "3.5 ┤" in line)
    place = len(row) - 1
    assert abs(picture.splitlines()[-1].index("7") - place) <= 1


def test_an_empty_series_says_so() -> None:
    assert curve([], [], title="train/loss") == "train/loss\n(no points)"


def test_a_series_without_a_finite_value_says_so_and_counts() -> None:
    assert curve([0, 1], [math.nan, math.nan]) == "(no finite points)\n× 2 NaN not drawn"


def test_a_range_wider_than_a_float_is_drawn() -> None:
    drawn = dots(curve([0, 1, 2], [-1.7e308, 0.0, 1.7e308], width=40, height=10))
    assert max(y for _, y in drawn) == 31
    assert min(y for _, y in drawn) == 0


def test_numpy_arrays_are_drawn_like_lists() -> None:
    xs, ys = np.arange(20), np.linspace(-3e38, 3e38, 20, dtype=np.float32)
    assert curve(xs, ys, width=40, height=10) == curve(xs.tolist(), ys.tolist(), width=40, height=10)


def test_nearly_equal_bounds_get_labels_that_differ() -> None:
    lines = curve([0, 1], [1.000001, 1.000002], width=60, height=8).splitlines()
    assert lines[0].split("┤")[0] != lines[-3].split("┤")[0]


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 xs and 1 ys"):
        curve([0, 1], [0.5])


def test_ascii_only_keeps_the_picture_within_ascii() -> None:
    picture = curve(range(100), [math.sin(i / 9) for i in range(99)] + [math.nan], title="Verlust µ", ascii_only=True)
    assert picture.isascii()
    assert picture.splitlines()[0] == "Verlust ?"
    assert sum(cell in ".':" for cell in picture) > 50


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in curve([0], [1], title="\x1b[2J\x07evil")


@given(
    points=st.lists(st.tuples(floats, floats), max_size=40),
    width=st.integers(0, 120),
    height=st.integers(0, 40),
    title=st.text(max_size=80),
    ascii_only=st.booleans(),
)
def test_every_series_fits_and_is_plain_text(
    points: list[tuple[float, float]], width: int, height: int, title: str, ascii_only: bool
) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    picture = curve(xs, ys, width=width, height=height, title=title, ascii_only=ascii_only)
    lines = picture.split("\n")
    assert all(len(line) <= max(width, MIN_WIDTH) for line in lines)
    assert all(line.isprintable() for line in lines)
    finite = sum(math.isfinite(x) and math.isfinite(y) for x, y in points)
    assert ("not drawn" in lines[-1] or lines[-1].endswith(("…", "~"))) == (finite < len(points))
    if finite:
        assert len(lines) == max(height, MIN_HEIGHT) + (finite < len(points))
        assert picture.isascii() == ascii_only


def test_the_terminals_encoding_decides_about_braille() -> None:
    assert encodes_braille("utf-8")
    assert not encodes_braille("latin-1")
    assert not encodes_braille("no-such-codec")
    assert not encodes_braille(None)


def test_drawing_touches_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    curve(range(10), range(10))
    assert not any(tmp_path.iterdir())
