"""The objects for Prometheus and Grafana: off unless asked for, in agreement with the pods and the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helm.chart import ROOT, Objects, case, changed, pod_of, refusal, rendered
from tests.helm.monitoring import EVERYTHING, alerts, dashboard, monitored, queries, shown

EKS, HOME, LAPTOP = "eks-vllm-two-replicas", "home-sglang", "laptop-vllm-cpu"
FOR_THE_AUTOSCALER = {"requestsInAll"}


@pytest.fixture(params=[EKS, HOME])
def objects(helm: Path, request: pytest.FixtureRequest) -> Objects:
    targets = {"ttftSeconds": 1.5, "tpotSeconds": 0.06, "statistic": "p95", "hungSeconds": 90}
    return monitored(helm, changed(case(request.param), targets=targets))


def test_nothing_of_it_is_rendered_unless_asked_for(helm: Path) -> None:
    plain = rendered(helm, case(LAPTOP))
    assert not {"PodMonitor", "PrometheusRule"} & set(plain)
    assert not any("grafana_dashboard" in each["metadata"]["labels"] for each in plain["ConfigMap"])


def test_a_cluster_without_the_operator_is_told_what_it_lacks(helm: Path) -> None:
    said = refusal(helm, changed(case(LAPTOP), monitoring=EVERYTHING))
    for words in ("monitoring.metrics is on", "v1/PodMonitor", "monitoring.alerts is on", "the Prometheus Operator"):
        assert words in said


def test_a_dashboard_needs_no_operator(helm: Path) -> None:
    assert dashboard(rendered(helm, changed(case(LAPTOP), monitoring={"dashboard": True})))


def test_prometheus_scrapes_the_engines_pods_on_the_ops_port(objects: Objects) -> None:
    [monitor] = objects["PodMonitor"]
    labels = objects["Deployment"][0]["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert not monitor["spec"]["selector"]["matchLabels"].items() <= objects["Pod"][0]["metadata"]["labels"].items()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    ports = {port["name"] for container in pod_of(objects)["containers"] for port in container["ports"]}
    assert endpoint["port"] in ports
    assert endpoint["path"] == "/metrics"


@pytest.mark.parametrize(
    ("pod", "is_one"),
    [
        ("r-6dd5688455-5hxsm", True),  # a Deployment's: Kubernetes draws from bcdfghjklmnpqrstvwxz2456789
        ("r-7b9c-zzzzz", True),
        ("r-0", True),  # a LeaderWorkerSet's leader, and one of its group
        ("r-0-3", True),
        ("r-two-6dd5688455-5hxsm", False),  # of a release whose name begins alike
        ("r-waiting-room-0", False),
        ("r-fetch-0a1b2c3d-5hxsm", False),
    ],
)
def test_queries_are_about_the_engines_pods_of_the_release(objects: Objects, pod: str, is_one: bool) -> None:
    release = objects["Deployment"][0]["metadata"]["name"]
    patterns = {found for text in shown(objects).values() for found in re.findall(r'\bpod=~"([^"]+)"', text)}
    [pattern] = [each for each in patterns if "fetch" not in each]
    assert bool(re.fullmatch(pattern.replace("\\\\", "\\"), pod.replace("r-", f"{release}-", 1))) is is_one


def test_prometheus_and_grafana_find_the_objects_by_your_labels(objects: Objects) -> None:
    labelled = [*objects["PodMonitor"], *objects["PrometheusRule"]]
    labelled += [each for each in objects["ConfigMap"] if "grafana_dashboard" in each["metadata"]["labels"]]
    assert len(labelled) == 3
    assert all(each["metadata"]["labels"]["release"] == "kube-prometheus-stack" for each in labelled)


def test_every_placeholder_is_filled_in(objects: Objects) -> None:
    texts = [*shown(objects).values()]
    for rule in alerts(objects).values():
        texts += [rule["expr"], rule.get("for", ""), *rule["annotations"].values()]
    assert not [text for text in texts if re.search(r"<[\w.]+>", text)]


def test_every_query_is_used(objects: Objects) -> None:
    used = {name.partition(": ")[2] for name in shown(objects)}
    text = (ROOT / "helm/qwen/files/monitoring/alerts.yaml").read_text()
    used |= set(re.findall(r"<(\w+)>", text.replace("<Statistic>", "P50")))
    used |= set(re.findall(r"<(\w+)>", text.replace("<Statistic>", "P95")))
    assert used >= set(queries()) - FOR_THE_AUTOSCALER


def test_the_targets_are_held_in_the_statistic_that_was_planned(objects: Objects) -> None:
    rule = alerts(objects)["QwenTtftOverTarget"]
    assert rule["expr"].startswith("(histogram_quantile(0.95,")
    assert rule["expr"].endswith(" > 1.5")
    assert "The p95 time" in rule["annotations"]["description"]


def test_an_alert_without_a_target_or_a_gpu_is_left_out(helm: Path) -> None:
    left = set(alerts(monitored(helm, case(LAPTOP))))
    assert not {"QwenTtftOverTarget", "QwenTpotOverTarget", "QwenGpuXid", "QwenGpuHot"} & left
    assert "QwenEngineHung" in left


def test_every_alert_says_how_bad_what_and_where_to_read_on(objects: Objects) -> None:
    page = (ROOT / "docs/alerts.md").read_text()
    sections = re.findall(r"^## (Qwen\w+)$", page, re.MULTILINE)
    assert sections == list(alerts(objects))
    for name, rule in alerts(objects).items():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{name.lower()}"


def test_the_dashboard_is_one_grafana_can_lay_out(objects: Objects) -> None:
    made = dashboard(objects)
    panels = made["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [variable["type"] for variable in made["templating"]["list"]] == ["datasource"]
    cells = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in panels
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24
    for panel in (each for each in panels if each["type"] == "timeseries"):
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_dashboards_of_two_releases_are_two(helm: Path) -> None:
    values = changed(case(LAPTOP), monitoring={"dashboard": True})
    assert dashboard(rendered(helm, values))["uid"] != dashboard(rendered(helm, values, release="two"))["uid"]
