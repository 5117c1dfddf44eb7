"""
A random Qwen3 to serve where no weights are at hand: the real architecture, a real tokenizer, nonsense answers.

`random_model` runs this file with the engine environment's Python, which has what it takes (transformers, PyTorch);
nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from lab.cluster.cache import kept
from lab.cluster.errors import LocalError

VOCABULARY = 600
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
ANSWERS = ["no", "yes"]  # a reranker is the model's head cut to these two tokens
TEXT = [
    "A small model learns its letters from a few plain sentences about rivers, bridges and the people who cross them.",
    "user assistant system tool: What is the weather like today? It is sunny, with a light wind from the west.",
    'def answer(question: str) -> str: return {"name": "get_weather", "arguments": {"city": "Hangzhou"}}',
]
TINY = {
    "vocab_size": 640,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 40960,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": True,
}
SHAPE_KEYS = tuple(TINY)

# The turns, tool calls and thinking switch of Qwen3's own template, without its special cases. Every tag eats the
# white space around it, so that the result does not depend on how a renderer treats line ends.
CHAT_TEMPLATE = r"""
{%- set system = messages[0].content if messages[0].role == 'system' else '' -%}
{%- if system or tools -%}
  {{- '<|im_start|>system\n' + system -}}
  {%- if tools -%}
    {{- '\n\nFunctions that may be called, one JSON object a line:\n<tools>' -}}
    {%- for tool in tools -%} {{- '\n' -}} {{- tool | tojson -}} {%- endfor -%}
    {{- '\n</tools>\nA call is <tool_call>{"name": ..., "arguments": ...}</tool_call>.' -}}
  {%- endif -%}
  {{- '<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages if message.role != 'system' -%}
  {%- if message.role == 'tool' -%}
    {{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response>' -}}
  {%- else -%}
    {{- '<|im_start|>' + message.role + '\n' + (message.content or '') -}}
    {%- for call in message.tool_calls or [] -%}
      {{- '\n<tool_call>\n' -}} {{- call.function | tojson -}} {{- '\n</tool_call>' -}}
    {%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\n' -}}
  {%- if enable_thinking is defined and not enable_thinking -%} {{- '<think>\n\n</think>\n\n' -}} {%- endif -%}
{%- endif -%}
"""


def random_model(environment: Path, config: Path | None = None) -> Path:
    """
    Folder of a random Qwen3, made once and kept; any user may read it.

    Args:
        environment: the engine's virtual environment.
        config: a Qwen3 ``config.json`` whose shape it takes; without it a tiny one (0.3 MB).
    """
    given = json.loads(config.read_text()) if config else TINY
    if given.get("model_type", "qwen3") != "qwen3":
        raise LocalError(f"{config} describes a {given['model_type']}, a random model can be made of qwen3 only")
    shape = json.dumps({key: given[key] for key in SHAPE_KEYS if key in given}, sort_keys=True)

    def make(folder: Path) -> None:
        command = [str(environment / "bin/python"), "-m", "lab.cluster.tiny_model", shape, str(folder)]
        settings = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "HF_HUB_OFFLINE": "1"}
        settings["TORCHINDUCTOR_CACHE_DIR"] = str(folder.parent / "inductor")  # goes with the half-made model
        done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LocalError(f"making the random model ended with status {done.returncode}:\n{done.stderr[-1500:]}")

    return kept("random-qwen3", shape + Path(__file__).read_text(), make)


def write(shape: dict[str, object], folder: Path) -> None:
    """Write tokenizer, config and weights (bf16 safetensors) of a random Qwen3 of *shape* into *folder*."""
    import torch  # type: ignore[import-not-found, unused-ignore]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # type: ignore
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM  # type: ignore

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=CONTROL, initial_alphabet=letters)
    tokenizer.train_from_iterator(TEXT * 20, trainer)
    tokenizer.add_tokens(MARKS + ANSWERS)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=131072
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(Qwen3Config(**shape, bos_token_id=fast.pad_token_id, eos_token_id=fast.eos_token_id))
    model.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    write(json.loads(sys.argv[1]), Path(sys.argv[2]))
