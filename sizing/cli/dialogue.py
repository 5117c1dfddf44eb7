"""The three questions asked one after the other: ``ask_wish(ask, say, facts)``; the caller owns the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from sizing.advice.needs import load_advice, load_needs, named_needs
from sizing.advice.wish import Hardware, Wish
from sizing.errors import BadRequest, KitError
from sizing.facts.catalogue import Facts
from sizing.hosts.home import home_host
from sizing.units import HOURS_PER_MONTH

Ask = Callable[[str, str], str]  # a question and its default; the answer
Say = Callable[[str], None]
T = TypeVar("T")

WAYS = ("gpu", "host", "hour", "month", "cpu")


def ask_wish(ask: Ask, say: Say, facts: Facts) -> Wish:
    """The answers as a ``Wish``. An answer that cannot be is said so and asked again."""
    say("1. What do you need it for?")
    for need in load_needs().values():
        say(f"   {need.id}: {need.asks}")
    needs = _until(ask, say, "Needs, comma between them", "text", _needs)
    say("2. What can it run on?")
    say("   gpu: cards you own   host: a home host to buy   hour, month: a budget in $   cpu: no GPU at all")
    hardware = _hardware(ask, say, facts)
    say("3. Will you sell with it?")
    commercial = _until(ask, say, "Commercial use (yes, no)", "yes", _yes)
    usual = load_advice().cpu_concurrency if hardware.cpu_only else load_advice().concurrency
    concurrency = _until(ask, say, "Requests at the same time", str(usual), _whole)
    return Wish(needs, hardware, commercial, concurrency)


def budget(usd_per_hour: str | None, usd_per_month: str | None) -> Decimal | None:
    """Dollars an hour of the one budget given (a month has 730 h). Raises ``BadRequest`` unless it is an amount."""
    if usd_per_hour is not None and usd_per_month is not None:
        raise BadRequest("give one budget: by the hour or by the month")
    if usd_per_month is not None:
        return _dollars(usd_per_month) / HOURS_PER_MONTH
    return None if usd_per_hour is None else _dollars(usd_per_hour)


def _hardware(ask: Ask, say: Say, facts: Facts) -> Hardware:
    way = _until(ask, say, f"One of {', '.join(WAYS)}", "gpu", lambda text: _one_of(text, WAYS))
    if way == "cpu":
        return Hardware(cpu_only=True)
    if way == "gpu":
        gpu = _until(ask, say, "Which GPU", "RTX 4090", lambda text: facts.gpu(text).id)
        return Hardware(gpu=gpu, count=_until(ask, say, "How many in one host", "1", _whole))
    if way == "host":
        first = next(iter(facts.hosts))
        return Hardware(host=_until(ask, say, "Which, as home-4x-rtx-3090", first, lambda t: home_host(facts, t).id))
    dollars = _until(ask, say, f"Dollars a{'n' if way == 'hour' else ''} {way}", "1", _dollars)
    return Hardware(usd_per_hour=dollars if way == "hour" else dollars / HOURS_PER_MONTH)


def _until(ask: Ask, say: Say, question: str, default: str, read: Callable[[str], T]) -> T:
    while True:
        try:
            return read(ask(question, default).strip())
        except KitError as refusal:
            for problem in refusal.problems:
                say(problem)


def _needs(text: str) -> tuple[str, ...]:
    return tuple(need.id for need in named_needs([name.strip().lower() for name in text.split(",") if name.strip()]))


def _one_of(text: str, known: Sequence[str]) -> str:
    if text.lower() not in known:
        raise BadRequest(f"{text!r} is none of {', '.join(known)}")
    return text.lower()


def _yes(text: str) -> bool:
    return _one_of(text, ("yes", "y", "no", "n")).startswith("y")


def _whole(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 100_000:
        raise BadRequest(f"{text!r} is no whole number from 1 to 100,000")
    return int(text)


def _dollars(text: str) -> Decimal:
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        raise BadRequest(f"{text!r} is no amount of dollars") from None
    if not amount.is_finite() or amount <= 0:
        raise BadRequest(f"{text!r} is no amount of dollars above 0")
    return amount
