"""
One request on many GPUs, in many precisions or on both engines, side by side: ``compare(asked, facts, by, only)``.

A row is the cheapest way that the search finds in the request's own place; for a GPU that does not do there, the
cheapest on AWS, in a home host or rented. Where no way meets the request the row is the cheapest that runs at all, and
says what it misses. A card that no host with a price carries is a what-if, by the same search: the fewest cards in a
host of one's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sizing.engine.settings import KvDtype
from sizing.errors import BadRequest, KitError, UnknownFact, echo
from sizing.facts.catalogue import Facts
from sizing.facts.gpu import Gpu
from sizing.facts.precision import Precision
from sizing.hosts.candidates import Host, hosts
from sizing.plan.aims import aims
from sizing.plan.plan import Estimates, LedgerLine
from sizing.planning.planning import deployment_estimates, plan
from sizing.request.request import Limits, Place, Request, Targets
from sizing.search.question import Question, question
from sizing.search.search import Found, Option, search
from sizing.search.tuning import Replicas
from sizing.units import GIB

By = Literal["gpu", "precision", "engine"]
ENGINES = ("vllm", "sglang")
ELSEWHERE = (Place(kind="aws-eks"), Place(kind="home"), Place(kind="rented"))  # for cards that the asked place lacks
SETTINGS = ("kv_cache_dtype", "tp", "pp", "max_model_len", "max_num_seqs", "max_num_batched_tokens")
PRICES = ("usd_per_hour", "usd_per_million_output_tokens", "usd_per_million_tokens", "prices_dated")
CARDS = (1, 2, 4, 8)  # of a what-if host
AMPLE_MEMORY_BYTES, AMPLE_VCPU = 2048 * GIB, 128  # a what-if asks about the card, not about the host around it


class Row(BaseModel):
    """One subject and the cheapest way on it. Everything after ``reason`` is None or empty where nothing runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str
    verdict: Literal["meets", "misses", "cannot"]
    reason: str  # what is missed, in numbers; "" where it meets the request
    place: str | None = None  # None: a what-if, on a host of one's own that has no price
    host: str | None = None
    hosts: int | None = None
    gpu: str | None = None
    gpus: int | None = None  # that serve: of all replicas
    replicas: int | None = None
    engine: str | None = None
    engine_version: str | None = None
    precision: Precision | None = None
    kv_cache_dtype: KvDtype | None = None
    tp: int | None = None
    pp: int | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    device_bytes: int | None = None
    ledger: tuple[LedgerLine, ...] = ()
    kv_cache_tokens: int | None = None  # of a replica
    estimates: Estimates | None = None  # of all replicas, under the asked load
    usd_per_hour: Decimal | None = None
    usd_per_million_output_tokens: Decimal | None = None  # None also where nothing is generated
    usd_per_million_tokens: Decimal | None = None  # input and output
    prices_dated: str | None = None
    outside: str = ""  # what the request's own limits say against it; "" where they allow it


@dataclass(frozen=True, slots=True)
class _Way:
    """One search that may answer a subject: in the asked place, or elsewhere; ``priced`` is false for a what-if."""

    asked: Question
    usable: list[Host] | None = None
    elsewhere: bool = False
    priced: bool = True
    replicas: dict[bool, Replicas] = field(default_factory=dict)  # with targets, without; the same in all places

    def search(self, targets: bool) -> Found:
        asked = self.asked if targets else self._free()
        replicas = self.replicas.setdefault(targets, Replicas(asked))
        return search(asked, self.usable, compared=1, replicas=replicas)

    def _free(self) -> Question:
        """Without targets and budget."""
        request = self.asked.request
        free = request.model_copy(
            update={"targets": Targets(), "limits": request.limits.model_copy(update={"usd_per_hour": None})}
        )
        return replace(self.asked, request=free)

    def best(self, options: Sequence[Option]) -> Option:
        """The cheapest; without prices the one on the fewest cards."""
        return options[0] if self.priced else min(options, key=lambda option: option.candidate.host.gpus)


def compare(request: Request, facts: Facts, by: By, only: Sequence[str] = ()) -> tuple[Row, ...]:
    """
    A row for every GPU, precision or engine (or *only* these): what meets the request first, cheapest first, and prices
    alike to the cent as the plan would choose. What the request's limits exclude comes after all that they allow. A
    request for the CPU engine, compared by all GPUs, also has the row of its own plan.

    Raises:
        UnknownFact: a name in *only* that no fact describes; every one of them.
        KitError: whatever ``question.question`` raises about the request itself.
    """
    subjects = {"gpu": _gpus, "precision": _precisions, "engine": _engines}[by](request, facts, only)
    rows = [
        _row(subject, ways).model_copy(update={"outside": _outside(request, facts, by, subject)})
        for subject, ways in subjects
    ]
    if by == "gpu" and request.limits.engine not in (None, *ENGINES) and not only:
        rows.append(_own(request, facts))
    return tuple(sorted(rows, key=lambda row: _order(row, facts)))


