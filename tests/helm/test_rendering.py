"""What is rendered is valid: to helm's own linter, and to Kubernetes' schemas, oldest and newest."""

from __future__ import annotations

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.helm.chart import CHART, COMMITTED, OTHERS, Values, case, every_case, template

OLDEST, NEWEST = "1.30", "1.37"


LINTED = every_case() | {path.parent.name: yaml.safe_load(path.read_text()) for path in COMMITTED}


@pytest.mark.parametrize("values", LINTED.values(), ids=list(LINTED))
def test_helms_linter_finds_nothing(helm: Path, values: Values) -> None:
    done = subprocess.run(
        [helm, "lint", "--strict", CHART, "-f", "-", "--kube-version", f"{NEWEST}.0"],
        input=yaml.safe_dump(values),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kube", [OLDEST, NEWEST])
@pytest.mark.parametrize("values", every_case().values(), ids=list(every_case()))
def test_every_object_is_valid_kubernetes(helm: Path, values: Values, kube: str) -> None:
    done = template(helm, values, kube=f"{kube}.0", apis=OTHERS)
    assert done.returncode == 0, done.stderr
    kinds = set()
    for document in filter(None, yaml.safe_load_all(done.stdout)):
        kinds.add(document["kind"])
        if f"{document['apiVersion']}/{document['kind']}" not in OTHERS:
            kubernetes_validate.validate(document, kube, strict=True)
    assert {"Service", "NetworkPolicy", "ServiceAccount", "ConfigMap", "Pod"} <= kinds
    assert len(kinds & {"Deployment", "LeaderWorkerSet"}) == 1


def test_the_cases_have_every_kind_of_other_people(helm: Path) -> None:
    rendered = [template(helm, values, apis=OTHERS).stdout for values in every_case().values()]
    kinds = {f"{each['apiVersion']}/{each['kind']}" for text in rendered for each in yaml.safe_load_all(text) if each}
    assert set(OTHERS) <= kinds


def test_a_misspelt_field_would_be_found() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [], "hostnam": "h"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="hostnam"):
        kubernetes_validate.validate(pod, NEWEST, strict=True)


def test_an_older_kubernetes_is_refused(helm: Path) -> None:
    done = template(helm, case("home-sglang"), kube="1.29.0")
    assert done.returncode != 0
    assert "1.30" in done.stderr
