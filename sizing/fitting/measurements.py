"""
The measurement files as cases: a replica, a load, and what was seen of it.

Rows that cannot be compared are left out, each kind with its reason: attention data parallelism (another mode), one
row recorded several times (ids with ``tp8_ep8``, whose TP and EP are read from the id), transformers and CPU runs,
loads without a known concurrency, the Qwen3 documents' H20 table (an old SGLang at a third of the card's bandwidth),
four-token answers (the client is what is measured), runs on several nodes.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sizing.engine.settings import Settings
from sizing.engine.setup import Setup, resolve
from sizing.facts.catalogue import Facts
from sizing.facts.fact import DATA
from sizing.facts.precision import Precision
from sizing.memory.memory import memory
from sizing.request.traffic import Traffic

MEASUREMENTS = DATA / "measurements"
Metric = Literal["ttft", "tpot", "throughput"]

_PRECISIONS: dict[str, Precision] = {
    "": "bf16",
    "bf16": "bf16",
    "fp16": "fp16",
    "fp8": "fp8",
    "fp4": "nvfp4",
    "nvfp4": "nvfp4",
    "awq": "awq",
    "auto_awq": "awq",
    "gptq-int4": "gptq-int4",
    "gptq-int8": "gptq-int8",
}
_SYSTEMS = {"h100_sxm": "H100-SXM", "h200_sxm": "H200-SXM", "b200_sxm": "B200-SXM", "b300_sxm": "B300-SXM"}
_DRAFTING = "image=lmsysorg/sglang:v0.5.9-cu130"
_GPUS = {"A100 80GB": "A100-80GB-SXM", "A100 SXM": "A100-80GB-SXM", "RTX 5070 Ti 16GB": "RTX 5070 Ti"}


@dataclass(frozen=True)
class Case:
    """One measured load. ``seen``: seconds, or output tokens per second; ``median`` = TPOT is one, not a mean."""

    id: str
    group: str  # engine, model, GPU: what the error table has a line for
    configuration: str  # no two of these on both sides of a cross-validation
    setup: Setup
    traffic: Traffic
    kv_cache_tokens: int
    seen: dict[Metric, float]
    median: bool = False
    weight: float = 1.0


def _setup(facts: Facts, name: str, precision: str, gpu: str, engine: str, version: str, asked: Settings) -> Setup:
    """The replica as that release would have run it."""
    model, implied = facts.model(name)
    published = implied if implied != "gguf" else None
    kind = published or _PRECISIONS[precision.lower().replace("awq-int4", "awq")]
    return resolve(
        model,
        kind,
        facts.gpu(gpu),
        engine="sglang" if engine == "sglang" else "vllm",
        engine_version=version,
        asked=asked,
    )


def _case(
    id: str, setup: Setup, traffic: Traffic, seen: dict[Metric, float], kv: int | None = None, **more: object
) -> Case:
    group = f"{setup.engine} {setup.model.key} {setup.gpu.id}"
    load = f"{traffic.input_tokens}x{traffic.output_tokens}"
    configuration = (
        f"{group} {setup.engine_version} {setup.precision} tp{setup.tp} ep{setup.expert_parallel:d} "
        f"mtp{setup.speculative_tokens} {setup.gpu_memory_utilization} {load}"
    )
    longest = traffic.input_tokens + traffic.output_tokens
    tokens = kv if kv is not None else max(memory(setup).kv_cache_tokens, longest)
    return Case(id, group, configuration, setup, traffic, tokens, seen, **more)  # type: ignore[arg-type]


def silicon(facts: Facts, path: Path) -> Iterator[Case]:
    """Closed loops on H100, H200, B200, B300: TTFT and TPOT means."""
    with path.open(newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["backend"] in ("vllm", "sglang") and row["system"] in _SYSTEMS
        ]
    drafting = {_run(row) for row in rows if row["silicon_data_source"].endswith(_DRAFTING)}
    known: set[tuple[str, ...]] = set()
    for row in rows:
        tp, moe_tp, moe_ep = int(row["tp_size"]), int(row["moe_tp_size"]), int(row["moe_ep_size"])
        if moe_tp == moe_ep > 1 and tp == moe_tp * moe_ep and tp > 8:
            tp, moe_tp = moe_tp, 1  # recorded TP x EP: both were this
        if moe_tp * moe_ep not in (1, tp) or _run(row) in known:
            continue  # attention data parallelism; or (0) a batch over several replicas of a node; or a copy
        known.add(_run(row))
        measured = re.search(r"measured=(\d{4})-(\d\d)-(\d\d)", row["silicon_data_source"])
        day = "-" + "".join(measured.groups()) if measured and row["backend_version"] == "nightly-dev" else ""
        version = facts.engines[row["backend"]].release(row["backend_version"] + day)
        traffic = Traffic(int(row["batch_size"]), None, int(row["isl"]), int(row["osl"]))
        asked = Settings(
            tp=tp,
            expert_parallel=moe_ep > 1,
            max_model_len=2 * (traffic.input_tokens + traffic.output_tokens),
            text_only=True,
            speculative_tokens=3 if _run(row) in drafting else 0,
        )
        setup = _setup(
            facts, row["model_path"], row["precision"], _SYSTEMS[row["system"]], row["backend"], version, asked
        )
        seen: dict[Metric, float] = {
            "ttft": float(row["silicon_ttft_ms"]) / 1e3,
            "tpot": float(row["silicon_tpot_ms"]) / 1e3,
        }
        yield _case(row["id"], setup, traffic, seen)


def _run(row: dict[str, str]) -> tuple[str, ...]:
    """What two records of one run share: some files give TPOT to a hundredth of a millisecond, others in full."""
    return (
        *(row[name] for name in ("model_path", "system", "isl", "osl", "batch_size")),
        f"{float(row['silicon_ttft_ms']):.0f}",
        f"{float(row['silicon_tpot_ms']):.1f}",
    )


_H200_MODELS = {
    "q3-0.6b": "qwen3-0.6b",
    "q3-8b": "qwen3-8b",
    "q3-14b": "qwen3-14b",
    "q3-30b-a3b": "qwen3-30b-a3b",
    "q2.5-7b": "qwen2.5-7b",
    "q3.5-27b": "qwen3.5-27b",
}


def _loads(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(start of the engine, load) for every load in *path*."""
    engines: dict[str, Any] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["kind"] == "engine":
            engines[row["case"]] = row
        else:
            yield engines[row["case"]], row


