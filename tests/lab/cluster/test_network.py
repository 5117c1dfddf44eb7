from ipaddress import IPv4Network, ip_address, ip_network

import pytest

from lab.cluster import network
from lab.cluster.errors import LocalError


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> list[IPv4Network]:
    taken: list[IPv4Network] = []
    monkeypatch.setattr(network, "_routed", lambda: taken)
    return taken


@pytest.mark.usefixtures("routes")
def test_two_clusters_share_no_address() -> None:
    blocks = [ip_network(network.own_network(index).block) for index in range(8)]
    assert not any(one.overlaps(two) for one in blocks for two in blocks if one is not two)


@pytest.mark.usefixtures("routes")
def test_services_pods_and_node_lie_apart_in_the_clusters_block() -> None:
    found = network.own_network(3)
    parts = [ip_network(found.services), ip_network(found.pods), ip_network(f"{found.node}/24", strict=False)]
    assert all(part.subnet_of(ip_network(found.block)) for part in parts)  # type: ignore[arg-type]
    assert not any(one.overlaps(two) for one in parts for two in parts if one is not two)
    assert ip_address(found.host) in parts[2]


def test_a_block_that_a_route_crosses_is_left_alone(routes: list[IPv4Network]) -> None:
    routes.append(IPv4Network("10.0.0.0/8"))
    assert ip_network(network.own_network(0).block).subnet_of(IPv4Network("172.16.0.0/12"))  # type: ignore[arg-type]


def test_the_refusal_names_what_each_block_crosses(routes: list[IPv4Network]) -> None:
    routes.extend(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
    with pytest.raises(LocalError, match=r"10\.197\.0\.0/20 crosses 10\.0\.0\.0/8; .* 192\.168\.0\.0/16"):
        network.own_network(0)
