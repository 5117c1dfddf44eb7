"""
What people need of a model (text, code, math, vision, audio, long context, agents): which models can, best first.

The order is data (data/needs), drawn up from published scores (data/scores.csv) and judgement, with its source; here it
is only read. A model that no order names comes after those, the newest generation and then the most active parameters
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sizing.errors import UnknownFact
from sizing.facts.data import record, records, rows
from sizing.facts.fact import Fact, Sourced
from sizing.facts.model import Model
from sizing.request.request import Images


class Need(Fact):
    """A need, the facts a model must have for it, a typical request, and the models that serve it, best first."""

    id: str
    asks: str
    modalities: tuple[str, ...]
    context_tokens: int = 0
    tools: bool = False
    thinking: bool = False
    input_tokens: int
    output_tokens: int
    images: Images | None = None
    audio_s: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    benchmark: str | None = None
    order: tuple[str, ...]
    source: str


class Score(Fact):
    """A published result of a model; higher is better."""

    benchmark: str
    model: str
    score: float
    source: str


class AdviceFacts(Fact):
    """What a recommendation assumes where nobody said otherwise."""

    answers: int
    concurrency: int
    ttft_ms: Sourced
    tpot_ms: Sourced
    cpu_concurrency: int
    cpu_ttft_ms: Sourced
    cpu_tpot_ms: Sourced
    cpu_hybrids: Sourced


@lru_cache(maxsize=1)
def load_needs() -> dict[str, Need]:
    """Every file of data/needs, by id."""
    return {need.id: need for need in records(Need, "needs").values()}


@lru_cache(maxsize=1)
def load_advice() -> AdviceFacts:
    """data/advice.toml."""
    return record(AdviceFacts, "advice.toml")


@lru_cache(maxsize=1)
def load_scores() -> dict[tuple[str, str], Score]:
    """data/scores.csv by (benchmark, model)."""
    return {(score.benchmark, score.model): score for score in rows(Score, "scores.csv")}


def named_needs(names: Sequence[str]) -> tuple[Need, ...]:
    """The needs called *names*, each once. Raises ``UnknownFact`` with all that no file describes."""
    known = load_needs()
    if unknown := [name for name in names if name not in known]:
        raise UnknownFact(*(f"{name!r} is no need the kit knows; known are {', '.join(known)}" for name in unknown))
    return tuple(known[name] for name in dict.fromkeys(names))


def longest_context(model: Model) -> int:
    """Tokens of context the model can be given: native, or stretched by its documented extension."""
    return max(model.context.native_tokens, model.context.yarn_tokens or 0)


def lacks(model: Model, needs: Sequence[Need]) -> str | None:
    """Why *model* cannot serve all *needs*, by its facts alone; None if it can."""
    for need in needs:
        if model.modality not in need.modalities:
            return f"a {model.modality} model does not serve {need.id}"
        if longest_context(model) < need.context_tokens:
            return f"{longest_context(model):,} tokens of context at most; {need.id} asks for {need.context_tokens:,}"
        if need.tools and not model.vllm.tool_parser:
            return "no parser for its tool calls"
    return None


def ranked(models: Sequence[Model], needs: Sequence[Need]) -> list[Model]:
    """Those of *models* that can serve all *needs*, best first: by the sum of their places in the needs' orders."""
    able = [model for model in models if lacks(model, needs) is None]
    unnamed = sorted(able, key=lambda model: (-float(model.generation), -model.params.active_text))
    behind = {model.key: place for place, model in enumerate(unnamed)}

    def place(model: Model) -> int:
        return sum(
            need.order.index(model.key) if model.key in need.order else len(need.order) + behind[model.key]
            for need in needs
        )

    return sorted(able, key=lambda model: (place(model), behind[model.key]))


def published(model: Model, needs: Sequence[Need]) -> str:
    """The model's published scores on the needs' benchmarks, as words; empty where there is none."""
    scores = load_scores()
    found = [scores.get((need.benchmark or "", model.key)) for need in needs]
    return ", ".join(f"{score.benchmark} {score.score:g}" for score in found if score)