def _load(row: dict[str, Any]) -> tuple[Traffic, dict[Metric, float]]:
    """The load of one line and what was seen of it."""
    traffic = Traffic(
        row["concurrency"],
        None,
        row["isl"],
        row["osl"],
        pattern="closed" if row["rounds"] > 1 else "burst",
        requests=row["requests"],
    )
    seen: dict[Metric, float] = {"tpot": row["tpot_ms_p50"] / 1e3}
    if not row.get("compiling"):  # else kernels were built meanwhile
        seen |= {"ttft": row["ttft_ms_mean"] / 1e3, "throughput": row["output_tok_s"]}
    return traffic, seen


def own(facts: Facts, path: Path) -> Iterator[Case]:
    """Closed loops, the first wave included, as ``lab/bench/gpu/measure.py`` writes them."""
    for engine, row in _loads(path):
        given = engine["engine_args"]
        asked = Settings(
            max_model_len=engine["max_model_len"],
            max_num_seqs=engine["max_num_seqs"],
            max_num_batched_tokens=engine["max_num_batched_tokens"],
            gpu_memory_utilization=given.get("gpu_memory_utilization"),
            enforce_eager=given.get("enforce_eager", False),
            text_only=True,
        )
        name, version = row["engine_version"].split()
        setup = _setup(facts, engine["model"], engine["precision"], engine["gpu"], name, version, asked)
        traffic, seen = _load(row)
        kv = int(engine["kv_tokens_config"])
        id = f"{row['case']} c{row['concurrency']} {row['isl']}"
        yield _case(id, setup, traffic, seen, kv, median=True)


def h200(facts: Facts, path: Path) -> Iterator[Case]:
    """The kit's own loads: vLLM 0.26.0 on an H200, ``@card`` = with that card's memory."""
    for engine, row in _loads(path):
        name = re.sub(r"-(eager|awq|fp8)$", "", row["case"].split("@")[0])
        asked = Settings(
            max_model_len=8192,
            max_num_seqs=engine["max_num_seqs"],
            max_num_batched_tokens=engine["max_num_batched_tokens"],
            enforce_eager="eager" in row["case"],
            text_only=True,
        )
        precision = engine["quantization"] or "bf16"
        setup = _setup(facts, _H200_MODELS[name], precision, "H200-SXM", "vllm", "0.26.0", asked)
        traffic, seen = _load(row)
        if row["case"] == "q3-30b-a3b@h200" and row["concurrency"] in (8, 32):  # kernels built in the first burst
            seen = {"tpot": seen["tpot"]}
        kv = int(engine["kv_tokens_config"])
        yield _case(f"{row['case']} c{row['concurrency']} {row['isl']}", setup, traffic, seen, kv, median=True)


