"""
What could carry a request: every host type of the place x GPUs per replica x precision x KV type, and why some cannot.

Nothing is computed here: a candidate is only known to be allowed, priced and supported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from sizing.engine.settings import KvDtype
from sizing.errors import BadRequest, UnknownFact, Unsupported
from sizing.facts.catalogue import Facts
from sizing.facts.gpu import Gpu
from sizing.facts.model import Model
from sizing.facts.precision import Precision
from sizing.hosts.home import every_home_host, home_host
from sizing.hosts.room import checkpoint_bytes, usable_memory_bytes
from sizing.plan.plan import Rejected
from sizing.request.request import Request
from sizing.units import GIB, MIB

PIPELINE_GBPS = 100  # network of hosts that share a replica: 8192 tokens of 16 KiB cross in 11 ms
MOST_STAGES = 8
SELLERS = {"home": "nobody whose price is known", "rented": "no provider of rentals.csv"}
RENTED_VCPU, RENTED_MEMORY_BYTES = 8, 64 * GIB  # what a plan asks a provider for beside the card
ROOMY = 0.9  # share of the cards that weights may take for a pipeline to be worth trying


@dataclass(frozen=True, slots=True)
class Host:
    """A host type that may be used, as many of them as needed (a home host: one)."""

    type: str
    gpu: Gpu
    gpus: int
    vcpu: int
    memory_bytes: int
    usable_memory_bytes: int
    zone_ids: tuple[str, ...] = ()
    quota_code: str | None = None
    quota_vcpus: int | None = None
    power_limit_w_per_gpu: int | None = None
    at_most: int | None = None
    network_gbps: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host type with one way to lay replicas on it; ``pp`` over 1: a replica is a pipeline of that many hosts."""

    host: Host
    tp: int
    precision: Precision
    repository: str
    kv_cache_dtype: KvDtype
    pp: int = 1

    @property
    def replicas_per_host(self) -> int:
        """Replicas that a host has cards for."""
        return self.host.gpus // self.tp

    def hosts_for(self, replicas: int) -> int:
        """Hosts that *replicas* take."""
        return replicas * self.pp if self.pp > 1 else -(-replicas // self.replicas_per_host)

    def fullest(self, replicas: int) -> int:
        """Of *replicas*, those on the fullest host."""
        return -(-replicas // self.hosts_for(replicas))

    def __str__(self) -> str:
        kv = ", fp8 KV" if self.kv_cache_dtype == "fp8" else ""
        stages = f", PP {self.pp}" if self.pp > 1 else ""
        return f"{self.host.type} ({self.host.gpus} x {self.host.gpu.id}), {self.precision}{kv}, TP {self.tp}{stages}"


def hosts(facts: Facts, request: Request) -> tuple[list[Host], list[Rejected]]:
    """
    The host types the request may use at its place, and those it may not, with the reason.

    Raises: ``UnknownFact`` for a GPU in ``limits.gpus`` or a home host that no file describes.
    """
    allowed = None if request.limits.gpus is None else {facts.gpu(name).id for name in request.limits.gpus}
    kind = request.place.kind
    found = _home(facts, request) if kind == "home" else _rented(facts) if kind == "rented" else _aws(facts, request)
    usable: list[Host] = []
    rejected: list[Rejected] = []
    for host in found:
        if isinstance(host, Rejected):
            rejected.append(host)
        elif allowed is not None and host.gpu.id not in allowed:
            rejected.append(Rejected(candidate=host.type, reason=f"{host.gpu.id} is not among limits.gpus"))
        else:
            usable.append(host)
    if allowed is not None and not usable:
        named = ", ".join(sorted(allowed)) or "it is empty"
        if request.place.host is not None:
            only = home_host(facts, request.place.host)
            raise BadRequest(f"{only.id} has {only.gpu}, which is not among limits.gpus ({named})")
        where = f" in {request.place.region}" if kind.startswith("aws") else ""
        raise BadRequest(f"{SELLERS.get(kind, 'AWS')} sells none of limits.gpus ({named}){where}")
    return usable, rejected


def _aws(facts: Facts, request: Request) -> Iterator[Host | Rejected]:
    region, purchase = request.place.region, request.place.purchase
    known = [price for price in facts.prices if price.item in facts.instances and price.purchase == purchase]
    if region not in {price.region for price in known}:
        regions = ", ".join(sorted({price.region for price in known}))
        elsewhere = f"prices are known for {regions}" if regions else "not one is known"
        kind = "a spot price" if purchase == "spot" else "an on-demand price"
        raise UnknownFact(
            f"no instance type has {kind} in {region}; {elsewhere}. To add it, add rows to sizing/data/prices.csv."
        )
    for instance in facts.instances.values():
        why = None
        gpu = facts.gpus.get(instance.gpu)
        if gpu is None:
            why = f"no facts about its GPU, {instance.gpu} (sizing/data/gpus)"
        elif instance.gpu_partition != 1:
            why = f"only {instance.gpu_partition:g} of a GPU: Kubernetes sees no nvidia.com/gpu on it"
        elif region not in instance.regions:
            why = f"not offered in {region}"
        elif not instance.on_demand:
            why = "sold only as capacity blocks"
        elif facts.price(instance.id, region, purchase) is None:
            why = f"no {purchase} price in {region} (sizing/data/prices.csv)"
        if gpu is None or why:
            yield Rejected(candidate=instance.id, reason=why or "")
            continue
        memory = instance.memory_mib * MIB
        allocatable = instance.k8s_allocatable_memory_mib
        yield Host(
            type=instance.id,
            gpu=gpu,
            gpus=instance.gpu_count,
            vcpu=instance.vcpu,
            memory_bytes=memory,
            usable_memory_bytes=usable_memory_bytes(memory, allocatable and allocatable * MIB),
            zone_ids=instance.zone_ids.get(region, ()),
            quota_code=instance.quota_code or None,
            quota_vcpus=instance.quota_vcpus,
            network_gbps=instance.network_gbps,
        )


def _home(facts: Facts, request: Request) -> Iterator[Host | Rejected]:
    """The named home host, or all of them; one of a kind, since a home has one box."""
    named = request.place.host
    for home in every_home_host(facts) if named is None else (home_host(facts, named),):
        memory = home.memory_gib * GIB
        yield Host(
            type=home.id,
            gpu=facts.gpu(home.gpu),
            gpus=home.gpu_count,
            vcpu=home.vcpu,
            memory_bytes=memory,
            usable_memory_bytes=usable_memory_bytes(memory),
            power_limit_w_per_gpu=home.power_limit_w_per_gpu,
            at_most=1,
        )


def _rented(facts: Facts) -> Iterator[Host | Rejected]:
    """Single GPUs with a price; what of a machine comes with one is the provider's to say."""
    for rental in facts.rentals:
        yield Host(
            type=rental.id,
            gpu=facts.gpu(rental.gpu),
            gpus=1,
            vcpu=RENTED_VCPU,
            memory_bytes=RENTED_MEMORY_BYTES,
            usable_memory_bytes=RENTED_MEMORY_BYTES,
        )


def runs_on(facts: Facts, precision: Precision, gpu: Gpu) -> None:
    """Raises ``Unsupported`` where *gpu* has no kernel for *precision*."""
    needed = facts.precisions[precision].min_compute_capability
    if gpu.compute_capability < needed:
        raise Unsupported(f"{precision} needs compute capability {needed}; {gpu.id} has {gpu.compute_capability}")


def tiers(facts: Facts, request: Request, model: Model) -> Iterator[list[tuple[Precision, str, KvDtype]]]:
    """
    Lists of (precision, repository, KV type) in the order the search may use them: what keeps answer quality first,
    then an fp8 KV cache, then 4-bit weights. A limit in the request narrows every tier.

    Raises: ``Unsupported`` for a precision in which no repository of the model is published.
    """
    repositories = {precision: model.repository(precision) for precision in facts.precisions}
    asked = request.limits.precision
    if asked is not None and repositories[asked] is None:
        known = ", ".join(precision for precision, repository in repositories.items() if repository)
        raise Unsupported(f"nobody official published {model.name} in {asked}; published are {known}")
    published = [
        (precision, repository, rule.tier)
        for precision, rule in facts.precisions.items()
        if asked in (None, precision) and (repository := repositories[precision])
    ]
    kv_types: tuple[KvDtype, ...] = ("auto", "fp8")
    free: list[KvDtype] = [kv for kv in kv_types if request.limits.kv_cache_dtype in (None, kv)]
    for tier in sorted({tier for *_, tier in published}):
        for kv in free:
            yield [(precision, repository, kv) for precision, repository, own in published if own == tier]


def candidates(
    facts: Facts, usable: list[Host], choices: list[tuple[Precision, str, KvDtype]]
) -> Iterator[Candidate | Rejected]:
    """Every layout of *choices* within *usable* hosts; a precision its GPU cannot run comes as ``Rejected``."""
    for host in usable:
        for precision, repository, kv in choices:
            try:
                runs_on(facts, precision, host.gpu)
            except Unsupported as refusal:
                yield Rejected(
                    candidate=f"{host.type} ({host.gpus} x {host.gpu.id}), {precision}", reason=refusal.problems[0]
                )
                continue
            tp = 1
            while tp <= host.gpus:
                yield Candidate(host, tp, precision, repository, kv)
                tp *= 2


def pipelines(
    facts: Facts, usable: list[Host], choices: list[tuple[Precision, str, KvDtype]], model: Model
) -> Iterator[Candidate]:
    """Replicas over several hosts, a stage on each, for the *choices* that no single one of *usable* holds."""
    for host in usable:
        for precision, repository, kv in choices:
            with suppress(Unsupported):
                runs_on(facts, precision, host.gpu)
                for stages in _stages(host, model, precision):
                    yield Candidate(host, host.gpus, precision, repository, kv, stages)


def _stages(host: Host, model: Model, precision: Precision) -> range:
    """Numbers of hosts to lay one replica over: from the fewest that hold the weights, where one host does not."""
    stage_bytes = ROOMY * host.gpus * host.gpu.cuda_total_gib.value * GIB
    fewest = math.ceil(checkpoint_bytes(model, precision) / stage_bytes)
    if fewest < 2 or host.network_gbps < PIPELINE_GBPS or not model.pipeline_parallel:
        return range(0)
    return range(fewest, min(fewest + 2, MOST_STAGES) + 1)
