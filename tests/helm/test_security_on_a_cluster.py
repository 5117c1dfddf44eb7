"""
Who reaches the engine, whom it reaches, and where its key can be read, on a real cluster with the real engine.

What stands in: one node, so nothing crosses nodes.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.cluster import Cluster
from tests.helm.bench import LEFT_LIMIT_S, READY_LIMIT_S, RELEASE, Bench, a_bench, wait_until
from tests.helm.chart import CHART, Values, case, changed, rendered
from tests.helm.policies import enforced
from tools.get import tool

pytestmark = pytest.mark.cluster

NAMESPACE, MONITORING, STRANGERS = "policed", "policed-monitoring", "policed-strangers"
KEY = "sk-a-key-that-must-stay-unseen"
POLICY_LIMIT_S = 20
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
RESOLVE = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"


@pytest.fixture(scope="module", autouse=True)
def policies(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with enforced(cluster, tmp_path_factory.mktemp("policies")):
        yield


@pytest.fixture(scope="module")
def bench(cluster: Cluster, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The release with a key of the user's own, and a client in each of three namespaces."""
    with a_bench(cluster, model_folder, tmp_path_factory.mktemp("values"), NAMESPACE) as made:
        for namespace in (MONITORING, STRANGERS):
            cluster.namespace(namespace)
        for namespace in (NAMESPACE, MONITORING, STRANGERS):
            cluster.kubectl("apply", "-f", "-", stdin=json.dumps(client(namespace, cluster.engine_image)))
        yield made
        # Nobody waits for an answer of this engine.
        made.kubectl("delete", "deployments,pods", "--all", "--grace-period=1")
        for namespace in (MONITORING, STRANGERS):
            cluster.kubectl("delete", "namespace", namespace, f"--timeout={LEFT_LIMIT_S}s")


@pytest.fixture(scope="module")
def installed(bench: Bench) -> Bench:
    bench.kubectl("create", "secret", "generic", "team-key", f"--from-literal=token={KEY}")
    bench.helm("install", RELEASE, CHART, "-f", values(bench), "--wait", f"--timeout={READY_LIMIT_S}s")
    for namespace in (NAMESPACE, MONITORING, STRANGERS):
        bench.cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    return bench


def values(bench: Bench, secret: str = "team-key", key: str = "token", **more: object) -> Path:
    policy = {"monitoring": [MONITORING], **more}
    return bench.values(auth={"existingSecret": secret, "secretKey": key}, networkPolicy=policy)


