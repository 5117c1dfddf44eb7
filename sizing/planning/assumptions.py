"""What the figures of a plan rest on although nobody measured it: one sentence for each such input of the request."""

from __future__ import annotations

from collections.abc import Iterator

from sizing.facts.calibration import calibration
from sizing.facts.gpu import Gpu
from sizing.request.demand import cut_requests
from sizing.search.question import Question


def assumptions(asked: Question, gpu: Gpu | None) -> Iterator[str]:
    """Sentences about reasoning, long requests, images and sound, drafted tokens, adapters and rerankers."""
    load, serving, model = asked.asked.load, asked.asked.serving, asked.model
    if model.generates and model.thinks(serving.thinking) and not load.thinking_tokens:
        off = "" if model.thinking == "always" else ", or switch thinking off with serving.thinking = false"
        yield (
            f"{model.name} thinks before it answers: output_tokens must include its reasoning, or give it as "
            f"load.thinking_tokens{off}."
        )
    if cut := cut_requests(asked.request.load, asked.max_model_len):
        yield (
            f"{cut:.1%} of the requests are longer than max_model_len {asked.max_model_len}: the engine refuses them "
            f"or ends them early, and they are played as ended there."
        )
    if load.images or load.audio_s:
        tokens = asked.request.load.input_tokens - load.input_tokens
        yield (
            f"Images and sound add {tokens} tokens to a prompt and their towers' computation to TTFT, by arithmetic: "
            f"no measurement of a tower is at hand."
        )
    if serving.speculative_tokens and gpu is not None:
        accepted = calibration().constants(asked.engine.server, asked.release.version, gpu)["draft_accepted"]
        yield (
            f"TPOT assumes that {accepted:.0%} of the drafted tokens are accepted, which nothing at hand measures and "
            f"which depends on the text; the metrics of the engine show what it is."
        )
    if serving.adapters:
        yield (
            "LoRA adapters slow a batch down by an amount that nothing at hand measures: the figures are those of "
            "the bare model. Each adapter's target modules must be ones that the engine supports."
        )
    if model.api == "rerank":
        yield (
            f"{model.name} scores well only when clients wrap query and document in the instruction of its model card."
        )
