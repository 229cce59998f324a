"""Plots: what is drawn stands where its value is, and words are words."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.svg import LEFT, NAMES, RIGHT, Axis, Range, Series, plot, ranges

UNIT = Axis("x", 0, 1)
NUMBERS = st.integers(-(10**12), 10**12).map(lambda n: n / 1e6)  # figures have six decimals


def drawn(svg: str, tag: str) -> list[ET.Element]:
    return ET.fromstring(svg).findall(f".//{tag}")  # noqa: S314 - our own


@given(st.lists(NUMBERS, min_size=1))
def test_an_axis_holds_its_values_and_a_handful_of_round_ticks(values: list[float]) -> None:
    axis = Axis.around("x", values)
    assert axis.low < axis.high
    assert axis.low <= min(values)
    assert max(values) <= axis.high
    ticks = axis.ticks()
    slack = (axis.high - axis.low) * 1e-6
    assert 1 <= len(ticks) <= 9
    assert all(axis.low - slack <= tick <= axis.high + slack for tick in ticks)


def test_ticks_are_round() -> None:
    assert UNIT.ticks() == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert Axis("x", 0.71, 0.79).ticks(4) == [0.72, 0.74, 0.76, 0.78]


def test_an_axis_without_values_can_be_drawn() -> None:
    assert Axis.around("x", [None]).ticks()


def test_dots_stand_at_their_values_with_their_words() -> None:
    dots = Series("a", [(0, 0), (1, 1)], "dots", [2, 5], ["low", "high"])
    low, high = drawn(plot("t", UNIT, UNIT, [dots]), "circle")
    assert (float(low.attrib["cx"]), float(high.attrib["cx"])) == (LEFT, RIGHT)
    assert float(low.attrib["cy"]) > float(high.attrib["cy"])
    assert (high.attrib["r"], high.findtext("title")) == ("5", "high")


def test_each_series_has_a_colour_of_its_own() -> None:
    lines = drawn(plot("t", UNIT, UNIT, [Series("a", [(0, 0)]), Series("b", [(0, 0)], "dashed")]), "polyline")
    assert [line.attrib["class"] for line in lines] == ["line s0", "dashed s1"]
    assert {line.attrib["fill"] for line in lines} == {"none"}


def test_a_range_is_drawn_between_its_ends() -> None:
    svg = ranges("t", UNIT, [Range("a", 0.5, (0.0, 1.0)), Range("b", None)])
    (span,) = (line for line in drawn(svg, "line") if "span" in line.attrib["class"])
    assert (float(span.attrib["x1"]), float(span.attrib["x2"])) == (NAMES, RIGHT)
    assert len(drawn(svg, "circle")) == 1, "what has no value has no dot"


def test_a_bar_is_as_long_as_its_value() -> None:
    half, whole = drawn(ranges("t", UNIT, [Range("a", 0.5), Range("b", 1.0)], bars=True), "rect")
    assert float(half.attrib["width"]) * 2 == pytest.approx(float(whole.attrib["width"]))


@pytest.mark.parametrize("name", ["<script>", 'a"b', "a&b"])
def test_words_are_words(name: str) -> None:
    svg = ranges(name, UNIT, [Range(name, 0.5)])
    assert name in [text.text for text in drawn(svg, "text")]
    assert drawn(svg, "script") == []
    (dot,) = drawn(plot("t", UNIT, UNIT, [Series("a", [(0, 0)], "dots", words=[name])]), "circle")
    assert dot.findtext("title") == name


def test_a_long_name_is_cut_where_it_would_not_fit() -> None:
    svg = ranges("t", UNIT, [Range("n" * 60, 0.5)])
    shown = max((text.text or "" for text in drawn(svg, "text")), key=len)
    assert shown.endswith("n…")
    assert len(shown) < 40
    assert "n" * 60 in svg, "whole when it is pointed at"


def test_ticks_keep_off_the_words_that_stand_along_them() -> None:
    axis = Axis("log loss", 0.4441, 0.4459)
    ticks = [tick for tick in drawn(plot("t", UNIT, axis, []), "text") if tick.attrib["text-anchor"] == "end"]
    assert max(len(tick.text or "") for tick in ticks) == len("0.4445")
    assert min(float(tick.attrib["x"]) - 7 * len(tick.text or "") for tick in ticks) >= 11, "7 a sign, 11 for the words"
