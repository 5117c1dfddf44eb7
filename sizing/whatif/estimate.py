"""
What-if questions as JSON Lines: many questions in one call, one answer line each, order kept.

A line that is no question (not JSON, unknown field, wrong type, negative) stops everything with one sentence per bad
line and no output. A question the facts cannot answer gets an ``error`` line; one that does not fit is answered with
``fits: false``, the reason and the figures all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sizing.engine.settings import Settings
from sizing.engine.setup import Setup, resolve
from sizing.errors import BadRequest, KitError, UnknownFact
from sizing.facts.catalogue import Facts
from sizing.facts.fact import sentences
from sizing.facts.gpu import Gpu
from sizing.facts.precision import Precision
from sizing.hosts.candidates import runs_on
from sizing.memory.memory import MemoryAnswer, memory
from sizing.plan.plan import Estimate
from sizing.request.traffic import Traffic
from sizing.search.loaded import running_requests
from sizing.speed.performance import Performance, performance
from sizing.units import GIB

DEFAULT_PRECISION: Precision = "bf16"
Count = Annotated[int, Field(gt=0, le=10_000_000)]


class _WhatIf(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class AskedLoad(_WhatIf):
    """The load of a question; see the interface for the meaning of each pattern."""

    concurrency: Annotated[int, Field(gt=0, le=100_000)] | None = None
    request_rate: Annotated[float, Field(gt=0, le=1e6)] | None = None
    input_tokens: Count
    output_tokens: Annotated[int, Field(ge=0, le=10_000_000)]
    pattern: Literal["closed", "burst", "poisson"] | None = None
    requests: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    prefix_hit_rate: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _one_load(self) -> AskedLoad:
        if (self.concurrency is None) == (self.request_rate is None):
            raise ValueError("give either concurrency or request_rate")
        if (self.pattern == "poisson") != (self.request_rate is not None) and self.pattern is not None:
            raise ValueError("the pattern poisson goes with request_rate, closed and burst with concurrency")
        return self

    @property
    def traffic(self) -> Traffic:
        pattern = self.pattern or ("poisson" if self.request_rate is not None else "closed")
        return Traffic(
            concurrency=self.concurrency,
            request_rate=self.request_rate,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            pattern=pattern,
            requests=self.requests if self.requests or pattern != "burst" else self.concurrency,
            prefix_hit_rate=self.prefix_hit_rate,
        )


class WhatIf(_WhatIf):
    """One line of the input. Everything left out takes the engine's own default for that version and GPU."""

    id: str | None = None
    model: str
    precision: Precision | None = None
    gpu: str | None = None
    device_memory_gib: Annotated[float, Field(ge=1, le=1e6)] | None = None
    tp: Annotated[int, Field(gt=0, le=1024)] = 1
    pp: Annotated[int, Field(gt=0, le=1024)] = 1
    expert_parallel: bool = False
    engine: Literal["vllm", "sglang"] = "vllm"
    engine_version: str | None = None
    max_model_len: Count | None = None
    max_num_seqs: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    max_num_batched_tokens: Count | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    enforce_eager: bool = False
    block_size: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    prefix_caching: bool | None = None
    text_only: bool = False
    speculative_tokens: Annotated[int, Field(ge=0, le=64)] = 0
    kv_cache_gib: Annotated[float, Field(ge=0.01, le=1e6)] | None = None
    load: AskedLoad | None = None

    @model_validator(mode="after")
    def _a_device(self) -> WhatIf:
        if self.gpu is None and self.device_memory_gib is None:
            raise ValueError("give gpu, or device_memory_gib, or both")
        return self


def read_questions(lines: Iterable[str]) -> list[WhatIf]:
    """The questions, blank lines left out. Raises ``BadRequest`` with a sentence for every line that is none."""
    questions, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            questions.append(WhatIf.model_validate_json(line))
        except ValidationError as error:
            problems += sentences(error, WhatIf, f"line {number}: ")
        except RecursionError:
            problems.append(f"line {number}: nested too deeply to be a question")
    if problems:
        raise BadRequest(*problems)
    return questions


def answers(questions: Iterable[WhatIf], facts: Facts) -> Iterator[str]:
    """One line of JSON for each question, in order."""
    for question in questions:
        yield json.dumps(answer(question, facts), ensure_ascii=False)


def answer(question: WhatIf, facts: Facts) -> dict[str, Any]:
    """The answer to one question as the interface lays it out."""
    try:
        model, implied = facts.model(question.model)
        if implied == "gguf":
            raise UnknownFact(
                f"{question.model} holds GGUF files, which vLLM and SGLang do not serve", kind="unsupported"
            )
        if question.load is not None and not question.load.output_tokens and model.generates:
            raise BadRequest(f"load.output_tokens is 0, but {model.name} generates an answer: at least 1 token")
        gpu = facts.gpu(question.gpu) if question.gpu is not None else _nearest_in_memory(facts, question)
        precision = question.precision or implied or DEFAULT_PRECISION
        if precision != "bf16":  # a card without bf16 gets the checkpoint as fp16
            runs_on(facts, precision, gpu)
        engine = facts.engines[question.engine]
        given = {name: value for name, value in question if name in Settings().all()}
        if question.kv_cache_gib is not None:
            given["kv_cache_bytes"] = int(question.kv_cache_gib * GIB)
        setup = resolve(
            model,
            precision,
            gpu,
            engine=question.engine,
            engine_version=engine.release(question.engine_version),
            asked=Settings(**given),
            device_bytes=None if question.device_memory_gib is None else int(question.device_memory_gib * GIB),
        )
        held = memory(setup)
        return _answered(question, setup, held)
    except KitError as refusal:
        kind = refusal.kind if refusal.kind in ("unknown-model", "unknown-gpu") else "unsupported"
        return {"id": question.id, "error": kind, "reason": " ".join(refusal.problems)}


