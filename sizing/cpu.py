"""
The plan of the place ``local``: the CPU build of vLLM in a pod on the machine at hand.

There is no GPU to rank, so nothing is searched: the KV cache is given the whole GiB that the asked load needs, and the
figures follow from a two-constant step (read the weights, plus a fixed cost) with a wide band.
"""

from __future__ import annotations

import math

from sizing import __version__
from sizing.cost import cost, place_prices
from sizing.engine_args import PORT, Settings, engine_args, thinking_default
from sizing.errors import BadRequest, DoesNotFit
from sizing.facts import CpuFacts, Model
from sizing.host_needs import disk_gib, drain_s, image_pull_s, replica_memory_bytes, weight_load_s
from sizing.kv_cache import capacity
from sizing.plan import (
    EngineSettings,
    Estimate,
    Estimates,
    LedgerLine,
    Memory,
    ModelChoice,
    Placement,
    Plan,
    Pod,
    Serve,
)
from sizing.question import Question
from sizing.request import Request, Targets
from sizing.units import GIB
from sizing.warnings import licence_warnings
from sizing.weights import weights as weights_per_stage

WEIGHTS_FOLDER = "/models"  # where the chart mounts the claim that holds the weights


def plan_local(name: str, asked: Question) -> Plan:
    """The plan for this machine. Raises ``BadRequest`` for what a CPU plan cannot honour."""
    request, facts, model, engine, release = asked.request, asked.facts, asked.model, asked.engine, asked.release
    max_model_len = asked.max_model_len
    load, cpu = request.load, facts.cpu
    limits = request.limits
    problems = []
    if load.concurrency is None:
        problems.append('load.request_rate is not planned for the place "local"; give load.concurrency')
    if limits.precision not in (None, "bf16"):
        problems.append(f"limits.precision {limits.precision} has no CPU kernel in the pinned build; use bf16")
    if limits.min_replicas > 1:
        problems.append(f"limits.min_replicas is {limits.min_replicas}; this machine holds 1")
    for limit in ("gpus", "usd_per_hour", "gpu_memory_utilization"):
        if getattr(limits, limit) is not None:
            problems.append(
                f'limits.{limit} means nothing at the place "local": there is no GPU and no price; leave it out'
            )
    if limits.kv_cache_dtype == "fp8":
        problems.append("limits.kv_cache_dtype fp8 has no CPU kernel in the pinned build; leave it out")
    if problems:
        raise BadRequest(*problems)
    concurrency = load.concurrency or 1
    running = min(concurrency, int(cpu.max_num_seqs.value))
    tokens = load.input_tokens + load.output_tokens
    block_size = int(cpu.block_size.value)
    kv_gib = int(cpu.smallest_kv_cache_gib.value)
    while (kv := capacity(model, kv_gib * GIB, max_model_len, block_size)).tokens < max(
        running * tokens, max_model_len
    ):
        kv_gib += 1
    weights = weights_per_stage(model, "bf16")[0].total
    settings = Settings(
        tp=1,
        pp=1,
        max_model_len=max_model_len,
        max_num_seqs=running,
        max_num_batched_tokens=int(cpu.max_num_batched_tokens.value),
        gpu_memory_utilization=None,
        kv_cache_dtype="auto",
    )
    served_name = request.serving.name or model.key
    estimates = _estimates(cpu, model, weights, request, running)
    _meets(request.targets, estimates)
    processes = replica_memory_bytes(engine, 0, 0)
    pod_bytes = math.ceil((processes + weights + kv_gib * GIB) / GIB) * GIB
    lines, dated = place_prices(facts, request.place, disk_gib(engine, weights, 1))("", 1)
    load_s = weight_load_s(engine, weights)
    return Plan(
        kit_version=__version__,
        name=name,
        request=request,
        facts_digest=facts.digest,
        model=ModelChoice(
            key=model.key,
            repository=model.hub_ids[0],
            precision="bf16",
            served_name=served_name,
            licence=model.licence,
            weight_bytes_on_disk=weights,
        ),
        placement=Placement(
            kind="local",
            region=None,
            zone_ids=(),
            host_type="this machine",
            hosts=1,
            gpu=None,
            gpus_per_host=0,
            gpus_per_replica=0,
            replicas=1,
            vcpu_per_host=0,
            memory_bytes_per_host=pod_bytes,
            disk_gib=disk_gib(engine, weights, 1),
        ),
        engine=EngineSettings(
            name=engine.id,
            version=release.version,
            image=release.image,
            digest=release.digest,
            min_driver_branch=0,
            args=engine_args(engine, model, WEIGHTS_FOLDER, served_name, "bf16", settings, request.serving),
            env={**engine.env, "VLLM_CPU_KVCACHE_SPACE": str(kv_gib), "HF_HUB_OFFLINE": "1"},
            port=PORT,
            tp=1,
            pp=1,
            max_model_len=max_model_len,
            max_num_seqs=running,
            max_num_batched_tokens=settings.max_num_batched_tokens,
            gpu_memory_utilization=None,
            kv_cache_dtype="auto",
            block_size=block_size,
        ),
        memory=Memory(
            device_bytes=pod_bytes,
            ledger=(
                LedgerLine(name="weights", bytes=weights, basis="calculated", source=model.source),
                LedgerLine(name="KV cache", bytes=kv_gib * GIB, basis="calculated", source="VLLM_CPU_KVCACHE_SPACE"),
                LedgerLine(
                    name="engine processes and rounding",
                    bytes=pod_bytes - weights - kv_gib * GIB,
                    basis="measured",
                    source=engine.host_source,
                ),
            ),
            kv_cache_tokens=kv.tokens,
            kv_cache_tokens_low=kv.tokens,
            kv_cache_tokens_high=kv.tokens,
            max_concurrency=round(kv.max_concurrency, 3),
        ),
        pod=Pod(
            cpu_request_millicores=int(cpu.pod_request_millicores.value),
            cpu_limit_millicores=int(cpu.pod_limit_millicores.value),
            memory_bytes=pod_bytes,
            shm_bytes=2 * GIB,
            cache_bytes=2 * GIB,
        ),
        serve=Serve(
            image_pull_s=image_pull_s(engine),
            startup_budget_s=engine.start_s + load_s,
            drain_s=drain_s(estimates.ttft_s.mean, estimates.tpot_s.mean, load.output_tokens),
            weight_load_s=load_s,
            thinking_default=thinking_default(model, request.serving),
            tool_parser=model.vllm.tool_parser if request.serving.tools else "",
            reasoning_parser=model.vllm.reasoning_parser,
        ),
        estimates=estimates,
        cost=cost(lines, dated, estimates.output_tokens_per_s.mean),
        runners_up=(),
        rejected=(),
        warnings=(
            *licence_warnings(model, facts),
            "A CPU plan is for trying the kit and for small models; its speed depends on the machine it meets.",
            f"The image is built on this machine from a third-party wheel: {release.source}.",
        ),
    )