def client(namespace: str, image: str) -> Values:
    container = {
        "name": "client",
        "image": image,
        "command": ["python3", "-c", "import signal; signal.signal(15, lambda *_: exit()); signal.pause()"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 2000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": security, "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": namespace}, "spec": spec}


def engine(bench: Bench) -> Values:
    [pod] = [pod for pod in bench.pods() if pod["metadata"]["name"] != "client"]
    return pod


def runs(bench: Bench, namespace: str, pod: str, *command: str) -> tuple[bool, str]:
    """Whether *command* succeeds inside *pod*, and what it says."""
    kubectl = [tool("kubectl"), "--kubeconfig", bench.cluster.kubeconfig, "-n", namespace, "exec", pod, "--"]
    done = subprocess.run([*kubectl, *command], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def connects(bench: Bench, namespace: str, pod: str, address: str, port: int) -> bool:
    return runs(bench, namespace, pod, "python3", "-c", CONNECT, address, str(port))[0]


@pytest.mark.parametrize(
    ("secret", "key", "words"),
    [
        ("nobodys", "token", ('auth.existingSecret is "nobodys"', "no such Secret")),
        ("team-key", "tokn", ('auth.secretKey is "tokn"', "[token]")),
    ],
)
@pytest.mark.parametrize("line", ["helm", "helm3"])
def test_a_key_that_is_missing_in_the_cluster_is_refused(
    installed: Bench, line: str, secret: str, key: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(AssertionError) as said:
        installed.helm("upgrade", RELEASE, CHART, "-f", values(installed, secret, key), helm=line)
    assert all(word in str(said.value) for word in words), said.value
    assert KEY not in str(said.value)


def test_the_api_is_for_the_namespace_and_the_metrics_are_for_monitoring(installed: Bench) -> None:
    address = engine(installed)["status"]["podIP"]
    places = (NAMESPACE, MONITORING, STRANGERS)
    reached = {
        place: [connects(installed, place, "client", address, port) for port in (8000, 8001)] for place in places
    }
    assert reached == {NAMESPACE: [True, False], MONITORING: [False, True], STRANGERS: [False, False]}


def test_the_service_is_closed_to_strangers_as_well(installed: Bench) -> None:
    service = json.loads(installed.kubectl("get", "service", RELEASE, "--output=json"))["spec"]["clusterIP"]
    assert connects(installed, NAMESPACE, "client", service, 80)
    assert not connects(installed, STRANGERS, "client", service, 80)


def test_an_engine_without_a_hub_reaches_nobody_and_one_with_a_hub_reaches_names_and_https(installed: Bench) -> None:
    pod, host = engine(installed)["metadata"]["name"], installed.cluster.setup.network.host

    def reaches(port: int) -> bool:
        return connects(installed, NAMESPACE, pod, host, port)

    def resolves() -> bool:
        return runs(installed, NAMESPACE, pod, "python3", "-c", RESOLVE, f"{RELEASE}.{NAMESPACE}.svc.cluster.local")[0]

    def becomes(condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, POLICY_LIMIT_S, what)

    with socket.create_server((host, 443)), socket.create_server((host, 0)) as other:
        any_port = other.getsockname()[1]
        assert (reaches(443), reaches(any_port), resolves()) == (False, False, False)
        hub, *_ = rendered(
            Path(tool("helm")), changed(case("home-sglang"), networkPolicy={"monitoring": [MONITORING]})
        )["NetworkPolicy"]
        policy = json.dumps(changed(hub, metadata__namespace=NAMESPACE))
        installed.cluster.kubectl("apply", "-f", "-", stdin=policy)
        becomes(lambda: reaches(443), "HTTPS is open for source hub")
        assert (reaches(any_port), resolves()) == (False, True)
        # Without a policy all of it is reached: what refused was the policy.
        installed.kubectl("delete", "networkpolicy", RELEASE)
        becomes(lambda: reaches(any_port), "nothing is closed without a policy")


def test_helm_test_passes_where_only_others_are_clients(installed: Bench) -> None:
    office = {"ipBlock": {"cidr": "192.0.2.0/24"}}
    others = values(installed, **{"from": [office]})
    installed.helm("upgrade", RELEASE, CHART, "-f", others, "--wait", f"--timeout={READY_LIMIT_S}s")
    address = engine(installed)["status"]["podIP"]
    wait_until(
        lambda: not connects(installed, NAMESPACE, "client", address, 8000), POLICY_LIMIT_S, "neighbours are shut out"
    )
    assert "Succeeded" in installed.helm("test", RELEASE)


def test_the_key_is_read_nowhere_but_in_its_secret(installed: Bench) -> None:
    pod = engine(installed)["metadata"]["name"]
    processes = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'"
    shown = {
        "processes": runs(installed, NAMESPACE, pod, "sh", "-c", processes)[1],
        "describe": installed.kubectl("describe", "all"),
        "events": installed.kubectl("get", "events", "--output=yaml"),
        "objects": installed.kubectl("get", "pods,deployments,replicasets,configmaps", "--output=yaml"),
        "log": installed.kubectl("logs", pod),
        "release": installed.helm("get", "all", RELEASE),
    }
    assert all(len(text) > 200 for text in shown.values())
    assert [place for place, text in shown.items() if KEY in text] == []


def test_the_engine_is_nobody_and_writes_only_where_it_may(installed: Bench) -> None:
    pod = engine(installed)["metadata"]["name"]

    def says(line: str) -> str:
        return runs(installed, NAMESPACE, pod, "sh", "-c", line)[1].strip()

    assert says("id -u") == "2000"
    assert "Read-only file system" in says("touch /opt/x")
    assert "No such file" in says("ls /var/run/secrets/kubernetes.io")
    assert says("for d in /home/qwen /tmp /dev/shm; do touch $d/x && rm $d/x && echo $d; done") == (
        "/home/qwen\n/tmp\n/dev/shm"
    )
    assert says("grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/1/status | tr -d '\\n'") == (
        "CapEff:\t0000000000000000NoNewPrivs:\t1Seccomp:\t2"
    )
