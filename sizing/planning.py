"""
``plan(name, request, facts)``: the one calculation of the kit, from what was asked to the frozen ``Plan``.

Pure: equal request and facts give an equal plan, byte for byte. Raises ``BadRequest`` for contradictions with the
model, ``UnknownFact`` for names without facts, ``Unsupported`` where no engine serves the model, ``DoesNotFit`` with
the nearest thing that works.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import NamedTuple, TypeVar

from sizing import __version__
from sizing.candidates import Host
from sizing.cpu import plan_local
from sizing.engine_args import PORT, Settings, engine_args, thinking_default, yarn_override
from sizing.errors import BadRequest, DoesNotFit, KitError, UnknownFact, Unsupported
from sizing.facts import Engine, EngineVersion, Facts, Model, Repository
from sizing.host_needs import checkpoint_bytes, drain_s, image_pull_s, pod, weight_load_s
from sizing.plan import (
    EngineSettings,
    Estimate,
    Estimates,
    LedgerLine,
    Memory,
    ModelChoice,
    Placement,
    Plan,
    Rejected,
    Serve,
)
from sizing.request import Limits, Place, Request, Targets
from sizing.search import Found, Option, search
from sizing.setup import served_by
from sizing.warnings import warnings

T = TypeVar("T")

RUNNERS_UP = 3
CENT = Decimal("0.01")  # a difference that no price list shows
ROOM = 2  # max_model_len over the mean request, where the request does not limit it
SHORTEST_MAX_MODEL_LEN = 8192


class Inquiry(NamedTuple):
    """A request with every name in it looked up: what the search, and whoever compares, starts from."""

    request: Request
    model: Model
    engine: Engine
    release: EngineVersion
    max_model_len: int

    def search(self, facts: Facts, usable: list[Host] | None = None) -> Found:
        """Every option that meets it (on the *usable* hosts, where given), cheapest first, and what was rejected."""
        return search(self.request, facts, self.model, self.engine, self.release, self.max_model_len, usable)


def inquire(request: Request, facts: Facts, model: Model | None = None) -> Inquiry:
    """*request* looked up in *facts*; *model* replaces the catalogue's. Raises as ``plan``, save ``DoesNotFit``."""
    model, request = _known(request, facts, model)
    engine = facts.engines[request.limits.engine or "vllm"]
    release = engine.version(request.limits.engine_version)
    served_by(model, "sglang" if engine.id == "sglang" else "vllm", release.version)
    thinking_default(model, request.serving)
    if model.modality in ("embedding", "reranker"):
        raise Unsupported(
            f"{model.name} ({model.modality}) generates no tokens, and the kit plans chat services so far; "
            f"`qwenkit estimate` answers its memory"
        )
    length = context_length(request, model)
    yarn_override(model, length)
    return Inquiry(request, model, engine, release, length)


def plan(name: str, request: Request, facts: Facts, model: Model | None = None) -> Plan:
    """The plan of deployment *name*. *model* replaces the catalogue's (weights in a folder of one's own)."""
    asked = inquire(request, facts, model)
    request, model, engine, release, length = asked
    if request.place.kind == "local":
        return plan_local(name, request, facts, model, engine, release, length)
    found = asked.search(facts)
    if not found.options:
        raise DoesNotFit(_what_would_work(request, facts, model, engine, release, length, found))
    return _assemble(name, request, facts, model, engine, release, found)


def _known(request: Request, facts: Facts, model: Model | None) -> tuple[Model, Request]:
    """The model and the request with its implied precision; every name without facts is reported at once."""
    problems: list[str] = []

    def look_up(look: Callable[[], T]) -> T | None:
        try:
            return look()
        except KitError as refusal:
            problems.extend(refusal.problems)
            return None

    found = look_up(lambda: facts.model(request.model)) if model is None else (model, None)
    for gpu in request.limits.gpus or ():
        look_up(partial(facts.gpu, gpu))
    if request.place.host is not None:
        look_up(lambda: facts.host(request.place.host or ""))
    look_up(lambda: facts.engines[request.limits.engine or "vllm"].version(request.limits.engine_version))
    precise = look_up(lambda: with_precision(request, found[1])) if found else None
    if problems or found is None or precise is None:
        raise UnknownFact(*problems)
    return found[0], precise


