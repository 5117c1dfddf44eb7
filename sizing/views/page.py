"""A ``Report`` as one self-contained HTML file: ``html(report)``. It loads nothing and needs no script to be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from sizing.plan import words
from sizing.plan.files import page_template
from sizing.plan.plan import Estimate, Estimates, LedgerLine, Plan
from sizing.units import gib
from sizing.views import plots
from sizing.views.plots import Bar, Curve, Mark, Segment
from sizing.whatif.compare import Row
from sizing.whatif.report import Choice, Loaded, Report, front

LEDGER_BARS = 14
TILES = {"TTFT": "Time to first token (TTFT)", "TPOT": "Time per output token (TPOT)", "output": "Output"}
PROMPT_TILES = {"TTFT": "Time to the answer", "requests": "Answers"}
PALETTE = 8  # colours of ledger lines in the style sheet, c0 to c7


class Picture(NamedTuple):
    """A plot, the sentence it shows, and the same as a table."""

    title: str
    summary: str
    svg: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    key: Sequence[tuple[str, str]] = ()  # (colour class, meaning), where labels on the plot do not say it


def html(report: Report) -> str:
    """The page. Equal reports give equal pages, byte for byte."""
    plan = report.plan
    return page_template("report.html.j2").render(
        plan=plan,
        hardware=words.hardware(plan),
        asked_for=words.asked_for(plan),
        chosen=words.chosen(plan),
        figures=words.figures(plan.estimates, plan.request.targets),
        provenance=words.provenance(plan),
        sections=[
            (title, pictures)
            for title, pictures in (
                ("Cost against latency", list(_choices(report))),
                ("Under load", list(_curves(report))),
                ("By GPU", list(_by_gpu(report))),
            )
            if pictures
        ],
        gpus=report.gpus,
        short=report.short,
        usd=words.usd,
        per_million=words.per_million(plan.cost),
        million=_million,
        tiles=TILES if plan.estimates.output_tokens_per_s.mean else PROMPT_TILES,
        percentiles=words.percentiles(plan.request.targets),
        band=_band,
        way=_way,
    )


def _band(estimate: Estimate, scale: float) -> str:
    return f"{estimate.low * scale:,.0f} to {estimate.high * scale:,.0f}"


def _way(row: Row) -> str:
    host = f"{row.hosts} x {row.host}, {row.place}" if row.host else "what-if: no host with a price"
    replicas = f", {row.replicas} replicas" if row.replicas and row.replicas > 1 else ""
    return f"{host}; {row.gpus} GPU{'' if row.gpus == 1 else 's'}, {row.precision}, TP {row.tp}{replicas}"


def _brief(gpu: str) -> str:
    """A card's name as a label: without the trailing words of a long one."""
    return " ".join(gpu.split()[:3])


def _choices(report: Report) -> Iterator[Picture]:
    targets = report.plan.request.targets
    latencies: tuple[tuple[str, Callable[[Choice], float], float | None], ...] = (
        ("TTFT", lambda choice: choice.ttft_s * 1000, targets.ttft_ms),
        ("TPOT", lambda choice: choice.tpot_s * 1000, targets.tpot_ms),
    )
    for name, latency, target in latencies:
        if not any(map(latency, report.choices)):
            continue  # nothing to choose from, or nothing is generated
        best = front(report.choices, latency)
        marks = {choice: _choice_mark(choice, name, latency(choice)) for choice in report.choices}
        label = f"{name} {targets.statistic}, ms"
        to_what = "first token" if name == "TTFT" else "next token"
        summary = (
            f"{_ways(len(report.choices))} to serve the request; on the line, nothing that meets every target is both "
            f"cheaper and faster to its {to_what} ({_ways(len(best))})."
        )
        yield Picture(
            f"Cost against {name}",
            summary,
            plots.scatter(
                list(marks.values()), [marks[choice] for choice in best], "$ an hour", label, target, summary
            ),
            ("way", "$/h", label, "meets the targets", "Pareto front"),
            [
                (
                    choice.label,
                    words.usd(choice.usd_per_hour),
                    f"{latency(choice):,.1f}",
                    "yes" if choice.meets else "no",
                    "yes" if choice in best else "",
                )
                for choice in sorted(report.choices, key=lambda one: one.usd_per_hour)
            ],
            (("chosen", "chosen"), ("on-front", "Pareto front"), ("meets", "meets"), ("misses", "misses a target")),
        )


