"""What a replica needs of its host besides the GPU: memory, CPU, disk, time to start and to drain."""

from __future__ import annotations

import math

from sizing.facts.catalogue import host_needs
from sizing.facts.engine import Engine
from sizing.facts.model import Model
from sizing.facts.precision import Precision
from sizing.memory.weights import weights
from sizing.plan.plan import Pod
from sizing.units import GIB


def usable_memory_bytes(memory_bytes: int, allocatable_bytes: int | None = None) -> int:
    """What of a host's memory pods may have: what the node was seen to allocate, or all less a reserve."""
    return allocatable_bytes or memory_bytes - host_needs().reserve_gib * GIB


def replica_memory_bytes(engine: Engine, gpus: int, pinned_bytes: int) -> int:
    """Host memory of one replica in bytes: engine processes, a context per GPU, and what the model pins in host RAM."""
    return int((engine.host_memory_base_gib + engine.host_memory_per_gpu_gib * gpus) * GIB) + pinned_bytes


def checkpoint_bytes(model: Model, precision: Precision) -> int:
    """Bytes of the repository on disk: what one GPU would hold, the MTP head, and what is pinned in host memory."""
    (whole,) = weights(model, precision, draft=True)
    return whole.total + whole.host


def disk_gib(engine: Engine, weight_bytes: int, replicas: int) -> int:
    """Disk of a host in GiB: system, image (packed and unpacked), and every replica's weights with a quarter more."""
    needs = host_needs()
    image_gib = needs.image_disk_share * engine.image_gib
    return math.ceil(needs.system_disk_gib + image_gib + replicas * needs.weights_disk_share * weight_bytes / GIB)


def pod(usable_memory_bytes: int, vcpu: int, gpus: int, replicas: int, weight_bytes: int) -> Pod:
    """A replica's share of its host: whole GiB of memory, CPU as a small request, /dev/shm by its number of GPUs."""
    needs = host_needs()
    share = needs.pod_share / replicas
    return Pod(
        cpu_request_millicores=min(int(vcpu * 1000 * share), needs.cpu_request_millicores_per_gpu * gpus),
        cpu_limit_millicores=None,
        memory_bytes=int(usable_memory_bytes * share / GIB) * GIB,
        shm_bytes=(gpus + 1) * GIB,
        cache_bytes=math.ceil(needs.weights_cache_share * weight_bytes / GIB + needs.compiled_cache_gib) * GIB,
    )


def image_pull_s(engine: Engine) -> int:
    """Seconds to fetch the engine's image over the slowest line the kit plans for."""
    return math.ceil(engine.image_gib * GIB / (engine.download_mb_per_s * 1e6))


def weight_load_s(engine: Engine, weight_bytes: int) -> int:
    """Seconds to fetch *weight_bytes* over the slowest line the kit plans for."""
    return math.ceil(weight_bytes / (engine.download_mb_per_s * 1e6))


def max_in_flight(max_num_seqs: int, held: int) -> int:
    """
    Requests that one engine takes in, running and waiting, before it tells clients to come back.

    Never fewer than its share of the planned load (*held*), which may wait by plan, and as many again.
    """
    return max(max_num_seqs, held) * (1 + host_needs().most_waiting_per_running)


def requests_per_replica(in_flight: float, carrying: int) -> int:
    """
    Requests that each of *carrying* replicas is to hold, of *in_flight* in all: with so many it meets the targets.

    Whoever scales by it starts another one beyond the planned load; below it the planned replicas are the fewest.
    """
    return max(1, math.ceil(round(in_flight / carrying, 6)))


def drain_s(stream_s: float) -> int:
    """Seconds after which a stream that has just begun is over, twice the expected *stream_s*, within 30 to 600."""
    needs = host_needs()
    return min(needs.longest_drain_s, max(needs.shortest_drain_s, math.ceil(2 * stream_s)))
