"""Places: AWS instance types, home hosts, CPU machines, what they hold and cost."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

from sizing.facts.fact import Fact, Sourced


class PlaceLine(Fact):
    """A running cost of a place that is there with or without requests: *count* of the priced *item*."""

    name: str
    item: str
    count: int


class PlaceFacts(Fact):
    """What a place costs besides its GPU hosts."""

    lines: tuple[PlaceLine, ...]
    source: str


class InstanceType(Fact):
    """One AWS GPU instance type; ``usd_per_hour`` is in the price table, not here."""

    id: str
    vcpu: int
    memory_mib: int
    gpu: str
    gpu_count: int
    gpu_partition: float
    local_nvme_gb: float
    network_gbps: float
    zone_ids: dict[str, tuple[str, ...]]  # by region, where they are known
    regions: tuple[str, ...]
    on_demand: bool
    k8s_allocatable_memory_mib: int | None
    quota_code: str
    quota_vcpus: int | None
    note: str


Purchase = Literal["on-demand", "spot"]


class Price(Fact):
    """A dated price of one thing in one region, bought as *purchase*."""

    item: str
    region: str
    purchase: Purchase
    usd_per_hour: Decimal
    dated: date
    source: str


class Rental(Fact):
    """One GPU that a provider rents by the hour; what of a machine comes with it is the provider's."""

    gpu: str
    provider: str
    usd_per_hour: Decimal
    dated: date
    source: str

    @property
    def id(self) -> str:
        return f"{self.gpu} at {self.provider}"


class CpuFacts(Fact):
    """What is known of the CPU build: its block size, and a step of reading the weights and a fixed cost."""

    block_size: Sourced
    smallest_kv_cache_gib: Sourced
    read_gb_per_s_per_core: Sourced
    read_share: Sourced
    step_s: Sourced
    prefill_tflops_per_core: Sourced
    local_cores: Sourced
    band_factor: Sourced
    max_num_seqs: Sourced
    max_num_batched_tokens: Sourced
    pod_request_millicores: Sourced
    pod_limit_millicores: Sourced


class BillFacts(Fact):
    """What a bill of materials adds to a home host's own file: the CPU's task, and how a power supply is chosen."""

    cores_base: Sourced
    cores_per_gpu: Sourced
    cpu_limit_w: Sourced
    board_w: Sourced
    psu_margin: Sourced
    psu_sizes_w: tuple[int, ...]
    circuit_w: tuple[int, int]
    desktop_cards: int
    why_desktop_cpu: str
    why_larger_cpu: str


class HomeHost(Fact):
    """A bare-metal host: what the bill of materials says, and what the engine gets."""

    id: str
    gpu: str
    gpu_count: int
    cpu: str
    vcpu: int
    memory_gib: int
    nvme_gb: int
    psu_w: int
    power_limit_w_per_gpu: int
    idle_w: int
    load_w: int
    hardware_usd: Decimal
    hardware_usd_dated: date
    depreciation_years: int
    electricity_usd_per_kwh: Decimal
    source: str


class Platform(Fact):
    """The machine around up to ``most_cards`` cards of a home host that no file describes."""

    most_cards: int
    cpu: str
    vcpu: int
    memory_gib: int
    nvme_gb: int
    idle_w: int
    load_w: int
    hardware_usd: Decimal
    hardware_usd_dated: date
    source: str


class HomeRule(Fact):
    """How a home host follows from its card and their number: the smallest platform that takes them."""

    counts: tuple[int, ...]
    card_idle_w: int
    power_share: Sourced
    depreciation_years: int
    electricity_usd_per_kwh: Decimal
    platforms: tuple[Platform, ...]


class CpuHost(Fact):
    """A machine without a GPU. ``cores`` are physical; on AWS its price is a row of prices.csv, at home it is here."""

    id: str
    place: Literal["home", "aws"]
    cpu: str
    cores: int
    vcpu: int
    memory_gib: int
    memory_gb_per_s: Sourced
    hardware_usd: Decimal = Decimal(0)
    hardware_usd_dated: date | None = None
    idle_w: int = 0
    load_w: int = 0
    note: str = ""
    source: str


class HostNeeds(Fact):
    """data/host-needs.toml: shares and sizes by which sizing/hosts/room.py goes."""

    system_disk_gib: int
    weights_disk_share: float
    image_disk_share: float
    compiled_cache_gib: int
    weights_cache_share: float
    pod_share: float
    reserve_gib: int
    cpu_request_millicores_per_gpu: int
    most_waiting_per_running: int
    shortest_drain_s: int
    longest_drain_s: int
