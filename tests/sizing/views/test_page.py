"""The report as a file: self-contained, small, complete, equal for equal reports; and how the command writes it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sizing.facts.catalogue import load_facts
from sizing.views.page import html
from sizing.whatif.report import report
from tests.sizing.cli.test_main import qwenkit
from tests.sizing.whatif.test_compare import asked

FACTS = load_facts()
DEPLOYMENTS = ["home-server", "laptop", "prod-qwen3-32b", "prod-qwen3-8b"]
VOID = {"meta"}


class Tree(HTMLParser):
    """Notes the open elements, addresses and plots; fails on an element that is closed out of order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.plots: list[dict[str, str | None]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag == "svg":
            self.plots.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: html(report(name, asked(name), FACTS)) for name in DEPLOYMENTS}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_page_is_well_formed_small_and_refers_to_nothing_outside(pages: dict[str, str], name: str) -> None:
    page = pages[name]
    assert Tree(page).addresses == []
    assert len(page.encode()) < 1_000_000
    assert not re.search(r"url\(|@import|https?://", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_no_figure_is_missing_or_nonsense(pages: dict[str, str], name: str) -> None:
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", pages[name])


def test_every_plot_is_described_and_has_its_table(pages: dict[str, str]) -> None:
    page = pages["prod-qwen3-8b"]
    plots = [plot for plot in Tree(page).plots if plot.get("aria-hidden") != "true"]
    assert len(plots) == page.count("The same as a table") == 8
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)


def test_the_page_says_what_the_plan_says(pages: dict[str, str]) -> None:
    made = report("prod-qwen3-8b", asked("prod-qwen3-8b"), FACTS)
    plan, page = made.plan, pages["prod-qwen3-8b"]
    assert plan.estimates.tpot_s is not None
    words = [
        plan.placement.host_type,
        f"${plan.cost.usd_per_hour:.2f} an hour",
        f"{plan.estimates.tpot_s.mean * 1000:.1f} ms",
        "TTFT mean at most 1,500 ms",
        plan.facts_digest,
        *(row.subject for row in made.gpus),
        *(line.name for line in plan.memory.ledger),
    ]
    assert [word for word in words if word not in page] == []
    assert all(loser.candidate in page for loser in (*plan.runners_up, *plan.rejected))


def test_a_model_that_generates_nothing_has_answers_and_prices_of_prompts_instead_of_output() -> None:
    load = {"concurrency": 16, "input_tokens": 800}
    page = html(report("embed", asked("prod-qwen3-8b", model="qwen3-embedding-0.6b", load=load, targets={}), FACTS))
    Tree(page)
    for words in (
        "Time to the answer",
        "Answers under load",
        "per million tokens of prompts",
        "16 requests in flight of",
    ):
        assert words in page
    for words in ("Output under load", "TPOT under load", "Cost against TPOT", "output tokens"):
        assert words not in page


def test_what_a_request_has_beside_text_is_said() -> None:
    load = {"concurrency": 2, "input_tokens": 300, "output_tokens": 100, "images": {"width": 1024, "height": 768}}
    request = asked("prod-qwen3-8b", model="qwen3-vl-8b", load=load, targets={"tpot_ms": 60.0})
    assert "2 requests in flight of 300 + 100 tokens, 1 image of 1024 x 768; TPOT mean" in html(
        report("vision", request, FACTS)
    )


def test_a_name_from_outside_cannot_become_markup() -> None:
    request = asked("prod-qwen3-8b", serving={"name": "x"})
    page = html(report("<b>bold</b>", request, FACTS))
    assert "<b>" not in page
    assert "&lt;b&gt;bold" in page


def test_equal_reports_give_equal_pages(pages: dict[str, str]) -> None:
    assert html(report("laptop", asked("laptop"), FACTS)) == pages["laptop"]


def test_the_command_writes_one_file_and_names_it(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    done = qwenkit("report", "home-server", "--into", str(target))
    assert (done.returncode, done.stdout.strip()) == (0, str(target)), done.stderr
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    done = qwenkit("report", "home-server", "--into", str(tmp_path / "no" / "page.html"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr
