"""
What a deployment costs, by what the money pays for. ``Decimal`` dollars; every line keeps the date of its price.

A cloud host costs the same with and without requests; a home host draws its idle watts. What stands without any GPU
host (control plane, NAT gateway, system nodes, hardware once bought) is marked, so that scaling to zero has a figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from sizing.errors import DoesNotFit, UnknownFact
from sizing.facts.catalogue import Facts
from sizing.facts.place import CpuHost, Price, Purchase
from sizing.hosts.home import home_host
from sizing.plan.plan import Cost, CostLine
from sizing.request.request import Load, Place
from sizing.units import CENT, HOURS_PER_DAY, HOURS_PER_MONTH

CENT_OF_A_CENT = Decimal("0.0001")


def _price(facts: Facts, item: str, region: str, purchase: Purchase = "on-demand") -> Price:
    price = facts.price(item, region, purchase)
    if price is None:
        known = sorted({price.region for price in facts.prices if (price.item, price.purchase) == (item, purchase)})
        elsewhere = f" (known in {', '.join(known)})" if known else ""
        raise UnknownFact(
            f"no {purchase} price for {item} in {region}{elsewhere}. To add it, add a row to sizing/data/prices.csv."
        )
    return price


def place_lines(facts: Facts, place: Place, host_type: str, hosts: int, disk_gib: int) -> tuple[CostLine, ...]:
    """
    The hourly lines of *hosts* x *host_type* at *place*, each host with *disk_gib* of disk.

    Raises: ``UnknownFact`` for a price that no row has.
    """
    if place.kind == "local":
        return (_line("this machine", Decimal(0), None, standing=True),)
    if place.kind == "home":
        return tuple(_home_lines(facts, host_type, hosts))
    if place.kind == "rented":
        rental = next(rental for rental in facts.rentals if rental.id == host_type)
        return (_line(f"{hosts} x {host_type}", rental.usd_per_hour * hosts, rental.dated),)
    return tuple(_aws_lines(facts, place, host_type, hosts, disk_gib))


def _line(
    name: str, usd: Decimal, dated: date | None, *, idle_usd: Decimal | None = None, standing: bool = False
) -> CostLine:
    return CostLine(
        name=name,
        usd_per_hour=usd.quantize(CENT_OF_A_CENT),
        idle_usd_per_hour=(usd if idle_usd is None else idle_usd).quantize(CENT_OF_A_CENT),
        standing=standing,
        dated="" if dated is None else dated.isoformat(),
    )


def _aws_lines(facts: Facts, place: Place, host_type: str, hosts: int, disk_gib: int) -> Iterator[CostLine]:
    host = _price(facts, host_type, place.region, place.purchase)
    spot = ", spot" if place.purchase == "spot" else ""
    yield _line(f"{hosts} x {host_type}{spot}", host.usd_per_hour * hosts, host.dated)
    for line in facts.places[place.kind].lines:
        price = _price(facts, line.item, place.region)
        yield _line(line.name, price.usd_per_hour * line.count, price.dated, standing=True)
    disk = _price(facts, "gp3-gb", place.region)
    yield _line(f"disks ({disk_gib} GiB a host)", disk.usd_per_hour * disk_gib * hosts, disk.dated)


def _home_lines(facts: Facts, name: str, hosts: int) -> Iterator[CostLine]:
    host = facts.cpu_hosts.get(name) or home_host(facts, name)
    rule = facts.home_rule if isinstance(host, CpuHost) else host
    years, usd_per_kwh = rule.depreciation_years, rule.electricity_usd_per_kwh
    life_hours = years * 12 * HOURS_PER_MONTH
    yield _line(
        f"hardware over {years} years", host.hardware_usd * hosts / life_hours, host.hardware_usd_dated, standing=True
    )
    yield _line(
        f"electricity ({host.load_w} W a host, {host.idle_w} W idle)",
        usd_per_kwh * host.load_w * hosts / 1000,
        host.hardware_usd_dated,
        idle_usd=usd_per_kwh * host.idle_w * hosts / 1000,
    )


def cost(lines: tuple[CostLine, ...], requests_per_s: float, load: Load) -> Cost:
    """The lines summed per hour, day and month (730 h), and per million tokens at the expected throughput."""
    per_hour = sum((line.usd_per_hour for line in lines), Decimal(0))
    if not requests_per_s:
        raise DoesNotFit(
            f"a request of {load.input_tokens} + {load.output_tokens} tokens takes longer than a week; nothing can be "
            f"said about its cost"
        )
    per_request = per_hour / (Decimal(repr(requests_per_s)) * 3600)

    def per_million(tokens: int) -> Decimal:
        return (per_request / tokens * 1_000_000).quantize(CENT_OF_A_CENT)

    return Cost(
        lines=lines,
        usd_per_hour=per_hour,
        usd_per_day=(per_hour * HOURS_PER_DAY).quantize(CENT),
        usd_per_month=(per_hour * HOURS_PER_MONTH).quantize(CENT),
        idle_usd_per_hour=sum((line.idle_usd_per_hour for line in lines), Decimal(0)),
        standing_usd_per_hour=sum((line.idle_usd_per_hour for line in lines if line.standing), Decimal(0)),
        usd_per_million_output_tokens=per_million(load.output_tokens) if load.output_tokens else None,
        usd_per_million_tokens=per_million(load.input_tokens + load.output_tokens),
        prices_dated=min((line.dated for line in lines if line.dated), default=""),
    )
