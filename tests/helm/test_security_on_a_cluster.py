"""
Who reaches the engine, whom it reaches, and where its key can be read, on a real cluster with the real engine.

What stands in: one node, so nothing crosses nodes.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.cluster import Cluster
from lab.tools.get import tool
from tests.helm.bench import LEFT_LIMIT_S, READY_LIMIT_S, RELEASE, Bench, a_bench
from tests.helm.chart import CHART, Values, case, changed, rendered
from tests.helm.reach import Asked, Target
from tests.waiting import patience, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("policies")]

NAMESPACE, MONITORING, STRANGERS = "policed", "policed-monitoring", "policed-strangers"
KEY = "sk-a-key-that-must-stay-unseen"
PLACES = (NAMESPACE, MONITORING, STRANGERS)
ITSELF = ("127.0.0.1", 8000)
EXEC_LIMIT_S = 300
# A client that any other pod could talk to, if it may.
LISTEN = """
import signal, socket
signal.signal(signal.SIGTERM, lambda *_: exit())
with socket.create_server(("", 8000)) as server:
    while True: server.accept()[0].close()
"""
ASK = """
import sys, urllib.error, urllib.request
try: answer = urllib.request.urlopen(f"http://{sys.argv[1]}/health", timeout=10)
except urllib.error.HTTPError as refusal: answer = refusal
print(answer.status, answer.headers["Retry-After"], answer.headers["Server"])
"""
ROOM = f"{RELEASE}-waiting-room"


@pytest.fixture(scope="module")
def bench(cluster: Cluster, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The release with a key of the user's own, and a client in each of three namespaces."""
    with ExitStack() as ending:
        ending.callback(cluster.gpus, 1)
        made = ending.enter_context(a_bench(cluster, model_folder, tmp_path_factory.mktemp("values"), NAMESPACE))
        for namespace in (MONITORING, STRANGERS):
            cluster.namespace(namespace)
            ending.callback(cluster.kubectl, "delete", "namespace", namespace, f"--timeout={LEFT_LIMIT_S}s")
        for namespace in PLACES:
            cluster.kubectl("apply", "-f", "-", stdin=json.dumps(client(namespace, cluster.engine_image)))
        yield made


@pytest.fixture(scope="module")
def starting(bench: Bench) -> Bench:
    """Installed; the engine waits for a GPU."""
    bench.cluster.gpus(0)
    bench.kubectl("create", "secret", "generic", "team-key", f"--from-literal=token={KEY}")
    limit = f"--timeout={patience(60):.0f}s"
    for namespace in PLACES:
        bench.cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/client", limit)
    bench.helm("install", RELEASE, CHART, "-f", values(bench))
    return bench


@pytest.fixture(scope="module")
def installed(starting: Bench) -> Bench:
    starting.cluster.gpus(1)
    starting.kubectl("rollout", "status", f"deployment/{RELEASE}", f"--timeout={READY_LIMIT_S}s")
    return starting


def values(bench: Bench, secret: str = "team-key", key: str = "token", **more: object) -> Path:
    policy = {"monitoring": [MONITORING], **more}
    return bench.values(auth={"existingSecret": secret, "secretKey": key}, networkPolicy=policy)


