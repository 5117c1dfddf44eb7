"""
What a home host is made of, why, and what it draws: the bill of materials of a file of data/hosts.

Parts as rows; watts, heat and electricity as numbers; noise as a sentence. Prices are the host file's and the card's
launch price; a part whose price no data has carries none.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from decimal import Decimal

from sizing.errors import BadRequest
from sizing.facts.catalogue import Facts
from sizing.facts.place import CpuHost, HomeHost
from sizing.hosts.room import disk_gib, replica_memory_bytes
from sizing.units import CENT, HOURS_PER_MONTH, gib

BTU_PER_HOUR_PER_W = 3.412142  # 3600 J / 1055.056 J
MOST_USD_PER_KWH = 10


@dataclass(frozen=True, slots=True)
class Part:
    """One line: what to buy, what it must do, and its price where data has one."""

    part: str
    what: str
    why: str
    usd: Decimal | None = None
    dated: str = ""


@dataclass(frozen=True, slots=True)
class Bill:
    """
    A host's parts, and what it draws. ``load_w`` is the whole host with its cards at their power limit.

    ``psu_w``: what the rule asks of the power supplies together; ``psu_uncapped_w``: the same without a cap on the
    cards.
    """

    host: str
    parts: tuple[Part, ...]
    total_usd: Decimal
    load_w: int
    idle_w: int
    heat_btu_per_hour: int
    psu_w: int
    psu_uncapped_w: int
    usd_per_kwh: Decimal
    electricity_usd_per_month: Decimal
    electricity_idle_usd_per_month: Decimal
    sentences: tuple[str, ...]

    def rows(self) -> list[dict[str, object]]:
        """The parts as rows of equal keys, for a table or JSON."""
        return [asdict(part) for part in self.parts]


def bill_of_materials(
    host: HomeHost, facts: Facts, usd_per_kwh: Decimal | None = None, disk_need_gib: int | None = None
) -> Bill:
    """
    The bill of *host*.

    Args:
        usd_per_kwh: price of electricity; the host file's when absent.
        disk_need_gib: what a plan needs of the disk; the system and the engine's image when absent.

    """
    known, gpu, engine = facts.bill, facts.gpu(host.gpu), facts.engines["vllm"]
    price = host.electricity_usd_per_kwh if usd_per_kwh is None else usd_per_kwh
    psu_w = power_supply_w(host.gpu_count, host.power_limit_w_per_gpu, facts)
    uncapped_w = power_supply_w(host.gpu_count, gpu.tdp_w, facts)
    cores = int(known.cores_base.value + known.cores_per_gpu.value * host.gpu_count)
    memory_gib = math.ceil(gib(replica_memory_bytes(engine, host.gpu_count, 0)))
    disk = disk_need_gib or disk_gib(engine, 0, 0)
    held = "system, image and weights" if disk_need_gib else "system and image"
    why = known.why_desktop_cpu if host.gpu_count <= known.desktop_cards else known.why_larger_cpu
    cards = None if gpu.launch_msrp_usd is None else gpu.launch_msrp_usd * host.gpu_count
    dated = host.hardware_usd_dated.isoformat()
    enough = "" if host.psu_w >= uncapped_w else f"; not enough without the cap ({uncapped_w} W)"
    parts = (
        Part(
            "card",
            f"{host.gpu_count} x {gpu.id}, {gpu.spec_memory_gb:g} GB each",
            f"holds the model; capped at {host.power_limit_w_per_gpu} of {gpu.tdp_w} W",
            cards,
            "launch price, undated" if cards is not None else "",
        ),
        Part(
            "CPU",
            host.cpu,
            f"the engine needs {cores} physical cores ({2 * cores} of {host.vcpu} threads); {why}",
        ),
        Part("memory", f"{host.memory_gib} GiB", f"the engine's processes need about {memory_gib} GiB of it"),
        Part("NVMe", f"{host.nvme_gb} GB", f"{held} need about {disk} GiB of it"),
        Part(
            "power supply",
            f"{host.psu_w} W",
            f"{psu_w} W asked: ({host.gpu_count} x {host.power_limit_w_per_gpu} + {known.cpu_limit_w.value:g} CPU + "
            f"{known.board_w.value:g} board) x {known.psu_margin.value:g}, rounded up to "
            f"{_supplies(psu_w, facts)}{enough}",
        ),
        Part(
            "all but the cards" if cards is not None else "all together",
            "CPU, board, memory, NVMe, supply, case" if cards is not None else "cards included",
            "a planning assumption, as told below",
            host.hardware_usd - (cards or 0),
            f"assumed {dated}",
        ),
    )
    heat = round(host.load_w * BTU_PER_HOUR_PER_W)
    noise = gpu.noise.stated if gpu.noise else "unknown: no measurement of this card is at hand"
    return Bill(
        host=host.id,
        parts=parts,
        total_usd=host.hardware_usd,
        load_w=host.load_w,
        idle_w=host.idle_w,
        heat_btu_per_hour=heat,
        psu_w=psu_w,
        psu_uncapped_w=uncapped_w,
        usd_per_kwh=price,
        electricity_usd_per_month=_month(host.load_w, price),
        electricity_idle_usd_per_month=_month(host.idle_w, price),
        sentences=(
            f"Under load it draws {host.load_w} W with its cards at {host.power_limit_w_per_gpu} W; idle "
            f"{host.idle_w} W.",
            f"Electricity at {price} $/kWh: {_month(host.load_w, price)} $ a month under load all day, "
            f"{_month(host.idle_w, price)} $ idle.",
            f"Heat: all of it stays in the room: {heat} BTU/h under load, as much as a fan heater of {host.load_w} W.",
            f"Noise of the {gpu.id}: {noise}.",
            *circuit(host.load_w, known.circuit_w),
            f"Prices and watts: {host.source}.",
        ),
    )


def without_cards(host: CpuHost) -> str:
    """Why a machine without a GPU gets no bill, and what is known of it instead."""
    if host.place != "home":
        return f"{host.id} is rented, not built: it has no bill of materials"
    return (
        f"{host.id} has no GPU, around which a bill of materials is drawn up; what is known: {host.cpu}, "
        f"{host.memory_gib} GiB, {host.hardware_usd} $ together (assumed {host.hardware_usd_dated}), {host.load_w} W "
        f"under load, {host.idle_w} W idle"
    )


def electricity_price(usd_per_kwh: float | None) -> Decimal | None:
    """Dollars a kWh as somebody gave them. Raises ``BadRequest`` unless they are a price."""
    if usd_per_kwh is None:
        return None
    if not 0 <= usd_per_kwh <= MOST_USD_PER_KWH:
        raise BadRequest(f"electricity at {usd_per_kwh:g} $/kWh is no price; give 0 to {MOST_USD_PER_KWH}")
    return Decimal(str(usd_per_kwh))


def power_supply_w(cards: int, card_w: int, facts: Facts) -> int:
    """
    Watts of the power supplies that carry *cards* at *card_w*, the CPU at its limit, and the margin.

    One of the smallest size sold that is enough, else as few as possible of one size.
    """
    known = facts.bill
    need = (cards * card_w + known.cpu_limit_w.value + known.board_w.value) * known.psu_margin.value
    count = math.ceil(need / known.psu_sizes_w[-1])
    return count * next(size for size in known.psu_sizes_w if count * size >= need)


def circuit(load_w: int, circuit_w: tuple[int, int]) -> tuple[str, ...]:
    """What household circuits of these two capacities have to say of *load_w*; nothing where each carries it."""
    american, european = circuit_w
    if load_w <= american:
        return ()
    more = f"; nor does one of 230 V and 16 A ({european} W)" if load_w > european else ""
    return (f"A circuit of 120 V and 15 A does not carry it for long ({american} W){more}.",)


def _supplies(psu_w: int, facts: Facts) -> str:
    count = math.ceil(psu_w / facts.bill.psu_sizes_w[-1])
    return "a size sold" if count == 1 else f"{count} of {psu_w // count} W"


def _month(watts: int, usd_per_kwh: Decimal) -> Decimal:
    return (Decimal(watts) * HOURS_PER_MONTH / 1000 * usd_per_kwh).quantize(CENT)
