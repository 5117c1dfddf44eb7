"""The addresses of one cluster, and the one veth pair that joins its network namespace to this machine."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from dataclasses import dataclass
from itertools import islice

from lab.cluster.errors import LocalError

# Private blocks that home routers, Docker, VPNs and clouds hand out least; each cluster takes one /20 of a block.
BLOCKS = ("10.197.0.0/16", "172.30.0.0/16", "10.71.0.0/16", "192.168.128.0/17")


@dataclass(frozen=True)
class Network:
    """Subnets and addresses in text, as every component takes them. ``host`` is "" without a namespace of its own."""

    block: str
    services: str
    pods: str
    node: str
    host: str


def own_network(index: int) -> Network:
    """The network of cluster *index*, in the first block that no route of this machine crosses."""
    block = _free_block(index)
    services, pods, link = (str(subnet) for subnet in islice(block.subnets(new_prefix=24), 3))
    host, node = (str(address) for address in islice(ipaddress.ip_network(link).hosts(), 2))
    return Network(str(block), services, pods, node, host)


def host_network(address: str | None) -> Network:
    """This machine's own network: the node has *address*, or this machine's first one that others can reach."""
    block = _free_block(0)
    services, pods = (str(subnet) for subnet in islice(block.subnets(new_prefix=24), 2))
    return Network(str(block), services, pods, address or _first_address(), "")


def join(network: Network, link: str, pid: int) -> None:
    """Give the namespace of process *pid* its address, and this machine a route to all that is in it."""
    prefix = 24
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    for command in (
        ["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(pid)],
        ["ip", "address", "add", f"{network.host}/{prefix}", "dev", link],
        ["ip", "link", "set", link, "up"],
        [*inside, "ip", "link", "set", "lo", "up"],
        [*inside, "ip", "address", "add", f"{network.node}/{prefix}", "dev", "eth0"],
        [*inside, "ip", "link", "set", "eth0", "up"],
        # ClusterIPs need some route before kube-proxy turns them; this machine forwards nothing.
        [*inside, "ip", "route", "add", "default", "via", network.host],
        ["ip", "route", "add", network.block, "via", network.node],
    ):
        _run(*command)


def remove_bridge(name: str) -> None:
    """Without a namespace of its own the pods' bridge stays behind; with one there is none here."""
    subprocess.run(["ip", "link", "delete", name, "type", "bridge"], capture_output=True, check=False)


def remove_link(link: str) -> None:
    """The host's end of the veth pair at once: the kernel removes it only some time after the last process."""
    subprocess.run(["ip", "link", "delete", link, "type", "veth"], capture_output=True, check=False)


def _free_block(index: int) -> ipaddress.IPv4Network:
    routed = _routed()
    collisions = []
    for candidate in BLOCKS:
        block = next(islice(ipaddress.IPv4Network(candidate).subnets(new_prefix=20), index, None))
        crossed = [str(route) for route in routed if route.overlaps(block)]
        if not crossed:
            return block
        collisions.append(f"{block} crosses {crossed[0]}")
    raise LocalError(
        f"no free subnet for cluster {index}: {'; '.join(collisions)} (add a block to lab/cluster/network.py)"
    )


def _routed() -> list[ipaddress.IPv4Network]:
    routes = json.loads(_run("ip", "-4", "-json", "route", "show", "table", "all"))
    targets = [route["dst"] for route in routes if route["dst"] != "default"]
    return [ipaddress.IPv4Network(target) for target in targets]


def _first_address() -> str:
    interfaces = json.loads(_run("ip", "-4", "-json", "address", "show", "scope", "global", "up"))
    addresses = [found["local"] for interface in interfaces for found in interface.get("addr_info", [])]
    if not addresses:
        raise LocalError("this host has no IPv4 address that a node could have: --address names one")
    return str(addresses[0])


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
