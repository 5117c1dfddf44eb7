"""The chart, rendered by a real helm: objects by kind, or the refusal."""

from __future__ import annotations

import copy
import json
import subprocess
import tempfile
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "qwen"
CASES = Path(__file__).parent / "cases"
COMMITTED = sorted((ROOT / "deployments").glob("*/values.yaml"))

# The kinds of other people that the chart knows.
OTHERS = (
    "keda.sh/v1alpha1/ScaledObject",
    "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
)

Values = dict[str, Any]
Objects = dict[str, list[Values]]


def case(name: str) -> Values:
    values: Values = yaml.safe_load((CASES / f"{name}.yaml").read_text())
    return values


def changed(values: Values, **by_path: Any) -> Values:
    """A copy of *values* with ``section__key=value`` set."""
    result = copy.deepcopy(values)
    for path, value in by_path.items():
        *sections, key = path.split("__")
        table = result
        for section in sections:
            table = table.setdefault(section, {})
        table[key] = value
    return result


def laid_over(values: Values, changes: Values) -> Values:
    """A copy of *values* with *changes* laid over it as helm does: tables merge, all else is replaced."""
    result = copy.deepcopy(values)
    for key, value in changes.items():
        below = result.get(key)
        result[key] = laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def every_case() -> dict[str, Values]:
    """Name -> values: the cases, and those with the features that none of them switches on."""
    cases = {path.stem: case(path.stem) for path in sorted(CASES.glob("*.yaml"))}
    features = tomllib.loads((CASES / "features.toml").read_text())
    return cases | {name: laid_over(cases[feature["case"]], feature["set"]) for name, feature in features.items()}


def template(
    helm: Path, values: Values, release: str = "qwen", kube: str = "1.37.0", apis: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """``helm template`` with *values* in a cluster that has *apis* too, finished. The same question is asked once."""
    return _template(helm, json.dumps(values), release, kube, apis)


@cache
def _template(
    helm: Path, values: str, release: str, kube: str, apis: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(values)
        file.flush()
        command = [str(helm), "template", release, str(CHART), "-n", "qwen", "--kube-version", kube, "-f", file.name]
        command += [f"--api-versions={api}" for api in apis]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def rendered(helm: Path, values: Values, release: str = "qwen", apis: tuple[str, ...] = ()) -> Objects:
    done = template(helm, values, release, apis=apis)
    assert done.returncode == 0, done.stderr
    objects: Objects = {}
    for document in yaml.safe_load_all(done.stdout):
        if document:
            objects.setdefault(document["kind"], []).append(document)
    return objects


def refusal(helm: Path, values: Values, release: str = "qwen", apis: tuple[str, ...] = ()) -> str:
    """What helm says when it must refuse *values*."""
    done = template(helm, values, release, apis=apis)
    assert done.returncode != 0, "the chart accepted values it must refuse"
    assert not done.stdout.strip(), "a refused chart rendered something"
    return done.stderr


def pod_of(objects: Objects) -> Values:
    [deployment] = objects["Deployment"]
    spec: Values = deployment["spec"]["template"]["spec"]
    return spec


def engine_of(objects: Objects) -> Values:
    [container] = pod_of(objects)["containers"]
    result: Values = container
    return result


def environment_of(objects: Objects) -> dict[str, Any]:
    """Variable name -> value, or its valueFrom. A name that appears twice fails."""
    variables = engine_of(objects)["env"]
    names = [variable["name"] for variable in variables]
    assert len(names) == len(set(names)), f"a variable is set twice: {sorted(names)}"
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}


def settings_of(objects: Objects) -> Values:
    """What the guard reads."""
    [files] = [item["data"] for item in objects["ConfigMap"]]
    result: Values = json.loads(files["guard.json"])
    return result
