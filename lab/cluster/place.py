"""Where one cluster lives: its number on this machine, and everything named after it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import claims
from lab.cluster.errors import LocalError

MOST_CLUSTERS = 8
FOLDERS = Path("/var/tmp")  # on disk on every Debian, unlike /tmp and /run; images are unpacked here


@dataclass(frozen=True)
class Place:
    """
    Cluster number *index*.

    A cluster that runs holds its number's claim.
    """

    index: int

    @property
    def folder(self) -> Path:
        return FOLDERS / f"qwenkit-cluster-{self.index}"

    @property
    def link(self) -> str:
        """Name of the host's end of the cluster's veth pair."""
        return f"qwenkit{self.index}"

    @property
    def bridge(self) -> str:
        """Name of the bridge that joins the cluster's pods: not ``cni0``, which k3s and others call theirs."""
        return f"qwenkit{self.index}-pods"

    @property
    def marker(self) -> str:
        """
        Environment entry that every process of this cluster carries, and no other.

        A container on this machine may run a cluster of the same number, and its processes are seen from here: the
        process namespace that a cluster was started from tells them apart.
        """
        return f"QWENKIT_CLUSTER={self.folder} {Path('/proc/self/ns/pid').readlink()}"

    def claim(self) -> socket.socket | None:
        """The number's socket, or None if another cluster has it."""
        return claims.claim(self.folder.name)

    def is_claimed(self) -> bool:
        held = self.claim()
        if held:
            held.close()
        return held is None

    def has_folder(self) -> bool:
        """Whether the folder exists; refuses one that another user put there."""
        try:
            owner = self.folder.lstat().st_uid
        except FileNotFoundError:
            return False
        if owner != os.geteuid():
            raise LocalError(f"{self.folder} belongs to user {owner}, not to {os.geteuid()}: remove it first")
        return True


def claim(index: int | None) -> tuple[Place, socket.socket]:
    """The place *index*, or the first free one, claimed."""
    for place in places() if index is None else [Place(index)]:
        if held := place.claim():
            return place, held
    if index is None:
        raise LocalError(f"{MOST_CLUSTERS} clusters run already: python -m lab.cluster down --index N ends one")
    raise LocalError(f"cluster {index} runs already: python -m lab.cluster down --index {index} ends it")


def places() -> Iterator[Place]:
    return (Place(index) for index in range(MOST_CLUSTERS))
