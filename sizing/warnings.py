"""What a reader of the plan should know although nothing is wrong: licence, driver, quota, memory at the edge."""

from __future__ import annotations

from sizing.cards import ecc
from sizing.facts import Engine, EngineVersion, Facts, Gpu, Model
from sizing.licences import verdict
from sizing.memory import MemoryAnswer
from sizing.request import Request


def licence_warnings(model: Model, facts: Facts) -> tuple[str, ...]:
    """The verdict of the licence, where it is not a plain yes."""
    licence = facts.licence(model)
    return () if licence.commercial == "yes" else (verdict(model, licence),)


def warnings(
    request: Request,
    facts: Facts,
    model: Model,
    engine: Engine,
    release: EngineVersion,
    gpu: Gpu,
    answer: MemoryAnswer,
    hosts: int,
    quota_vcpus: int | None,
) -> tuple[str, ...]:
    """Sentences, the gravest first."""
    found = list(licence_warnings(model, facts))
    request_tokens = request.load.input_tokens + request.load.output_tokens
    if answer.kv_cache_tokens_low < request_tokens:
        found.append(
            f"At the low end of the memory band {answer.kv_cache_tokens_low} KV tokens remain, less than one request "
            f"of {request_tokens}: the engine may refuse to start."
        )
    found.append(
        f"NVIDIA driver R{max(gpu.min_driver_branch, release.min_driver_branch)} or newer: {gpu.id} needs "
        f"R{gpu.min_driver_branch}, {engine.id} {release.version} R{release.min_driver_branch}."
    )
    if quota_vcpus:
        found.append(
            f"EC2 quota: {hosts * quota_vcpus} vCPUs of the instance family must be allowed before `pulumi up`."
        )
    if request.place.kind == "home" and gpu.segment == "consumer":
        found.append(f"{ecc(gpu)}; {facts.segments[gpu.segment].driver_licence}.")
    if not gpu.bf16_hardware:
        found.append(f"{gpu.id} has no bf16; the model runs in fp16, in which a Qwen model can overflow.")
    return (*found, *answer.notes)