def _outside(request: Request, facts: Facts, by: By, subject: str) -> str:
    """Which limit of *request* excludes *subject*, and what it allows."""
    limits, allowed = request.limits, {}
    if by == "gpu":
        if limits.gpus is not None:
            allowed["gpus"] = tuple(facts.gpu(name).id for name in limits.gpus)
        if limits.engine is not None and limits.engine not in ENGINES:
            allowed["engine"] = (limits.engine,)
    elif (named := getattr(limits, by)) is not None:
        allowed[by] = (named,)
    told = [f"limits.{name} allows {', '.join(names)}" for name, names in allowed.items() if subject not in names]
    return "; ".join(told)


def _own(request: Request, facts: Facts) -> Row:
    """The row of the request's own plan, on machines without a GPU."""
    try:
        made = plan(request.model, request, facts)
    except KitError as refusal:
        return Row(subject="CPU", verdict="cannot", reason=" ".join(refusal.problems))
    engine, placement, priced = made.engine, made.placement, made.cost.usd_per_hour > 0
    where = f"{placement.kind} {placement.region}" if placement.region else placement.kind
    return Row(
        subject="CPU",
        verdict="meets",
        reason="",
        place=where,
        host=placement.host_type,
        hosts=placement.hosts,
        gpus=0,
        replicas=placement.replicas,
        engine=engine.name,
        engine_version=engine.version,
        precision=made.model.precision,
        **_copied(engine, SETTINGS),
        device_bytes=made.memory.device_bytes,
        ledger=made.memory.ledger,
        kv_cache_tokens=made.memory.kv_cache_tokens,
        estimates=made.estimates,
        **(_copied(made.cost, PRICES) if priced else {}),
    )


def _order(row: Row, facts: Facts) -> tuple[object, ...]:
    figures = row.estimates
    return (
        row.outside != "",
        ("meets", "misses", "cannot").index(row.verdict),
        row.usd_per_hour is None,
        round(row.usd_per_hour or 0, 2),
        facts.precisions[row.precision].tier if row.precision else 0,
        row.kv_cache_dtype == "fp8",
        row.usd_per_hour or 0,
        list(facts.precisions).index(row.precision) if row.precision else 0,
        row.gpus or 0,
        figures.tpot_s.mean if figures and figures.tpot_s else 0,
        row.subject,
    )


def _row(subject: str, ways: Sequence[_Way] | KitError) -> Row:
    if isinstance(ways, KitError):
        return Row(subject=subject, verdict="cannot", reason=" ".join(ways.problems))
    lost: list[str] = []
    for targets in (True, False):
        options: list[tuple[Option, _Way]] = []
        for way in ways:
            if way.elsewhere and any(not known.elsewhere for _, known in options):
                break  # its own place is the row
            try:
                found = way.search(targets)
            except KitError as refusal:
                lost += refusal.problems if targets else ()
                continue
            if found.options:
                options.append((way.best(found.options), way))
            elif targets:
                closest = found.nearest or found.rejected[-1]
                lost.append(f"{closest.candidate}: {closest.reason}")
        if options:
            best, way = min(options, key=lambda pair: (pair[1].elsewhere, pair[0].cost.usd_per_hour))
            return _of(subject, best, way, "" if targets else _missed(best, way.asked.request))
    return Row(subject=subject, verdict="cannot", reason=lost[-1])


def _missed(option: Option, request: Request) -> str:
    """What *option* misses, in numbers."""
    budget = request.limits.usd_per_hour
    missed = [
        f"{aim.name} {aim.statistic} {aim.reached_ms:,.0f} ms; the target is {aim.target_ms:g} ms"
        for aim in aims(request.targets, option.performance)
        if not aim.met
    ]
    if budget is not None and option.cost.usd_per_hour > budget:
        missed.append(f"{option.cost.usd_per_hour:.2f} $/h; the budget is {budget:g} $/h")
    return ". ".join(missed) or "none of its layouts meets every target"


def _copied(of: object, names: Iterable[str]) -> dict[str, Any]:
    """The fields that a ``Row`` calls as *of* does."""
    return {name: getattr(of, name) for name in names}


