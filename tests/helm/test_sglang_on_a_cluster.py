"""
SGLang on a real cluster: the release that a plan asks for by default, on a CPU, as the chart starts it in a pod.

The namespace enforces Pod Security "restricted", NetworkPolicies hold, the node has one GPU, which is a number. The
steps need each other, in their order: a release starts with an empty cache, its pod is deleted under traffic, and the
next one finds the cache.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.cluster.cluster import Cluster
from lab.tools.get import tool
from sizing.engine.arguments import engine_args
from sizing.engine.settings import Settings
from sizing.facts.catalogue import load_facts
from sizing.request.request import Serving
from tests.children import end
from tests.conclusive import Inconclusive, conclusive
from tests.helm.bench import DRAIN_S, LEFT_LIMIT_S, PRE_STOP_S, READY_LIMIT_S, RELEASE, Bench, a_bench, chat
from tests.helm.chart import CHART, Values, case, changed
from tests.helm.gap import ready, seconds, stopped_at, the_gap_is_no_longer_than_it_must_be, wait_for_answers
from tests.helm.guarded import ON_A_CPU
from tests.helm.traffic import CLEAN, CUT, OK, WHOLE, Record, Traffic
from tests.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.steps, pytest.mark.usefixtures("policies")]

NAMESPACE, CACHE = "sglang", "kept"
LONGEST_STREAM = 4000  # two of them fit into the context and the cache that the engine is given
PLANNED = "qwen3.5-0.8b"  # SGLang ends an answer with its forced tool call: else a random model would go on and on
# Where SGLang, and what compiles for it, keep what they have compiled: by its own word, without importing all of it.
CACHES = """
import os, runpy
from importlib.util import find_spec
[package] = find_spec("sglang").submodule_search_locations
known = runpy.run_path(f"{package}/srt/environ.py")
known["redirect_third_party_caches"]()
print(*{known["envs"].SGLANG_DG_CACHE_DIR.get(), *(os.environ[name] for name in known["third_party_cache_defaults"]())})
"""
KEEP = 'for folder in "$@"; do mkdir -p "$folder" && echo compiled > "$folder/kernel" || exit 1; done'
FIND = 'for folder in "$@"; do cat "$folder/kernel" || exit 1; done'


@pytest.fixture(scope="module")
def bench(cluster: Cluster, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The release, Ready, with an empty claim for its cache."""
    folder = tmp_path_factory.mktemp("sglang")
    with ExitStack() as ending:
        volume = ("persistentvolume", f"{NAMESPACE}-{CACHE}", "--ignore-not-found", f"--timeout={LEFT_LIMIT_S}s")
        ending.callback(cluster.kubectl, "delete", *volume)  # after its claim
        made = ending.enter_context(a_bench(cluster, model_folder, folder, NAMESPACE, serving(cluster)))
        made.add_claim(CACHE, folder / CACHE)
        began = time.monotonic()
        made.helm("install", RELEASE, CHART, "-f", made.values(), "--wait", f"--timeout={READY_LIMIT_S}s")
        print(f"install to Ready: {time.monotonic() - began:.1f} s")
        yield made


def serving(cluster: Cluster) -> Values:
    """A plan's arguments, what SGLang wants beside them without a GPU, and this machine as the client."""
    facts = load_facts()
    settings = Settings(max_model_len=8192, max_num_seqs=16, max_num_batched_tokens=2048)
    planned = engine_args(
        facts.engines["sglang"], facts.models[PLANNED], "tiny", "bf16", settings, Serving(thinking=False)
    )
    repository, _, pinned = cluster.sglang_image.partition(":")
    tag, _, digest = pinned.partition("@")
    return changed(
        case("home-sglang"),
        image={"repository": repository, "tag": tag, "digest": digest},
        args=list(planned),
        extraArgs=list(ON_A_CPU),
        env={"OMP_NUM_THREADS": "1"},
        model={"source": "pvc", "uri": "model"},
        resources={"requests": {"cpu": "500m", "memory": "6Gi"}, "limits": {"cpu": "1500m", "memory": "6Gi"}},
        shmSize="1Gi",
        cache={"type": "pvc", "existingClaim": CACHE},
        networkPolicy={"from": [{"ipBlock": {"cidr": f"{cluster.setup.network.host}/32"}}]},
        runtimeClassName="",
    )


