"""
Engine starts with a log, and what the kit answers to the same question: the H200 starts measured for this kit and
data/measurements/memory.csv.

A public row is compared when it says enough: the release, a known GPU, and no setting this kit does not offer.
``python -m lab.pages.memory_table`` writes the table in docs/memory.md; test_memory.py says when it is stale.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Literal

from sizing.engine.settings import Settings
from sizing.engine.setup import resolve
from sizing.errors import KitError
from sizing.facts.catalogue import load_facts
from sizing.facts.fact import DATA
from sizing.facts.precision import Precision
from sizing.memory.memory import MemoryAnswer, memory
from sizing.units import GIB

FACTS = load_facts()
LOGS = list(csv.DictReader((DATA / "measurements" / "memory.csv").read_text().splitlines()))
PAGE = Path(__file__).parents[2] / "docs" / "memory.md"
BEGIN, END = "<!-- starts: begin -->", "<!-- starts: end -->"


def ask(
    model: str,
    gpu: str,
    *,
    precision: Precision | None = None,
    engine: Literal["vllm", "sglang"] = "vllm",
    engine_version: str = "0.32.0",
    device_memory_gib: float | None = None,
    kv_cache_gib: float | None = None,
    **asked: Any,
) -> MemoryAnswer:
    found, implied = FACTS.model(model)
    return memory(
        resolve(
            found,
            precision or implied or "bf16",
            FACTS.gpu(gpu),
            engine=engine,
            engine_version=engine_version,
            device_bytes=round(device_memory_gib * GIB) if device_memory_gib else None,
            asked=Settings(kv_cache_bytes=round(kv_cache_gib * GIB) if kv_cache_gib else None, **asked),
        )
    )


def measured_starts() -> list[tuple[dict[str, Any], MemoryAnswer]]:
    found = []
    for line in (DATA / "measurements" / "h200-vllm-0.26.0.jsonl").read_text().splitlines():
        start = json.loads(line)
        if start["kind"] != "engine":
            continue
        name = start["case"].split("@")[0].removesuffix("-eager")
        precision: Precision = "awq" if name.endswith("-awq") else "fp8" if name.endswith("-fp8") else "bf16"
        model = name.removesuffix("-awq").removesuffix("-fp8").replace("q", "qwen", 1)
        given_args = start["engine_args"]
        kept = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "enforce_eager")
        answer = ask(
            model,
            "H200",
            precision=precision,
            engine_version="0.26.0",
            text_only=given_args.get("language_model_only", False),
            **{name: given_args[name] for name in kept if name in given_args},
        )
        found.append((start, answer))
    return found


# Rows whose log contradicts its own description, or that ran what this kit does not offer.
NOT_COMPARABLE = {
    "m015": "KV dtype not recorded; as fp8 KV and text only, the answer is 1 % off",
    "m017": "KV dtype not recorded; as fp8 KV and text only, the answer is 7 % off",
    "m077": "3.3 GiB more taken than any 256-sequence start of that release; max_num_seqs not recorded",
    "m079": "as m077",
    "m080": "as m077",
    "m081": "as m077",
    "m082": "as m077",
    "m083": "as m077",
    "m103": "bitsandbytes, not a precision of this kit",
    "m111": "445,875 tokens are 580 whole blocks of 16-bit KV, the row says fp8",
    "m118": "76,458 tokens are the blocks of the text-only start, the row does not say so",
    "m119": "number of draft tokens not recorded",
}


def logged(row: dict[str, str]) -> MemoryAnswer | None:
    """The answer to what *row* describes; None when it says too little."""
    name = row["model"].split(" ")[0].removeprefix("Qwen/").removesuffix("-FP8").removesuffix("-NVFP4")
    try:
        FACTS.model(name)
        FACTS.gpu(row["gpu"].split(" (")[0].removesuffix(" 16GB"))
    except KitError:
        return None
    if not row["engine_version"][:1].isdigit() or row["id"] in NOT_COMPARABLE:
        return None
    numbers: dict[str, Any] = {"tp": int(row["tp"]), "pp": int(row["pp"])}
    for field, kind in (("max_model_len", int), ("max_num_seqs", int), ("gpu_memory_utilization", float)):
        if row[field]:
            numbers[field] = kind(row[field])
    version = row["engine_version"].split(" ")[0].replace("0.8.x", "0.7.3")  # the row says V0
    return ask(
        name,
        row["gpu"].split(" (")[0].removesuffix(" 16GB"),
        precision={"none": "bf16", "": "bf16"}.get(row["quant"], row["quant"]),
        engine=row["engine"],  # type: ignore[arg-type]
        engine_version=version,
        device_memory_gib=float(row["gpu_mem_gib"]) if row["gpu_mem_gib"] else None,
        kv_cache_dtype="fp8" if row["kv_dtype"].startswith("fp8") else "auto",
        enforce_eager=row["enforce_eager"] == "true",
        text_only="--language-model-only" in row["notes"],
        **numbers,
    )


def compared() -> list[tuple[dict[str, str], MemoryAnswer]]:
    found = []
    for row in LOGS:
        try:
            answer = logged(row)
        except KitError:
            assert row["outcome"] != "ok", row["id"]
            continue
        if answer:
            found.append((row, answer))
    return found


def logged_tokens(row: dict[str, str], answer: MemoryAnswer) -> int:
    """KV tokens of *row*, by the size of a token where only GiB were printed."""
    if row["kv_cache_tokens"]:
        return int(row["kv_cache_tokens"])
    return round(answer.kv_cache_tokens * float(row["kv_cache_gib_per_gpu"]) * GIB / answer.kv_cache_bytes)


def table() -> str:
    """A line for every start with a logged KV cache, the worst last; then the rows left out."""
    found = [(start["case"], "vllm 0.26.0", start["kv_tokens_config"], answer) for start, answer in measured_starts()]
    for row, answer in compared():
        if row["outcome"] == "ok" and (row["kv_cache_tokens"] or row["kv_cache_gib_per_gpu"]):
            model, gpu = row["model"].split(" ")[0].removeprefix("Qwen/"), row["gpu"].split(" (")[0]
            name = f"{row['id']}: {model} on {row['num_gpus']} x {gpu}"
            engine = f"{row['engine']} {row['engine_version'].split(' ')[0]}"
            found.append((name, engine, logged_tokens(row, answer), answer))
    lines = []
    for name, engine, tokens, answer in found:
        error = answer.kv_cache_tokens / tokens - 1
        band = f"{answer.kv_cache_tokens_low:,}..{answer.kv_cache_tokens_high:,}"
        cells = (name, engine, f"{tokens:,}", f"{answer.kv_cache_tokens:,}", f"{100 * error:+.1f} %", band)
        lines.append((abs(error), f"| {' | '.join(cells)} |"))
    starts = ["| start | engine | logged tokens | answered | error | band |", "|---|---|---:|---:|---:|---|"]
    left_out = [
        "",
        "| row left out | why |",
        "|---|---|",
        *(f"| {row} | {why} |" for row, why in NOT_COMPARABLE.items()),
    ]
    return "\n".join([*starts, *(line for _, line in sorted(lines)), *left_out])


def with_table(page: str, lines: str) -> str:
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{lines}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(), table()))
