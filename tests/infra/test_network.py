from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from infra.network import subnet_pair

NETWORKS = st.builds(
    lambda bits, prefix: str(ipaddress.IPv4Network((bits << 12, prefix), strict=False)),
    st.integers(0, 2**20 - 1),
    st.integers(16, 20),
)


@given(NETWORKS)
def test_the_subnets_of_eight_zones_lie_in_the_network_and_apart(cidr: str) -> None:
    pairs = [subnet_pair(cidr, f"use1-az{number}") for number in range(1, 9)]
    subnets = [ipaddress.IPv4Network(one) for pair in pairs for one in (pair.private, pair.public)]
    assert all(one.subnet_of(ipaddress.IPv4Network(cidr)) for one in subnets)
    assert list(ipaddress.collapse_addresses(subnets)) != []
    assert sum(one.num_addresses for one in subnets) == sum(
        one.num_addresses for one in ipaddress.collapse_addresses(subnets)
    )


@given(NETWORKS)
def test_every_subnet_is_within_the_sizes_that_aws_allows(cidr: str) -> None:
    pair = subnet_pair(cidr, "use1-az6")
    assert 16 <= ipaddress.IPv4Network(pair.private).prefixlen <= 28
    assert 16 <= ipaddress.IPv4Network(pair.public).prefixlen <= 28


def test_a_network_of_65536_addresses_gives_each_zone_4096_for_machines() -> None:
    pair = subnet_pair("10.40.0.0/16", "use1-az2")
    assert (pair.private, pair.public) == ("10.40.16.0/20", "10.40.129.0/24")