def with_precision(request: Request, implied: Repository | None) -> Request:
    """The request with the precision that its repository implies. Raises ``BadRequest`` if the two disagree."""
    if implied is None:
        return request
    asked = request.limits.precision
    if implied == "gguf":
        raise BadRequest(
            f"{request.model} holds GGUF files, which neither vLLM nor SGLang serves well; name the plain model"
        )
    if asked not in (None, implied):
        raise BadRequest(f"{request.model} is {implied} but limits.precision asks for {asked}; leave one of them out")
    return request.model_copy(
        update={"limits": Limits.model_validate({**request.limits.model_dump(), "precision": implied})}
    )


def context_length(request: Request, model: Model) -> int:
    """``max_model_len``: as limited, else room for twice the mean request, at least 8192, at most the native length."""
    if request.limits.max_model_len:
        return request.limits.max_model_len
    tokens = request.load.input_tokens + request.load.output_tokens
    native = model.context.native_tokens
    roomy = math.ceil(ROOM * tokens / 1024) * 1024
    return max(min(max(SHORTEST_MAX_MODEL_LEN, roomy), native), tokens)


def _assemble(
    name: str, request: Request, facts: Facts, model: Model, engine: Engine, release: EngineVersion, found: Found
) -> Plan:
    best = found.options[0]
    host, setup, answer = best.candidate.host, best.setup, best.memory
    settings = Settings(
        tp=setup.tp,
        pp=setup.pp,
        max_model_len=setup.max_model_len,
        max_num_seqs=setup.max_num_seqs,
        max_num_batched_tokens=setup.max_num_batched_tokens,
        gpu_memory_utilization=setup.gpu_memory_utilization,
        kv_cache_dtype=setup.kv_cache_dtype,
    )
    served_name = request.serving.name or model.key
    weights = best.candidate.repository
    weight_bytes = checkpoint_bytes(model, best.candidate.precision)
    support = model.sglang if engine.id == "sglang" else model.vllm
    load_s = weight_load_s(engine, weight_bytes)
    drain = drain_s(best.performance.ttft_s.mean, best.performance.tpot_s.mean, request.load.output_tokens)
    return Plan(
        kit_version=__version__,
        name=name,
        request=request,
        facts_digest=facts.digest,
        model=ModelChoice(
            key=model.key,
            repository=weights,
            precision=best.candidate.precision,
            served_name=served_name,
            licence=model.licence,
            weight_bytes_on_disk=weight_bytes,
        ),
        placement=Placement(
            kind=request.place.kind,
            region=request.place.region if request.place.kind.startswith("aws") else None,
            zone_ids=host.zone_ids,
            host_type=host.type,
            hosts=best.hosts,
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
        engine=EngineSettings(
            name=engine.id,
            version=release.version,
            image=release.image,
            digest=release.digest,
            min_driver_branch=max(release.min_driver_branch, host.gpu.min_driver_branch),
            args=engine_args(engine, model, weights, served_name, best.candidate.precision, settings, request.serving),
            env=engine.env,
            port=PORT,
            tp=setup.tp,
            pp=setup.pp,
            max_model_len=setup.max_model_len,
            max_num_seqs=setup.max_num_seqs,
            max_num_batched_tokens=setup.max_num_batched_tokens,
            gpu_memory_utilization=setup.gpu_memory_utilization,
            kv_cache_dtype=setup.kv_cache_dtype,
            block_size=answer.block_size,
        ),
        memory=Memory(
            device_bytes=setup.device_bytes,
            ledger=tuple(LedgerLine(**line._asdict()) for line in answer.ledger),
            kv_cache_tokens=answer.kv_cache_tokens,
            kv_cache_tokens_low=answer.kv_cache_tokens_low,
            kv_cache_tokens_high=answer.kv_cache_tokens_high,
            max_concurrency=round(answer.max_concurrency, 3),
        ),
        pod=pod(
            host.usable_memory_bytes, host.vcpu, setup.tp * setup.pp, best.candidate.replicas_per_host, weight_bytes
        ),
        serve=Serve(
            image_pull_s=image_pull_s(engine),
            startup_budget_s=engine.start_s + load_s,
            drain_s=drain,
            weight_load_s=load_s,
            thinking_default=thinking_default(model, request.serving),
            tool_parser=support.tool_parser if request.serving.tools else "",
            reasoning_parser=support.reasoning_parser,
        ),
        estimates=deployment_estimates(best),
        cost=best.cost,
        runners_up=tuple(_lost(option, best) for option in found.options[1 : 1 + RUNNERS_UP]),
        rejected=(*(_lost(option, best) for option in found.options[1 + RUNNERS_UP :]), *found.rejected),
        warnings=warnings(request, facts, model, engine, release, host.gpu, answer, best.hosts, host.quota_vcpus),
    )


def deployment_estimates(option: Option) -> Estimates:
    """What all replicas of *option* do together."""

    def of_all_replicas(one: Estimate) -> Estimate:
        return one.model_copy(
            update={part: round(getattr(one, part) * option.replicas, 3) for part in ("mean", "low", "high")}
        )

    speed = option.performance
    return Estimates(
        ttft_s=speed.ttft_s,
        tpot_s=speed.tpot_s,
        output_tokens_per_s=of_all_replicas(speed.output_tokens_per_s),
        requests_per_s=of_all_replicas(speed.requests_per_s),
    )


def _lost(option: Option, best: Option) -> Rejected:
    more = option.cost.usd_per_hour - best.cost.usd_per_hour
    speed = f"TTFT {option.performance.ttft_s.mean * 1000:.0f} ms, TPOT {option.performance.tpot_s.mean * 1000:.1f} ms"
    if more >= CENT:
        reason = f"meets the request ({speed}) but costs {more:.2f} $/h more than {best.cost.usd_per_hour:.2f} $/h"
    else:
        reason = f"meets the request ({speed}) at the same price, with a lower precision or a later first token"
    return Rejected(candidate=option.label, reason=reason, usd_per_hour=option.cost.usd_per_hour)


def _relaxations(request: Request, length: int, facts: Facts) -> Iterator[tuple[str, Request, int]]:
    """Ways to ask for less or of more hardware, mildest first: each alone, all at once, larger hosts, the cloud."""
    limits = request.limits
    shorter = request.load.input_tokens + request.load.output_tokens
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
    if request.place.kind == "home":
        for host in sorted(facts.hosts.values(), key=lambda host: host.gpu_count):
            if host.id != request.place.host:
                place = request.place.model_copy(update={"host": host.id})
                yield f"on {host.id}", request.model_copy(update={"place": place}), length
        yield "on AWS", request.model_copy(update={"place": Place(kind="aws-eks")}), length


def _what_would_work(
    request: Request, facts: Facts, model: Model, engine: Engine, release: EngineVersion, length: int, found: Found
) -> str:
    load = request.load
    asked = f"{load.concurrency} requests in flight" if load.concurrency else f"{load.request_rate:g} requests/s"
    closest = found.nearest or found.rejected[-1]
    sentence = (
        f"nothing of {len(found.rejected)} candidates carries {model.name} for {asked} of {load.input_tokens} + "
        f"{load.output_tokens} tokens at max_model_len {length}; nearest is {closest.candidate}: "
        f"{closest.reason.rstrip('.')}."
    )
    for how, relaxed, relaxed_length in _relaxations(request, length, facts):
        try:
            options = search(relaxed, facts, model, engine, release, relaxed_length).options
        except KitError:
            continue
        if options:
            best = options[0]
            return (
                f"{sentence} {how[0].upper()}{how[1:]} it works: {best.label}, {best.cost.usd_per_hour:.2f} $/h, TTFT "
                f"{best.performance.ttft_s.mean * 1000:.0f} ms, TPOT {best.performance.tpot_s.mean * 1000:.1f} ms."
            )
    return sentence
