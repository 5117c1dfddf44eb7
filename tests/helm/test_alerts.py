"""
When the alerts fire, by promtool, and that what they ask of others than the engine is series in a real Prometheus (the
engines are asked in test_guard_and_engine.py).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.tools.get import tool
from tests.helm import prometheus
from tests.helm.chart import Objects, case, changed
from tests.helm.monitoring import alerts, compared, groups, monitored, shown
from tests.helm.prometheus import Prometheus
from tests.waiting import patience, wait_until

pytestmark = pytest.mark.prometheus

HERE = Path(__file__).parent
POD = 'namespace="qwen",pod="qwen-6d4cf56db6-x2x4z"'
JOB = 'namespace="qwen",pod="qwen-fetch-3f2a90c1-7kq2m"'
GPU = f'{POD},gpu="0",Hostname="node-a"'
LABELS = {"pod": POD, "job": JOB, "gpu": GPU}
TARGETS = {"ttftSeconds": 1.5, "tpotSeconds": 0.06, "statistic": "mean", "hungSeconds": 120}
# All texts: YAML would else read 0x60 as a number.
CASES: list[dict[str, Any]] = yaml.load((HERE / "alert_cases.yaml").read_text(), yaml.BaseLoader)
ENGINES_OWN = "vllm:"
SAMPLES = HERE / "expositions"


@pytest.fixture(scope="module")
def eks() -> Objects:
    return monitored(tool("helm"), changed(case("eks-vllm-two-replicas"), targets=TARGETS))


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    prometheus.install()
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=patience(60), check=False)


@pytest.mark.parametrize("each", CASES, ids=lambda each: each["name"])
def test_what_fires_over_time(eks: Objects, tmp_path: Path, each: dict[str, Any]) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups(eks)}))
    series = [
        {"series": re.sub(r"\{(pod|job|gpu)\b(?!=)", lambda found: "{" + LABELS[found[1]], name), "values": values}
        for name, values in each["series"].items()
    ]
    expected = [
        {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": time,
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names],
        }
        for time, names in each["fires"].items()
    ]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": expected}
    whole = {"rule_files": ["rules.yml"], "evaluation_interval": "30s", "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(whole))
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_in_one_of_the_cases(eks: Objects) -> None:
    assert {name for each in CASES for names in each["fires"].values() for name in names} == set(alerts(eks))


def test_promtool_finds_a_broken_expression(tmp_path: Path) -> None:
    broken = [{"name": "g", "rules": [{"alert": "A", "expr": "sum by (pod (up)"}]}]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": broken}))
    assert promtool("check", "rules", tmp_path / "rules.yml").returncode != 0


def growing(text: str) -> Callable[[], str]:
    """*text* with its counters one more time as high at every scrape."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)", text, re.MULTILINE))
    scrapes = 0

    def sample(found: re.Match[str]) -> str:
        name, labels, value = found.groups()
        family = name if name in kinds else re.sub(r"_(bucket|sum|count|total)$", "", name)
        grows = kinds[family] in ("counter", "histogram")
        return f"{name}{labels} {float(value) * (scrapes if grows else 1)}"

    def expose() -> str:
        nonlocal scrapes
        scrapes += 1
        return re.sub(r"^([a-zA-Z_:]+)(\{.*\})? (\S+)$", sample, text, flags=re.MULTILINE).replace("None", "")

    return expose


@pytest.fixture(scope="module")
def watching(eks: Objects, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus over the guard's lines, kube-state-metrics and the DCGM exporter."""
    pod = {"namespace": "qwen", "pod": "qwen-6d4cf56db6-x2x4z", "container": "engine"}
    with ExitStack() as stack:

        def job(name: str, labels: dict[str, str]) -> dict[str, Any]:
            address = stack.enter_context(prometheus.exposed(growing((SAMPLES / f"{name}.txt").read_text())))
            targets = [{"targets": [address], "labels": labels}]
            return {"job_name": name, "honor_labels": True, "static_configs": targets}

        jobs = [job("guard", pod), job("kube-state-metrics", {}), job("dcgm-exporter", {})]
        server = stack.enter_context(prometheus.running(tmp_path_factory.mktemp("prometheus"), jobs, groups(eks)))
        # A rate is the difference of two scrapes.
        server.wait_for(f"count(sum_over_time(up[5m]) >= 2) == {len(jobs)}")
        yield server


def test_every_panel_shows_something(watching: Prometheus, eks: Objects) -> None:
    panels = {name: expression for name, expression in shown(eks).items() if ENGINES_OWN not in expression}
    assert len(panels) > 10
    found = {name: watching.series(expression) for name, expression in panels.items()}
    assert not [name for name, series in found.items() if not series or series[0]["value"][1] == "NaN"]


def test_every_alerts_expression_is_over_series_that_exist(watching: Prometheus, eks: Objects) -> None:
    asked = [part for rule in alerts(eks).values() for part in compared(rule) if ENGINES_OWN not in part]
    assert len(asked) > 7
    assert not [part for part in asked if not watching.series(part)]


def test_the_alerts_texts_carry_the_numbers(watching: Prometheus) -> None:
    wait_until(lambda: {"QwenGpuXid", "QwenRestarted"} <= set(watching.firing()), 15, "both fire")
    firing = watching.firing()
    assert firing["QwenGpuXid"]["annotations"]["summary"] == "GPU 1 of node-a reported Xid 79"
    assert "QwenNotReady" not in firing
    assert re.match(r"[0-9.]+ restarts within an hour", firing["QwenRestarted"]["annotations"]["description"])
    assert firing["QwenRestarted"]["labels"]["pod"] == "qwen-6d4cf56db6-k9v7q"
