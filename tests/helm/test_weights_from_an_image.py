"""
Weights out of an OCI image: made by the README's own lines, pushed to a registry, pulled by the node, mounted.

The registry is crane's, on the address that this machine has in the cluster's network. The steps are those of a user,
in their order: each test needs the ones before it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cluster import Cluster
from local.errors import LocalError
from tests.children import child
from tests.helm.bench import RELEASE, Bench, a_bench, chat
from tests.helm.chart import CHART
from tests.waiting import patience, wait_until
from tools.get import tool

pytestmark = pytest.mark.cluster

NAMESPACE = "image"
SERVING = re.compile(r"serving on port (\d+)\s")


@pytest.fixture(scope="module")
def registry(cluster: Cluster) -> Iterator[str]:
    """Address of an empty registry that the node pulls from."""
    host = cluster.setup.network.host
    with child([tool("crane"), "registry", "serve", "--address", f"{host}:0"]) as serving:
        wait_until(lambda: SERVING.search(serving.said), 60, lambda: f"the registry serves: {serving.said}")
        address = f"{host}:{SERVING.findall(serving.said)[0]}"
        cluster.add_registry(address)
        yield address


@pytest.fixture(scope="module")
def weights(registry: str, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny model as an image, by its digest, as the lines of the README print it."""
    lines = [line for line in (CHART / "README.md").read_text().splitlines() if line.startswith("crane ")]
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "w").symlink_to(model_folder)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=folder,
        env={**os.environ, "PATH": f"{tool('crane').parent}:{os.environ['PATH']}", "image": f"{registry}/tiny:1"},
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def bench(cluster: Cluster, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with a_bench(cluster, model_folder, tmp_path_factory.mktemp("image"), NAMESPACE) as made:
        yield made


def test_a_digest_that_the_registry_lacks_is_told_by_describe(bench: Bench, weights: str) -> None:
    wrong = f"{weights.partition('@')[0]}@sha256:{'0' * 64}"
    bench.helm("install", RELEASE, CHART, "-f", bench.values(model={"source": "image", "uri": wrong}))

    def told() -> str:
        return "".join(bench.kubectl("describe", "pod", pod["metadata"]["name"]) for pod in bench.pods())

    wait_until(lambda: "ErrImagePull" in told(), 60, "the trouble is told")
    wait_until(lambda: re.search(f'Failed to pull image "{wrong}": .* not found', told()) is not None, 20, "why")


def test_with_the_right_digest_the_engine_answers(bench: Bench, weights: str) -> None:
    print(f"from the wrong digest to Ready: {bench.upgrade(model={'source': 'image', 'uri': weights}):.1f} s")
    status, body = bench.ask("/v1/chat/completions", chat(), bench.key())
    assert status == 200, body


def test_the_engine_cannot_change_the_weights(bench: Bench) -> None:
    with pytest.raises(LocalError, match="Read-only file system"):
        bench.kubectl("exec", bench.pods()[0]["metadata"]["name"], "--container", "engine", "--", "touch", "/models/x")
