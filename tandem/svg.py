"""Plots as SVG text, for a page without scripts: its style sheet gives colours and fonts, in light and dark."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Literal, Self

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 60, 408, 10, 240
ROW, NAMES, LONGEST = 22, 176, 25
Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """What is told along a side, and from where to where."""

    label: str
    low: float
    high: float

    @classmethod
    def around(cls, label: str, values: Iterable[float | None]) -> Self:
        """Hold all values, with some air."""
        known = [value for value in values if value is not None] or [0.0, 1.0]
        low, high = min(known), max(known)
        air = 0.06 * (high - low) or 0.1 * abs(low) or 0.5
        return cls(label, low - air, high + air)

    def at(self, value: float, start: float, end: float) -> float:
        """Place a value between two ends."""
        return round(start + (value - self.low) / (self.high - self.low) * (end - start), 1)

    def ticks(self, about: int = 5) -> list[float]:
        """Find round values within."""
        raw = (self.high - self.low) / about
        size = 10.0 ** floor(log10(raw))
        step = next(size * times for times in (1, 2, 5, 10) if size * times > raw * 0.7)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [round(number * step, 10) + 0.0 for number in range(first, last + 1)]


@dataclass(frozen=True)
class Series:
    """Points of one kind: joined, dashed, or each a dot of its own size, with a word on it."""

    name: str
    points: Sequence[Point]
    drawn: Literal["line", "dashed", "dots"] = "line"
    sizes: Sequence[float] = ()
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Range:
    """A value by its name, between the ends of its interval where it has one."""

    name: str
    value: float | None
    ends: tuple[float | None, float | None] = (None, None)


def _text(x: float, y: float, words: str, anchor: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{style}">{escape(words)}</text>'


def _line(ends: tuple[float, float, float, float], style: str) -> str:
    x1, y1, x2, y2 = ends
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{style}"/>'


def _whole(title: str, height: float, parts: Iterable[str]) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height}" font-size="12" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>"])


def _scales(x: Axis, y: Axis) -> Iterator[str]:
    for value in x.ticks():
        place = x.at(value, LEFT, RIGHT)
        yield _line((place, TOP, place, BOTTOM), "grid")
        yield _text(place, BOTTOM + 15, f"{value:g}", "middle")
    for value in y.ticks():
        place = y.at(value, BOTTOM, TOP)
        yield _line((LEFT, place, RIGHT, place), "grid")
        yield _text(LEFT - 6, place + 4, f"{value:g}", "end")
    yield _text((LEFT + RIGHT) / 2, BOTTOM + 34, x.label, "middle", "label")
    middle = (TOP + BOTTOM) / 2
    turned = f'<text transform="translate(11 {middle}) rotate(-90)" text-anchor="middle" class="label">'
    yield f"{turned}{escape(y.label)}</text>"


def _drawn(series: Series, number: int, x: Axis, y: Axis) -> Iterator[str]:
    places = [(x.at(a, LEFT, RIGHT), y.at(b, BOTTOM, TOP)) for a, b in series.points]
    if series.drawn != "dots":
        joined = " ".join(f"{a},{b}" for a, b in places)
        yield f'<polyline points="{joined}" fill="none" class="{series.drawn} s{number}"/>'
        return
    for place, (a, b) in enumerate(places):
        size = series.sizes[place] if series.sizes else 4
        said = f"<title>{escape(series.words[place])}</title>" if series.words else ""
        yield f'<circle cx="{a}" cy="{b}" r="{size}" class="s{number}">{said}</circle>'


def plot(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Draw series over two axes."""
    drawn = (part for number, each in enumerate(series) for part in _drawn(each, number, x, y))
    return _whole(title, HEIGHT, [*_scales(x, y), *drawn])


def ranges(title: str, axis: Axis, rows: Sequence[Range], *, bars: bool = False) -> str:
    """Draw a line a row: a dot within its interval, or a bar from the left."""
    bottom = TOP + ROW * len(rows)
    parts: list[str] = []
    for value in axis.ticks(4):
        place = axis.at(value, NAMES, RIGHT)
        parts += [_line((place, TOP, place, bottom), "grid"), _text(place, bottom + 15, f"{value:g}", "middle")]
    for number, row in enumerate(rows):
        y = TOP + ROW * number + ROW / 2
        parts.append(_text(NAMES - 8, y + 4, row.name if len(row.name) <= LONGEST else f"{row.name[:LONGEST]}…", "end"))
        low, high = row.ends
        if low is not None and high is not None:
            parts.append(_line((axis.at(low, NAMES, RIGHT), y, axis.at(high, NAMES, RIGHT), y), "span s0"))
        if row.value is None:
            continue
        x, said = axis.at(row.value, NAMES, RIGHT), f"<title>{escape(row.name)}: {row.value:.4f}</title>"
        shape = f'<rect x="{NAMES}" y="{y - 6}" width="{x - NAMES:.1f}" height="12" class="s0">'
        dot = f'<circle cx="{x}" cy="{y}" r="4" class="s0">'
        parts.append(f"{shape}{said}</rect>" if bars else f"{dot}{said}</circle>")
    parts.append(_text((NAMES + RIGHT) / 2, bottom + 34, axis.label, "middle", "label"))
    return _whole(title, bottom + 40, parts)
