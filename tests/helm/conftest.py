from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster.cluster import Cluster
from lab.tools.get import tool
from tests.helm.guarded import Guarded
from tests.helm.kinds import KINDS, Kind
from tests.helm.policies import enforced


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm 4; that helm 3 says the same is in test_helm_3.py."""
    return Path(tool("helm"))


@pytest.fixture(scope="module")
def policies(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """NetworkPolicies hold while the module's tests run."""
    with enforced(cluster, tmp_path_factory.mktemp("policies")):
        yield


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="session")
def args(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The engine's, by the plan."""
    return kind.args(tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="session")
def started() -> set[Kind]:
    """The kinds that were started."""
    return set()


@pytest.fixture(scope="session")
def engine(
    kind: Kind, args: list[str], started: set[Kind], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """One start of each kind, for every test of it."""
    assert kind not in started, f"in this order of the tests it starts twice: {kind}"
    started.add(kind)
    began = time.monotonic()
    with kind.start(tmp_path_factory.mktemp("guarded"), args) as running:
        print(f"start to ready: {time.monotonic() - began:.1f} s")
        yield running


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test marked ``only`` runs with the kinds that it names; kind by kind, what ends an engine comes last."""

    turns = [None, *KINDS]

    def kind_of(item: pytest.Item) -> str | None:
        made = getattr(item, "callspec", None)
        kind = made.params.get("kind") if made else None
        return kind if kind in turns else None  # another one's is something else

    for item in list(items):
        mark, kind = item.get_closest_marker("only"), kind_of(item)
        if mark and kind and kind not in mark.args:
            config.hook.pytest_deselected(items=[item])
            items.remove(item)
    items.sort(key=lambda item: (turns.index(kind_of(item)), item.path.name == "test_guard_and_engine.py"))
