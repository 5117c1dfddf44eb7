"""Values the chart must refuse: one sentence that names the value and the remedy, before anything reaches a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helm.chart import case, changed, refusal, rendered

EKS, HOME, LAPTOP = "eks-vllm-two-replicas", "home-sglang", "laptop-vllm-cpu"


def with_args(name: str, *more: str) -> dict[str, Any]:
    return {"args": [*case(name)["args"], *more]}


def without(name: str, flag: str) -> dict[str, Any]:
    arguments = case(name)["args"]
    at = arguments.index(flag)
    return {"args": arguments[:at] + arguments[at + 2 :]}


REFUSED: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "latest": (EKS, {"image__tag": "latest"}, ('image.tag is "latest"', "exact release")),
    "nightly": (EKS, {"image__tag": "nightly"}, ('image.tag is "nightly"', "exact release")),
    "latest of a variant": (EKS, {"image__tag": "latest-cu129"}, ('image.tag is "latest-cu129"', "exact release")),
    "no tag": (EKS, {"image__tag": ""}, ("image.tag is empty",)),
    "no arguments": (EKS, {"args": []}, ("args is empty", "-f deployments/<name>/values.yaml")),
    "no port": (EKS, without(EKS, "--port"), ("args has no --port",)),
    "no host": (HOME, without(HOME, "--host"), ("args has no --host",)),
    "closed host": (HOME, {"extraArgs": ["--host", "127.0.0.1"]}, ("--host 127.0.0.1", "0.0.0.0")),
    "no served name": (EKS, without(EKS, "--served-model-name"), ("args has no --served-model-name",)),
    "key in the arguments": (EKS, with_args(EKS, "--api-key", "sk-1"), ("--api-key", "auth.existingSecret")),
    "key in the arguments, other form": (HOME, {"extraArgs": ["--api-key=sk-1"]}, ("--api-key", "auth.existingSecret")),
    "key in the environment": (EKS, {"env": {"VLLM_API_KEY": "sk-1"}}, ("VLLM_API_KEY", "auth.existingSecret")),
    "another middleware": (EKS, with_args(EKS, "--middleware=a.B"), ("--middleware", "guard")),
    "several server processes": (EKS, with_args(EKS, "--api-server-count", "2"), ("--api-server-count", "guard")),
    "several tokenizers": (HOME, with_args(HOME, "--tokenizer-worker-num", "4"), ("--tokenizer-worker-num", "guard")),
    "a server without the guard": (HOME, with_args(HOME, "--grpc-mode"), ("--grpc-mode", "guard")),
    "a front end without the guard": (
        EKS,
        {"env": {"VLLM_USE_RUST_FRONTEND": "1"}},
        ("VLLM_USE_RUST_FRONTEND", "guard"),
    ),
    "another path of modules": (EKS, {"extraEnv": [{"name": "PYTHONPATH", "value": "/x"}]}, ("PYTHONPATH", "guard")),
    "the port of the probes": (EKS, {"extraArgs": ["--port", "8001"]}, ("--port 8001", "probes and metrics")),
    "development routes": (EKS, {"env": {"VLLM_SERVER_DEV_MODE": "1"}}, ("VLLM_SERVER_DEV_MODE", "stay closed")),
    "token in the environment": (
        EKS,
        {"extraEnv": [{"name": "HF_TOKEN", "value": "sk-1"}]},
        ("HF_TOKEN", "tokenSecret"),
    ),
    "drain typed twice": (EKS, with_args(EKS, "--shutdown-timeout", "900"), ("--shutdown-timeout", "drain.seconds")),
    "GPUs contradict TP": (EKS, {"gpu__count": 1}, ("2 x 1 GPUs", "gpu.count is 1")),
    "GPUs contradict TP, short form": (HOME, with_args(HOME, "--tp", "2"), ("2 x 1 GPUs", "gpu.count is 1")),
    "GPUs contradict PP, short form": (EKS, {"extraArgs": ["-pp=2"]}, ("2 x 2 GPUs", "gpu.count is 2")),
    "more shared memory than memory": (
        EKS,
        {"shmSize": "32Gi"},
        ("shmSize is 32Gi", "resources.limits.memory is 24Gi"),
    ),
    "shared memory in other units": (
        EKS,
        {"resources__limits": {"memory": 2_000_000_000}, "shmSize": "2Gi"},
        ("shmSize is 2Gi", "resources.limits.memory is 2"),
    ),
    "GPUs on the CPU engine": (LAPTOP, {"gpu__count": 1}, ("vllm-cpu uses no GPU", "gpu.count is 1")),
    "claim missing": (LAPTOP, {"model__claim": ""}, ("model.claim is empty",)),
    "claim without source": (EKS, {"model__claim": "m"}, ('model.claim is "m"', "model.source to pvc")),
    "token without hub": (LAPTOP, {"model__tokenSecret": "t"}, ("model.tokenSecret", "model.source is pvc")),
    "replicas on a single writer": (HOME, {"replicas": 2}, ("is 2", "ReadWriteOnce", "emptyDir")),
    "surge on a single writer": (HOME, {"rollout__spareReplicas": 1}, ("is 2", "ReadWriteOnce", "emptyDir")),
    "claim for an emptyDir": (LAPTOP, {"cache__existingClaim": "c"}, ("cache.existingClaim", "cache.type is emptyDir")),
    "open service, closed policy": (HOME, {"service__type": "LoadBalancer"}, ("networkPolicy.from", "ipBlock")),
    "engine misspelt": (EKS, {"engine": "vlm"}, ("engine", "'vllm', 'sglang', 'vllm-cpu'")),
    "unknown key": (EKS, {"replica": 2}, ("replica", "not allowed")),
    "grace typed": (EKS, {"drain__graceSeconds": 5}, ("graceSeconds", "not allowed")),
    "negative replicas": (EKS, {"replicas": -1}, ("replicas", "minimum")),
    "no key name": (EKS, {"auth__secretKey": ""}, ("secretKey",)),
    "a number among the arguments": (EKS, {"args": ["m", 8000]}, ("args/1",)),
    "broken digest": (EKS, {"image__digest": "sha256:12"}, ("digest",)),
    "root": (EKS, {"securityContext__runAsUser": 0}, ("runAsUser", "minimum")),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_chart_refuses(helm: Path, what: str) -> None:
    name, change, words = REFUSED[what]
    said = refusal(helm, changed(case(name), **change))
    assert all(word in said for word in words), said
    assert "sk-1" not in said


def test_all_problems_are_told_at_once(helm: Path) -> None:
    said = refusal(helm, changed(case(EKS), image__tag="latest", gpu__count=1, model__claim="m"))
    assert all(word in said for word in ("image.tag", "gpu.count", "model.claim"))


def test_the_chart_without_values_names_the_file_to_give(helm: Path) -> None:
    assert "-f deployments/<name>/values.yaml" in refusal(helm, {})


def test_a_release_name_that_cannot_name_a_service_is_refused(helm: Path) -> None:
    assert 'release name "4090"' in refusal(helm, case(LAPTOP), release="4090")


def test_a_nightly_image_of_one_commit_is_exact(helm: Path) -> None:
    assert rendered(helm, changed(case(EKS), image__tag="nightly-0123456789abcdef0123456789abcdef01234567"))
