"""A random LoRA adapter for the tiny random model, in PEFT's format: its config, and safetensors written by hand."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from random import Random

from lab.cluster.tiny_model import TINY


def random_adapter(folder: Path, rank: int) -> Path:
    """*folder*, with an adapter of *rank* that changes the queries of every layer."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": ["q_proj"],
    }
    width, queries = int(TINY["hidden_size"]), int(TINY["num_attention_heads"]) * int(TINY["head_dim"])
    draw = Random(0)
    header: dict[str, object] = {}
    values = b""
    for layer in range(int(TINY["num_hidden_layers"])):
        for factor, shape in (("lora_A", (rank, width)), ("lora_B", (queries, rank))):
            numbers = [draw.gauss() for _ in range(shape[0] * shape[1])]
            name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.{factor}.weight"
            offsets = [len(values), len(values) + 4 * len(numbers)]
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
            values += struct.pack(f"<{len(numbers)}f", *numbers)
    head = json.dumps(header).encode()
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + values)
    return folder
