"""
Machines without a GPU, and what the CPU build of vLLM does on them: the machine at hand, or those of data/cpu-hosts.

No engine setting is searched: the KV cache is given the whole GiB that the load needs. Speed is a step that reads the
weights at what the cores can pull and the memory can deliver, plus a fixed cost; the band is wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sizing.errors import UnknownFact
from sizing.facts.place import CpuFacts, CpuHost
from sizing.hosts.cost import cost, place_lines
from sizing.hosts.room import disk_gib, replica_memory_bytes, usable_memory_bytes
from sizing.memory.kv_cache import Capacity, capacity
from sizing.memory.weights import weights as weights_per_stage
from sizing.plan.aims import aims
from sizing.plan.plan import Cost, Estimate, Estimates
from sizing.search.question import Question
from sizing.search.share import Share
from sizing.units import GIB

MOST_REPLICAS = 16  # past that a GPU is the answer


@dataclass(frozen=True)
class Machine:
    """One machine type. ``memory_bytes`` None: unknown, the machine at hand."""

    type: str
    cores: int
    read_bytes_per_s: float
    memory_bytes: int | None
    vcpu: int
    most: int  # of it that a place has
    source: str
    note: str = ""


@dataclass(frozen=True)
class CpuOption:
    """*replicas* machines of a type that carry the load, with the KV cache each gets."""

    machine: Machine
    replicas: int
    running: int
    kv_gib: int
    kv: Capacity
    pod_bytes: int
    estimates: Estimates
    cost: Cost


def machines(asked: Question) -> Iterator[Machine]:
    place, facts = asked.request.place, asked.facts
    cpu = facts.cpu
    per_core = cpu.read_gb_per_s_per_core.value * 1e9
    if place.kind == "local":
        cores = int(cpu.local_cores.value)
        source = f"sizing/data/cpu.toml: {cpu.read_gb_per_s_per_core.source}"
        yield Machine("this machine", cores, cores * per_core, None, 0, 1, source)
        return
    for host in _hosts(asked):
        yield Machine(
            host.id,
            host.cores,
            min(host.cores * per_core, cpu.read_share.value * host.memory_gb_per_s.value * 1e9),
            host.memory_gib * GIB,
            host.vcpu,
            1 if host.place == "home" else MOST_REPLICAS,
            f"sizing/data/cpu-hosts/{host.id}.toml: {host.memory_gb_per_s.source}; sizing/data/cpu.toml",
            host.note,
        )


def _hosts(asked: Question) -> list[CpuHost]:
    place, known = asked.request.place, asked.facts.cpu_hosts
    if place.host is None:
        return [host for host in known.values() if place.kind.startswith(host.place)]
    if place.host not in known:
        named = ", ".join(host.id for host in known.values() if host.place == "home")
        raise UnknownFact(
            f"{place.host!r} is not a known CPU host; there is {named}. "
            f"To add it, write sizing/data/cpu-hosts/<name>.toml."
        )
    return [known[place.host]]


def fitted(asked: Question, machine: Machine) -> CpuOption | str:
    """The fewest machines that meet the request, or why none do."""
    limits = asked.request.limits
    fewest = max(limits.min_replicas - limits.spare_replicas, 1)
    reason = f"{fewest + limits.spare_replicas} replicas were asked for; the place holds {machine.most}"
    for replicas in range(fewest, machine.most - limits.spare_replicas + 1):
        fit = _with(asked, machine, replicas, limits.spare_replicas)
        if machine.memory_bytes is not None and fit.pod_bytes > usable_memory_bytes(machine.memory_bytes):
            weights = weights_per_stage(asked.model, "bf16")[0].total
            return (
                f"{asked.model.name} in bf16 needs {fit.pod_bytes / GIB:.0f} GiB of memory ({weights / GIB:.1f} of "
                f"weights, {fit.kv_gib} of KV cache); the machine has "
                f"{usable_memory_bytes(machine.memory_bytes) / GIB:.0f} for pods"
            )
        missed = [
            f"{aim.name} is {aim.reached_ms:.0f} ms; the target is {aim.target_ms:g} ms"
            for aim in aims(asked.request.targets, fit.estimates)
            if not aim.met
        ]
        if limits.usd_per_hour is not None and fit.cost.usd_per_hour > limits.usd_per_hour:
            return f"{fit.cost.usd_per_hour:.2f} $/h; the budget is {limits.usd_per_hour:g} $/h"
        if not missed:
            return fit
        reason = " and ".join(missed)
    return reason


def _with(asked: Question, machine: Machine, carrying: int, spare: int) -> CpuOption:
    """*carrying* machines share the load at its peak; the spare ones stand by with the same settings."""
    load, cpu, limits = asked.request.load, asked.facts.cpu, asked.request.limits
    share = Share(load.concurrency, None).peak(limits.spare_share).of(carrying).concurrency or 1
    running = min(share, int(cpu.max_num_seqs.value))
    tokens = load.input_tokens + load.output_tokens
    kv_gib = int(cpu.smallest_kv_cache_gib.value)
    block_size = int(cpu.block_size.value)
    while (kv := capacity(asked.model, kv_gib * GIB, asked.max_model_len, block_size)).tokens < max(
        running * tokens, asked.max_model_len
    ):
        kv_gib += 1
    weights = weights_per_stage(asked.model, "bf16")[0].total
    pod_bytes = math.ceil((replica_memory_bytes(asked.engine, 0, 0) + weights + kv_gib * GIB) / GIB) * GIB
    replicas = carrying + spare
    estimates = _estimates(asked, machine, weights, share, running, replicas)
    lines = place_lines(asked.facts, asked.request.place, machine.type, replicas, disk_gib(asked.engine, weights, 1))
    price = cost(lines, estimates.requests_per_s.mean, load)
    return CpuOption(machine, replicas, running, kv_gib, kv, pod_bytes, estimates, price)


def _estimates(asked: Question, machine: Machine, weights: int, share: int, running: int, replicas: int) -> Estimates:
    load, cpu = asked.request.load, asked.facts.cpu
    waves = math.ceil(share / running)
    flops = machine.cores * cpu.prefill_tflops_per_core.value * 1e12
    prefill_s = 2 * asked.model.params.active_text * load.input_tokens / flops
    step_s = cpu.step_s.value + weights / machine.read_bytes_per_s
    request_s = prefill_s * running + load.output_tokens * step_s
    ttft_s = prefill_s * (running + 1) / 2 + (waves - 1) * request_s
    most = replicas * running
    rate = min(load.concurrency or 1, most) / request_s
    return Estimates(
        ttft_s=_estimate(cpu, machine, ttft_s + step_s),
        tpot_s=_estimate(cpu, machine, step_s) if load.output_tokens > 1 else None,
        output_tokens_per_s=_estimate(cpu, machine, rate * load.output_tokens),
        requests_per_s=_estimate(cpu, machine, rate),
        saturation_concurrency=most,
        saturation_requests_per_s=_estimate(cpu, machine, most / request_s),
    )


def _estimate(cpu: CpuFacts, machine: Machine, mean: float) -> Estimate:
    factor = cpu.band_factor.value
    return Estimate(
        mean=round(mean, 6),
        low=round(mean / factor, 6),
        high=round(mean * factor, 6),
        basis="calculated",
        source=machine.source,
    )
