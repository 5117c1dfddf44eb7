"""
The home hosts: those that a file of data/hosts describes, and n cards of any kind with a launch price, by rule.

``home-4x-rtx-3090`` is such a name. The rule (data/home-rule.toml) puts the cards, capped like the described hosts',
into the smallest platform that takes them; the supply follows the bill of materials' rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from sizing.errors import UnknownFact
from sizing.facts.catalogue import Facts
from sizing.facts.gpu import Gpu
from sizing.facts.place import HomeHost
from sizing.hosts.bill import power_supply_w

MOST_CARDS = 8  # of one kind in one host


def home_host(facts: Facts, name: str) -> HomeHost:
    """The home host called *name*. Raises ``UnknownFact`` as ``Facts.host`` does where neither file nor rule has it."""
    if name not in facts.hosts:
        for own, gpu, count in _ruled(facts):
            if own == name:
                return _built(facts, own, gpu, count)
    return facts.host(name)


def every_home_host(facts: Facts) -> tuple[HomeHost, ...]:
    """Described hosts and those of the rule, fewest cards first."""
    hosts = list(facts.hosts.values())
    for name, gpu, count in _ruled(facts):
        if name not in facts.hosts:
            with suppress(UnknownFact):  # more watts than any supply
                hosts.append(_built(facts, name, gpu, count))
    return tuple(sorted(hosts, key=lambda host: (host.gpu_count, host.hardware_usd)))


def _ruled(facts: Facts) -> Iterator[tuple[str, Gpu, int]]:
    """(name, card, how many) of every host that the rule makes: cards whose price is known."""
    for gpu in facts.gpus.values():
        if gpu.launch_msrp_usd:
            card = re.sub("[^a-z0-9]+", "-", gpu.id.lower())
            yield from ((f"home-{count}x-{card}", gpu, count) for count in facts.home_rule.counts)


def _built(facts: Facts, name: str, gpu: Gpu, count: int) -> HomeHost:
    rule = facts.home_rule
    platform = next(platform for platform in rule.platforms if platform.most_cards >= count)
    limit_w = round(rule.power_share.value * gpu.tdp_w / 10) * 10
    return HomeHost(
        id=name,
        gpu=gpu.id,
        gpu_count=count,
        cpu=platform.cpu,
        vcpu=platform.vcpu,
        memory_gib=platform.memory_gib,
        nvme_gb=platform.nvme_gb,
        psu_w=power_supply_w(count, limit_w, facts),
        power_limit_w_per_gpu=limit_w,
        idle_w=platform.idle_w + count * rule.card_idle_w,
        load_w=platform.load_w + count * limit_w,
        hardware_usd=platform.hardware_usd + count * (gpu.launch_msrp_usd or 0),
        hardware_usd_dated=platform.hardware_usd_dated,
        depreciation_years=rule.depreciation_years,
        electricity_usd_per_kwh=rule.electricity_usd_per_kwh,
        source=f"cards at their launch price (gpus/), the rest by sizing/data/home-rule.toml: {platform.source}",
    )
