"""Nothing that can be asked of the catalogue is left without figures or a reason."""

from __future__ import annotations

import json

import pytest

from lab.bench.questions import grid
from sizing.facts.catalogue import load_facts
from sizing.facts.model import Model
from sizing.whatif.estimate import answers, read_questions
from tests.sizing.fuzz import judge

FACTS = load_facts()
SPEED = ("ttft_ms", "tpot_ms", "output_tokens_per_s", "requests_per_s")


def test_all_48_cells_are_answered_with_figures_and_a_fit_or_its_reason() -> None:
    cells = [json.loads(line) for line in answers(read_questions(grid()), FACTS)]
    assert len(cells) == 48
    for cell in cells:
        assert "error" not in cell, cell
        assert judge(cell) == []
        assert all(cell[name]["mean"] > 0 for name in SPEED)


def published(model: Model) -> list[str]:
    return [precision for precision in FACTS.precisions if model.repository(precision)]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("key", sorted(FACTS.models))
def test_every_model_on_every_gpu_in_every_precision_it_has_is_answered(key: str, engine: str) -> None:
    model = FACTS.models[key]
    decodes = model.modality not in ("embedding", "reranker")
    load = {"concurrency": 4, "input_tokens": 500, "output_tokens": 100}
    lines = [
        json.dumps(
            {"model": key, "gpu": gpu, "precision": precision, "engine": engine, "tp": tp, "max_model_len": 1024}
            | ({"load": load} if decodes else {})
        )
        for number, gpu in enumerate(FACTS.gpus)
        for precision in published(model)
        for tp in (1, (2, 4, 8)[number % 3])
    ]
    for line, text in zip(lines, answers(read_questions(lines), FACTS), strict=True):
        answer = json.loads(text)
        assert judge(answer) == [], line
        assert "error" in answer or answer["weight_bytes_per_gpu"] > 0, line
