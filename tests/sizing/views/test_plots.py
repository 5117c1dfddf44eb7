"""Axes, labels and marks of the plots, as numbers and as SVG that parses."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from sizing.views import plots
from sizing.views.plots import Axis, Bar, Curve, Mark, Segment

VALUES = st.lists(st.floats(min_value=1e-3, max_value=1e7), min_size=1, max_size=20)


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter("text")]


@given(VALUES)
def test_every_value_lies_within_its_axis_and_in_order(values: list[float]) -> None:
    axis = Axis.over("x", values, 50.0, 400.0)
    places = [axis.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert places[0] >= 50.0
    assert places[-1] <= 400.0


@given(VALUES)
def test_ticks_lie_within_the_axis_and_are_few(values: list[float]) -> None:
    axis = Axis.over("x", values, 0.0, 100.0)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 12
    assert all(axis.low <= tick <= axis.high for tick in ticks)


def test_a_large_span_is_logarithmic_and_says_so() -> None:
    wide, narrow = Axis.over("x", [1, 1000], 0, 1), Axis.over("x", [10, 20], 0, 1)
    assert (wide.log, narrow.log) == (True, False)
    assert narrow.low == 0
    mark = [Mark(1, 1, "meets", "a", "a"), Mark(1000, 2, "chosen", "b", "b")]
    svg = plots.scatter(mark, [], "$ an hour", "TTFT, ms", None, "why")
    assert "$ an hour (log)" in texts(svg)
    assert "TTFT, ms" in texts(svg)


def test_a_doubling_is_equally_long_everywhere_on_a_logarithmic_axis() -> None:
    axis = Axis.over("x", [1, 64], 0, 1000)
    assert abs((axis.at(8) - axis.at(4)) - (axis.at(32) - axis.at(16))) <= 0.2


def test_the_chosen_mark_always_has_its_label_and_labels_never_cover_each_other() -> None:
    crowd = [Mark(1 + index / 1000, 5 + index / 1000, "meets", f"label {index}", "") for index in range(30)]
    chosen = Mark(1.015, 5.015, "chosen", "the chosen", "")
    svg = plots.scatter([*crowd, chosen], crowd, "x", "y", 6.0, "why")
    assert "the chosen" in texts(svg)
    assert "target 6" in texts(svg)


def test_text_is_escaped() -> None:
    svg = plots.scatter([Mark(1, 1, "chosen", "<a&b>", '"<script>"')], [], "x", "y", None, '"&<')
    assert "<a&b>" in texts(svg)
    assert "<script>" not in svg


def test_a_curve_shows_band_mean_target_asked_load_and_where_requests_queue() -> None:
    figures = Curve([1, 2, 30], [0.5, 1, 15], [2, 4, 60], [1, 3, 40])
    svg = plots.curve([1, 2, 4], figures, "requests in flight", "TTFT, ms", 10.0, 2.0, 3.0, "why")
    assert {"mean", "p95", "target 10", "asked: 2", "requests queue"} <= set(texts(svg))
    classes = [element.get("class") for element in ElementTree.fromstring(svg).iter()]
    assert {"band", "mean", "p95", "target", "asked", "full"} <= set(classes)


def test_the_segments_of_a_bar_fill_it_exactly() -> None:
    segments = [Segment(0.25, "c0", "a", "a"), Segment(0.7, "c1", "b", "b"), Segment(0.05, "rest", "too long", "c")]
    svg = plots.bars([Bar("L4", "22 GiB", segments)], "why")
    widths = [float(rect.get("width", 0)) for rect in ElementTree.fromstring(svg).iter("rect")]
    assert abs(sum(widths) - plots.WIDTH) < 0.2
    assert "too long" not in texts(svg)


def test_dots_carry_their_value_and_a_word() -> None:
    cheap, dear = Mark(0.11, 0, "meets", "RTX 4090", ""), Mark(14, 0, "chosen", "B300", "")
    svg = plots.dots([(cheap, "home"), (dear, "")], "$", "why")
    assert {"RTX 4090", "0.11 home", "14.00 "} <= set(texts(svg))
