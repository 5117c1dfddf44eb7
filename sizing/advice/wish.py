"""
What somebody wants of a recommendation: the three answers, checked, and as the request they make for a model.

``checked`` reports everything wrong with a wish at once; ``as_request`` fills in what it leaves open, from data/needs
and data/advice.toml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from pydantic import ValidationError

from sizing.advice.needs import Need, load_advice, load_needs, named_needs
from sizing.errors import BadRequest, KitError
from sizing.facts.catalogue import Facts
from sizing.facts.fact import sentences
from sizing.facts.model import Model
from sizing.hosts.home import MOST_CARDS, home_host
from sizing.request.request import DEFAULT_REGION, Images, Place, Request

MOST_ANSWERS = 20
OWN_MEMORY_GIB = 64  # of a host around cards one owns
MOST_USD_PER_HOUR = 1_000_000


@dataclass(frozen=True, slots=True)
class Hardware:
    """
    What there is to run on: exactly one of *gpu* (cards one owns), *host*, *usd_per_hour* and *cpu_only*.

    With *cpu_only*, *host* may name a machine of data/cpu-hosts; without it the machine at hand is meant.
    """

    gpu: str | None = None
    count: int = 1
    memory_gib: int = OWN_MEMORY_GIB
    host: str | None = None
    usd_per_hour: Decimal | None = None
    region: str = DEFAULT_REGION
    cpu_only: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """The three answers, and the load; what is None is as data/needs and data/advice.toml assume."""

    needs: tuple[str, ...]
    hardware: Hardware
    commercial: bool
    concurrency: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    answers: int | None = None


def checked(wish: Wish, facts: Facts) -> tuple[Need, ...]:
    """The needs of *wish*. Raises ``BadRequest`` with everything wrong with it."""
    hardware = wish.hardware
    at_home = hardware.host is not None and not hardware.cpu_only
    kinds = (hardware.gpu is not None, at_home, hardware.usd_per_hour is not None, hardware.cpu_only)
    problems: list[str] = []
    if sum(kinds) != 1:
        told = f"it is told in {sum(kinds)} ways" if any(kinds) else "nothing is told"
        problems.append(
            f"say in one way what the model runs on ({told}): a GPU of your own, a home host, a budget, or CPU only"
        )
    if not wish.needs:
        problems.append("say what the model is needed for")
    for number, name, most in (
        (hardware.count, "cards in a host", MOST_CARDS),
        (hardware.memory_gib, "GiB of host memory", 8192),
        (1 if wish.answers is None else wish.answers, "answers", MOST_ANSWERS),
    ):
        if not 1 <= number <= most:
            problems.append(f"{number} {name}; 1 to {most} are planned")
    if hardware.gpu is None and (hardware.count, hardware.memory_gib) != (1, OWN_MEMORY_GIB):
        problems.append("the number of cards and the memory of their host belong to a GPU of your own")
    if hardware.usd_per_hour is None:
        if hardware.region != DEFAULT_REGION:
            problems.append("a region belongs to a budget")
    elif not hardware.usd_per_hour.is_finite() or not 0 < hardware.usd_per_hour <= MOST_USD_PER_HOUR:
        problems.append(f"a budget of {hardware.usd_per_hour} $/h; give more than 0 and at most {MOST_USD_PER_HOUR:,}")
    sold = sorted({price.region for price in facts.prices if price.item in facts.instances})
    if hardware.region not in sold:
        problems.append(f"no prices of AWS in {hardware.region!r}; they are known for {', '.join(sold)}")
    needs: tuple[Need, ...] = ()
    try:
        needs = named_needs(wish.needs)
    except KitError as refusal:
        problems.extend(refusal.problems)
    for look, named in ((facts.gpu, hardware.gpu), (partial(home_host, facts), hardware.host if at_home else None)):
        if named is not None:
            try:
                look(named)
            except KitError as refusal:
                problems.extend(refusal.problems)
    if hardware.cpu_only and hardware.host is not None:
        known = [host.id for host in facts.cpu_hosts.values() if host.place == "home"]
        if hardware.host not in known:
            problems.append(
                f"{hardware.host!r} is no machine without a GPU that the kit knows; there is {', '.join(known)}"
            )
    try:
        any_model = next(iter(facts.models.values()))
        as_request(any_model, wish, needs or tuple(load_needs().values()), Place(kind="aws-ec2"))
    except ValidationError as wrong:
        problems.extend(sentences(wrong, Request))
    if problems:
        raise BadRequest(*problems)
    return needs


def as_request(model: Model, wish: Wish, needs: Sequence[Need], place: Place) -> Request:
    """*wish* as a request for *model* at *place*: the hardest of the needs' loads, the loosest of their targets."""
    assumed, cpu = load_advice(), wish.hardware.cpu_only
    ttft, tpot = (assumed.cpu_ttft_ms, assumed.cpu_tpot_ms) if cpu else (assumed.ttft_ms, assumed.tpot_ms)
    budget = wish.hardware.usd_per_hour

    def first(asked: int | None, otherwise: int) -> int:
        return otherwise if asked is None else asked

    return Request.model_validate(
        {
            "model": model.key,
            "load": {
                "concurrency": first(wish.concurrency, assumed.cpu_concurrency if cpu else assumed.concurrency),
                "input_tokens": first(wish.input_tokens, max(need.input_tokens for need in needs)),
                "output_tokens": first(wish.output_tokens, max(need.output_tokens for need in needs)),
                "images": max((need.images for need in needs if need.images), key=_pixels, default=None),
                "audio_s": max((need.audio_s for need in needs if need.audio_s), default=None),
            },
            "targets": {
                "ttft_ms": max(need.ttft_ms or ttft.value for need in needs) if wish.ttft_ms is None else wish.ttft_ms,
                "tpot_ms": max(need.tpot_ms or tpot.value for need in needs) if wish.tpot_ms is None else wish.tpot_ms,
            },
            "place": place,
            "limits": {
                "engine": "vllm-cpu" if cpu else None,
                "max_model_len": max(need.context_tokens for need in needs) or None,
                "usd_per_hour": None if budget is None else float(budget),
            },
            "serving": {"tools": bool(model.vllm.tool_parser)},
        }
    )


def _pixels(images: Images) -> int:
    return images.count * images.width * images.height
