"""
What a deployment costs, by what the money pays for. ``Decimal`` dollars; every price is a dated row.

Idle costs are the same lines: neither a cloud host nor a control plane is cheaper without requests (a home host's
electricity is: it is priced at the load the request describes).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from sizing.errors import UnknownFact
from sizing.facts import Facts, HomeHost, Price
from sizing.plan import Cost
from sizing.request import Place
from sizing.units import HOURS_PER_DAY, HOURS_PER_MONTH

CENT_OF_A_CENT = Decimal("0.0001")


def _price(facts: Facts, item: str, region: str) -> Price:
    price = facts.price(item, region)
    if price is None:
        known = sorted({known.region for known in facts.prices if known.item == item})
        elsewhere = f" (known in {', '.join(known)})" if known else ""
        raise UnknownFact(
            f"no price for {item} in {region}{elsewhere}. To add it, add a row to sizing/data/prices.csv."
        )
    return price


def place_prices(facts: Facts, place: Place, disk_gib: int) -> Callable[[str, int], tuple[dict[str, Decimal], str]]:
    """
    A function of (host type, hosts) giving the hourly cost lines of *place* and the oldest date among their prices.

    Raises (the returned function too): ``UnknownFact`` for a price that no row has.
    """
    if place.kind == "local":
        return lambda _host_type, _hosts: ({"this machine": Decimal(0)}, "")
    if place.kind == "home":
        return lambda host_type, hosts: _home_lines(facts.hosts[host_type], hosts)
    standing = facts.places[place.kind]
    fixed = [(line, _price(facts, line.item, place.region)) for line in standing.lines]
    disk = _price(facts, "gp3-gb", place.region)

    def lines(host_type: str, hosts: int) -> tuple[dict[str, Decimal], str]:
        host = _price(facts, host_type, place.region)
        dated = min(price.dated for price in (host, disk, *(price for _, price in fixed)))
        return {
            f"{hosts} x {host_type}": host.usd_per_hour * hosts,
            **{line.name: price.usd_per_hour * line.count for line, price in fixed},
            f"disks ({disk_gib} GiB a host)": disk.usd_per_hour * disk_gib * hosts,
        }, dated.isoformat()

    return lines


def _home_lines(host: HomeHost, hosts: int) -> tuple[dict[str, Decimal], str]:
    life_hours = host.depreciation_years * 12 * HOURS_PER_MONTH
    return {
        f"hardware over {host.depreciation_years} years": host.hardware_usd * hosts / life_hours,
        f"electricity ({host.load_w} W a host)": host.electricity_usd_per_kwh * host.load_w * hosts / 1000,
    }, host.hardware_usd_dated.isoformat()


def cost(lines: dict[str, Decimal], prices_dated: str, output_tokens_per_s: float) -> Cost:
    """The lines summed per hour, day and month (730 h), and per million output tokens at the expected throughput."""
    per_hour = sum(lines.values(), Decimal(0))
    millions_per_hour = Decimal(repr(output_tokens_per_s)) * 3600 / 1_000_000
    return Cost(
        lines={name: usd.quantize(CENT_OF_A_CENT) for name, usd in lines.items()},
        usd_per_hour=per_hour.quantize(CENT_OF_A_CENT),
        usd_per_day=(per_hour * HOURS_PER_DAY).quantize(Decimal("0.01")),
        usd_per_month=(per_hour * HOURS_PER_MONTH).quantize(Decimal("0.01")),
        usd_per_million_output_tokens=(per_hour / millions_per_hour).quantize(CENT_OF_A_CENT),
        prices_dated=prices_dated,
    )