def h100(facts: Facts, path: Path) -> Iterator[Case]:
    """The kit's own bursts: SGLang 0.5.16 on an H100."""
    with path.open(newline="") as rows:
        for row in csv.DictReader(rows):
            setup = _setup(facts, row["model"], row["precision"], row["gpu"], "sglang", "0.5.16", Settings())
            count = int(row["concurrency"])
            traffic = Traffic(count, None, int(row["input_tokens"]), int(row["output_tokens"]), pattern="burst")
            seen: dict[Metric, float] = {
                "ttft": float(row["ttft_ms_p50"]) / 1e3,
                "tpot": float(row["tpot_ms_p50"]) / 1e3,
                "throughput": float(row["output_tok_s"]),
            }
            yield _case(f"sglang 0.5.16 h100 c{count}", setup, traffic, seen, median=True)


def public(facts: Facts, path: Path) -> Iterator[Case]:
    """Public benchmarks whose card, load and definition are all stated."""
    with path.open(newline="") as rows:
        for row in csv.DictReader(rows):
            case = _public(facts, row)
            if case:
                yield case


def _public(facts: Facts, row: dict[str, str]) -> Case | None:
    gpu = _GPUS.get(row["gpu"], row["gpu"].split(" (")[0])
    model = row["model"].removesuffix(" FP8-dynamic").removesuffix(" NVFP4")
    model = model if "/" in model or model.startswith("qwen") else f"Qwen/{model}"
    quant = row["quant"].lower()
    source = row["source"]
    usable = row["engine"] in ("vllm", "sglang") and "nodes" not in row["notes"] and "Qwen3 docs" not in source
    if not usable or not row["input_tokens"].isdigit() or not row["output_tokens"].isdigit():
        return None
    tp = int(row["tp"] or row["num_gpus"])
    if (
        int(row["num_gpus"]) != tp
        or int(row["output_tokens"]) <= 4
        or quant.replace("-int4", "")
        not in (
            *_PRECISIONS,
            "gptq",
        )
    ):
        return None
    load = row["concurrency_or_rate"]
    count = re.search(r"\d+", load)
    wanted = ("gpustack", "dennislee22", "Qwen2.5 docs", "file 60168338778", "samilazrak", "file 56155919944")
    if not count or not any(name in source for name in wanted) or "Test 8" in source:
        return None
    concurrency, given, produced = int(count[0]), int(row["input_tokens"]), int(row["output_tokens"])
    seen: dict[Metric, float] = {"throughput": float(row["output_tok_s_total"])}
    weight = 0.5
    if "at once" in load:
        weight = 0.05 if concurrency > 200 else 0.5  # lengths vary, and the client takes part in what is measured
        traffic = Traffic(concurrency, None, given, produced, pattern="burst")
        if "dennislee22" in source and concurrency <= 100:
            seen["tpot"] = float(row["tpot_ms"]) / 1e3
    else:
        traffic = Traffic(concurrency, None, given, produced)
        if row["tpot_ms"]:
            seen["tpot"] = float(row["tpot_ms"]) / 1e3
        if row["ttft_ms"]:
            seen["ttft"] = float(row["ttft_ms"]) / 1e3
    if "dennislee22" in source and tp > 1:
        gpu = "A100-80GB-PCIe"  # inferred: a second card won 25 % of TPOT, which NVLink does not look like
    utilisation = re.search(r"util\s+(0?\.\d+)", row["notes"])
    short = "max_num_seqs 8" in row["notes"]
    whole_prompts = "Qwen2.5 docs" in source  # vLLM 0.6 computed a prompt in one piece
    asked = Settings(
        tp=tp,
        max_model_len=max(min(32768, facts.model(model)[0].context.native_tokens), given + produced),
        max_num_seqs=8 if short else None,
        max_num_batched_tokens=8192 if short else 131072 if whole_prompts else None,
        gpu_memory_utilization=float(utilisation[1]) if utilisation else None,
        text_only=True,
    )
    setup = _setup(facts, model, quant, gpu, row["engine"], row["engine_version"], asked)
    return _case(row["id"], setup, traffic, seen, weight=weight)


_READERS = {
    "silicon.csv": silicon,
    "h200-vllm-0.26.0.jsonl": h200,
    "h100-sglang-0.5.16.csv": h100,
    "speed.csv": public,
}
_OWN = {
    path.name: own
    for engine in ("vllm", "sglang")
    for path in sorted(MEASUREMENTS.glob(f"*-{engine}-*.jsonl"))
    if path.name not in _READERS
}
FILES = tuple(MEASUREMENTS / name for name in (*_READERS, *_OWN))


def cases(facts: Facts) -> list[Case]:
    """Every comparable measurement; one's own are named like ``a10g-vllm-0.26.0.jsonl``."""
    return [case for name, reader in (_READERS | _OWN).items() for case in reader(facts, MEASUREMENTS / name)]
