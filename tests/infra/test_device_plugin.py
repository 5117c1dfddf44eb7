"""The device plugin's manifest is what a real API server takes; no card is here for it to find."""

from __future__ import annotations

import shlex

import pytest

from lab.cluster.cluster import Cluster
from tests.docs.pages import documented

APPLY = documented("kubectl apply")

pytestmark = pytest.mark.cluster


def test_a_real_api_server_takes_the_device_plugin(cluster: Cluster) -> None:
    said = cluster.kubectl(*shlex.split(APPLY)[1:], "--dry-run=server", "--validate=strict")
    assert "daemonset.apps/nvidia-device-plugin created (server dry run)" in said
