"""
``plan(name, request, facts)``: the one calculation of the kit, from what was asked to the frozen ``Plan``.

Pure: equal request and facts give an equal plan, byte for byte. Raises ``BadRequest`` for contradictions with the
model, ``UnknownFact`` for names without facts, ``Unsupported`` where no engine serves the model, ``DoesNotFit`` with
the nearest thing that works.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sizing import __version__
from sizing.errors import DoesNotFit, KitError
from sizing.facts.catalogue import Facts
from sizing.facts.model import Model
from sizing.hosts.room import checkpoint_bytes, pod
from sizing.plan import words
from sizing.plan.plan import (
    Estimate,
    Estimates,
    Memory,
    Placement,
    Plan,
    Rejected,
)
from sizing.planning.assembly import engine_settings, model_choice, serve
from sizing.planning.assumptions import assumptions
from sizing.planning.cpu import plan_cpu
from sizing.planning.notices import warnings
from sizing.request.demand import longest_request
from sizing.request.request import Place, Request, Targets
from sizing.search.loaded import saturation
from sizing.search.question import Question, question
from sizing.search.search import COMPARED, Found, Option, search
from sizing.units import CENT


def plan(name: str, request: Request, facts: Facts, model: Model | None = None) -> Plan:
    """The plan of deployment *name*. *model* replaces the catalogue's (weights in a folder of one's own)."""
    asked = question(request, facts, model)
    if asked.engine.id == "vllm-cpu":
        return plan_cpu(name, asked)
    found = search(asked)
    if not found.options:
        raise DoesNotFit(_what_would_work(asked, found))
    return _assemble(name, asked, found)


def _assemble(name: str, asked: Question, found: Found) -> Plan:
    request, facts = asked.request, asked.facts
    best = found.options[0]
    candidate, setup, answer = best.candidate, best.setup, best.memory
    host = candidate.host
    weight_bytes = checkpoint_bytes(asked.model, candidate.precision)
    choice = model_choice(asked, candidate.repository, candidate.precision, weight_bytes)
    estimates = deployment_estimates(asked, best)
    runners_up = _runners_up(found)
    return Plan(
        kit_version=__version__,
        name=name,
        request=asked.asked,
        facts_digest=facts.digest,
        model=choice,
        placement=Placement(
            kind=request.place.kind,
            region=request.place.region if request.place.kind.startswith("aws") else None,
            zone_ids=host.zone_ids,
            host_type=host.type,
            purchase=request.place.purchase,
            hosts=best.hosts,
            hosts_per_replica=candidate.pp,
            gpu=host.gpu.id,
            gpu_smi_name=host.gpu.nvidia_smi_name,
            gpus_per_host=host.gpus,
            gpus_per_replica=setup.tp * setup.pp,
            replicas=best.replicas,
            vcpu_per_host=host.vcpu,
            memory_bytes_per_host=host.memory_bytes,
            disk_gib=best.disk_gib,
            quota_code=host.quota_code,
            power_limit_w_per_gpu=host.power_limit_w_per_gpu,
        ),
        engine=engine_settings(
            asked,
            choice,
            setup,
            nvlink=host.gpu.nvlink,
            block_size=answer.block_size,
            min_driver_branch=max(asked.release.min_driver_branch, host.gpu.min_driver_branch),
            env=asked.engine.env,
        ),
        memory=Memory(
            device_bytes=setup.device_bytes,
            ledger=answer.ledger,
            kv_cache_tokens=answer.kv_cache_tokens,
            kv_cache_tokens_low=answer.kv_cache_tokens_low,
            kv_cache_tokens_high=answer.kv_cache_tokens_high,
            max_concurrency=round(answer.max_concurrency, 3),
        ),
        pod=pod(host.usable_memory_bytes, host.vcpu, setup.tp, candidate.fullest(best.replicas), weight_bytes),
        serve=serve(asked, estimates, weight_bytes, setup.max_num_seqs, best.replicas),
        estimates=estimates,
        cost=best.cost,
        runners_up=tuple(_lost(option, best) for option in runners_up),
        rejected=(
            *(_lost(option, best) for option in found.options[1:] if option not in runners_up),
            *found.rejected,
        ),
        warnings=(*warnings(asked, best, estimates), *assumptions(asked, host.gpu)),
    )


def _runners_up(found: Found) -> list[Option]:
    """The cheapest option on each other GPU, then other layouts: what a buyer compares with."""
    best, *others = found.options
    seen = {best.candidate.host.gpu.id}
    first_of_its_gpu = []
    for option in others:
        if option.candidate.host.gpu.id not in seen:
            seen.add(option.candidate.host.gpu.id)
            first_of_its_gpu.append(option)
    rest = [option for option in others if option not in first_of_its_gpu]
    return [*first_of_its_gpu, *rest][: COMPARED - 1]


def deployment_estimates(asked: Question, option: Option) -> Estimates:
    """What all replicas of *option* do together."""

    def times(one: Estimate, factor: float) -> Estimate:
        return one.model_copy(update={part: round(getattr(one, part) * factor, 6) for part in ("mean", "low", "high")})

    speed = option.performance
    all_busy = asked.share.times(option.replicas)
    together, rate = saturation(asked, option.setup, option.memory)
    return Estimates(
        ttft_s=speed.ttft_s,
        tpot_s=speed.tpot_s if speed.tpot_s.mean else None,
        output_tokens_per_s=times(speed.output_tokens_per_s, all_busy),
        requests_per_s=times(speed.requests_per_s, all_busy),
        saturation_concurrency=together * option.replicas,
        saturation_requests_per_s=times(rate, option.replicas),
    )


def _lost(option: Option, best: Option) -> Rejected:
    more = option.cost.usd_per_hour - best.cost.usd_per_hour
    speed = words.latencies(option.performance)
    if more >= CENT:
        reason = f"meets the request ({speed}) but costs {more:.2f} $/h more than {best.cost.usd_per_hour:.2f} $/h"
    else:
        lower = option.candidate.precision != best.candidate.precision
        why = "in a lower precision" if lower else "by a fraction dearer" if more else "with a later first token"
        reason = f"meets the request ({speed}) at the same price to a cent, {why}"
    return Rejected(candidate=option.label, reason=reason, usd_per_hour=option.cost.usd_per_hour)


def _relaxations(asked: Question) -> Iterator[tuple[str, Request, int]]:
    """Ways to ask for less or of more hardware, mildest first: each alone, all at once, larger hosts, the cloud."""
    request, length = asked.request, asked.max_model_len
    limits = request.limits
    shorter = min(length, longest_request(request.load))
    single: list[tuple[str, dict[str, object]]] = []
    if limits.kv_cache_dtype == "auto":
        single.append(("without limits.kv_cache_dtype", {"kv_cache_dtype": None}))
    if limits.precision is not None:
        single.append(("without limits.precision", {"precision": None}))
    if limits.usd_per_hour is not None:
        single.append(("without limits.usd_per_hour", {"usd_per_hour": None}))
    if limits.gpus is not None:
        single.append(("without limits.gpus", {"gpus": None}))
    if length > shorter:
        yield f"with max_model_len {shorter}", request, shorter
    for name, change in single:
        yield name, request.model_copy(update={"limits": limits.model_copy(update=change)}), length
    if request.targets != Targets():
        yield "without latency targets", request.model_copy(update={"targets": Targets()}), length
        if single:
            single.append(("without latency targets", {}))
    if single:
        free = limits.model_copy(update={key: None for _, change in single for key in change})
        everything = request.model_copy(update={"limits": free, "targets": Targets()})
        yield f"{', '.join(name for name, _ in single)} and with max_model_len {shorter}", everything, shorter
    if request.place.kind in ("home", "rented"):
        if request.place.host is not None:
            place = request.place.model_copy(update={"host": None})
            yield "on another home host", request.model_copy(update={"place": place}), length
        yield "on AWS", request.model_copy(update={"place": Place(kind="aws-eks")}), length


def _what_would_work(asked: Question, found: Found) -> str:
    load = asked.request.load
    closest = found.nearest or found.rejected[-1]
    sentence = (
        f"nothing of {len(found.rejected)} candidates carries {asked.model.name} for {asked.share} of "
        f"{load.input_tokens} + {load.output_tokens} tokens at max_model_len {asked.max_model_len}; "
        f"nearest is {closest.candidate}: {closest.reason.rstrip('.')}."
    )
    for how, relaxed, relaxed_length in _relaxations(asked):
        try:
            options = search(replace(asked, request=relaxed, max_model_len=relaxed_length), compared=1).options
        except KitError:
            continue
        if options:
            best = options[0]
            return (
                f"{sentence} {how[0].upper()}{how[1:]} it works: {best.label}, {best.cost.usd_per_hour:.2f} $/h, "
                f"{words.latencies(best.performance)}."
            )
    return sentence