def _ways(count: int) -> str:
    return f"{count} way{'' if count == 1 else 's'}"


def _choice_mark(choice: Choice, name: str, latency_ms: float) -> Mark:
    cards = f"{choice.gpus} x " if choice.gpus > 1 else ""
    kind = "chosen" if choice.chosen else "meets" if choice.meets else "misses"
    return Mark(
        float(choice.usd_per_hour),
        latency_ms,
        kind,  # type: ignore[arg-type]
        f"{cards}{_brief(choice.gpu)} {choice.precision}",
        f"{choice.label}: {choice.usd_per_hour:.2f} $/h, {name} {latency_ms:,.1f} ms",
    )


def _curves(report: Report) -> Iterator[Picture]:
    if not report.curve:
        return
    load, targets = report.plan.request.load, report.plan.request.targets
    asked = float(load.concurrency or load.request_rate or 0)
    unit = "requests in flight" if load.concurrency else "requests a second"
    estimates, cost = report.plan.estimates, report.plan.cost
    usd, kind = words.million(cost.usd_per_million_output_tokens, cost.usd_per_million_tokens)
    full = estimates.saturation_concurrency if load.concurrency else estimates.saturation_requests_per_s.mean
    until = f"beyond {plots.short(full)} they queue"
    kinds: tuple[tuple[str, str, Callable[[Loaded], Estimate], float, float | None], ...] = (
        ("TTFT", "ms", lambda point: point.ttft_s, 1000, targets.ttft_ms),
        ("TPOT", "ms", lambda point: point.tpot_s, 1000, targets.tpot_ms),
        ("output", "tokens/s", lambda point: point.output_tokens_per_s, 1, None),
        ("answers", "requests a second", lambda point: point.requests_per_s, 1, None),
        ("cost", f"$ per million {kind}", partial(_usd_per_million, report.plan.estimates, usd), 1, None),
    )
    for name, measure, of, scale, target in kinds:
        points = [of(point) for point in report.curve]
        if not points[0].mean or (name == "answers" and estimates.output_tokens_per_s.mean):
            continue  # nothing is generated; or what is answered shows in what is generated
        has_p95 = all(point.p95 is not None for point in points)
        curve = Curve(
            [point.mean * scale for point in points],
            [point.low * scale for point in points],
            [point.high * scale for point in points],
            [(point.p95 or 0) * scale for point in points] if has_p95 else [],
        )
        title = f"{name[0].upper()}{name[1:]} under load"
        summary = f"{name[0].upper()}{name[1:]} over {unit}, with the band of 9 in 10 measurements; {until}."
        loads = [point.load for point in report.curve]
        yield Picture(
            title,
            summary,
            plots.curve(loads, curve, unit, f"{name}, {measure}", target, asked, full, summary),
            (unit, f"{name} mean, {measure}", "low", "high", *(["p95"] if has_p95 else [])),
            [
                tuple(plots.short(round(value, 2)) for value in row)
                for row in zip(loads, curve.mean, curve.low, curve.high, *([curve.p95] if has_p95 else []), strict=True)
            ],
        )


def _usd_per_million(asked: Estimates, usd: Decimal | None, point: Loaded) -> Estimate:
    """What a million tokens cost at that load, from the *usd* at the *asked* one: the hour's price is the same."""
    here, paid = point.requests_per_s, float(usd or 0) * asked.requests_per_s.mean
    return Estimate(
        mean=paid / here.mean, low=paid / here.high, high=paid / here.low, basis=here.basis, source=here.source
    )


