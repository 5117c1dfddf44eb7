"""
Which model, on which hardware, may I sell with it, and what do I give up: ``recommend(wish, facts)``.

The three questions of the source document: the need, the hardware (one's own cards, a home host, a budget, or only a
CPU) and the licence. The models that can serve the need are tried best first (sizing/advice/needs.py); each that the
hardware carries comes with a whole plan, until there are enough. Nothing here knows a model's or a card's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from sizing.advice.needs import Need, load_advice, published, ranked
from sizing.advice.wish import Hardware, Wish, as_request, checked
from sizing.errors import DoesNotFit, KitError
from sizing.facts.catalogue import Facts, Licence
from sizing.facts.errata import Erratum, touching
from sizing.facts.licences import verdict
from sizing.facts.model import Model
from sizing.facts.place import HomeHost
from sizing.hosts.bill import power_supply_w
from sizing.hosts.candidates import hosts
from sizing.hosts.cards import home_against_cloud
from sizing.hosts.cost import place_lines
from sizing.hosts.home import home_host
from sizing.memory.weights import weights
from sizing.plan.plan import Plan
from sizing.plan.words import hardware
from sizing.planning.planning import plan
from sizing.request.request import Place, Request
from sizing.search.question import question
from sizing.search.search import search
from sizing.units import gib

SHOWN = 3  # models named in a refusal


@dataclass(frozen=True, slots=True)
class Recommendation:
    """
    A model with its plan, what its licence says, and what choosing it gives up.

    ``alternatives``: the cheapest plan of each other kind of place (home, AWS, a rented card), cheapest first.
    ``hardware_usd``: what must be bought first; 0 where nothing is, or where it is one's own.
    """

    model: Model
    plan: Plan
    alternatives: tuple[Plan, ...]
    hardware_usd: Decimal
    licence: Licence
    verdict: str
    published: str
    gives_up: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A model that was tried, as it ranks above some answer or because there were too few, and why it is none."""

    model: Model
    reason: str


@dataclass(frozen=True, slots=True)
class Advice:
    """The answers, best first; the models passed over; what else to know; errors of the notes it touches."""

    wish: Wish
    recommendations: tuple[Recommendation, ...]
    passed_over: tuple[PassedOver, ...]
    notes: tuple[str, ...]
    errata: tuple[Erratum, ...]


@dataclass(frozen=True, slots=True)
class _Carried:
    """A request that its place carries, and the facts that describe the place."""

    usd_per_hour: Decimal
    request: Request
    facts: Facts

    def plan(self) -> Plan:
        return plan(self.request.model, self.request, self.facts)


def recommend(wish: Wish, facts: Facts) -> Advice:
    """
    The best models for *wish* that its hardware carries and its licence question allows.

    Raises:
        BadRequest: everything wrong with the wish, at once.
        DoesNotFit: no model can; some of them with their reasons.
    """
    needs = checked(wish, facts)
    places = list(_places(wish.hardware, facts))
    if (least := _entrance(wish, needs, places)) is not None:
        raise DoesNotFit(f"{least}; {_cheapest_at_all(wish, needs, places)}")
    wanted = wish.answers or load_advice().answers
    found: list[Recommendation] = []
    passed: list[PassedOver] = []
    for model in ranked(list(facts.models.values()), needs):
        if len(found) == wanted:
            break
        licence = facts.licence(model)
        ways = _refused(model, licence, wish, found) or _ways(model, wish, needs, places)
        if isinstance(ways, str):
            passed.append(PassedOver(model, ways))
            continue
        made, *others = (way.plan() for way in _cheapest_of_each_kind(ways))
        found.append(
            Recommendation(
                model=model,
                plan=made,
                alternatives=tuple(others),
                hardware_usd=_hardware_usd(made, ways[0].facts),
                licence=licence,
                verdict=verdict(model, licence),
                published=published(model, needs),
                gives_up=(*_lesser(passed, needs), *_gives_up(made, model, needs)),
            )
        )
    if not found:
        raise DoesNotFit(_nothing(wish, needs, places, passed))
    subjects = {*wish.needs, *(one.model.key for one in found), *(one.plan.placement.gpu or "" for one in found)}
    return Advice(wish, tuple(found), tuple(passed), _notes(wish, found, facts), touching(subjects))


def _places(on: Hardware, facts: Facts) -> Iterator[tuple[Place, Facts]]:
    """Where to look, each with the facts that describe it: a host of one's own is a fact of this question only."""
    if on.cpu_only and on.host is None:
        yield Place(kind="local"), facts
    elif on.host is not None:
        yield Place(kind="home", host=on.host), facts
    elif on.gpu is not None:
        own = _own_host(on, facts)
        yield Place(kind="home", host=own.id), facts.model_copy(update={"hosts": {own.id: own}})
    else:
        yield Place(kind="aws-ec2", region=on.region), facts
        yield Place(kind="rented"), facts
        yield Place(kind="home"), facts


