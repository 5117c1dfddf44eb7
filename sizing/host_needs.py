"""What a replica needs of its host besides the GPU: memory, CPU, disk, time to start and to drain."""

from __future__ import annotations

import math

from sizing.facts import Engine, Model, Precision
from sizing.plan import Pod
from sizing.units import GIB
from sizing.weights import weights

SYSTEM_DISK_GIB = 30  # operating system, container runtime, logs
COMPILED_CACHE_GIB = 20  # compiled kernels and the like, beside the weights in the cache
POD_SHARE = 0.9  # of what a host has to give: agents and system pods take the rest
CPU_REQUEST_MILLICORES_PER_GPU = 4000  # feeds a GPU; asking for more keeps out CPUs that would do
LONGEST_DRAIN_S = 600
SHORTEST_DRAIN_S = 30


def replica_memory_bytes(engine: Engine, gpus: int, pinned_bytes: int) -> int:
    """Host memory of one replica in bytes: engine processes, a context per GPU, and what the model pins in host RAM."""
    return int((engine.host_memory_base_gib + engine.host_memory_per_gpu_gib * gpus) * GIB) + pinned_bytes


def checkpoint_bytes(model: Model, precision: Precision) -> int:
    """Bytes of the repository on disk: what one GPU would hold, the MTP head, and what is pinned in host memory."""
    (whole,) = weights(model, precision, draft=True)
    return whole.total + whole.host


def disk_gib(engine: Engine, weight_bytes: int, replicas: int) -> int:
    """Disk of a host in GiB: system, image (packed and unpacked), and every replica's weights with a quarter more."""
    return math.ceil(SYSTEM_DISK_GIB + 2 * engine.image_gib + replicas * 1.25 * weight_bytes / GIB)


def pod(usable_memory_bytes: int, vcpu: int, gpus: int, replicas_per_host: int, weight_bytes: int) -> Pod:
    """A replica's share of its host: whole GiB of memory, CPU as a small request, /dev/shm by its number of GPUs."""
    share = POD_SHARE / replicas_per_host
    return Pod(
        cpu_request_millicores=min(int(vcpu * 1000 * share), CPU_REQUEST_MILLICORES_PER_GPU * gpus),
        cpu_limit_millicores=None,
        memory_bytes=int(usable_memory_bytes * share / GIB) * GIB,
        shm_bytes=(gpus + 1) * GIB,
        cache_bytes=math.ceil(1.1 * weight_bytes / GIB + COMPILED_CACHE_GIB) * GIB,
    )


def image_pull_s(engine: Engine) -> int:
    """Seconds to fetch the engine's image over the slowest line the kit plans for."""
    return math.ceil(engine.image_gib * GIB / (engine.download_mb_per_s * 1e6))


def weight_load_s(engine: Engine, weight_bytes: int) -> int:
    """Seconds to fetch *weight_bytes* over the slowest line the kit plans for."""
    return math.ceil(weight_bytes / (engine.download_mb_per_s * 1e6))


def drain_s(ttft_s: float, tpot_s: float, output_tokens: int) -> int:
    """Seconds after which a stream that has just begun is over, twice the expected time, within 30 to 600."""
    stream_s = ttft_s + output_tokens * tpot_s
    return min(LONGEST_DRAIN_S, max(SHORTEST_DRAIN_S, math.ceil(2 * stream_s)))
