"""What a deployment costs: lines that sum, dates that stay, and what remains without requests or without GPU hosts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sizing.errors import UnknownFact
from sizing.facts.catalogue import load_facts
from sizing.hosts.cost import cost, place_lines
from sizing.request.request import Load, Place

FACTS = load_facts()
LOAD = Load(concurrency=1, input_tokens=300, output_tokens=100)


def test_an_aws_host_costs_the_same_idle_and_its_place_stays_without_it() -> None:
    made = cost(place_lines(FACTS, Place(kind="aws-eks"), "g6.xlarge", 2, 100), 500, LOAD)
    # 2 x 0.8048 + control plane 0.10 + NAT 0.045 + 2 x 0.1008 + 200 GB of gp3
    assert made.usd_per_hour == Decimal("1.6096") + Decimal("0.3466") + Decimal("0.0219")
    assert made.idle_usd_per_hour == made.usd_per_hour
    assert made.standing_usd_per_hour == Decimal("0.3466")
    assert made.usd_per_day == (made.usd_per_hour * 24).quantize(Decimal("0.01"))
    assert made.usd_per_month == (made.usd_per_hour * 730).quantize(Decimal("0.01"))


def test_a_million_tokens_cost_less_when_the_input_counts() -> None:
    made = cost(place_lines(FACTS, Place(kind="aws-ec2"), "g6.xlarge", 1, 100), 10, LOAD)
    # 10 requests of 100 tokens a second are 3.6 million an hour, and 14.4 million with 300 input tokens for every 100
    assert made.usd_per_million_output_tokens == (made.usd_per_hour / Decimal("3.6")).quantize(Decimal("0.0001"))
    assert made.usd_per_million_tokens == (made.usd_per_hour / Decimal("14.4")).quantize(Decimal("0.0001"))


def test_a_home_host_draws_less_without_requests_and_nothing_when_off() -> None:
    made = cost(place_lines(FACTS, Place(kind="home"), "home-1x-rtx-4090", 1, 0), 100, LOAD)
    hardware = (Decimal(2900) / (3 * 8760)).quantize(Decimal("0.0001"))
    assert made.usd_per_hour == hardware + Decimal("0.0935")  # 550 W at 0.17 $/kWh
    assert made.idle_usd_per_hour == hardware + Decimal("0.0128")  # 75 W
    assert made.standing_usd_per_hour == hardware


def test_every_line_keeps_the_date_of_its_price_and_the_oldest_is_the_costs() -> None:
    made = cost(place_lines(FACTS, Place(kind="aws-eks"), "g6.xlarge", 1, 100), 500, LOAD)
    dates = {line.name: line.dated for line in made.lines}
    assert dates["1 x g6.xlarge"] == "2026-07-20"
    assert dates["NAT gateway"] == "2026-11-24"
    assert made.prices_dated == "2026-07-20"


def test_a_price_that_no_row_has_is_an_error_that_names_the_file() -> None:
    with pytest.raises(UnknownFact, match=r"g6\.xlarge in eu-west-1 \(known in us-east-1\).*sizing/data/prices\.csv"):
        place_lines(FACTS, Place(kind="aws-eks", region="eu-west-1"), "g6.xlarge", 1, 100)
