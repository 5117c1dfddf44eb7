"""The objects of other people's kinds, by a real API server that knows these kinds: no field is misspelt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.cluster.cluster import Cluster
from lab.cluster.errors import LocalError
from tests.helm.chart import Objects, Values, rendered
from tests.helm.monitoring import CRDS
from tests.helm.test_autoscaling import EKS, KEDA, LWS
from tests.helm.test_groups import CASES
from tests.waiting import patience

pytestmark = pytest.mark.cluster
NAMESPACE = "kinds"


@pytest.fixture(scope="module")
def kinds(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster that serves KEDA's and LeaderWorkerSet's kinds, and no longer afterwards."""
    files = [
        str(CRDS / f"{name}.yaml") for name in ("scaledobjects.keda.sh", "leaderworkersets.leaderworkerset.x-k8s.io")
    ]
    limit = f"--timeout={patience(60):.0f}s"
    with ExitStack() as ending:
        for file in files:
            cluster.kubectl("create", "--filename", file)
            ending.callback(cluster.kubectl, "delete", "--filename", file)
            cluster.kubectl("wait", "--for=condition=Established", limit, "--filename", file)
        cluster.namespace(NAMESPACE)
        ending.callback(cluster.kubectl, "delete", "namespace", NAMESPACE)
        yield cluster


def accept(cluster: Cluster, item: Values) -> None:
    """LocalError with the API server's complaint unless it would take *item* as it is."""
    asked = ("--namespace", NAMESPACE, "create", "--dry-run=server", "--validate=strict", "--filename", "-")
    cluster.kubectl(*asked, stdin=json.dumps(item))


@pytest.fixture
def objects(helm: Path) -> Objects:
    scaled = rendered(helm, EKS, apis=(KEDA, LWS))["ScaledObject"]
    groups = [rendered(helm, values, apis=(KEDA, LWS))["LeaderWorkerSet"][0] for values in CASES.values()]
    return {"ScaledObject": scaled, "LeaderWorkerSet": groups}


def test_the_api_server_takes_them_strictly(kinds: Cluster, objects: Objects) -> None:
    for item in [item for kind in objects.values() for item in kind]:
        accept(kinds, item)


def test_the_pods_of_a_group_are_let_in_where_pod_security_restricted_is_enforced(
    kinds: Cluster, objects: Objects
) -> None:
    kinds.kubectl("--namespace", NAMESPACE, "create", "serviceaccount", "qwen")
    for group in objects["LeaderWorkerSet"]:
        for name in ("leaderTemplate", "workerTemplate"):
            template = group["spec"]["leaderWorkerTemplate"][name]
            template["spec"].pop("runtimeClassName", None)  # the class is not in this cluster
            metadata = {"generateName": "group-", **template["metadata"]}
            accept(kinds, {"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata})
    kinds.kubectl("--namespace", NAMESPACE, "delete", "serviceaccount", "qwen")


@pytest.mark.parametrize(
    ("kind", "field"), [("ScaledObject", "spec.maxReplicas"), ("LeaderWorkerSet", "spec.restartPolicy")]
)
def test_a_misspelt_field_would_be_found(kinds: Cluster, objects: Objects, kind: str, field: str) -> None:
    [item, *_] = objects[kind]
    item["spec"][field.removeprefix("spec.")] = 1
    with pytest.raises(LocalError, match=f'unknown field "{field}"'):
        accept(kinds, item)
