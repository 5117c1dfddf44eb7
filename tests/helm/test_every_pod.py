"""What holds for every pod of every case: engines, groups of them, waiting rooms, the Job that fetches, helm's test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helm.chart import OTHERS, Objects, Values, every_case, rendered

CASES = every_case()


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def objects(helm: Path, name: str) -> Objects:
    return rendered(helm, CASES[name], apis=OTHERS)


def pods(found: Any, kind: str = "") -> Iterator[tuple[str, Values]]:
    """Kind of the object and pod (metadata and spec) of every pod or template below *found*."""
    if isinstance(found, dict):
        kind = kind or found.get("kind", "")
        if "containers" in found.get("spec", ()):
            yield kind, found
        for value in found.values():
            yield from pods(value, kind)
    elif isinstance(found, list):
        for value in found:
            yield from pods(value, kind)


def of_every_kind(objects: Objects) -> list[tuple[str, Values]]:
    return [pod for items in objects.values() for pod in pods(items)]


def test_the_cases_have_pods_of_every_kind(helm: Path) -> None:
    found = [of_every_kind(rendered(helm, values, apis=OTHERS)) for values in CASES.values()]
    assert all(each for each in found)
    kinds = [kind for each in found for kind, _ in each]
    assert set(kinds) == {"Deployment", "Job", "LeaderWorkerSet", "Pod", "StatefulSet"}
    assert kinds.count("LeaderWorkerSet") == 2 * sum(values["gpu"].get("hosts", 1) > 1 for values in CASES.values())


def test_no_service_of_the_namespace_sets_a_variable(objects: Objects) -> None:
    assert {pod["spec"].get("enableServiceLinks") for _, pod in of_every_kind(objects)} == {False}


def test_every_pod_satisfies_pod_security_restricted(objects: Objects, name: str) -> None:
    allowed = {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}
    if CASES[name]["model"]["source"] == "hostPath":
        allowed.add("hostPath")  # which restricted forbids: whoever chooses it knows
    for _, pod in of_every_kind(objects):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {kind for volume in spec["volumes"] for kind in volume} <= {"name", *allowed}


def test_only_the_waiting_room_has_a_service_account_token(objects: Objects) -> None:
    for kind, pod in of_every_kind(objects):
        assert pod["spec"].get("automountServiceAccountToken", True) is (kind == "StatefulSet")


def test_every_pod_is_under_a_policy_and_every_policy_is_for_both_directions(objects: Objects) -> None:
    policies = [policy["spec"] for policy in objects["NetworkPolicy"]]
    assert all(policy["policyTypes"] == ["Ingress", "Egress"] for policy in policies)
    chosen = [policy["podSelector"]["matchLabels"].items() for policy in policies]
    for _, pod in of_every_kind(objects):
        assert any(labels <= pod["metadata"]["labels"].items() for labels in chosen)
