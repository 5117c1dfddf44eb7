"""
A real Prometheus scrapes the real vLLM through its guard where the PodMonitor says, and tells a hung engine (a stopped
EngineCore) from a busy one. The release is `qwen` in a namespace of its own; kube-state-metrics and the DCGM
exporter are recorded samples. The tests go in their order.
"""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from lab.cluster.cluster import Cluster
from lab.tools.get import tool
from tests.conclusive import Inconclusive, conclusive
from tests.helm import prometheus
from tests.helm.bench import READY_LIMIT_S, RELEASE, Bench, a_bench, chat
from tests.helm.chart import CHART, Objects, Values
from tests.helm.monitoring import CRDS, EVERYTHING, groups, queries, shown
from tests.helm.prometheus import Prometheus
from tests.waiting import patience, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.steps]

NAMESPACE = "watched"
HUNG_S = 45
AT_ONCE = 64  # as many as the engine takes, so that the guard's own question waits
TARGETS = {"ttftSeconds": 1.5, "tpotSeconds": 0.5, "statistic": "p95", "hungSeconds": HUNG_S}
SAMPLES = Path(__file__).parent / "expositions"
STOP_OR_GO = """
import os, pathlib, signal, sys
def name(file):
    try: return file.read_text()
    except OSError: return ""  # it has ended
cores = [int(each.parent.name) for each in pathlib.Path("/proc").glob("[0-9]*/comm") if "EngineC" in name(each)]
assert cores, "no EngineCore"
for core in cores:
    os.kill(core, getattr(signal, sys.argv[1]))
"""


@dataclass(frozen=True)
class Watched:
    bench: Bench
    objects: Objects
    prometheus: Prometheus

    def signal(self, name: str) -> None:
        """Send a signal to the engine's core, the process that computes."""
        [pod] = self.bench.pods()
        self.bench.kubectl("exec", pod["metadata"]["name"], "--", "python3", "-c", STOP_OR_GO, name)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The engine's core computes nothing until the block ends."""
        self.signal("SIGSTOP")
        try:
            yield
        finally:
            self.signal("SIGCONT")

    def hung(self) -> bool:
        return "QwenEngineHung" in self.prometheus.firing()

    def silence_s(self) -> float:
        asked = queries()["secondsSinceAnswer"].replace("<pods>", f'namespace="{NAMESPACE}"')
        return self.prometheus.value(asked)

    @contextmanager
    def long_answers(self, tokens: int) -> Iterator[Callable[[], str]]:
        """
        As many answers at once as the engine takes, not streamed, of *tokens* tokens each; what it yields says how an
        answer ended ("" while none has). The clients give up at the end of the block.
        """
        address = urlsplit(self.bench.cluster.service_url(NAMESPACE, RELEASE)).netloc
        body = json.dumps(chat(max_tokens=tokens, ignore_eos=True))
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.bench.key()}"}
        with ExitStack() as stack:
            clients = [stack.enter_context(closing(HTTPConnection(address))) for _ in range(AT_ONCE)]
            for client in clients:
                client.request("POST", "/v1/chat/completions", body, headers)

            def ended() -> str:
                answered, _, _ = select.select([client.sock for client in clients], [], [], 0)
                return f"{len(answered)} of {AT_ONCE} answers ended" if answered else ""

            yield ended


