"""A registry on this machine that a cluster's node pulls from, and weights in it, made by the README's own lines."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.cluster import Cluster
from tests.helm.bench import wait_until
from tests.helm.chart import CHART
from tools.get import tool

SERVING = "serving on port "


@contextmanager
def serving(cluster: Cluster, folder: Path) -> Iterator[str]:
    """Address of an empty registry, crane's, on the address that this machine has in the network of *cluster*."""
    host, log = cluster.setup.network.host, folder / "log"
    command = [tool("crane"), "registry", "serve", "--address", f"{host}:0"]
    with log.open("wb") as file, subprocess.Popen(command, stderr=file) as server:
        try:
            wait_until(lambda: SERVING in log.read_text(), 30, "the registry serves")
            address = f"{host}:{log.read_text().partition(SERVING)[2].split()[0]}"
            cluster.add_registry(address)
            yield address
        finally:
            server.terminate()


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
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
