"""
What could carry a request: every host type of the place x GPUs per replica x precision x KV type, and why some cannot.

Nothing is computed here: a candidate is only known to be allowed, priced and supported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sizing.errors import BadRequest, UnknownFact, Unsupported
from sizing.facts import Facts, Gpu, Model, Precision
from sizing.plan import Rejected
from sizing.request import Request
from sizing.setup import KvDtype
from sizing.units import GIB, MIB

HOST_RESERVE_BYTES = 2 * GIB  # operating system and agents, where the allocatable memory is not a recorded fact


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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host type with one way to lay replicas on it."""

    host: Host
    tp: int
    precision: Precision
    repository: str
    kv_cache_dtype: KvDtype

    @property
    def replicas_per_host(self) -> int:
        return self.host.gpus // self.tp

    def __str__(self) -> str:
        kv = ", fp8 KV" if self.kv_cache_dtype == "fp8" else ""
        return f"{self.host.type} ({self.host.gpus} x {self.host.gpu.id}), {self.precision}{kv}, TP {self.tp}"


def hosts(facts: Facts, request: Request) -> tuple[list[Host], list[Rejected]]:
    """
    The host types the request may use at its place, and those it may not, with the reason.

    Raises: ``UnknownFact`` for a GPU in ``limits.gpus`` or a home host that no file describes.
    """
    allowed = None if request.limits.gpus is None else {facts.gpu(name).id for name in request.limits.gpus}
    if request.place.kind == "home":
        home = _home(facts, request)
        if allowed is not None and home.gpu.id not in allowed:
            raise BadRequest(
                f"{home.type} has {home.gpu.id}, which is not among limits.gpus ({', '.join(sorted(allowed))})"
            )
        return [home], []
    usable, rejected = [], []
    region = request.place.region
    priced = {price.region for price in facts.prices if price.item in facts.instances}
    if region not in priced:
        raise UnknownFact(
            f"no instance type has a price in {region}; prices are known for {', '.join(sorted(priced))}. "
            f"To add it, add rows to sizing/data/prices.csv."
        )
    for instance in facts.instances.values():
        why = None
        gpu = facts.gpus.get(instance.gpu)
        if gpu is None:
            why = f"no facts about its GPU, {instance.gpu} (sizing/data/gpus)"
        elif allowed is not None and gpu.id not in allowed:
            why = f"{gpu.id} is not among limits.gpus"
        elif instance.gpu_partition != 1:
            why = f"only {instance.gpu_partition:g} of a GPU: Kubernetes sees no nvidia.com/gpu on it"
        elif region not in instance.regions:
            why = f"not offered in {region}"
        elif not instance.on_demand:
            why = "sold only as capacity blocks"
        elif facts.price(instance.id, region) is None:
            why = f"no price for {region} (sizing/data/prices.csv)"
        if gpu is None or why:
            rejected.append(Rejected(candidate=instance.id, reason=why or ""))
            continue
        memory = instance.memory_mib * MIB
        allocatable = instance.k8s_allocatable_memory_mib
        usable.append(
            Host(
                type=instance.id,
                gpu=gpu,
                gpus=instance.gpu_count,
                vcpu=instance.vcpu,
                memory_bytes=memory,
                usable_memory_bytes=allocatable * MIB if allocatable else memory - HOST_RESERVE_BYTES,
                zone_ids=instance.zone_ids.get(region, ()),
                quota_code=instance.quota_code or None,
                quota_vcpus=instance.quota_vcpus,
            )
        )
    if allowed is not None and not usable:
        raise BadRequest(f"AWS sells none of limits.gpus ({', '.join(sorted(allowed)) or 'it is empty'}) in {region}")
    return usable, rejected


def _home(facts: Facts, request: Request) -> Host:
    home = facts.host(request.place.host or "")
    memory = home.memory_gib * GIB
    return Host(
        type=home.id,
        gpu=facts.gpu(home.gpu),
        gpus=home.gpu_count,
        vcpu=home.vcpu,
        memory_bytes=memory,
        usable_memory_bytes=memory - HOST_RESERVE_BYTES,
        power_limit_w_per_gpu=home.power_limit_w_per_gpu,
        at_most=1,
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
    """Every layout of *choices* on the *usable* hosts; a precision its GPU cannot run comes as ``Rejected``."""
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
                if host.gpus % tp == 0:
                    yield Candidate(host, tp, precision, repository, kv)
                tp *= 2
