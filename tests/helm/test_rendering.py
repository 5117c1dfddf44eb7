"""What is rendered is valid: to helm's own linter, and to Kubernetes' schemas, oldest and newest."""

from __future__ import annotations

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.helm.chart import CASES, CHART, case, template

OLDEST, NEWEST = "1.30", "1.37"


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_helms_linter_finds_nothing(helm: Path, path: Path) -> None:
    done = subprocess.run(
        [helm, "lint", "--strict", CHART, "-f", path, "--kube-version", "1.37.0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kube", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.yaml")))
def test_every_object_is_valid_kubernetes(helm: Path, name: str, kube: str) -> None:
    done = template(helm, case(name), kube=f"{kube}.0")
    assert done.returncode == 0, done.stderr
    kinds = set()
    for document in filter(None, yaml.safe_load_all(done.stdout)):
        kubernetes_validate.validate(document, kube, strict=True)
        kinds.add(document["kind"])
    assert {"Deployment", "Service", "NetworkPolicy", "ServiceAccount", "ConfigMap", "Pod"} <= kinds


def test_a_misspelt_field_would_be_found() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [], "hostnam": "h"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="hostnam"):
        kubernetes_validate.validate(pod, NEWEST, strict=True)


def test_an_older_kubernetes_is_refused(helm: Path) -> None:
    done = template(helm, case("home-sglang"), kube="1.29.0")
    assert done.returncode != 0
    assert "1.30" in done.stderr
