"""
Run by the engine's own Python: what vLLM's argument parser and model configuration make of argument lists.

Standard input: JSON, a list of ``{"args": [...], "config": {...} or null}``. Standard output, last line: for each the
parsed values that the tests ask about, or ``{"refused": "..."}``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def taken(args: list[str], config: dict[str, Any] | None) -> dict[str, Any]:
    from vllm.config import ModelConfig, MultiModalConfig, SchedulerConfig  # type: ignore[import-not-found, unused-ignore]
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # type: ignore[import-not-found, unused-ignore]
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found, unused-ignore]

    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(args)
    found: dict[str, Any] = {
        "runner": parsed.runner,
        "enable_lora": parsed.enable_lora,
        "max_loras": parsed.max_loras,
        "max_lora_rank": parsed.max_lora_rank,
        "lora_modules": [[module.name, module.path] for module in parsed.lora_modules or ()],
        "speculative_config": parsed.speculative_config,
        "images": MultiModalConfig(language_model_only=parsed.language_model_only).get_limit_per_prompt("image"),
    }
    if parsed.max_num_batched_tokens is not None:
        scheduler = SchedulerConfig(
            max_model_len=parsed.max_model_len,
            is_encoder_decoder=False,
            max_num_batched_tokens=parsed.max_num_batched_tokens,
            max_num_seqs=parsed.max_num_seqs,
        )
        found |= {"max_num_seqs": scheduler.max_num_seqs, "tp": parsed.tensor_parallel_size}
    if config is not None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(config))
            model = ModelConfig(
                model=folder,
                tokenizer=folder,
                skip_tokenizer_init=True,
                hf_overrides=parsed.hf_overrides,
                max_model_len=parsed.max_model_len,
            )
        found["max_model_len"] = model.max_model_len
        found["rope"] = model.hf_text_config.rope_parameters
    return found


if __name__ == "__main__":
    answers = []
    for question in json.load(sys.stdin):
        try:
            answers.append(taken(**question))
        except (SystemExit, ValueError) as refusal:  # pydantic's errors are ValueErrors
            answers.append({"refused": str(refusal)})
    print(json.dumps(answers))
