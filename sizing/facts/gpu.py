"""A GPU: memory, rates, power, and what its market segment promises."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

from sizing.facts.fact import Fact, Sourced

Segment = Literal["consumer", "workstation", "datacentre"]


class SegmentFacts(Fact):
    """What a kind of card brings besides memory and speed."""

    name: str
    driver_licence: str
    continuous_use: str
    warranty: str
    source: str
    dated: date


class Ecc(Fact):
    """Error correction of a card's memory as it is shipped: on, off (it can be switched on), or none."""

    state: Literal["on", "off", "none"]
    source: str


class Noise(Fact):
    """How loud a card is under load, as somebody measured it."""

    stated: str
    source: str


class Gpu(Fact):
    """
    One GPU as the engines see it. Tensor rates are dense (no sparsity), TFLOPS; bandwidths GB/s (10^9).

    ``nvidia_smi_name`` is what ``nvidia-smi --query-gpu=name`` prints, to the letter, as the source of
    ``nvidia_smi_total_mib`` shows it; None where no log was seen.
    """

    id: str
    aliases: tuple[str, ...] = ()
    nvidia_smi_name: str | None = None
    architecture: str
    compute_capability: float
    spec_memory_gb: float
    cuda_total_gib: Sourced
    nvidia_smi_total_mib: Sourced | None = None
    mem_bandwidth_gb_s: float
    bf16_dense_tflops: float
    fp16_acc16_dense_tflops: float | None = None
    fp8_dense_tflops: float | None = None
    int8_dense_tops: float | None = None
    fp4_dense_tflops: float | None = None
    fp8_hardware: bool
    bf16_hardware: bool
    tdp_w: int
    segment: Segment
    ecc: Ecc
    noise: Noise | None = None
    interconnect: str
    pcie_gb_s_one_direction: float
    nvlink_gb_s_total: float
    launch_msrp_usd: Decimal | None = None
    min_driver_branch: int
    kernel_module: str
    source: str
    confidence: str

    @property
    def nvlink(self) -> bool:
        """Whether every card has NVLink to those beside it; a bridge that may be bought is not counted on."""
        return self.interconnect.startswith("NVLink")
