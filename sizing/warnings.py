"""What a reader of the plan should know although nothing is wrong: licence, driver, quota, memory at the edge."""

from __future__ import annotations

from sizing.facts import Engine, EngineVersion, Gpu, Model
from sizing.memory import MemoryAnswer
from sizing.request import Request

FREE_LICENCES = ("apache-2.0",)


def warnings(
    request: Request,
    model: Model,
    engine: Engine,
    release: EngineVersion,
    gpu: Gpu,
    answer: MemoryAnswer,
    hosts: int,
    quota_vcpus: int | None,
) -> tuple[str, ...]:
    """Sentences, the gravest first."""
    found = []
    if not model.licence.startswith(FREE_LICENCES):
        found.append(f"Licence of {model.key}: {model.licence}. Read it before commercial use.")
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
    if not gpu.bf16_hardware:
        found.append(f"{gpu.id} has no bf16; the model runs in fp16, in which a Qwen model can overflow.")
    return (*found, *answer.notes)
