"""A series as a line chart made of text: Braille dots, or plain ASCII where the terminal has nothing better.

Runs in the caller's thread; a pure function from values to a string, without colours or escape sequences, so that
NO_COLOR holds by itself and the text can go into a file. Invariants: a spike of a single point is always drawn,
since every column of dots shows all that its points span; a value that is not finite is never drawn, never joined
over, but marked under its column and counted. Must not know: terminals, files, runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

MIN_WIDTH: Final = 20  # columns; below this there is no room for a label and a curve
MIN_HEIGHT: Final = 5  # rows: title, three of curve, axis labels
MAX_DIGITS: Final = 10  # of a label; more would take the room of the curve
BRAILLE: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of the dot in row r, column c of a cell


class _Style(NamedTuple):
    """The characters of a picture, and how many dots one character cell holds across and down."""

    across: int
    down: int
    tick: str
    side: str
    corner: str
    floor: str
    mark: str
    ellipsis: str


_UNICODE: Final = _Style(2, 4, "┤", "│", "└", "─", "×", "…")
_ASCII: Final = _Style(1, 2, "+", "|", "+", "-", "x", "~")


class _Scale(NamedTuple):
    """Maps the values low..high to 0..1; halves them first where their distance is more than a float holds."""

    low: float
    high: float

    def share(self, value: float) -> float:
        if self.low == self.high:
            return 0.5
        span = self.high - self.low
        if math.isinf(span):
            return (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return (value - self.low) / span

    def dot(self, value: float, dots: int) -> int:
        return round(self.share(value) * (dots - 1))


def curve(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    width: int = 72,
    height: int = 16,
    title: str = "",
    ascii_only: bool = False,
) -> str:
    """Draw ``ys`` over ``xs`` and return the lines of the picture, joined by newlines, without one at the end.

    ``width`` and ``height`` are characters of the whole picture including title and labels (a last line is added
    when points were left out); at least 20 x 5 are used. Points are joined in the order given; a NaN or an infinity,
    or an x that goes back (a run that was taken up again at an earlier step), breaks the line. Set ``ascii_only`` where
    the output cannot encode Unicode, see :func:`encodes_braille`. Raises ValueError when the lengths differ.
    """
    if len(xs) != len(ys):
        raise ValueError(f"a curve needs one x for each y; got {len(xs)} xs and {len(ys)} ys")
    xs, ys = [float(x) for x in xs], [float(y) for y in ys]  # numpy's own types warn where a float overflows
    style = _ASCII if ascii_only else _UNICODE
    width, height = max(width, MIN_WIDTH), max(height, MIN_HEIGHT)
    heading = [_fit(_printable(title, ascii_only=ascii_only), width, style)] if title else []
    drawn = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
    footing = _left_out(xs, ys, width, style)
    if not drawn:
        return "\n".join([*heading, "(no finite points)" if ys else "(no points)", *footing])
    across = _Scale(min(x for x, _ in drawn), max(x for x, _ in drawn))
    up = _Scale(min(y for _, y in drawn), max(y for _, y in drawn))
    rows = height - len(heading) - 2
    labels = _value_labels(up, rows, style, width)
    gutter = max(map(len, labels)) + 1
    columns = width - gutter - 1
    grid = _Grid(columns, rows, style)
    for column, low, high in _spans(xs, ys, across, up, grid):
        grid.fill(column, low, high)
    body = [
        f"{label:>{gutter - 1}} {style.tick if label else style.side}{line}"
        for label, line in zip(labels, grid.lines(), strict=True)
    ]
    floor = " " * gutter + style.corner + _floor(xs, ys, across, columns, style)
    return "\n".join(line.rstrip() for line in [*heading, *body, floor, _step_labels(across, gutter, width), *footing])


def encodes_braille(encoding: str | None) -> bool:
    """Whether text in ``encoding`` (that of the output, say ``sys.stdout.encoding``) can hold the Unicode picture."""
    try:
        "┤│└─×…⣿".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class _Grid:
    """Dots of a picture; row 0 is the bottom."""

    def __init__(self, columns: int, rows: int, style: _Style) -> None:
        self.across = columns * style.across
        self.down = rows * style.down
        self._style = style
        self._dots = [bytearray(self.across) for _ in range(self.down)]

    def fill(self, column: int, low: int, high: int) -> None:
        for row in range(low, high + 1):
            self._dots[row][column] = 1

    def lines(self) -> Iterator[str]:
        """The rows of characters, top first."""
        style = self._style
        for top in range(self.down - 1, -1, -style.down):
            rows = [self._dots[top - offset] for offset in range(style.down)]
            yield "".join(_cell(rows, left, style) for left in range(0, self.across, style.across))


def _cell(rows: list[bytearray], left: int, style: _Style) -> str:
    if style.across == 1:
        return " '.:"[rows[0][left] + 2 * rows[1][left]]
    bits = sum(BRAILLE[r][c] for r, row in enumerate(rows) for c in range(style.across) if row[left + c])
    return chr(0x2800 + bits) if bits else " "


def _spans(
    xs: Sequence[float], ys: Sequence[float], across: _Scale, up: _Scale, grid: _Grid
) -> Iterator[tuple[int, int, int]]:
    """The dots to fill as (column, lowest row, highest row): what the points of a column span, and the joins."""
    column = low = high = last = -1  # -1: no line is being drawn
    previous_x = -math.inf
    for x, y in zip(xs, ys, strict=True):
        finite = math.isfinite(x) and math.isfinite(y)
        if column >= 0 and (not finite or x < previous_x):
            yield column, low, high
            column = -1
        if not finite:
            continue
        previous_x = x
        here, row = across.dot(x, grid.across), up.dot(y, grid.down)
        if here == column:
            low, high = min(low, row), max(high, row)
        else:
            if column >= 0:
                yield column, low, high
                yield from _join(column, last, here, row)
            column, low, high = here, row, row
        last = row
    if column >= 0:
        yield column, low, high


def _join(column: int, row: int, to_column: int, to_row: int) -> Iterator[tuple[int, int, int]]:
    """A line without holes between two dots of different columns; each column gets the rows nearest to it."""
    steps = to_column - column
    before = row
    for step in range(steps + 1):
        after = to_row if step == steps else round(row + (to_row - row) * (step + 0.5) / steps)
        yield column + step, min(before, after), max(before, after)
        before = after


def _floor(xs: Sequence[float], ys: Sequence[float], across: _Scale, columns: int, style: _Style) -> str:
    """The x axis, with a mark under each place where a value was not finite."""
    cells = [style.floor] * columns
    for x, y in zip(xs, ys, strict=True):
        if not math.isfinite(y) and math.isfinite(x) and across.low <= x <= across.high:
            cells[across.dot(x, columns * style.across) // style.across] = style.mark
    return "".join(cells)


def _value_labels(up: _Scale, rows: int, style: _Style, width: int) -> list[str]:
    """One label per row, mostly empty: highest and lowest value, or the only one in the middle."""
    labels = [""] * rows
    if up.low == up.high:
        labels[rows - 1 - up.dot(up.low, rows * style.down) // style.down] = _number(up.low, 4)
        return labels
    digits = 4
    while digits < min(MAX_DIGITS, width // 4) and _number(up.low, digits) == _number(up.high, digits):
        digits += 1
    labels[0], labels[-1] = _number(up.high, digits), _number(up.low, digits)
    return labels


def _step_labels(across: _Scale, gutter: int, width: int) -> str:
    first, last = _number(across.low, MAX_DIGITS), _number(across.high, MAX_DIGITS)
    start = " " * (gutter + 1)
    room = width - len(start)
    if across.low == across.high:
        return start + first.center(room) if len(first) <= room else _number(across.low, 2).rjust(width)
    if len(first) + 1 + len(last) <= room:
        return start + first + last.rjust(room - len(first))
    return f"{_number(across.low, 2)}..{_number(across.high, 2)}".rjust(width)[-width:]


def _left_out(xs: Sequence[float], ys: Sequence[float], width: int, style: _Style) -> list[str]:
    """A line that counts the points that are not in the picture, by what they hold instead of a number."""
    counts: dict[str, int] = {}
    for x, y in zip(xs, ys, strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            culprit = x if math.isfinite(y) else y
            name = "NaN" if math.isnan(culprit) else "Inf" if culprit > 0 else "-Inf"
            counts[name] = counts.get(name, 0) + 1
    if not counts:
        return []
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    return [_fit(f"{style.mark} {text} not drawn", width, style)]


def _number(value: float, digits: int) -> str:
    """A label: whole numbers in full while they are short, others with ``digits`` significant digits."""
    if value == int(value) and abs(value) < 10 ** min(digits, MAX_DIGITS):
        return str(int(value))
    return f"{value:.{digits}g}"


def _printable(text: str, *, ascii_only: bool) -> str:
    """Names are data: a control character in one must not reach the terminal."""
    return "".join(c if c.isprintable() and (c.isascii() or not ascii_only) else "?" for c in text)


def _fit(text: str, width: int, style: _Style) -> str:
    return text if len(text) <= width else text[: width - 1] + style.ellipsis