def _by_gpu(report: Report) -> Iterator[Picture]:
    chosen = report.plan.placement.gpu
    plan = report.plan
    runs = [row for row in report.gpus if row.ledger]
    runs.sort(key=lambda row: (row.gpu != chosen, _elsewhere(row, plan) != ""))
    bars = ([] if chosen else [_plan_bar(plan)]) + [(_row_bar(row), row.ledger) for row in runs]
    bars = bars[:LEDGER_BARS]
    colours = _colours([ledger for _, ledger in bars])
    summary = "The memory of one card, line by line, in GiB: the bar is the whole card. The chosen one comes first."
    yield Picture(
        "Where the memory goes",
        summary,
        plots.bars([Bar(*labels, _segments(ledger, colours)) for labels, ledger in bars], summary),
        ("card", *colours),
        [
            (labels[0], *(f"{gib(sum(line.bytes for line in ledger if line.name == name)):.2f}" for name in colours))
            for labels, ledger in bars
        ],
        [(colour, name) for name, colour in colours.items()],
    )
    priced = sorted((row for row in report.gpus if _million(row)), key=_million)
    if not priced:
        return
    cost = plan.cost
    _, kind = words.million(cost.usd_per_million_output_tokens, cost.usd_per_million_tokens)
    summary = (
        f"Dollars per million {kind} on the cheapest way of each of {len(priced)} cards with a price, at the asked "
        f"load: idle cards of a large host are paid for too."
    )
    yield Picture(
        "Cost per million tokens",
        summary,
        plots.dots(
            [(_price_mark(row, chosen), _elsewhere(row, plan)) for row in priced], f"$ per million {kind}", summary
        ),
        ("GPU", "way", f"$ per million {kind}", "$/h", "meets the targets"),
        [
            (
                row.subject,
                _way(row),
                words.usd(_million(row)),
                words.usd(row.usd_per_hour),
                "yes" if row.verdict == "meets" else "no",
            )
            for row in priced
        ],
        (("chosen", "chosen"), ("meets", "meets"), ("misses", "misses a target")),
    )


def _million(row: Row) -> Decimal:
    """Dollars per million tokens, of output where there is any; 0 without a price."""
    return words.million(row.usd_per_million_output_tokens, row.usd_per_million_tokens)[0] or Decimal(0)


def _colours(ledgers: Sequence[Sequence[LedgerLine]]) -> dict[str, str]:
    """A colour for every line: the first of a ledger the first, then by size; what is left of the card is grey."""
    sizes: dict[str, int] = {}
    for line in (line for ledger in ledgers for line in ledger if line.bytes > 0):
        sizes[line.name] = sizes.get(line.name, 0) + line.bytes
    first, rest = ledgers[0][0].name, ledgers[0][-1].name
    names = sorted(sizes.keys() - {rest}, key=lambda name: (name != first, -sizes[name]))
    return {name: f"c{index % PALETTE}" for index, name in enumerate(names)} | {rest: "rest"}


def _plan_bar(plan: Plan) -> tuple[tuple[str, str], tuple[LedgerLine, ...]]:
    return ("this machine's pod", f"{gib(plan.memory.device_bytes):.2f} GiB"), plan.memory.ledger


def _row_bar(row: Row) -> tuple[str, str]:
    cards = "" if row.gpus == 1 else f", one of {row.gpus}"
    return f"{_brief(row.subject)} {row.precision}{cards}", f"{gib(row.device_bytes or 0):.2f} GiB"


def _segments(ledger: Sequence[LedgerLine], colours: dict[str, str]) -> list[Segment]:
    whole = sum(max(0, line.bytes) for line in ledger)
    return [
        Segment(
            line.bytes / whole,
            colours[line.name],
            f"{line.name} {gib(line.bytes):.1f}",
            f"{line.name}: {gib(line.bytes):.2f} GiB ({line.basis})",
        )
        for line in ledger
        if line.bytes > 0
    ]


def _elsewhere(row: Row, plan: Plan) -> str:
    """Where a row runs if not in the place that was asked, in one word."""
    kind = (row.place or "nowhere").split()[0]
    return "" if kind == plan.placement.kind else kind.split("-")[0].replace("aws", "AWS")


def _price_mark(row: Row, chosen: str | None) -> Mark:
    kind = "misses" if row.verdict != "meets" else "chosen" if row.subject == chosen else "meets"
    return Mark(
        float(_million(row)),
        0,
        kind,  # type: ignore[arg-type]
        _brief(row.subject),
        f"{row.subject}: {_way(row)}, {words.usd(_million(row))} per million tokens",
    )
