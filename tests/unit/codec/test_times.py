"""Times as text: exact integers in, sortable text out, and back."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock._codec.times import iso, iso_column, now_ns, parse_ns

SECOND = 10**9
FIRST = -62_135_596_800 * SECOND
LAST = 253_402_300_800 * SECOND - 1
ANY_TIME = st.integers(min_value=FIRST - 10 * SECOND, max_value=LAST + 10 * SECOND)


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (999, "1970-01-01T00:00:00.000000Z"),
        (1000, "1970-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_767_225_599_999_999_999, "2025-12-31T23:59:59.999999Z"),
        (1_709_164_800 * SECOND, "2024-02-29T00:00:00.000000Z"),
        (FIRST, "0001-01-01T00:00:00.000000Z"),
        (FIRST - 1, "0001-01-01T00:00:00.000000Z"),
        (-(2**63), "1677-09-21T00:12:43.145224Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775Z"),
        (LAST, "9999-12-31T23:59:59.999999Z"),
        (LAST + 1, "9999-12-31T23:59:59.999999Z"),
        (10**30, "9999-12-31T23:59:59.999999Z"),
        (-(10**30), "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_a_time_is_rounded_down_to_microseconds_and_kept_within_four_digit_years(time_ns: int, text: str) -> None:
    assert iso(time_ns) == text
    assert iso_column([time_ns]) == [text]


@given(st.datetimes())
def test_a_time_reads_as_the_standard_library_writes_it(moment: datetime) -> None:
    since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    time_ns = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1000
    assert iso(time_ns) == moment.isoformat(timespec="microseconds") + "Z"
    assert parse_ns(iso(time_ns)) == time_ns


@given(st.lists(ANY_TIME))
def test_a_column_of_scattered_times_is_what_single_calls_give(times: list[int]) -> None:
    assert iso_column(times) == [iso(time_ns) for time_ns in times]


@given(ANY_TIME, st.integers(min_value=0, max_value=2**32))
def test_a_column_of_close_times_is_what_single_calls_give(start: int, seed: int) -> None:
    steps = random.Random(seed)
    times = [start + steps.randrange(-3 * SECOND, 3 * SECOND) for _ in range(50)]
    times += [start // SECOND * SECOND + edge for edge in (-1, 0, 1, SECOND - 1, SECOND)]
    assert iso_column(times) == [iso(time_ns) for time_ns in times]


@given(ANY_TIME, ANY_TIME)
def test_texts_sort_as_their_times(one: int, other: int) -> None:
    assert iso(min(one, other)) <= iso(max(one, other))


def test_an_empty_column_is_empty() -> None:
    assert iso_column([]) == []


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00", 0),
        ("1970-01-01 00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
        ("1970-01-01T00:00:00.000001+00:00", 1000),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T19:30:00-0430", 0),
        ("1969-12-31T23:59:59.999999Z", -1000),
    ],
)
def test_other_spellings_of_iso_8601_are_read(text: str, time_ns: int) -> None:
    assert parse_ns(text) == time_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-03-01",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-03-01T25:00:00Z",
        "12026-03-01T00:00:00Z",
        "2026-03-01T00:00:00.Z",
        "2026-03-01T00:00:00.1234567890Z",
        "2026-03-01T00:00:00Zx",
        "2026-03-01T00:00:00Z\n",
        "\u0662\u0660\u0662\u0666-03-01T00:00:00Z",
        "2026-03-01T00:00:00.+12345Z",
        " 2026-03-01T00:00:00Z",
    ],
)
def test_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_ns(text)


def test_the_present_is_in_nanoseconds() -> None:
    before, now = now_ns(), iso(now_ns())
    assert before // 1000 * 1000 <= parse_ns(now) <= now_ns()
