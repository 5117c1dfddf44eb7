"""What every test shares: repeatable examples, one cluster and one model for all lanes that need them, two workers."""

import pytest
from hypothesis import settings

from tests.cluster_fixture import cluster, model_folder

__all__ = ["cluster", "model_folder"]

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")

# Under `-n 2` each half has a worker of its own, since its fixtures are dear; the other tests go where there is time.
HALVES = {"cluster": "clusters", "engine": "clusters", "host": "hosts", "pulumi": "hosts", "browser": "hosts"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for the workers, the two long halves first."""
    groups = {item: next((HALVES[m.name] for m in item.iter_markers() if m.name in HALVES), "") for item in items}
    for item, half in groups.items():
        item.add_marker(pytest.mark.xdist_group(half or str(item.path)))
    items.sort(key=lambda item: not groups[item])
