"""What a cluster writes before anything of it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import network, place
from lab.cluster.cluster import Cluster
from lab.cluster.place import Place


@pytest.fixture
def generous() -> Iterator[None]:
    """A umask that forbids nobody anything."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("generous")
def test_the_folder_with_the_administrators_token_is_closed_to_other_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(place, "FOLDERS", tmp_path)
    monkeypatch.setattr(network, "_routed", list)
    cluster = Cluster(own_network=False, address="192.0.2.1", bin_dir=tmp_path)
    setup = cluster._make_setup(Place(1000), {}, [])
    assert setup.folder.stat().st_mode & 0o777 == 0o700
