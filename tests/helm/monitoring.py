"""What the chart renders for Prometheus and Grafana: rules and every expression of alerts, dashboard and autoscaler."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tests.helm.chart import CHART, OTHERS, Objects, Values, changed, rendered

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


def compared(rule: Values) -> list[str]:
    """The sides of an alert's expression that must be series, whether it fires or not."""
    return [part for part in re.split(r" (?:>|==) \S+(?: unless on \(pod\) |$)", rule["expr"]) if part]


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


def autoscalers_question(helm: Path, values: Values) -> str:
    """What KEDA asks of *values* when it scales them."""
    scaling = {"enabled": True, "max": 2, "requestsPerReplica": 4, "prometheus": "http://prometheus:9090"}
    objects = rendered(helm, changed(values, autoscaling=scaling, cache={"type": "emptyDir"}), apis=OTHERS)
    [trigger] = objects["ScaledObject"][0]["spec"]["triggers"]
    question: str = trigger["metadata"]["query"]
    return question


def queries() -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load((CHART / "files/monitoring/queries.yaml").read_text())
    return found
