"""Values the chart must refuse: one line that names the value and the remedy, before anything reaches a cluster."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.chart import CASES, Values, case, changed, laid_over, refusal, rendered

REFUSED: dict[str, dict[str, Any]] = tomllib.loads((CASES / "refusals.toml").read_text())

HELMS_OWN = ("Error: ", "qwen:", "Use --debug flag")
# By which an engine would serve beside the guard, under paths or with keys that it does not know, or tell its secrets.
CLOSED: dict[str, tuple[str, str]] = {
    "eks-vllm-two-replicas": (
        "--api-key --admin-api-key --shutdown-timeout --nnodes --node-rank --master-addr --headless "
        "--middleware --api-server-count -asc --root-path --grpc --uds",
        "VLLM_API_KEY VLLM_SERVER_DEV_MODE VLLM_ALLOW_RUNTIME_LORA_UPDATING VLLM_USE_RUST_FRONTEND "
        "VLLM_RUST_FRONTEND_PATH HF_TOKEN HUGGING_FACE_HUB_TOKEN PYTHONPATH QWENKIT_GUARD",
    ),
    "home-sglang": (
        "--api-key --admin-api-key --shutdown-timeout --nnodes --node-rank --dist-init-addr --tokenizer-worker-num "
        "--fastapi-root-path --enable-http2 --grpc-mode --smg-grpc-mode --grpc-port --use-ray --encoder-only",
        "SGLANG_RUST_SERVER SGLANG_GRPC_PORT HF_TOKEN HUGGING_FACE_HUB_TOKEN PYTHONPATH QWENKIT_GUARD",
    ),
}


def refused_values(entry: dict[str, Any]) -> Values:
    values = laid_over(case(entry["case"]) if "case" in entry else {}, entry.get("set", {}))
    if flag := entry.get("without"):
        at = values["args"].index(flag)
        values["args"] = values["args"][:at] + values["args"][at + 2 :]
    return values


@pytest.mark.parametrize("what", REFUSED)
def test_the_chart_refuses(helm: Path, what: str) -> None:
    entry = REFUSED[what]
    said = refusal(helm, refused_values(entry), entry.get("release", "qwen"), tuple(entry.get("apis", ())))
    problems = problem_lines(said)
    assert len(problems) == entry.get("lines", 1), said
    assert all(word in problems[0] for word in entry["says"]), said
    assert "sk-1" not in said


def problem_lines(said: str) -> list[str]:
    """The problems themselves, without the lines that helm puts around them."""
    return [line for line in said.splitlines() if line.strip() and not line.startswith(HELMS_OWN)]


def test_all_problems_are_told_at_once(helm: Path) -> None:
    change = {"image": {"tag": "latest"}, "gpu": {"count": 1}, "model": {"uri": "m"}}
    problems = problem_lines(refusal(helm, laid_over(case("eks-vllm-two-replicas"), change)))
    assert [problem.split()[0] for problem in problems] == ["image.tag", "args", "model.source"]


def test_values_of_the_previous_chart_are_told_their_new_names(helm: Path) -> None:
    previous = yaml.safe_load((CASES.parent / "previous/values.yaml").read_text())
    renamed, missing = problem_lines(refusal(helm, previous))
    assert renamed == 'model.claim is "model", but since chart 0.2.0 that value is model.uri; rename it.'
    assert missing.startswith('model.source is pvc but model.uri is ""')
    claim = previous["model"].pop("claim")
    assert rendered(helm, changed(previous, model__uri=claim))


def test_a_nightly_image_of_one_commit_is_exact(helm: Path) -> None:
    tag = "nightly-0123456789abcdef0123456789abcdef01234567"
    assert rendered(helm, laid_over(case("eks-vllm-two-replicas"), {"image": {"tag": tag}}))


def test_a_release_name_that_would_be_too_long_in_a_pods_labels_is_refused(helm: Path) -> None:
    # "<release>-waiting-room-<hash of ten>" is a label of its pods, and Kubernetes' labels end at 63 characters.
    assert rendered(helm, case("laptop-vllm-cpu"), "q" * 39)
    [problem] = problem_lines(refusal(helm, case("laptop-vllm-cpu"), "q" * 40))
    assert "has 40 characters, too many for the names of pods; use at most 39" in problem


@pytest.mark.parametrize(
    ("argument", "flag"),
    [
        ("--api_key=sk-1", "--api-key:"),
        ("--root_path", "--root-path:"),
        ("--api-k=sk-1", "--api-key (--api-k is short for it):"),
        ("--root_pat", "--root-path (--root-pat is short for it):"),
    ],
)
def test_a_closed_flag_is_refused_in_every_spelling_that_an_engine_takes(argument: str, flag: str, helm: Path) -> None:
    [problem] = problem_lines(refusal(helm, laid_over(case("eks-vllm-two-replicas"), {"extraArgs": [argument, "x"]})))
    assert problem.startswith(f"args must not contain {flag}")
    assert "sk-1" not in problem


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("written", ["{flag}", "{flag}=1"])
def test_every_way_round_the_guard_is_closed(helm: Path, name: str, written: str) -> None:
    flags, variables = (words.split() for words in CLOSED[name])
    first, *others = variables
    values = changed(
        case(name),
        extraArgs=[written.format(flag=flag) for flag in flags],
        env={first: "1"},
        extraEnv=[{"name": variable, "value": "1"} for variable in others],
    )
    problems = problem_lines(refusal(helm, values))
    told = [problem.removeprefix("args must not contain ").split()[0].rstrip(":") for problem in problems]
    assert sorted(told) == sorted([*flags, *variables])
