"""A registry on this machine that a cluster's node pulls from, and weights in it, made by the README's own lines."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.cluster.cluster import Cluster
from lab.tools.get import tool
from tests.children import child
from tests.helm.chart import CHART
from tests.waiting import patience, wait_until

SERVING = re.compile(r"serving on port (\d+)\s")


@contextmanager
def serving(cluster: Cluster) -> Iterator[str]:
    """Address of an empty registry, crane's, on the address that this machine has in the network of *cluster*."""
    host = cluster.setup.network.host
    with child([tool("crane"), "registry", "serve", "--address", f"{host}:0"]) as server:
        wait_until(lambda: SERVING.search(server.said), 60, lambda: f"the registry serves: {server.said}")
        address = f"{host}:{SERVING.findall(server.said)[0]}"
        cluster.add_registry(address)
        yield address


def pushed(address: str, model: Path, folder: Path) -> str:
    """*model* as an image in the registry at *address*, by the digest that the README's last line prints."""
    lines = [line for line in (CHART / "README.md").read_text().splitlines() if line.startswith("crane ")]
    (folder / "w").symlink_to(model)
    path = f"{tool('crane').parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=folder,
        env={**os.environ, "PATH": path, "image": f"{address}/tiny:1"},
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
