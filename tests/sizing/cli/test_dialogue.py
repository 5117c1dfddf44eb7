"""The three questions: answers become a wish, an impossible answer is said so and asked again."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.advice.wish import Hardware, Wish
from sizing.cli.dialogue import ask_wish, budget
from sizing.errors import BadRequest
from sizing.facts.catalogue import load_facts

FACTS = load_facts()


def asked(*answers: str) -> tuple[Wish, list[str]]:
    left, said = list(answers), []

    def ask(question: str, default: str) -> str:
        said.append(question)
        return left.pop(0) or default

    wish = ask_wish(ask, said.append, FACTS)
    assert left == []
    return wish, said


def test_five_returns_take_the_defaults() -> None:
    wish, said = asked("", "", "", "", "", "")
    assert wish == Wish(("text",), Hardware(gpu="RTX 4090", count=1), True, 4)
    assert [line for line in said if "long-context" in line]


@pytest.mark.parametrize(
    ("answers", "hardware"),
    [
        (("gpu", "rtx4090", "2"), Hardware(gpu="RTX 4090", count=2)),
        (("host", "home-1x-rtx-4090"), Hardware(host="home-1x-rtx-4090")),
        (("hour", "$1.50"), Hardware(usd_per_hour=Decimal("1.50"))),
        (("month", "730"), Hardware(usd_per_hour=Decimal(1))),
        (("cpu",), Hardware(cpu_only=True)),
    ],
)
def test_every_kind_of_hardware_can_be_told(answers: tuple[str, ...], hardware: Hardware) -> None:
    wish, _ = asked("Code, agents", *answers, "no", "7")
    assert wish == Wish(("code", "agents"), hardware, False, 7)


def test_an_answer_that_cannot_be_is_said_so_and_asked_again() -> None:
    wish, said = asked(
        "prose", "code", "tpu", "gpu", "RTX 4095", "RTX 4090", "0", "none", "1", "maybe", "yes", "-3", "4"
    )
    assert wish == Wish(("code",), Hardware(gpu="RTX 4090"), True, 4)
    for words in (
        "'prose' is no need",
        "'tpu' is none of",
        "nearest known is RTX 4090",
        "'none' is no whole",
        "'maybe'",
    ):
        assert [line for line in said if words in line], words


@given(st.text(max_size=30))
def test_any_text_is_an_amount_above_0_or_refused(text: str) -> None:
    try:
        amount = budget(text, None)
    except BadRequest:
        return
    assert amount is not None
    assert amount > 0


def test_a_month_has_730_hours() -> None:
    assert budget(None, "1460") == 2
    assert budget(None, None) is None