def _own_host(on: Hardware, facts: Facts) -> HomeHost:
    """A host around the asker's cards: what it cost is spent, so only its electricity counts."""
    gpu, count, rule = facts.gpu(on.gpu or ""), on.count, facts.home_rule
    around = next(platform for platform in rule.platforms if platform.most_cards >= count)
    return HomeHost(
        id="your host",
        gpu=gpu.id,
        gpu_count=count,
        cpu=around.cpu,
        vcpu=around.vcpu,
        memory_gib=on.memory_gib,
        nvme_gb=around.nvme_gb,
        psu_w=power_supply_w(count, gpu.tdp_w, facts),
        power_limit_w_per_gpu=gpu.tdp_w,
        idle_w=around.idle_w + count * rule.card_idle_w,
        load_w=around.load_w + count * gpu.tdp_w,
        hardware_usd=Decimal(0),
        hardware_usd_dated=around.hardware_usd_dated,
        depreciation_years=rule.depreciation_years,
        electricity_usd_per_kwh=rule.electricity_usd_per_kwh,
        source=around.source,
    )


def _refused(model: Model, licence: Licence, wish: Wish, found: Sequence[Recommendation]) -> str | None:
    """Why *model* is no answer whatever the hardware: its licence, or an answer of the same build that ranks above."""
    if wish.commercial and licence.commercial in ("no", "unknown"):
        return verdict(model, licence)
    for better in found:
        if (better.model.shape, better.model.params) == (model.shape, model.params):
            return f"built like {better.model.name}, which ranks above it at the same cost"
    return None


def _ways(
    model: Model, wish: Wish, needs: Sequence[Need], places: Sequence[tuple[Place, Facts]]
) -> list[_Carried] | str:
    """Where *model* is carried, cheapest first; or why nowhere."""
    ways: list[_Carried] = []
    reasons: list[str] = []
    for place, facts in places:
        try:
            ways.append(_way(model, as_request(model, wish, needs, place), facts))
        except KitError as refusal:
            reasons.append(refusal.problems[0])
    return sorted(ways, key=lambda way: way.usd_per_hour) or reasons[0]


def _cheapest_of_each_kind(ways: Sequence[_Carried]) -> Iterator[_Carried]:
    seen: set[str] = set()
    for way in ways:
        if way.request.place.kind not in seen:
            seen.add(way.request.place.kind)
            yield way


def _hardware_usd(made: Plan, facts: Facts) -> Decimal:
    if made.placement.kind != "home":
        return Decimal(0)
    host = facts.cpu_hosts.get(made.placement.host_type) or home_host(facts, made.placement.host_type)
    return host.hardware_usd * made.placement.hosts


def _way(model: Model, request: Request, facts: Facts) -> _Carried:
    """The cheapest way to serve *request*, its home host named. Raises ``KitError`` where there is none."""
    if request.engine == "vllm-cpu":
        if model.linear_attention is not None and not load_advice().cpu_hybrids.value:
            raise DoesNotFit("a Gated DeltaNet model, which this kit has not seen on the CPU engine")
        return _Carried(plan(model.key, request, facts).cost.usd_per_hour, request, facts)
    asked, named = question(request, facts), request.place.host
    if named is not None:
        _hopeless(model, home_host(facts, named), facts)
    usable = None
    if request.place.kind == "home" and named is None:  # larger ones are bought on purpose: by their name
        usable = [host for host in hosts(facts, request)[0] if host.gpus <= facts.bill.desktop_cards]
    found = search(asked, usable)
    if not found.options:
        # one host tries its most frugal layout last
        closest = found.rejected[-1] if named is not None or not found.nearest else found.nearest
        raise DoesNotFit(f"{closest.candidate}: {closest.reason}")
    best = found.options[0]
    if request.place.kind == "home":
        place = request.place.model_copy(update={"host": best.candidate.host.type})
        request = request.model_copy(update={"place": place})
    return _Carried(best.cost.usd_per_hour, request, facts)


def _hopeless(model: Model, host: HomeHost, facts: Facts) -> None:
    """Raises ``DoesNotFit`` where not even the weights fit *host*: no search is needed."""
    have = host.gpu_count * facts.gpu(host.gpu).cuda_total_gib.value
    published = [precision for precision in facts.precisions if model.repository(precision)]
    need = min(gib(weights(model, precision)[0].total) for precision in published)
    if need > have:
        raise DoesNotFit(f"its smallest official weights take {need:.1f} GiB; {host.id} has {have:.1f}")


