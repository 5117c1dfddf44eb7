"""What the benchmark asks: the 48-cell grid, a mix of estimate lines, and the plans that search the most."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

from sizing.facts.catalogue import Facts
from sizing.request.request import Load, Place, Request, Targets

MODELS = ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B-AWQ")
GPUS = ("A10G", "RTX 4090", "A100-40", "A100-80", "H100", "H200")
CONCURRENCIES = (1, 16, 64, 256)


def grid() -> list[str]:
    """The 48 cells that tools of this kind are compared on, as lines of ``estimate``: 1024 tokens in, 512 out."""
    return [
        json.dumps({"model": model, "gpu": gpu, "load": _load(concurrency=concurrency, inputs=1024, outputs=512)})
        for model, gpu, concurrency in itertools.product(MODELS, GPUS, CONCURRENCIES)
    ]


def _load(*, concurrency: int, inputs: int, outputs: int) -> dict[str, Any]:
    return {"concurrency": concurrency, "input_tokens": inputs, "output_tokens": outputs}


def mixed(facts: Facts, count: int) -> list[str]:
    """*count* lines over every model, GPU, engine, precision and kind of load, the same ones every time."""
    draw = random.Random(5)
    models, gpus, precisions = sorted(facts.models), sorted(facts.gpus), sorted(facts.precisions)
    return [json.dumps(_question(draw, models, gpus, precisions)) for _ in range(count)]


def _question(
    draw: random.Random, models: Sequence[str], gpus: Sequence[str], precisions: Sequence[str]
) -> dict[str, Any]:
    question: dict[str, Any] = {
        "model": draw.choice(models),
        "gpu": draw.choice(gpus),
        "precision": draw.choice(precisions),
        "engine": draw.choice(("vllm", "vllm", "sglang")),
        "tp": draw.choice((1, 1, 2, 4, 8)),
        "max_model_len": draw.choice((4096, 8192, 32_768)),
    }
    load = _load(
        concurrency=draw.choice((1, 4, 16, 64, 256)),
        inputs=draw.choice((128, 1024, 2000)),
        outputs=draw.choice((64, 512, 2000)),
    )
    kind = draw.choice(("closed", "closed", "burst", "poisson", "memory"))
    if kind == "memory":
        return question
    if kind == "poisson":
        load["request_rate"] = load.pop("concurrency") / 20
    return {**question, "load": {**load, "pattern": kind}}


def plans() -> dict[str, Request]:
    """A request that most hosts meet, one that needs every tier of precisions, and one that nothing meets."""
    load = Load(concurrency=16, input_tokens=1024, output_tokens=256)
    place = Place(kind="aws-eks")
    met = Request(model="qwen3-8b", load=load, targets=Targets(ttft_ms=1500, tpot_ms=60), place=place)
    return {
        "plan that many hosts meet": met,
        "plan that nothing meets": met.model_copy(update={"targets": Targets(ttft_ms=0.001)}),
        "plan of a 235B model by rate": met.model_copy(
            update={"model": "qwen3-235b-a22b", "load": Load(request_rate=4, input_tokens=1024, output_tokens=256)}
        ),
    }