def client(namespace: str, image: str) -> Values:
    container = {
        "name": "client",
        "image": image,
        "command": ["python3", "-c", LISTEN],
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
    kubectl: list[str | Path] = [
        tool("kubectl"),
        "--kubeconfig",
        bench.cluster.kubeconfig,
        "-n",
        namespace,
        "exec",
        pod,
        "--",
    ]
    done = subprocess.run([*kubectl, *command], capture_output=True, text=True, timeout=EXEC_LIMIT_S, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def asked(bench: Bench, pod: str, control: Target = ITSELF) -> Asked:
    """The *pod* of the release's namespace."""
    return Asked(lambda *command: runs(bench, NAMESPACE, pod, *command), control)


def client_of(bench: Bench, namespace: str) -> Asked:
    """Its control is a client of a namespace without policies, which everybody reaches."""
    other = MONITORING if namespace == STRANGERS else STRANGERS
    control = (address_of(bench, "client", other), 8000)
    return Asked(lambda *command: runs(bench, namespace, "client", *command), control)


def address_of(bench: Bench, pod: str, namespace: str = NAMESPACE) -> str:
    said = bench.cluster.kubectl("-n", namespace, "get", "pod", pod, "--output=json")
    address: str = json.loads(said)["status"]["podIP"]
    return address


def service(bench: Bench) -> str:
    address: str = json.loads(bench.kubectl("get", "service", RELEASE, "--output=json"))["spec"]["clusterIP"]
    return address


def answer(bench: Bench, namespace: str) -> str:
    """Status, Retry-After and server that the client of *namespace* meets behind the Service."""
    return runs(bench, namespace, "client", "python3", "-c", ASK, service(bench))[1].strip()


def the_waiting_room_answers(bench: Bench, namespace: str) -> None:
    wait_until(lambda: answer(bench, namespace) == "503 5 waiting-room", 60, f"it answers {namespace}")


def rights(bench: Bench, account: str) -> list[str]:
    """What *account* may, as the API server says: rules on resources and on paths."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": NAMESPACE},
    }
    asker = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
    # An account that may nothing may not look at the schemas either.
    create = ("create", "--validate=false", "-f", "-", "--output=json", asker)
    said = bench.cluster.kubectl(*create, stdin=json.dumps(review))
    status = json.loads(said)["status"]
    return [json.dumps(rule, sort_keys=True) for rule in status["resourceRules"] + status["nonResourceRules"]]


def test_until_an_engine_is_ready_clients_meet_the_waiting_room_and_strangers_nobody(starting: Bench) -> None:
    the_waiting_room_answers(starting, NAMESPACE)
    starting.cluster.gpus(1)
    targets = {"service": (service(starting), 80), "room": (address_of(starting, f"{ROOM}-0"), 8000)}
    client_of(starting, NAMESPACE).wait_to_reach(["service", "room"], targets)
    client_of(starting, MONITORING).wait_to_reach([], targets)
    client_of(starting, STRANGERS).wait_to_reach([], targets)


def test_the_waiting_room_gives_the_service_back(installed: Bench) -> None:
    def has_left(pod: str) -> bool:
        labels = json.loads(installed.kubectl("get", "pod", pod, "--output=json"))["metadata"]["labels"]
        return bool(labels["app.kubernetes.io/component"] == "waiting-room")

    wait_until(lambda: has_left(f"{ROOM}-0") and has_left(f"{ROOM}-1"), 60, "both have left the Service")
    wait_until(lambda: answer(installed, NAMESPACE).startswith("200 "), 60, "the engine answers behind the Service")


def test_the_waiting_room_reaches_the_release_the_api_server_and_nobody_else(installed: Bench) -> None:
    room, host = f"{ROOM}-0", installed.cluster.setup.network.host
    ours, stranger = engine(installed)["status"]["podIP"], address_of(installed, "client", STRANGERS)
    # What refuses is the room's own policy: the stranger listens, and has none.
    client_of(installed, MONITORING).wait_to_reach(["stranger"], {"stranger": (stranger, 8000)})
    with socket.create_server((host, 0)) as other:
        targets = {
            "engine": (ours, 8000),
            "itself": (address_of(installed, f"{ROOM}-1"), 8000),
            "API server": ("kubernetes.default.svc.cluster.local", 443),
            "probes and metrics": (ours, 8001),
            "stranger": (stranger, 8000),
            "host": (host, other.getsockname()[1]),
        }
        asked(installed, room, targets["engine"]).wait_to_reach(["engine", "itself", "API server"], targets)


def test_the_waiting_rooms_token_may_change_its_two_pods_and_nothing_more_than_anybodys(installed: Bench) -> None:
    anybodys = rights(installed, "default")
    more = [json.loads(rule) for rule in rights(installed, ROOM) if rule not in anybodys]
    its_own = [f"{ROOM}-0", f"{ROOM}-1"]
    assert more == [{"apiGroups": [""], "resources": ["pods"], "resourceNames": its_own, "verbs": ["patch"]}]


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
    targets = {"API": (address, 8000), "metrics": (address, 8001)}
    client_of(installed, NAMESPACE).wait_to_reach(["API"], targets)
    client_of(installed, MONITORING).wait_to_reach(["metrics"], targets)
    client_of(installed, STRANGERS).wait_to_reach([], targets)


def test_the_service_is_closed_to_strangers_as_well(installed: Bench) -> None:
    targets = {"service": (service(installed), 80)}
    client_of(installed, NAMESPACE).wait_to_reach(["service"], targets)
    client_of(installed, STRANGERS).wait_to_reach([], targets)


def test_an_engine_without_a_hub_reaches_nobody_and_one_with_a_hub_reaches_names_and_https(installed: Bench) -> None:
    pod, host = engine(installed)["metadata"]["name"], installed.cluster.setup.network.host

    with socket.create_server((host, 443)), socket.create_server((host, 0)) as other:
        targets: dict[str, Target] = {
            "HTTPS": (host, 443),
            "any port": (host, other.getsockname()[1]),
            "names": (f"{RELEASE}.{NAMESPACE}.svc.cluster.local.",),
        }
        client_of(installed, NAMESPACE).wait_to_reach(list(targets), targets)
        asked(installed, pod).wait_to_reach([], targets)
        hub, *_ = rendered(
            Path(tool("helm")), changed(case("home-sglang"), networkPolicy={"monitoring": [MONITORING]})
        )["NetworkPolicy"]
        policy = json.dumps(changed(hub, metadata__namespace=NAMESPACE))
        installed.cluster.kubectl("apply", "-f", "-", stdin=policy)
        asked(installed, pod).wait_to_reach(["HTTPS", "names"], targets)
        # Without a policy all of it is reached: what refused was the policy.
        installed.kubectl("delete", "networkpolicy", RELEASE)
        asked(installed, pod).wait_to_reach(list(targets), targets)


def test_helm_test_passes_where_only_others_are_clients(installed: Bench) -> None:
    others = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": STRANGERS}}}
    more: dict[str, Any] = {"from": [others]}  # a word that Python keeps for itself
    asked = values(installed, **more)
    installed.helm("upgrade", RELEASE, CHART, "-f", asked, "--wait", f"--timeout={READY_LIMIT_S}s")
    targets = {"engine": (engine(installed)["status"]["podIP"], 8000)}
    client_of(installed, NAMESPACE).wait_to_reach([], targets)
    client_of(installed, STRANGERS).wait_to_reach(["engine"], targets)
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


def test_the_waiting_room_takes_over_where_only_others_are_clients(installed: Bench) -> None:
    installed.kubectl("scale", f"deployment/{RELEASE}", "--replicas=0")
    the_waiting_room_answers(installed, STRANGERS)
    targets = {"room": (address_of(installed, f"{ROOM}-0"), 8000)}
    client_of(installed, NAMESPACE).wait_to_reach([], targets)
    # Each asks behind the Service for an engine, and must know the other one.
    asked(installed, f"{ROOM}-1").wait_to_reach(["room"], targets)