def _meets(targets: Targets, estimates: Estimates) -> None:
    """Raises ``DoesNotFit`` when the figures miss a target; a CPU plan has mean figures only."""
    missed = [
        f"{name} is {estimate.mean * 1000:.0f} ms on this machine; the target is {target_ms:g} ms"
        for name, target_ms, estimate in (
            ("TTFT", targets.ttft_ms, estimates.ttft_s),
            ("TPOT", targets.tpot_ms, estimates.tpot_s),
        )
        if target_ms is not None and estimate.mean * 1000 > target_ms
    ]
    if missed:
        raise DoesNotFit(*missed)


def _estimates(cpu: CpuFacts, model: Model, weights: int, request: Request, running: int) -> Estimates:
    load = request.load
    waves = math.ceil((load.concurrency or 1) / running)
    prefill_s = 2 * model.params.active_text * load.input_tokens / (cpu.prefill_tflops.value * 1e12)
    step_s = cpu.step_s.value + weights / (cpu.read_gb_per_s.value * 1e9)
    request_s = prefill_s * running + load.output_tokens * step_s
    ttft_s = prefill_s * (running + 1) / 2 + (waves - 1) * request_s
    factor = cpu.band_factor.value

    def estimate(mean: float) -> Estimate:
        return Estimate(
            mean=round(mean, 6),
            low=round(mean / factor, 6),
            high=round(mean * factor, 6),
            basis="calculated",
            source=f"sizing/data/cpu.toml: {cpu.read_gb_per_s.source}",
        )

    return Estimates(
        ttft_s=estimate(ttft_s + step_s),
        tpot_s=estimate(step_s),
        output_tokens_per_s=estimate(running * load.output_tokens / request_s),
        requests_per_s=estimate(running / request_s),
    )
