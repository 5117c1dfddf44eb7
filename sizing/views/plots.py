"""
Plots as SVG text, drawn for a column of a page: axes with units, direct labels, a tooltip on every mark.

Colours are classes that the page's style sheet fills in, light and dark. A plot is 400 units wide, about the pixels it
gets on a phone, so that its text is read there too. Spans of more than ``LOG_SPAN`` get a logarithmic axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, NamedTuple

WIDTH = 400
HEIGHT = 300
LEFT, RIGHT, TOP, BOTTOM = 54.0, 388.0, 32.0, 254.0  # of the plotting area
LOG_SPAN = 8
MOST_TICKS = 6
LETTER = 7.2  # width of a letter of a label, in a wide font
NEXT_TICK = 30.0  # room that a tick's label takes on the x axis

Kind = Literal["meets", "misses", "chosen"]


class Mark(NamedTuple):
    """A point of a plot: what it is called in few words, and in a sentence."""

    x: float
    y: float
    kind: Kind
    label: str
    title: str


class Curve(NamedTuple):
    """A figure over the load: mean with its band, and the 95th percentile where there is one."""

    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    p95: Sequence[float]


class Segment(NamedTuple):
    """A part of a stacked bar: *colour* names a class, *text* goes inside where it has room."""

    share: float
    colour: str
    text: str
    title: str


class Bar(NamedTuple):
    label: str
    note: str
    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values to units of the drawing. ``over`` chooses range and scale."""

    label: str
    low: float
    high: float
    log: bool
    start: float
    end: float

    @classmethod
    def over(cls, label: str, values: Iterable[float], start: float, end: float) -> Axis:
        known = [value for value in values if value > 0]
        low, high = min(known), max(known)
        if high / low >= LOG_SPAN:
            return cls(label, low / 1.25, high * 1.25, True, start, end)
        return cls(label, 0.0, high * 1.12, False, start, end)

    def at(self, value: float) -> float:
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = value / self.high
        return round(self.start + (self.end - self.start) * min(share, 1.0), 1)

    def ticks(self) -> list[float]:
        if not self.log:
            step = next(
                step
                for power in range(-6, 12)
                for step in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
                if self.high / step <= MOST_TICKS
            )
            return [step * number for number in range(int(self.high / step) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            found = [step * 10.0**power for power in decades for step in steps]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) <= MOST_TICKS:
                break
        return found


def _spaced(axis: Axis, values: Iterable[float]) -> list[float]:
    """Those of *values* that have room for a label on *axis*."""
    kept: list[float] = []
    for value in values:
        if not kept or abs(axis.at(value) - axis.at(kept[-1])) >= NEXT_TICK:
            kept.append(value)
    return kept


def short(value: float) -> str:
    """A number for an axis: no more digits than it has."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def scatter(
    marks: Sequence[Mark], front: Sequence[Mark], x_label: str, y_label: str, target: float | None, summary: str
) -> str:
    """*marks* with the Pareto *front* (ascending in x) as a stair, its marks labelled; *target* is a limit on y."""
    x = Axis.over(x_label, [mark.x for mark in marks], LEFT, RIGHT)
    y = Axis.over(y_label, [*(mark.y for mark in marks), *([target] if target else [])], BOTTOM, TOP)
    parts = [*_frame(x, y), *_target(y, target, RIGHT, "end")]
    stair = [f"M{x.at(front[0].x)} {TOP}V{y.at(front[0].y)}"] if front else []
    stair += [f"H{x.at(mark.x)}V{y.at(mark.y)}" for mark in front[1:]]
    if front:
        parts.append(f'<path class="front" d="{"".join(stair)}H{RIGHT}"/>')
    order = sorted(marks, key=lambda mark: (mark.kind == "chosen", mark in front))
    parts += [_mark(x.at(mark.x), y.at(mark.y), mark, mark in front) for mark in order]
    chosen = [mark for mark in marks if mark.kind == "chosen"]
    return _svg(
        HEIGHT, summary, [*parts, *_labels([*chosen, *(mark for mark in front if mark not in chosen)], marks, x, y)]
    )


def _mark(left: float, top: float, mark: Mark, on_front: bool) -> str:
    title = f"<title>{escape(mark.title)}</title>"
    if mark.kind == "chosen":
        return f'<path class="chosen" d="M{left} {top - 8}l8 8l-8 8l-8-8z">{title}</path>'
    name = "on-front" if on_front else mark.kind
    return f'<circle class="{name}" cx="{left}" cy="{top}" r="{5 if on_front else 4}">{title}</circle>'


def _labels(marks: Iterable[Mark], around: Iterable[Mark], x: Axis, y: Axis) -> list[str]:
    """A label beside each mark where it covers neither marks *around* nor another label; the chosen has one anyway."""
    taken = [(x.at(mark.x) - 4, y.at(mark.y) - 4, x.at(mark.x) + 4, y.at(mark.y) + 4) for mark in around]
    parts = []
    for mark in marks:
        left, top, width = x.at(mark.x), y.at(mark.y), len(mark.label) * LETTER
        right, before = left + 11, left - 9 - width
        places = [(right, top + 4), (right, top - 7), (right, top + 15), (before, top + 15), (before, top + 4)]
        places += [(right, top - 15), (before, top - 7), (right, top + 24)]
        boxes = [(start, base - 10, start + width, base + 3) for start, base in places]
        inside = [box for box in boxes if box[0] > LEFT and box[2] < WIDTH and box[1] > TOP and box[3] < BOTTOM]
        free = [box for box in inside if not any(_overlap(box, other) for other in taken)]
        if free or mark.kind == "chosen":
            box = (free or inside or boxes)[0]
            taken.append(box)
            name = "label strong" if mark.kind == "chosen" else "label"
            at, anchor = (box[0], "start") if box[0] > left else (box[2], "end")
            parts.append(
                f'<text class="{name}" x="{at:.1f}" y="{box[1] + 10:.1f}" text-anchor="{anchor}">'
                f"{escape(mark.label)}</text>"
            )
    return parts


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def curve(
    loads: Sequence[float],
    figures: Curve,
    x_label: str,
    y_label: str,
    target: float | None,
    asked: float,
    full: float,
    summary: str,
) -> str:
    """*figures* over *loads* with band; the *asked* load, the *target*, and beyond *full* shaded: requests queue."""
    spread = [*figures.low, *figures.high, *figures.p95, *([target] if target else [])]
    x = Axis.over(x_label, loads, LEFT, RIGHT)
    y = Axis.over(y_label, spread, BOTTOM, TOP)
    at = [x.at(load) for load in loads]
    up = " ".join(f"{left},{y.at(value)}" for left, value in zip(at, figures.high, strict=True))
    down = " ".join(f"{left},{y.at(value)}" for left, value in reversed(list(zip(at, figures.low, strict=True))))
    parts = []
    if full < loads[-1]:
        parts.append(
            f'<rect class="full" x="{x.at(full)}" y="{TOP}" width="{RIGHT - x.at(full):.1f}" height="{BOTTOM - TOP}"/>'
        )
        parts.append(f'<text class="note" x="{RIGHT - 4}" y="{BOTTOM - 6}" text-anchor="end">requests queue</text>')
    doublings = loads if all(load == int(load) for load in loads) else None
    parts += [*_frame(x, y, doublings), f'<polygon class="band" points="{up} {down}"/>']
    if figures.p95:
        parts.append(f'<polyline class="p95" points="{_points(at, figures.p95, y)}"/>')
    parts.append(f'<polyline class="mean" points="{_points(at, figures.mean, y)}"/>')
    for left, load, value in zip(at, loads, figures.mean, strict=True):
        title = f"{short(load)} {x_label}: {value:,.1f} {y_label.rsplit(', ', 1)[-1]}"
        parts.append(f'<circle class="mean-dot" cx="{left}" cy="{y.at(value)}" r="3.5"><title>{title}</title></circle>')
    here = x.at(asked)
    side, anchor = (6, "start") if here < (LEFT + RIGHT) / 2 else (-6, "end")
    parts.append(f'<line class="asked" x1="{here}" x2="{here}" y1="{TOP}" y2="{BOTTOM}"/>')
    parts.append(
        f'<text class="note strong" x="{here + side}" y="{TOP + 12}" text-anchor="{anchor}">'
        f"asked: {short(asked)}</text>"
    )
    return _svg(HEIGHT, summary, [*parts, *_target(y, target, LEFT + 4, "start"), *_ends(figures, y, at[-1])])


def _ends(figures: Curve, y: Axis, left: float) -> list[str]:
    """The names of the lines, where they end; the higher one above, so that they do not meet."""
    ends = [("mean", figures.mean[-1], -9.0)]
    if figures.p95:
        above = figures.p95[-1] >= figures.mean[-1]
        ends = [("mean", figures.mean[-1], 17.0 if above else -9.0), ("p95", figures.p95[-1], -9.0 if above else 17.0)]
    return [
        f'<text class="label" x="{left}" y="{y.at(value) + offset:.1f}" text-anchor="end">{name}</text>'
        for name, value, offset in ends
    ]


def _points(at: Sequence[float], values: Sequence[float], y: Axis) -> str:
    return " ".join(f"{left},{y.at(value)}" for left, value in zip(at, values, strict=True))


def _frame(x: Axis, y: Axis, x_ticks: Sequence[float] | None = None) -> list[str]:
    parts = [f'<text class="axis" x="4" y="14">{escape(y.label)}{" (log)" if y.log else ""}</text>']
    for value in y.ticks():
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y.at(value)}" y2="{y.at(value)}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y.at(value) + 4}" text-anchor="end">{short(value)}</text>')
    for value in _spaced(x, x_ticks or x.ticks()):
        parts.append(f'<line class="grid" x1="{x.at(value)}" x2="{x.at(value)}" y1="{TOP}" y2="{BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{x.at(value)}" y="{BOTTOM + 17}" text-anchor="middle">{short(value)}</text>'
        )
    label = f"{escape(x.label)}{' (log)' if x.log else ''}"
    return [*parts, f'<text class="axis" x="{RIGHT}" y="{BOTTOM + 37}" text-anchor="end">{label}</text>']


def _target(y: Axis, target: float | None, left: float, anchor: str) -> list[str]:
    if target is None:
        return []
    top = y.at(target)
    return [
        f'<rect class="beyond" x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{max(0.0, top - TOP):.1f}"/>',
        f'<line class="target" x1="{LEFT}" x2="{RIGHT}" y1="{top}" y2="{top}"/>',
        f'<text class="target-label" x="{left}" y="{top - 5:.1f}" text-anchor="{anchor}">target {short(target)}</text>',
    ]


def bars(rows: Sequence[Bar], summary: str) -> str:
    """Stacked bars of equal length, each under its label."""
    parts = []
    for index, row in enumerate(rows):
        top = 44 * index + 16
        parts.append(f'<text class="label{" strong" if not index else ""}" x="0" y="{top}">{escape(row.label)}</text>')
        parts.append(f'<text class="tick" x="{WIDTH}" y="{top}" text-anchor="end">{escape(row.note)}</text>')
        left = 0.0
        for part in row.segments:
            wide = WIDTH * part.share
            parts.append(
                f'<rect class="{part.colour}" x="{left:.1f}" y="{top + 5}" width="{wide:.1f}" height="18">'
                f"<title>{escape(part.title)}</title></rect>"
            )
            if wide > len(part.text) * LETTER + 4:
                middle = left + wide / 2
                parts.append(f'<text class="inside" x="{middle:.1f}" y="{top + 18}">{escape(part.text)}</text>')
            left += wide
    return _svg(44 * len(rows), summary, parts)


def dots(rows: Sequence[tuple[Mark, str]], x_label: str, summary: str) -> str:
    """One dot a row on a shared axis (x), its name before it, beside it its value and a word more."""
    start, end, step = 112.0, 318.0, 24
    x = Axis.over(x_label, [row.x for row, _ in rows], start, end)
    bottom = step * len(rows) + 8.0
    parts = [f'<text class="axis" x="{WIDTH}" y="{bottom + 36}" text-anchor="end">{x_label}{" (log)" * x.log}</text>']
    for value in x.ticks():
        parts.append(f'<line class="grid" x1="{x.at(value)}" x2="{x.at(value)}" y1="4" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x.at(value)}" y="{bottom + 16}" text-anchor="middle">{short(value)}</text>'
        )
    for index, (row, word) in enumerate(rows):
        top, left = step * index + 20.0, x.at(row.x)
        name = "label strong" if row.kind == "chosen" else "label"
        price = f"{row.x:,.2f}" if row.x >= 0.1 else f"{row.x:.2g}"
        parts.append(f'<line class="stem" x1="{start}" x2="{left}" y1="{top - 4}" y2="{top - 4}"/>')
        parts.append(_mark(left, top - 4, row, False))
        parts.append(f'<text class="{name}" x="{start - 8}" y="{top}" text-anchor="end">{escape(row.label)}</text>')
        parts.append(f'<text class="{name}" x="{left + 12}" y="{top}">{price} {word}</text>')
    return _svg(bottom + 44, summary, parts)


def _svg(height: float, summary: str, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(summary)}">{"".join(parts)}</svg>'
