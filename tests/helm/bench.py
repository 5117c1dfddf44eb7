"""
A namespace of the real cluster with weights and GPUs, helm pointed at it, and the questions its tests ask.

Each module of tests has its own namespace and release: ``with a_bench(cluster, model_folder, folder, "name")``.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.cluster.cluster import Cluster
from lab.tools.get import tool
from tests.helm.chart import CHART, ROOT, Values, case, changed
from tests.waiting import MOST_WAIT_S

RELEASE = "qwen"
PRE_STOP_S, DRAIN_S = 8, 60
READY_LIMIT_S = 420
LEFT_LIMIT_S = 120
ANSWER_LIMIT_S = 600  # for an engine that hangs, on a machine however busy
# Written by Kubernetes about other objects, and gone with them or after an hour.
ABOUT_OTHERS = ("events", "events.events.k8s.io", "endpoints", "pods.metrics.k8s.io")


@dataclass(frozen=True)
class Bench:
    """A namespace with weights and one GPU, and helm pointed at it."""

    cluster: Cluster
    folder: Path
    namespace: str
    serving: Values

    def helm(self, *arguments: str | Path, helm: str = "helm") -> str:
        command = [tool(helm), "--kubeconfig", self.cluster.kubeconfig, "--namespace", self.namespace, *arguments]
        words = [str(part) for part in command]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=MOST_WAIT_S, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.cluster.kubectl('get', 'events', '-A')}"
        return done.stdout + done.stderr

    def upgrade(self, helm: str = "helm", **values: Any) -> float:
        """Seconds of an upgrade to *values*, until it is Ready."""
        began = time.monotonic()
        limit_s = READY_LIMIT_S * max(values.get("replicas", 1), 1)  # without a spare GPU one starts after the other
        asked = ("-f", self.values(**values), "--wait", f"--timeout={limit_s}s")
        self.helm("upgrade", RELEASE, CHART, *asked, helm=helm)
        return time.monotonic() - began

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments)

    def values(self, **changes: Any) -> Path:
        own = {"drain": {"preStopSeconds": PRE_STOP_S, "seconds": DRAIN_S}}
        path = self.folder / "values.yaml"
        path.write_text(yaml.safe_dump(changed(self.serving, **own | changes)))
        return path

    def add_claim(self, name: str, folder: Path) -> None:
        """Make *folder* of this machine, and offer it as the claim *name* that the release's pods may write to."""
        folder.mkdir()
        folder.chmod(0o777)
        volume = f"{self.namespace}-{name}"
        common = {"storageClassName": "", "accessModes": ["ReadWriteOnce"]}
        size = {"storage": "1Gi"}
        claimed_by = {"namespace": self.namespace, "name": name}
        spec = {"capacity": size, "claimRef": claimed_by, "hostPath": {"path": str(folder)}}
        self.cluster.api.create("/api/v1/persistentvolumes", {"metadata": {"name": volume}, "spec": common | spec})
        claim = common | {"volumeName": volume, "resources": {"requests": size}}
        self.cluster.api.create(
            f"/api/v1/namespaces/{self.namespace}/persistentvolumeclaims", {"metadata": {"name": name}, "spec": claim}
        )

    def objects(self) -> set[str]:
        """Everything in the namespace that is no mere word about something else."""
        kinds = self.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
        listed = ",".join(kind for kind in kinds if kind not in ABOUT_OTHERS)
        return set(self.kubectl("get", listed, "--output=name", "--ignore-not-found").split())

    def pods(self) -> list[Values]:
        """Every pod but the waiting room's."""
        said = self.kubectl("get", "pods", "--selector=!qwenkit.dev/waiting-room", "--output=json")
        found: list[Values] = json.loads(said)["items"]
        return found

    def key(self) -> str:
        data = json.loads(self.kubectl("get", "secret", f"{RELEASE}-key", "--output=json"))["data"]
        return base64.b64decode(data["api-key"]).decode()

    def ask(self, path: str, body: Values | None = None, key: str | None = None) -> tuple[int, bytes]:
        """Status and body of a request through the Service."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        url = self.cluster.service_url(self.namespace, RELEASE) + path
        request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()

    def generate(self, tokens: int) -> tuple[list[bytes], float]:
        """Events of a stream of exactly *tokens* tokens, and its seconds."""
        started = time.monotonic()
        more = {"max_tokens": tokens, "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
        _, body = self.ask("/v1/chat/completions", chat(**more), self.key())
        return [line.removeprefix(b"data: ") for line in body.splitlines() if line], time.monotonic() - started

    def context_length(self) -> int:
        _, body = self.ask("/v1/models", key=self.key())
        length: int = json.loads(body)["data"][0]["max_model_len"]
        return length


def vllm() -> Values:
    """The engine is called vllm here, since only that one may ask for a GPU."""
    return changed(case("laptop-vllm-cpu"), engine="vllm", gpu__count=1)


def chat(**more: Any) -> Values:
    return {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, **more}


@contextmanager
def a_bench(
    cluster: Cluster, model_folder: Path, folder: Path, namespace: str, serving: Values | None = None
) -> Iterator[Bench]:
    """
    A namespace that enforces Pod Security "restricted" and holds the tiny model's claim; gone afterwards. What its
    release serves with are the values *serving*, else vLLM's.
    """
    cluster.namespace(namespace, enforce="restricted")
    made = Bench(cluster, folder, namespace, serving or vllm())
    try:
        cluster.add_model(namespace, "model", model_folder)
        yield made
    finally:
        # Nobody waits for an answer of this engine, and the next module wants its GPU, also after a failed install.
        made.kubectl("delete", "deployments,jobs,pods", "--all", "--grace-period=1")
        cluster.kubectl("delete", "namespace", namespace, "--wait=true", f"--timeout={LEFT_LIMIT_S}s")
        cluster.kubectl("delete", "persistentvolume", f"{namespace}-model", "--ignore-not-found")
