"""The bill of materials: parts that add up, a supply with margin, watts as heat and as money."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.errors import BadRequest
from sizing.facts.catalogue import load_facts
from sizing.facts.place import HomeHost
from sizing.hosts.bill import bill_of_materials, electricity_price, power_supply_w

FACTS = load_facts()
HOSTS = pytest.mark.parametrize("host", FACTS.hosts.values(), ids=lambda host: host.id)


@HOSTS
def test_the_priced_parts_add_up_to_the_host(host: HomeHost) -> None:
    bill = bill_of_materials(host, FACTS)
    assert sum((part.usd for part in bill.parts if part.usd is not None), Decimal(0)) == bill.total_usd
    assert all(part.why for part in bill.parts)


@HOSTS
def test_the_hosts_supply_carries_its_capped_cards_with_margin_and_its_cpu_feeds_them(host: HomeHost) -> None:
    bill = bill_of_materials(host, FACTS)
    assert bill.psu_w <= host.psu_w
    assert 2 * (2 + host.gpu_count) <= host.vcpu  # hardware threads, vLLM's own rule
    assert host.idle_w < host.gpu_count * host.power_limit_w_per_gpu < bill.load_w < host.psu_w


def test_the_rule_asks_for_no_less_than_nvidia_does() -> None:
    # NVIDIA's own supply for one card: 850 W for the RTX 4090 (450 W), 1000 W for the RTX 5090 (575 W)
    assert power_supply_w(1, 450, FACTS) >= 850
    assert power_supply_w(1, 575, FACTS) >= 1000


def test_watts_become_heat_and_money() -> None:
    bill = bill_of_materials(FACTS.host("home-1x-rtx-4090"), FACTS, Decimal("0.30"))
    assert bill.load_w == 550
    assert bill.heat_btu_per_hour == 1877  # 550 W x 3.412
    assert bill.electricity_usd_per_month == Decimal("120.45")  # 0.55 kW x 730 h x 0.30 $


def test_a_card_without_a_launch_price_leaves_one_price_for_all() -> None:
    host = FACTS.host("home-1x-rtx-4090").model_copy(update={"gpu": "A10G"})
    bill = bill_of_materials(host, FACTS)
    assert [part.usd for part in bill.parts if part.usd is not None] == [host.hardware_usd]
    assert [s for s in bill.sentences if "Noise" in s and "unknown" in s]


def test_what_one_supply_does_not_carry_is_shared_by_few_equal_ones() -> None:
    assert power_supply_w(8, 350, FACTS) == 2 * 2000  # (8 x 350 + 303) x 1.2 = 3,724 W
    host = FACTS.host("home-2x-rtx-4090").model_copy(update={"gpu_count": 8, "load_w": 3900, "psu_w": 4000})
    bill = bill_of_materials(host, FACTS)
    assert "2 of 2000 W" in next(part.why for part in bill.parts if part.part == "power supply")
    assert [s for s in bill.sentences if "230 V" in s]


def test_a_household_circuit_is_told_only_where_it_is_too_small() -> None:
    host = FACTS.host("home-2x-rtx-4090")
    assert not [s for s in bill_of_materials(host, FACTS).sentences if "120 V" in s]
    bill = bill_of_materials(host.model_copy(update={"load_w": 1600}), FACTS)
    assert [s for s in bill.sentences if "120 V" in s and "230 V" not in s]


@given(cards=st.integers(1, 8), watts=st.integers(50, 400), more=st.integers(0, 50))
def test_more_watts_never_ask_for_a_smaller_supply(cards: int, watts: int, more: int) -> None:
    assert power_supply_w(cards, watts, FACTS) <= power_supply_w(cards, watts + more, FACTS)


@pytest.mark.parametrize("price", [-0.1, 10.5, float("nan"), float("inf")])
def test_a_price_of_electricity_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(BadRequest, match=r"\$/kWh"):
        electricity_price(price)
