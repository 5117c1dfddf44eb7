"""
A random Qwen3.5 of half a megabyte: both kinds of text layers, a vision tower, and the tiny Qwen3's tokenizer.

`random_vision_model` runs this file with the engine environment's Python, as `lab/cluster/tiny_model.py` does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab.cluster.tiny_model import random_model

ROOT = Path(__file__).resolve().parents[2]
TOWER = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
TEXT = {
    "vocab_size": 640,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "layer_types": ["linear_attention", "full_attention"],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e7,
        "partial_rotary_factor": 0.5,
        "mrope_section": [3, 3, 2],
        "mrope_interleaved": True,
    },
}
IMAGES = {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
VIDEOS = {**IMAGES, "video_processor_type": "Qwen3VLVideoProcessor"}


def random_vision_model(environment: Path, folder: Path) -> Path:
    """*folder*, with a random Qwen3.5 for the engine of *environment*."""
    shutil.copytree(random_model(environment), folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    command = [str(environment / "bin/python"), "-m", "tests.helm.vision_model", str(folder)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def write(folder: Path) -> None:
    import torch  # type: ignore[import-not-found, unused-ignore]
    from transformers import AutoTokenizer, Qwen3_5Config, Qwen3_5ForConditionalGeneration  # type: ignore

    tokenizer = AutoTokenizer.from_pretrained(folder)
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_tokens(marks, special_tokens=True)
    tokenizer.save_pretrained(folder)
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    ids = dict(zip(names, tokenizer.convert_tokens_to_ids(marks), strict=True))
    torch.manual_seed(0)
    text = {**TEXT, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen3_5Config(text_config=text, vision_config=TOWER, tie_word_embeddings=True, **ids)
    Qwen3_5ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGES))
    (folder / "video_preprocessor_config.json").write_text(json.dumps(VIDEOS))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