def _nearest_in_memory(facts: Facts, question: WhatIf) -> Gpu:
    """The card whose defaults a question takes that names none; its speed is never given as an answer."""
    wanted_gib = question.device_memory_gib or 0
    return min(facts.gpus.values(), key=lambda gpu: (abs(gpu.cuda_total_gib.value - wanted_gib), gpu.id))


def _answered(question: WhatIf, setup: Setup, held: MemoryAnswer) -> dict[str, Any]:
    part, load = _memory_part(question, setup, held), question.load
    if load is None or question.gpu is None:
        return part
    speed = _speed(load, setup, held)
    if load.request_rate is not None and speed.saturated:
        part["notes"].append(
            f"{load.request_rate:.3g} requests/s are asked and {speed.requests_per_s.mean:.3g} are answered: the "
            f"queue, and TTFT with it, grows as long as the load lasts"
        )
    return {
        **part,
        "ttft_ms": _figure(speed.ttft_s, 1000),
        "tpot_ms": _figure(speed.tpot_s, 1000) if speed.tpot_s.mean else None,
        "output_tokens_per_s": _figure(speed.output_tokens_per_s, 1),
        "requests_per_s": _figure(speed.requests_per_s, 1),
    }


def _memory_part(question: WhatIf, setup: Setup, held: MemoryAnswer) -> dict[str, Any]:
    settings = {name: value for name, value in _fields(setup).items() if name not in ("model", "gpu", "device_bytes")}
    return {
        "id": question.id,
        "model": setup.model.key,
        "precision": setup.precision,
        "gpu": setup.gpu.id if question.gpu is not None else None,
        "engine": setup.engine,
        "engine_version": setup.engine_version,
        "fits": held.fits,
        "reason": held.reason,
        "weight_bytes_per_gpu": held.weight_bytes,
        "kv_bytes_per_token_per_gpu": held.kv_bytes_per_token,
        "state_bytes_per_sequence_per_gpu": held.state_bytes_per_sequence,
        "block_size": held.block_size,
        "kv_cache_bytes_per_gpu": held.kv_cache_bytes,
        "kv_cache_tokens": held.kv_cache_tokens,
        "kv_cache_tokens_low": held.kv_cache_tokens_low,
        "kv_cache_tokens_high": held.kv_cache_tokens_high,
        "max_concurrency": round(held.max_concurrency, 3),
        "host_memory_bytes": held.host_memory_bytes,
        "notes": [*held.notes, *_caveats(question, setup)],
        "memory": [{"name": line.name, "bytes": line.bytes, "basis": line.basis} for line in held.ledger],
        "settings": {**settings, "block_size": held.block_size, "yarn_factor": held.yarn_factor},
    }


def _caveats(question: WhatIf, setup: Setup) -> list[str]:
    notes = []
    if question.gpu is None:
        notes.append(f"no gpu was named: defaults of the {setup.gpu.id}, the nearest in memory; no speed is estimated")
    elif setup.precision == "bf16" and not setup.gpu.bf16_hardware:
        notes.append(f"{setup.gpu.id} has no bf16: the engine runs the checkpoint in fp16, of the same size")
    if question.engine_version is not None and question.engine_version != setup.engine_version:
        notes.append(f"{question.engine_version} is taken for the release {setup.engine_version}")
    load = question.load
    if load is not None and load.output_tokens and not setup.model.generates:
        notes.append(f"{setup.model.name} generates no tokens: load.output_tokens is taken for 0, TTFT is its answer's")
    if load is not None and load.input_tokens + load.output_tokens > setup.max_model_len:
        notes.append(
            f"a request of {load.input_tokens} + {load.output_tokens} tokens is longer than max_model_len "
            f"{setup.max_model_len}: the engine would answer it with an error"
        )
    return notes


def _fields(setup: Setup) -> dict[str, Any]:
    return {part.name: getattr(setup, part.name) for part in fields(setup)}


def _speed(load: AskedLoad, setup: Setup, held: MemoryAnswer) -> Performance:
    if not setup.model.generates:
        load = load.model_copy(update={"output_tokens": 0})
    running = running_requests(held, setup, load.traffic)
    return performance(setup, load.traffic, max(held.kv_cache_tokens, load.input_tokens + load.output_tokens), running)


def _figure(estimate: Estimate, scale: float) -> dict[str, Any]:
    figures = {name: getattr(estimate, name) for name in ("mean", "p50", "p95", "p99", "low", "high")}
    scaled = {name: round(value * scale, 3) for name, value in figures.items() if value is not None}
    return {**scaled, "basis": estimate.basis, "source": estimate.source}