def _of(subject: str, option: Option, way: _Way, reason: str) -> Row:
    setup, place = option.setup, way.asked.request.place
    where = f"{place.kind} {place.region}" if place.kind.startswith("aws") else place.kind
    return Row(
        subject=subject,
        verdict="misses" if reason else "meets",
        reason=reason,
        place=where if way.priced else None,
        host=option.candidate.host.type if way.priced else None,
        hosts=option.hosts,
        gpu=setup.gpu.id,
        gpus=option.replicas * setup.tp * setup.pp,
        replicas=option.replicas,
        engine=setup.engine,
        engine_version=setup.engine_version,
        precision=setup.precision,
        **_copied(setup, SETTINGS),
        device_bytes=setup.device_bytes,
        ledger=option.memory.ledger,
        kv_cache_tokens=option.memory.kv_cache_tokens,
        estimates=deployment_estimates(way.asked, option),
        **(_copied(option.cost, PRICES) if way.priced else {}),
    )


def _known(names: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """*names*, each once. Raises ``UnknownFact`` with a sentence for every name that is not *known*."""
    listed = list(known)
    if problems := [
        f"{echo(name)} is no {what}; there are {', '.join(listed)}" for name in names if name not in listed
    ]:
        raise UnknownFact(*problems)
    return list(dict.fromkeys(names))


def _gpus(request: Request, facts: Facts, only: Sequence[str]) -> Iterator[tuple[str, list[_Way]]]:
    problems: list[str] = []
    wanted: dict[str, Gpu] = {}
    for name in only or facts.gpus:
        try:
            gpu = facts.gpu(name)
            wanted[gpu.id] = gpu
        except UnknownFact as unknown:
            problems += unknown.problems
    if problems:
        raise UnknownFact(*problems, kind="unknown-gpu")
    limits = request.limits.model_copy(update={"gpus": None})
    if request.limits.engine not in ENGINES:
        limits = limits.model_copy(update={"engine": None, "engine_version": None})
    asked = question(request.model_copy(update={"limits": limits, "place": ELSEWHERE[0]}), facts)
    here = request.place.model_copy(update={"host": None}) if request.place.host in facts.cpu_hosts else request.place
    own = [here] if here.kind != "local" else []
    places = [(_at(asked, place), place not in own) for place in dict.fromkeys([*own, *ELSEWHERE])]
    offers = [(at, hosts(facts, at.request)[0], elsewhere) for at, elsewhere in places]
    for gpu in wanted.values():
        ways, replicas = [], dict[bool, Replicas]()
        for at, offered, elsewhere in offers:
            if usable := [host for host in offered if host.gpu.id == gpu.id]:
                ways.append(_Way(at, usable, elsewhere, replicas=replicas))
        own_hosts = [_own_host(gpu, cards) for cards in CARDS]
        yield gpu.id, ways or [_Way(_at(asked, Place(kind="local")), own_hosts, elsewhere=True, priced=False)]


def _at(asked: Question, place: Place) -> Question:
    return replace(asked, request=asked.request.model_copy(update={"place": place}))


def _own_host(gpu: Gpu, cards: int) -> Host:
    return Host(
        type="a host of one's own",
        gpu=gpu,
        gpus=cards,
        vcpu=AMPLE_VCPU,
        memory_bytes=AMPLE_MEMORY_BYTES,
        usable_memory_bytes=AMPLE_MEMORY_BYTES,
        at_most=1,
    )


def _variant(asked: Question, facts: Facts, change: dict[str, object]) -> list[_Way] | KitError:
    """The request with *change* in its limits, in its own place; or why it cannot even be asked."""
    try:
        limits = Limits.model_validate({**asked.request.limits.model_dump(), **change})
        changed = asked.request.model_copy(update={"model": asked.model.key, "limits": limits})
        return [_Way(question(changed, facts))]
    except KitError as refusal:
        return refusal


def _searched(request: Request, facts: Facts, by: By) -> Question:
    if request.place.kind == "local":
        raise BadRequest(
            f'place.kind "local" has one engine and one precision, on this machine\'s CPU: there is nothing to compare '
            f"by {by}; compare by gpu, or ask for another place"
        )
    return question(request, facts)


def _precisions(request: Request, facts: Facts, only: Sequence[str]) -> Iterator[tuple[str, list[_Way] | KitError]]:
    asked = _searched(request, facts, "precision")
    published = [name for name in facts.precisions if asked.model.repository(name)]
    for name in _known(only, facts.precisions, "precision") or published:
        yield name, _variant(asked, facts, {"precision": name})


def _engines(request: Request, facts: Facts, only: Sequence[str]) -> Iterator[tuple[str, list[_Way] | KitError]]:
    asked = _searched(request, facts, "engine")
    for name in _known(only, ENGINES, "engine to compare") or ENGINES:
        version = request.limits.engine_version if asked.engine.id == name else None
        yield name, _variant(asked, facts, {"engine": name, "engine_version": version})