def _lesser(passed: Sequence[PassedOver], needs: Sequence[Need]) -> tuple[str, ...]:
    """What ranks above: a smaller model is given up to, not chosen."""
    if not passed:
        return ()
    best = passed[0].model
    scores = published(best, needs)
    return (
        f"{len(passed)} model{'' if len(passed) == 1 else 's'} that rank{'s' if len(passed) == 1 else ''} above it, "
        f"the best {best.name}{f' ({scores})' if scores else ''}",
    )


def _gives_up(made: Plan, model: Model, needs: Sequence[Need]) -> tuple[str, ...]:
    found = []
    if made.model.precision not in ("bf16", "fp16"):
        found.append(f"16-bit weights: they are {made.model.precision}")
    if made.engine.kv_cache_dtype == "fp8":
        found.append("a 16-bit KV cache: it is fp8")
    if made.memory.kv_cache_tokens < model.context.native_tokens:
        found.append(
            f"a context beyond {made.memory.kv_cache_tokens:,} tokens, of {model.context.native_tokens:,} it has: the "
            f"KV cache holds no more"
        )
    if model.params.tower and all("text" in need.modalities for need in needs):
        tower = gib(2 * model.params.tower)
        found.append(f"{tower:.1f} GiB of memory to a tower for images or sound, which nobody asked for")
    if model.thinking == "never" and any(need.thinking for need in needs):
        found.append("thinking before the answer")
    if model.thinking == "always":
        found.append("short answers: it always thinks first")
    if model.modality == "omni":
        found.append(f"speech as output: {model.vllm.stated}")
    return tuple(found)


def _notes(wish: Wish, found: Sequence[Recommendation], facts: Facts) -> tuple[str, ...]:
    """Whose money is counted; and what sets home and cloud apart where both carry the best model."""
    notes: list[str] = []
    if wish.hardware.gpu is not None:
        notes.append("The hardware is yours: the cost is its electricity alone.")
    made = (found[0].plan, *found[0].alternatives)
    return (*notes, *home_against_cloud([(one.placement.kind, one.placement.gpu) for one in made], facts))


def _entrance(wish: Wish, needs: Sequence[Need], places: Sequence[tuple[Place, Facts]]) -> str | None:
    """That the budget pays for no host at all, in dollars; None where it pays for one, or there is none."""
    budget = wish.hardware.usd_per_hour
    if budget is None:
        return None
    least: list[tuple[Decimal, str]] = []
    for place, facts in places:
        offered, _ = hosts(facts, as_request(next(iter(facts.models.values())), wish, needs, place))
        for host in offered:
            lines = place_lines(facts, place, host.type, 1, 0)
            least.append((sum((line.usd_per_hour for line in lines), Decimal(0)), host.type))
    usd, host_type = min(least)
    return None if usd <= budget else f"{budget:g} $/h pays for no host with a GPU: {host_type} costs {usd:.2f} $/h"


def _cheapest_at_all(wish: Wish, needs: Sequence[Need], places: Sequence[tuple[Place, Facts]]) -> str:
    """The smallest model that works without the budget, its host and its price: no other asks for less hardware."""
    free = replace(wish, hardware=replace(wish.hardware, usd_per_hour=None))
    facts = places[0][1]
    for model in sorted(ranked(list(facts.models.values()), needs), key=lambda model: model.params.total):
        ways = _refused(model, facts.licence(model), free, ()) or _ways(model, free, needs, places)
        if not isinstance(ways, str):
            made = ways[0].plan()
            return (
                f"the smallest model that serves {_asked(needs)}, {model.name}, takes {made.cost.usd_per_hour:.2f} $/h "
                f"on {hardware(made)}"
            )
    return f"no model serves {_asked(needs)} there at any price"


def _asked(needs: Sequence[Need]) -> str:
    return " and ".join(need.id for need in needs)


def _nothing(
    wish: Wish, needs: Sequence[Need], places: Sequence[tuple[Place, Facts]], passed: Sequence[PassedOver]
) -> str:
    """Why there is no answer: what the least costs where money is short, else what the smallest models fail on."""
    if not passed:
        return f"no model of the catalogue serves {_asked(needs)} together"
    if wish.hardware.usd_per_hour is not None:
        return (
            f"{wish.hardware.usd_per_hour:g} $/h carries none of the {len(passed)} models for {_asked(needs)}; "
            f"{_cheapest_at_all(wish, needs, places)}"
        )
    smallest = sorted(passed, key=lambda one: one.model.params.total)[:SHOWN]
    shown = "; ".join(f"{one.model.name}: {one.reason.rstrip('.')}" for one in smallest)
    licence = " or by its licence" if wish.commercial else ""
    return (
        f"each of the {len(passed)} models for {_asked(needs)} fails on the hardware{licence}, the smallest so: "
        f"{shown}."
    )
