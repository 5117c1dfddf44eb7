from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cluster import Cluster
from tests.helm.policies import enforced
from tools.get import tool


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm 4; that helm 3 says the same is in test_helm_3.py."""
    return Path(tool("helm"))


@pytest.fixture(scope="module")
def policies(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """NetworkPolicies hold while the module's tests run."""
    with enforced(cluster, tmp_path_factory.mktemp("policies")):
        yield
