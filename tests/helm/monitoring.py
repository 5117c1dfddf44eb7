"""What the chart renders for Prometheus and Grafana: rules and every expression of alerts, dashboard and autoscaler."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.helm.chart import CHART, Objects, Values, changed, rendered

CRDS = Path(__file__).parent / "crds"
KINDS = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule")
EVERYTHING = {"metrics": True, "alerts": True, "dashboard": True, "labels": {"release": "kube-prometheus-stack"}}


def monitored(helm: Path, values: Values) -> Objects:
    """The objects of *values* with all monitoring on, in a cluster that knows the operator's kinds."""
    return rendered(helm, changed(values, monitoring=EVERYTHING), apis=KINDS)


def groups(objects: Objects) -> list[Values]:
    """The groups of rules."""
    [rule] = objects["PrometheusRule"]
    found: list[Values] = rule["spec"]["groups"]
    return found


def alerts(objects: Objects) -> dict[str, Values]:
    return {rule["alert"]: rule for group in groups(objects) for rule in group["rules"]}


def dashboard(objects: Objects) -> Values:
    [labelled] = [each for each in objects["ConfigMap"] if "grafana_dashboard" in each["metadata"]["labels"]]
    [text] = labelled["data"].values()
    found: Values = json.loads(text)
    return found


def shown(objects: Objects) -> dict[str, str]:
    """Every expression of the dashboard, by ``panel: query``."""
    return {
        f"{panel['title']}: {target['refId']}": target["expr"]
        for panel in dashboard(objects)["panels"]
        for target in panel.get("targets", ())
    }


def queries() -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load((CHART / "files/monitoring/queries.yaml").read_text())
    return found
