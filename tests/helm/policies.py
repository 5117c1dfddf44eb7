"""
NetworkPolicies that hold in the tests' cluster, whose own network enforces none.

It is the controller of kube-router, which is also the one of k3s; it works on the packets of real pods with this
machine's iptables.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.cluster.cluster import Cluster
from lab.tools.get import tool
from tests.children import end

ENDED_LIMIT_S = 120


@contextmanager
def enforced(cluster: Cluster, folder: Path) -> Iterator[None]:
    """NetworkPolicies hold while the block runs; afterwards every rule is gone. The controller's log is in *folder*."""
    inside: list[str | Path] = ["nsenter", f"--net={cluster.network_namespace}"]
    command = [*inside, tool("network-policies"), "-kubeconfig", cluster.kubeconfig, "-node", cluster.setup.node]
    command += ["-services", cluster.setup.network.services]
    log = folder / "policies.log"
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, env=os.environ) as enforcer:
        try:
            yield
            assert enforcer.poll() is None, log.read_text()
        finally:
            end(enforcer, ENDED_LIMIT_S)
    rules = subprocess.run([*inside, "iptables-save"], capture_output=True, text=True, check=True).stdout
    assert "KUBE-POD-FW" not in rules
