"""The report as a person sees it: a real headless Chromium, from disk, without network; light, dark, phone, paper."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.tools.get import apt
from sizing.facts.catalogue import load_facts
from sizing.plan.plan import Plan
from sizing.views.page import html
from sizing.whatif.report import report
from tests.browser import Browser
from tests.sizing.whatif.test_compare import ROOT, asked

pytestmark = pytest.mark.browser
DEPLOYMENTS = ["home-server", "laptop", "prod-qwen3-32b", "prod-qwen3-8b"]
DESKTOP, PHONE = 1200, 375
PLOTTED = ("--chosen", "--meets", "--front", "--target", "--mean", "--c0", "--c1")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    apt("browser")
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    written = {name: folder / f"{name}.html" for name in DEPLOYMENTS}
    for name, file in written.items():
        file.write_text(html(report(name, asked(name), load_facts())), encoding="utf-8")
    return written


def colour(browser: Browser, name: str) -> str:
    return str(browser.ask(f"getComputedStyle(document.documentElement).getPropertyValue('{name}').trim()"))


def luminance(hexadecimal: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(hexadecimal[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_picture_has_the_ground_and_the_plots_of_its_scheme(
    browser: Browser, files: dict[str, Path], tmp_path: Path, dark: bool
) -> None:
    browser.open(files["prod-qwen3-8b"], width=DESKTOP, dark=dark)
    pixels = browser.picture(tmp_path / "page.png")
    ground = colour(browser, "--ground")
    assert max(pixels, key=lambda one: pixels[one]) == ground
    assert (luminance(ground) < 0.1) == dark
    assert len(pixels) > 500
    missing = [name for name in PLOTTED if pixels.get(colour(browser, name), 0) < 50]
    assert missing == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_what_it_stands_on(browser: Browser, files: dict[str, Path], dark: bool) -> None:
    browser.open(files["prod-qwen3-8b"], width=DESKTOP, dark=dark)
    for ink in ("--ink", "--soft", "--chosen", "--target", "--good", "--bad"):
        for ground in ("--ground", "--panel"):
            assert contrast(colour(browser, ink), colour(browser, ground)) >= 4.5, (ink, ground)
    for number in range(8):
        assert contrast(colour(browser, "--on"), colour(browser, f"--c{number}")) >= 4.5
    for line in ("--meets", "--front", "--misses", "--mean"):
        assert contrast(colour(browser, line), colour(browser, "--panel")) >= 3, line


@pytest.mark.parametrize("name", DEPLOYMENTS)
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_no_page_scrolls_sideways_and_no_plot_is_empty(
    browser: Browser, files: dict[str, Path], name: str, width: int
) -> None:
    browser.open(files[name], width=width)
    assert browser.ask("document.documentElement.scrollWidth") == width
    sizes = browser.ask(
        "[...document.querySelectorAll('figure > svg')].map((plot) => [plot.clientWidth, plot.clientHeight])"
    )
    assert sizes
    assert all(wide > 250 and high > 100 for wide, high in sizes)


def test_plot_text_can_be_read_on_a_phone(browser: Browser, files: dict[str, Path]) -> None:
    browser.open(files["prod-qwen3-8b"], width=PHONE)
    heights = browser.ask(
        "[...document.querySelectorAll('figure > svg text')].map((text) => text.getBoundingClientRect().height)"
    )
    assert min(heights) >= 9


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_text_says_what_was_planned(browser: Browser, files: dict[str, Path], scripts: bool) -> None:
    plan = Plan.load(ROOT / "deployments/prod-qwen3-8b/plan.json")
    browser.open(files["prod-qwen3-8b"], width=DESKTOP, scripts=scripts)
    text = browser.ask("document.body.innerText")
    for words in (
        plan.placement.host_type,
        f"${plan.cost.usd_per_hour:.2f} an hour",
        "TTFT mean at most 1,500 ms, TPOT mean at most 60 ms",
        "Every GPU for this request",
        "RTX 3090",
    ):
        assert words in text
    assert browser.ask("document.title").startswith("prod-qwen3-8b: ")


def test_nothing_is_fetched_and_nothing_fails(browser: Browser, files: dict[str, Path]) -> None:
    browser.open(files["prod-qwen3-8b"], width=DESKTOP)
    asked_for = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert asked_for == [files["prod-qwen3-8b"].as_uri()]
    assert [
        event for event in browser.events if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")
    ] == []


def test_a_click_on_a_heading_sorts_the_table(browser: Browser, files: dict[str, Path]) -> None:
    browser.open(files["prod-qwen3-8b"], width=DESKTOP)
    table = "document.querySelector('[aria-labelledby=gpus] table')"
    shown = f"[...{table}.tBodies[0].rows].map((row) => row.cells[3].firstChild?.textContent.trim()).filter(Boolean)"
    for direction in ("ascending", "descending"):
        browser.ask(f"{table}.querySelectorAll('th button')[3].click()")
        assert browser.ask(f"{table}.querySelectorAll('th')[3].getAttribute('aria-sort')") == direction
        speeds = [float(text.replace(",", "")) for text in browser.ask(shown)]
        assert speeds == sorted(speeds, reverse=direction == "descending")


def test_a_table_behind_a_plot_opens_without_scripts(browser: Browser, files: dict[str, Path]) -> None:
    browser.open(files["prod-qwen3-8b"], width=DESKTOP, scripts=False)
    browser.ask("document.querySelector('figure summary').scrollIntoView()")
    place = browser.ask(
        "(({x, y}) => [x + 5, y + 5])(document.querySelector('figure summary').getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)
    assert browser.ask("document.querySelector('figure details').open")
    assert browser.ask("document.querySelector('figure table').offsetHeight") > 100


def test_it_prints(browser: Browser, files: dict[str, Path]) -> None:
    browser.open(files["prod-qwen3-8b"], width=DESKTOP, dark=True)
    assert base64.b64decode(browser.call("Page.printToPDF")["data"]).startswith(b"%PDF-")