@pytest.fixture(scope="module")
def caches(bench: Bench) -> list[str]:
    """The folders of compiled kernels, each with something in it."""
    folders = runs(bench, "python3", "-c", CACHES).splitlines()[-1].split()
    runs(bench, "sh", "-c", KEEP, "sh", *folders)
    return folders


def runs(bench: Bench, *command: str) -> str:
    """What *command* says inside the engine's container."""
    [pod] = bench.pods()
    return bench.kubectl("exec", pod["metadata"]["name"], "--", *command)


def log(bench: Bench) -> str:
    [pod] = bench.pods()
    return bench.kubectl("logs", pod["metadata"]["name"])


def ended(bench: Bench) -> str:
    """The last words of the container before the one that runs, and what the kubelet did to it."""
    [pod] = bench.pods()
    name = pod["metadata"]["name"]
    return bench.kubectl("logs", name, "--previous", "--tail=60") + bench.kubectl("events", "--for", f"pod/{name}")


def test_it_is_warm_under_restricted_without_a_restart_and_has_answered_every_kind_of_request(bench: Bench) -> None:
    namespace = json.loads(bench.cluster.kubectl("get", "namespace", NAMESPACE, "--output=json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    [pod] = bench.pods()
    [status] = pod["status"]["containerStatuses"]
    assert status["restartCount"] == 0, f"{status['lastState']}\n{ended(bench)}"
    guards = [line for line in log(bench).splitlines() if line.startswith("guard:")]
    assert [line.partition(" answered")[0] for line in guards if "answered" in line] == [
        f"guard: warm-up: {kind}" for kind in ("chat", "sampled", "structured", "tool")
    ]
    assert [line for line in guards if "freeze_gc" in line] == ["guard: /freeze_gc: 200 Garbage collection frozen."]


def test_it_is_nobody_and_process_1_and_writes_only_where_it_may(bench: Bench) -> None:
    said = "cat /proc/1/cmdline | tr '\\0' ' '; echo; id -u; cat /proc/1/status"
    command, user, *status = runs(bench, "sh", "-c", said).splitlines()
    assert command.startswith("python3 /opt/qwen/serve_sglang.py --model-path /models ")
    assert user == "2000"
    assert {"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} <= set(status)
    assert "Read-only file system" in runs(bench, "sh", "-c", "touch /opt/sglang/x 2>&1 || true")


def test_every_folder_that_compiled_kernels_are_kept_in_is_on_the_claim(caches: list[str], bench: Bench) -> None:
    assert len(caches) >= 4
    assert [folder for folder in caches if not folder.startswith("/home/qwen/")] == []
    kept = {f"/home/qwen/{path.parent.relative_to(bench.folder / CACHE / 'home')}" for path in compiled(bench)}
    assert kept == set(caches)


def compiled(bench: Bench) -> set[Path]:
    return set((bench.folder / CACHE / "home").rglob("kernel"))


def test_a_chat_and_a_stream_are_answered_through_the_service(bench: Bench) -> None:
    status, body = bench.ask("/v1/chat/completions", chat(), bench.key())
    assert status == 200, body
    assert json.loads(body)["usage"]["completion_tokens"] > 0
    assert bench.ask("/v1/chat/completions", chat())[0] == 401
    events, _ = bench.generate(20)
    assert events[-1] == b"[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 20
    assert len(events) > 3


def test_the_whole_helm_test_passes(bench: Bench) -> None:
    said = bench.helm("test", RELEASE)
    assert "Succeeded" in said
    checks = ["models", "chat", "stream", "structured output", "tool call", "thinking switch"]
    checks += ["without key", "closed routes", "metrics"]
    assert [check for check in checks if f"ok {check}: " not in said] == [], said
    wait_until(lambda: len(bench.pods()) == 1, LEFT_LIMIT_S, "the test's pod is gone")


def test_its_log_is_about_clients_and_not_about_the_waiting_room(bench: Bench) -> None:
    said = log(bench)
    assert '"POST /v1/chat/completions HTTP/1.1" 200' in said
    assert "GET /health" not in said


@pytest.mark.usefixtures("caches")
def test_a_deleted_pod_cuts_no_stream_and_its_successor_comes_after_clean_refusals(bench: Bench) -> None:
    conclusive(lambda effort: a_deleted_pod_cuts_no_stream(bench, effort))


def a_deleted_pod_cuts_no_stream(bench: Bench, effort: int) -> None:
    [old] = bench.pods()
    _, took = bench.generate(200)
    # Still running when SIGTERM comes, if the machine is as fast then.
    tokens = min(int(effort * 200 / took * 2 * PRE_STOP_S), LONGEST_STREAM)
    url = bench.cluster.service_url(NAMESPACE, RELEASE)
    with watched(bench, old) as ended, Traffic(url, bench.key(), stream_tokens=tokens, kept=2) as seen:
        wait_until(lambda: seen.open_streams == 2, 60, "streams flow")
        bench.kubectl("delete", "pod", old["metadata"]["name"], "--wait=true", f"--timeout={LEFT_LIMIT_S}s")
        wait_until(lambda: ready(bench, 1), READY_LIMIT_S, "its successor is ready")
        wait_for_answers(seen)
    print(seen)
    told = stopped_at(bench, old) + PRE_STOP_S
    streams = [record for record in seen.records if record.client == "stream"]
    over = [record for record in streams if ends(seen, record) > told > seen.began_at + record.at_s]
    if any(record.ended == CUT and ends(seen, record) >= told + DRAIN_S for record in over):
        raise Inconclusive(f"a stream of {tokens} tokens took longer than the {DRAIN_S} s that a pod drains")
    assert set(seen.ended("stream")) <= {WHOLE, CLEAN}, seen
    assert set(seen.ended("fresh")) == {OK, CLEAN}, seen
    assert set(seen.ended("kept")) <= {OK, CLEAN}, seen
    if [record.ended for record in over] != [WHOLE, WHOLE]:
        raise Inconclusive(f"of two streams of {tokens} tokens {len(over)} were open at the SIGTERM")
    [new] = bench.pods()
    the_gap_is_no_longer_than_it_must_be(bench, seen, old, new)
    it_went_by_itself(ended, told, old)
    assert new["status"]["containerStatuses"][0]["restartCount"] == 0
    assert "BackOff" not in bench.kubectl("get", "events", "--output=json")


def ends(seen: Traffic, record: Record) -> float:
    return seen.began_at + record.at_s + record.seconds


@contextmanager
def watched(bench: Bench, pod: Values) -> Iterator[Path]:
    """A file with every end that the engine's container of *pod* comes to while the block runs, a JSON line each."""
    said = bench.folder / "ends"
    path = '--output=jsonpath={.status.containerStatuses[0].state.terminated}{"\\n"}'
    kubectl = [tool("kubectl"), "--kubeconfig", bench.cluster.kubeconfig, "--namespace", NAMESPACE]
    command = [*kubectl, "get", "pod", pod["metadata"]["name"], "--watch", path]
    with said.open("w") as file, subprocess.Popen(command, stdout=file) as watching:
        try:
            wait_until(said.read_text, 60, "the pod is watched")
            yield said
        finally:
            end(watching)


def it_went_by_itself(ends: Path, told: float, pod: Values) -> None:
    """Not killed, which would be at the end of the grace period, and no container of the pod was started again."""
    [last] = {line for line in ends.read_text().splitlines() if line}
    found = json.loads(last)
    print(f"SGLang ended with {found['exitCode']}, {seconds(found['finishedAt']) - told:.0f} s after SIGTERM")
    assert found["exitCode"] == 0, found
    assert seconds(found["finishedAt"]) - told < pod["spec"]["terminationGracePeriodSeconds"] - PRE_STOP_S, found


def test_the_successor_finds_what_was_compiled(caches: list[str], bench: Bench) -> None:
    assert runs(bench, "sh", "-c", FIND, "sh", *caches).split() == ["compiled"] * len(caches)
