"""Port numbers for servers that a test starts and that cannot choose one themselves."""

from __future__ import annotations

import itertools
import random
import socket
from pathlib import Path

from lab.cluster.claims import claim

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TOP, WIDTH = 30_000, 10_000  # below Kubernetes' node ports

# For the life of this process.
_held: list[socket.socket] = []


def free_port() -> int:
    """
    A port that nobody listens on and that no other process of this suite on this machine is given.

    A port that was bound to 0 and closed again is anybody's: the kernel takes the source ports of clients from the
    same range, also while they are in TIME_WAIT. This one is below that range.
    """
    ports = candidates()
    start = random.SystemRandom().randrange(len(ports))  # not random's own state, which tests seed
    for port in itertools.chain(ports[start:], ports[:start]):
        if held := claim(f"qwenkit-port-{port}"):
            if _nobody_listens(port):
                _held.append(held)
                return port
            held.close()
    raise OSError(f"every port from {ports[0]} to {ports[-1]} is taken")


def candidates() -> range:
    """Ports that no client of this machine is given by the kernel."""
    top = min(TOP, int(RANGE.read_text().split()[0]))
    low = max(1024, top - WIDTH)
    return range(low, top) if low < top else range(TOP - WIDTH, TOP)  # clients that have all leave no choice


def _nobody_listens(port: int) -> bool:
    """Neither a server of somebody else, nor one that outlived the process it was started for."""
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
