"""
The plan: the one frozen object that crosses every boundary, committed as ``deployments/<name>/plan.json``.

Every part answers one question. Sizes are bytes, times seconds, money ``Decimal`` dollars. ``to_json`` and ``load``
round-trip exactly, but for ``rejected``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sizing.errors import BadRequest
from sizing.facts.fact import Api, Basis, sentences
from sizing.facts.place import Purchase
from sizing.facts.precision import Precision
from sizing.request.request import EngineName, PlaceKind, Request


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Placement(_Part):
    """Which hardware, where, how many."""

    kind: PlaceKind
    region: str | None  # AWS only
    zone_ids: tuple[str, ...]  # AWS availability-zone ids that offer the host type
    host_type: str  # EC2 instance type, home or CPU host, card at a provider, or "this machine"
    purchase: Purchase = "on-demand"
    hosts: int
    hosts_per_replica: int = 1  # more: a pipeline over whole hosts, one stage each
    gpu: str | None  # None: CPU only
    gpu_smi_name: str | None = None  # what nvidia-smi calls it, where known
    gpus_per_host: int
    gpus_per_replica: int
    replicas: int
    vcpu_per_host: int
    memory_bytes_per_host: int
    disk_gib: int  # of a host, its system included
    quota_code: str | None = None
    power_limit_w_per_gpu: int | None = None

    @property
    def replicas_per_host(self) -> int:
        """Replicas of the fullest host."""
        return -(-self.replicas // self.hosts)


class ModelChoice(_Part):
    """What is served, from which repository."""

    key: str
    repository: str
    precision: Precision
    served_name: str
    licence: str
    weight_bytes_on_disk: int


class EngineSettings(_Part):
    """The finished engine: image and argument list are placed as they are. No secret is in either."""

    name: EngineName
    version: str
    image: str
    digest: str | None
    min_driver_branch: int
    args: tuple[str, ...]
    env: dict[str, str]
    port: int
    tp: int
    pp: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float | None
    kv_cache_dtype: Literal["auto", "fp8"]
    block_size: int


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """``bytes`` may be negative in a ledger's last line: what is missing."""

    name: str
    bytes: int
    basis: Basis
    source: str = ""


class Memory(_Part):
    """The fullest GPU of a replica; ``ledger`` sums to ``device_bytes``. Tokens and concurrency are the replica's."""

    device_bytes: int
    ledger: tuple[LedgerLine, ...]
    kv_cache_tokens: int
    kv_cache_tokens_low: int
    kv_cache_tokens_high: int
    max_concurrency: float


Grounds = Literal["calibrated", "calculated"]


class Estimate(_Part):
    """
    A figure with the band in which 9 of 10 measurements of its mean are expected.

    Calibrated: measurements of this engine on this card went into the constants. Calculated: none did.
    """

    mean: float
    low: float
    high: float
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    basis: Grounds
    source: str


class Estimates(_Part):
    """
    What the whole deployment (all replicas) is expected to do under the asked load, and where it saturates.

    ``saturation_concurrency``: requests in flight beyond which further ones wait for a place or for KV cache.
    ``saturation_requests_per_s``: what it answers with so many in flight; a higher rate only lengthens the queue.
    """

    ttft_s: Estimate
    tpot_s: Estimate | None  # None: no answer has a second token
    output_tokens_per_s: Estimate
    requests_per_s: Estimate
    saturation_concurrency: int
    saturation_requests_per_s: Estimate


class CostLine(_Part):
    """
    One thing that money pays for. ``standing``: paid also while no GPU host runs (scaled to zero).

    ``idle_usd_per_hour``: while it runs without any request. ``dated``: of its price; empty where nothing is paid.
    """

    name: str
    usd_per_hour: Decimal
    idle_usd_per_hour: Decimal
    standing: bool
    dated: str


class Cost(_Part):
    """
    Dollars. The hourly sums are those of ``lines``: under the asked load, idle, and with the GPU hosts gone.

    ``usd_per_million_tokens`` counts input and output; ``prices_dated`` is the oldest date among the lines.
    """

    lines: tuple[CostLine, ...]
    usd_per_hour: Decimal
    usd_per_day: Decimal
    usd_per_month: Decimal
    idle_usd_per_hour: Decimal
    standing_usd_per_hour: Decimal
    usd_per_million_output_tokens: Decimal | None  # None: nothing is generated
    usd_per_million_tokens: Decimal
    prices_dated: str


class Rejected(_Part):
    """A candidate that lost, and why, in numbers."""

    candidate: str
    reason: str
    usd_per_hour: Decimal | None = None


class Pod(_Part):
    """What one replica's pod asks of its host besides GPUs; ``cache_bytes``: its HOME (download, compiled kernels)."""

    cpu_request_millicores: int
    cpu_limit_millicores: int | None
    memory_bytes: int
    shm_bytes: int
    cache_bytes: int


class Serve(_Part):
    """
    What the chart and the host need to know about start, drain, health, and what clients ask for.

    A new host pulls the image, then fetches the weights, then starts the engine: three times, one after the other.
    """

    api: Api = "chat"
    image_pull_s: int
    startup_budget_s: int
    max_in_flight: int
    requests_per_replica: int
    drain_s: int
    weight_load_s: int
    thinking_default: bool | None
    tool_parser: str
    reasoning_parser: str


class Plan(_Part):
    """
    Everything the native tools place; they decide nothing.

    ``rejected`` is not in the file, of which it would be four fifths, and which any new host would make stale: whoever
    asks why the others lost plans anew.
    """

    kit_version: str
    name: str
    request: Request
    facts_digest: str
    model: ModelChoice
    placement: Placement
    engine: EngineSettings
    memory: Memory
    pod: Pod
    serve: Serve
    estimates: Estimates
    cost: Cost
    runners_up: tuple[Rejected, ...]
    rejected: tuple[Rejected, ...] = Field(default=(), exclude=True)
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """The text of ``plan.json``: stable order, one trailing newline."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> Plan:
        """The plan in *path*. Raises ``BadRequest`` naming the command that writes it."""
        remedy = f"run: qwenkit write {path.parent.name}"
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise BadRequest(f"{path} does not exist; {remedy}") from None
        except OSError as failed:
            raise BadRequest(f"{path} cannot be read: {failed.strerror}; {remedy}") from None
        except ValidationError as error:
            raise BadRequest(f"{path} is not a plan of this kit ({sentences(error, cls)[0]}); {remedy}") from None
