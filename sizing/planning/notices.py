"""What a reader of the plan should know although nothing is wrong: licence, driver, quota, memory at the edge."""

from __future__ import annotations

from collections.abc import Iterator

from sizing.facts.catalogue import Facts
from sizing.facts.licences import verdict
from sizing.facts.model import Model
from sizing.hosts.bill import circuit
from sizing.hosts.cards import ecc
from sizing.hosts.home import home_host
from sizing.hosts.room import replica_memory_bytes
from sizing.plan.aims import aims
from sizing.plan.plan import Estimates
from sizing.request.request import Load
from sizing.search.question import Question
from sizing.search.search import Option
from sizing.units import GIB, MIB

BYTES_PER_ACTIVATION = 2  # hidden states travel in 16 bits


def licence_warnings(model: Model, facts: Facts) -> tuple[str, ...]:
    """The verdict of the licence, where it is not a plain yes."""
    licence = facts.licence(model)
    return () if licence.commercial == "yes" else (verdict(model, licence),)


def warnings(asked: Question, option: Option, estimates: Estimates) -> tuple[str, ...]:
    """Sentences, the gravest first."""
    request, facts, release = asked.request, asked.facts, asked.release
    answer, setup, host = option.memory, option.setup, option.candidate.host
    gpu, place = host.gpu, request.place
    found = list(licence_warnings(asked.model, facts))
    request_tokens = request.load.input_tokens + request.load.output_tokens
    if answer.kv_cache_tokens_low < request_tokens:
        found.append(
            f"At the low end of the memory band {answer.kv_cache_tokens_low} KV tokens remain, less than one request "
            f"of {request_tokens}: the engine may refuse to start."
        )
    found += [
        f"{aim.name} {aim.statistic} is expected at {aim.reached_ms:,.0f} ms, but its band (9 in 10 measurements) ends "
        f"at {aim.slow_ms:,.0f} ms, past the target of {aim.target_ms:g} ms: measure before you rely on it."
        for aim in aims(request.targets, option.performance)
        if aim.slow_ms > aim.target_ms
    ]
    found += _queues(request.load, estimates)
    found += _sampling(asked)
    ttft, targets = option.performance.ttft_s, request.targets
    if targets.ttft_ms is not None and targets.statistic in ("p95", "p99") and (request.load.concurrency or 1) > 1:
        found.append(
            f"TTFT {targets.statistic} is that of the start, where all {request.load.concurrency} clients ask at once, "
            f"which one request in ten is counted in; half of the requests wait {(ttft.p50 or ttft.mean) * 1000:,.0f} "
            f"ms or less. Give load.request_rate for a steady stream."
        )
    if setup.pp > 1:
        crossing = setup.max_num_batched_tokens * asked.model.shape.hidden_size * BYTES_PER_ACTIVATION
        found.append(
            f"A replica is a pipeline over {setup.pp} hosts; the step model does not count what crosses their network: "
            f"up to {crossing / MIB:.0f} MiB between stages, {crossing * 8 / host.network_gbps / 1e6:.1f} ms at "
            f"{host.network_gbps:g} Gbit/s, in the fullest step."
        )
        found.append(
            f"A replica over {setup.pp} hosts needs LeaderWorkerSet in the cluster. infra/ sets up neither EFA nor a "
            f"placement group: what crosses between its hosts goes over TCP, and across zones if they lie in several."
        )
    if place.kind == "home" and place.host is None:
        found.append(
            f"place.host was left open: {host.type} is the cheapest of the known home hosts that meets the request; "
            f"name your own host to plan for it."
        )
    idle = option.hosts * host.gpus - option.replicas * setup.tp * setup.pp
    if idle:
        found.append(
            f"{idle} of the {option.hosts * host.gpus} cards stay{'s' if idle == 1 else ''} idle: a replica takes "
            f"{setup.tp}, and {option.replicas} meet{'s' if option.replicas == 1 else ''} the request."
        )
    if place.kind == "home":
        found += circuit(option.hosts * home_host(facts, host.type).load_w, facts.bill.circuit_w)
    if place.kind == "rented":
        need = replica_memory_bytes(asked.engine, setup.tp, answer.host_memory_bytes)
        found.append(
            f"Rent a machine with at least {need / GIB:.0f} GiB of host memory and {option.disk_gib} GiB of disk "
            f"beside the {gpu.id}; the kit does not build there."
        )
    if place.purchase == "spot":
        found.append("Spot hosts are taken back with two minutes' notice, and their price moves; plan spare replicas.")
    found.append(
        f"NVIDIA driver R{max(gpu.min_driver_branch, release.min_driver_branch)} or newer: {gpu.id} needs "
        f"R{gpu.min_driver_branch}, {asked.engine.id} {release.version} R{release.min_driver_branch}."
    )
    if host.quota_vcpus:
        found.append(
            f"EC2 quota: {option.hosts * host.quota_vcpus} vCPUs of the instance family must be allowed before "
            f"`pulumi up`."
        )
    if place.kind == "home" and gpu.segment == "consumer":
        found.append(f"{ecc(gpu)}; {facts.segments[gpu.segment].driver_licence}.")
    if not gpu.bf16_hardware:
        found.append(f"{gpu.id} has no bf16; the model runs in fp16, in which a Qwen model can overflow.")
    return (*found, *answer.notes)


def _sampling(asked: Question) -> Iterator[str]:
    """Where the engine takes its sampling defaults from the repository alone, whose file is for thinking."""
    model, known = asked.model, asked.model.sampling
    if known is None or "sampling" in asked.engine.flags or model.thinks(asked.request.serving.thinking):
        return
    values = ", ".join(
        f"{name} {value:g}" for name, value in known.non_thinking.model_dump(exclude_defaults=True).items()
    )
    yield (
        f"{asked.engine.id} takes sampling defaults from the model's generation_config.json alone, which is for "
        f"thinking; without it {model.name} wants {values}: clients must send them."
    )


def _queues(load: Load, estimates: Estimates) -> Iterator[str]:
    """Where requests wait for a place: more in flight than run together, or a rate that is too high at the slow end."""
    together, full = estimates.saturation_concurrency, estimates.saturation_requests_per_s
    if load.concurrency is not None and load.concurrency > together:
        yield (
            f"{load.concurrency:,} requests are in flight, {together:,} run together and the rest wait: TTFT is "
            f"{estimates.ttft_s.mean:,.1f} s. Set targets.ttft_ms to have enough replicas planned."
        )
    if load.request_rate is not None and load.request_rate > full.low:
        yield (
            f"The deployment sustains {full.mean:,.3g} requests/s, at the slow end of its band {full.low:,.3g}; "
            f"{load.request_rate:,.3g} are asked: measure, or set limits.spare_share."
        )
