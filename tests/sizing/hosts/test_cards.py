"""What sets two cards apart besides memory and speed is said, from facts, and only where they differ."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sizing.facts.catalogue import load_facts
from sizing.facts.gpu import Gpu
from sizing.hosts.cards import differences, home_against_cloud
from sizing.planning.planning import plan
from sizing.request.request import Load, Place, Request

FACTS = load_facts()


@pytest.mark.parametrize("gpu", FACTS.gpus.values(), ids=lambda gpu: gpu.id)
def test_every_card_has_a_segment_and_a_sourced_ecc_state(gpu: Gpu) -> None:
    assert gpu.ecc.source
    assert FACTS.segments[gpu.segment].source
    assert differences(gpu, gpu, FACTS) == ()


def test_a10g_against_rtx_4090_says_ecc_24x7_driver_licence_warranty_and_power() -> None:
    found = differences(FACTS.gpu("A10G"), FACTS.gpu("RTX 4090"), FACTS)
    assert [sentence.split(":")[0] for sentence in found] == ["ECC", "24 x 7", "Driver licence", "Warranty", "Power"]
    assert "300 W" in found[-1]
    assert "450 W" in found[-1]


def test_what_is_equal_is_not_said() -> None:
    for one, other in pairwise(FACTS.gpus.values()):
        names = [sentence.split(":")[0] for sentence in differences(one, other, FACTS)]
        assert ("Warranty" in names) == (one.segment != other.segment)
        assert ("Power" in names) == (one.tdp_w != other.tdp_w)


def test_a_plan_for_a_geforce_card_at_home_says_what_its_licence_forbids() -> None:
    load = Load(concurrency=1, input_tokens=500, output_tokens=100)
    home = plan("h", Request(model="qwen3-8b", load=load, place=Place(kind="home", host="home-1x-rtx-4090")), FACTS)
    cloud = plan("c", Request(model="qwen3-8b", load=load, place=Place(kind="aws-ec2")), FACTS)
    assert [w for w in home.warnings if "ECC" in w and "commercial hosting" in w]
    assert not [w for w in cloud.warnings if "ECC" in w]


def test_the_best_card_at_home_meets_the_best_in_the_cloud_and_one_place_alone_has_no_rival() -> None:
    ways = [("home", "RTX 4090"), ("home", "RTX 3090"), ("aws-ec2", "A10G"), ("aws-eks", "L4"), (None, "H100-SXM")]
    assert home_against_cloud(ways, FACTS) == differences(FACTS.gpu("RTX 4090"), FACTS.gpu("A10G"), FACTS)
    assert home_against_cloud(ways[:2], FACTS) == home_against_cloud([], FACTS) == ()