@pytest.fixture(scope="module")
def bench(cluster: Cluster, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with a_bench(cluster, model_folder, tmp_path_factory.mktemp("values"), NAMESPACE) as made:
        yield made


@pytest.fixture(scope="module")
def install(bench: Bench) -> list[str | Path]:
    more = {"extraArgs": ["--max-num-seqs", str(AT_ONCE)], "monitoring": EVERYTHING, "targets": TARGETS}
    return ["install", RELEASE, CHART, "-f", bench.values(**more), "--wait", f"--timeout={READY_LIMIT_S}s"]


@pytest.fixture(scope="module")
def watched(bench: Bench, install: list[str | Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    limit = f"--timeout={patience(30):.0f}s"
    for path in CRDS.glob("*.monitoring.coreos.com.yaml"):
        bench.cluster.kubectl("apply", "--server-side", f"--filename={path}")
        bench.cluster.kubectl("wait", "--for=condition=Established", f"crd/{path.stem}", limit)
    with ExitStack() as stack:
        bench.helm(*install)
        stack.callback(bench.helm, "uninstall", RELEASE, "--wait")
        objects: Objects = {}
        for document in filter(None, yaml.safe_load_all(bench.helm("get", "manifest", RELEASE))):
            objects.setdefault(document["kind"], []).append(document)
        scraped = [as_the_operator_would(objects["PodMonitor"][0], bench)]
        for name in ("kube-state-metrics", "dcgm-exporter"):
            text = (SAMPLES / f"{name}.txt").read_text().replace('namespace="qwen"', f'namespace="{NAMESPACE}"')
            address = stack.enter_context(prometheus.exposed(lambda text=text: text))  # type: ignore[misc]
            scraped.append({"job_name": name, "honor_labels": True, "static_configs": [{"targets": [address]}]})
        folder = tmp_path_factory.mktemp("prometheus")
        server = stack.enter_context(prometheus.running(folder, scraped, groups(objects)))
        # A rate is the difference of two scrapes.
        server.wait_for("count_over_time(vllm:request_success_total[1m]) > 1")
        yield Watched(bench, objects, server)


def as_the_operator_would(monitor: Values, bench: Bench) -> Values:
    """
    The scrape configuration that the Prometheus Operator makes of a PodMonitor: pods by their labels, ports by name.
    Debian builds Prometheus without its discovery of Kubernetes, so the API server is asked here, once.
    """
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    labels = ",".join(f"{name}={value}" for name, value in monitor["spec"]["selector"]["matchLabels"].items())
    targets = [
        {
            "targets": [f"{pod['status']['podIP']}:{port['containerPort']}"],
            "labels": {"namespace": NAMESPACE, "pod": pod["metadata"]["name"], "container": container["name"]},
        }
        for pod in json.loads(bench.kubectl("get", "pods", f"--selector={labels}", "--output=json"))["items"]
        for container in pod["spec"]["containers"]
        for port in container["ports"]
        if port["name"] == endpoint["port"]
    ]
    return {"job_name": f"{NAMESPACE}/{RELEASE}", "metrics_path": endpoint["path"], "static_configs": targets}


def test_a_cluster_without_the_operators_kinds_refuses_the_release(bench: Bench, install: list[str | Path]) -> None:
    with pytest.raises(AssertionError, match=r"monitoring.alerts is on but the cluster has no .*PrometheusRule"):
        bench.helm(*install)


def dry_run(bench: Bench, objects: list[Values]) -> subprocess.CompletedProcess[str]:
    kubectl: list[str | Path] = [tool("kubectl"), "--kubeconfig", bench.cluster.kubeconfig, "--namespace", NAMESPACE]
    command = [*kubectl, "apply", "--dry-run=server", "--validate=strict", "--filename=-"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=patience(60), check=False)


def test_the_api_server_takes_monitor_and_rules_strictly(watched: Watched) -> None:
    made = [*watched.objects["PodMonitor"], *watched.objects["PrometheusRule"]]
    taken = dry_run(watched.bench, made)
    assert taken.returncode == 0, taken.stderr
    made[0]["spec"]["podMetricsEndpoints"][0]["intervall"] = "1s"
    refused = dry_run(watched.bench, made)
    assert "intervall" in refused.stderr


def test_every_panel_shows_something_of_the_real_engine(watched: Watched) -> None:
    bench = watched.bench
    assert bench.ask("/v1/chat/completions", chat(), "wrong")[0] == 401
    with ThreadPoolExecutor(8) as clients:
        for _ in clients.map(lambda _: bench.generate(40), range(16)):
            pass
    panels = shown(watched.objects)
    watched.prometheus.wait_for("rate(vllm:request_success_total[5m]) > 0")
    values: dict[str, Any] = {name: watched.prometheus.series(expression) for name, expression in panels.items()}
    for name, found in values.items():
        print(name, [each["value"][1] for each in found])
    assert not [name for name, found in values.items() if not found]
    (watched.bench.folder / "panels.json").write_text(json.dumps(values))


def test_the_target_is_one_pod_and_the_autoscalers_query_one_number(watched: Watched) -> None:
    [target] = watched.prometheus.series(f'up{{job="{NAMESPACE}/{RELEASE}"}}')
    [pod] = watched.bench.pods()
    assert target["metric"]["pod"] == pod["metadata"]["name"]
    assert (target["metric"]["container"], target["value"][1]) == ("engine", "1")
    asked = queries()["requestsInAll"]
    for name in ("running", "waiting"):
        asked = asked.replace(f"<engine.{name}>", f"vllm:num_requests_{name}")
    asked = asked.replace("<engine.pods>", f'namespace="{NAMESPACE}"')
    watched.prometheus.wait_for(f"({asked}) == 0")  # the guard's own question may be inside just now


def test_a_busy_engine_is_not_hung_and_a_stopped_one_is_until_it_goes_on(watched: Watched) -> None:
    conclusive(lambda _: a_busy_engine_is_not_hung_and_a_stopped_one_is(watched))


def a_busy_engine_is_not_hung_and_a_stopped_one_is(watched: Watched) -> None:
    # As long as an answer can be, the first time already: nobody waits for its end.
    with watched.long_answers(watched.bench.context_length() - 100) as ended:
        wait_until(lambda: ended() or watched.silence_s() > HUNG_S + 5, 3 * HUNG_S, "nobody hears of the busy engine")
        is_hung = watched.hung()
        if why := ended():
            raise Inconclusive(f"{why} before {HUNG_S} s were over")
        assert not is_hung
        with watched.stopped():
            wait_until(watched.hung, HUNG_S + 30, "the alert fires under load")
            assert watched.bench.ask("/health")[0] == 200
        wait_until(lambda: not watched.hung(), 30, "the alert ends")


def test_an_engine_that_stops_while_it_is_idle_is_found(watched: Watched) -> None:
    wait_until(lambda: watched.silence_s() < 40, HUNG_S, "the guard asks again")
    assert not watched.hung()
    with watched.stopped():
        wait_until(watched.hung, HUNG_S + 30, "the alert fires while idle")
        assert watched.bench.ask("/health")[0] == 200
        said = watched.prometheus.firing()["QwenEngineHung"]
    assert said["labels"]["severity"] == "critical"
    wait_until(lambda: not watched.hung(), 30, "the alert ends")
    assert watched.bench.ask("/v1/chat/completions", chat(), watched.bench.key())[0] == 200
