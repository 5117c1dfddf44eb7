"""
Your own measurements for the speed model: vLLM on the GPU at hand, start-up and closed-loop loads, as JSON Lines.

    python measure.py CASES.jsonl OUT.jsonl [--seconds 540]

runs with the Python that has vLLM (0.20 or newer); nothing else is needed. A case is one line:

    {"case": "q3-8b@h100", "model": "qwen3-8b", "path": "Qwen/Qwen3-8B", "precision": "bf16", "gpu": "H100-SXM",
     "engine_args": {"max_model_len": 16384}, "loads": [[1, 1024, 512, 1], [64, 1024, 512, 2]]}

``model`` and ``gpu`` are the catalogue's names, ``path`` is what vLLM loads (with ``"load_format": "dummy"`` in
``engine_args`` a folder with a ``config.json`` will do), a load is concurrency, input tokens, output tokens and
requests per client. Every engine is a process of its own, as a server's is; the next one imports vLLM meanwhile.

Prompts are random token ids (no prefix is shared), the answers are sampled at temperature 1 and never end early: with
greedy decoding random weights repeat one token, and a mixture of experts would read the same few experts each step.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

# What a start-up says of itself: field -> pattern in vLLM's log (GiB, seconds, tokens).
LOG = {
    "weights_gib": r"Model loading took ([\d.]+) GiB",
    "load_s": r"Model loading took [\d.]+ GiB memory and ([\d.]+) s",
    "compile_s": r"torch.compile took ([\d.]+) s",
    "kv_gib": r"Available KV cache memory: ([\d.]+) GiB",
    "kv_tokens": r"(?:GPU|CPU) KV cache size: ([\d,]+) tokens",
    "max_concurrency": r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x",
    "graph_s": r"Graph capturing finished in ([\d.]+) secs",
    "graph_gib": r"Graph capturing finished in [\d.]+ secs, took ([\d.]+) GiB",
    "graph_estimate_gib": r"Estimated CUDA graph memory: ([\d.]+) GiB",
    "startup_free_gib": r"Free memory on device \(([\d.]+)/",
    "total_gib": r"Free memory on device \([\d.]+/([\d.]+) GiB",
    "requested_gib": r"GPU memory utilization is \([\d.]+, ([\d.]+) GiB",
    "peak_activation_gib": r"([\d.]+) GiB for peak activation",
    "non_torch_gib": r"([\d.]+) GiB for non-torch",
    "init_engine_s": r"init engine \(.*?\) took ([\d.]+) s",
}
WORDS = {
    "attention": r"Using (\w+) attention backend",
    "linear_kernel": r"(?:Selected|Using) (\w+Kernel) for",
    "moe_backend": r"Using (\S+) (?:\S+ )?MoE backend",
}
WARM_REQUESTS = 32  # before each load: kernels compiled at first use must not be in the figures
WARM_LENGTHS = (16, 100, 600, 1024, 2048, 4096, 8000)


def log_figures(text: str) -> dict[str, float | str]:
    """The figures of one start-up's log."""
    numbers = {key: float(hit[1].replace(",", "")) for key, of in LOG.items() if (hit := re.search(of, text))}
    return {**numbers, **{key: hit[1] for key, of in WORDS.items() if (hit := re.search(of, text))}}


def device() -> dict[str, str]:
    """Name, driver and state of the first GPU."""
    fields = ("name", "driver_version", "memory.total", "memory.used", "power.draw", "clocks.sm", "temperature.gpu")
    query = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    if not shutil.which(query[0]):
        return {}
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return dict(zip(fields, answer[0].split(", "), strict=False)) if answer else {}


def spread(name: str, seconds: list[float]) -> dict[str, float]:
    """Mean and nearest-rank percentiles, milliseconds."""
    ranked = sorted(seconds)
    parts = {f"p{q}": ranked[math.ceil(q / 100 * len(ranked)) - 1] for q in (50, 95, 99)}
    return {
        f"{name}_ms_{key}": round(value * 1e3, 3) for key, value in {"mean": statistics.mean(ranked), **parts}.items()
    }


class Engine:
    """One vLLM engine in this process and its core beside it."""

    def __init__(self, case: dict[str, Any]) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = {"model": case["path"], "skip_tokenizer_init": True, "disable_log_stats": True}
        given = AsyncEngineArgs(**{**arguments, **case.get("engine_args", {})})
        self.llm = AsyncLLM.from_engine_args(given, usage_context=UsageContext.OPENAI_API_SERVER)
        config = self.llm.vllm_config
        self.settings = {
            "max_model_len": config.model_config.max_model_len,
            "max_num_seqs": config.scheduler_config.max_num_seqs,
            "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
            "async_scheduling": config.scheduler_config.async_scheduling,
            "quantization": config.model_config.quantization,
            "num_gpu_blocks": config.cache_config.num_gpu_blocks,
            "block_size": config.cache_config.block_size,
        }
        self.vocabulary = config.model_config.get_vocab_size()
        self.count = 0

    async def ask(self, given: int, produced: int) -> list[float]:
        """When it was sent, then when each token came (seconds)."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self.count += 1
        draw = random.Random(self.count)
        prompt = {"prompt_token_ids": draw.choices(range(self.vocabulary - 500), k=given)}
        how = SamplingParams(
            max_tokens=produced,
            ignore_eos=True,
            temperature=1.0,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        times = [time.perf_counter()]
        async for answer in self.llm.generate(prompt, how, str(self.count)):
            times += [time.perf_counter()] * len(answer.outputs[0].token_ids)
        return times

    async def load(self, concurrency: int, given: int, produced: int, rounds: int) -> dict[str, Any]:
        """A closed loop: each client sends its next request when the last is answered."""

        async def client() -> list[list[float]]:
            return [await self.ask(given, produced) for _ in range(rounds)]

        await asyncio.gather(*(self.ask(given, 4) for _ in range(min(concurrency, WARM_REQUESTS))))
        begin = time.perf_counter()
        seen = [times for one in await asyncio.gather(*(client() for _ in range(concurrency))) for times in one]
        wall = time.perf_counter() - begin
        tokens = sum(len(times) - 1 for times in seen)
        gaps = [later - sooner for times in seen for sooner, later in pairwise(times[1:])]
        return {
            "concurrency": concurrency,
            "isl": given,
            "osl": produced,
            "rounds": rounds,
            "requests": len(seen),
            "wall_s": round(wall, 3),
            "output_tokens": tokens,
            "input_tokens": given * len(seen),
            "output_tok_s": round(tokens / wall, 1),
            "total_tok_s": round((tokens + given * len(seen)) / wall, 1),
            "req_s": round(len(seen) / wall, 3),
            **spread("ttft", [times[1] - times[0] for times in seen]),
            **spread("tpot", [(times[-1] - times[1]) / (len(times) - 2) for times in seen]),
            **spread("itl", gaps),
            "e2e_s_p50": round(statistics.median(times[-1] - times[0] for times in seen), 3),
        }


async def measure(case: dict[str, Any], out: Path) -> None:
    """One case from start to stop; lines are written as they come."""
    import vllm

    def write(**line: Any) -> None:
        with out.open("a") as lines:
            lines.write(json.dumps({**line, "nvsmi": device(), "engine_version": f"vllm {vllm.__version__}"}) + "\n")

    begin = time.perf_counter()
    engine = Engine(case)
    facts = {key: case[key] for key in ("case", "model", "gpu", "precision")}
    start = round(time.perf_counter() - begin, 2)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    shown = {key: value for key, value in os.environ.items() if key.startswith("VLLM_")}
    write(
        kind="engine",
        **facts,
        date=when,
        start_s=start,
        engine_args=case.get("engine_args", {}),
        environment=shown,
        **engine.settings,
    )
    longest = engine.settings["max_model_len"]
    for length in WARM_LENGTHS:
        if length + 8 <= longest:
            await engine.ask(length, 4)
    most = max(load[0] for load in case["loads"])
    await asyncio.gather(*(engine.ask(32, 8) for _ in range(most)))
    for load in case["loads"]:
        write(kind="load", case=case["case"], **await engine.load(*load))
    engine.llm.shutdown()


def child(case: dict[str, Any], out: Path) -> None:
    """Import, wait for a line on standard input, measure."""
    import vllm.v1.engine.async_llm  # noqa: F401

    if sys.stdin.readline():
        asyncio.run(measure(case, out))


def run(cases: list[dict[str, Any]], out: Path, seconds: float) -> None:
    """Each case in its own process, one at a time, until *seconds* have passed."""
    end = time.monotonic() + seconds

    def spawn(case: dict[str, Any]) -> tuple[subprocess.Popen[str], Path, Path]:
        name = case["case"].replace("@", "_at_")
        log, part = out.with_name(f"{name}.log"), out.with_name(f"{name}.part")
        part.write_text("")
        command = [sys.executable, __file__, "--case", json.dumps(case), str(part)]
        with log.open("w") as sink:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sink, stderr=sink, text=True)
        return process, log, part

    following = spawn(cases[0])
    for index, case in enumerate(cases):
        process, log, part = following
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
        if index + 1 < len(cases):
            following = spawn(cases[index + 1])
        try:
            process.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(30)
        print(f"{case['case']}: status {process.returncode}, {end - time.monotonic():.0f} s left", flush=True)
        with out.open("a") as lines:
            lines.writelines(json.dumps(line) + "\n" for line in with_log(part.read_text(), log.read_text()))
        part.unlink()
        if time.monotonic() > end:
            break
    if following[0].poll() is None:
        following[0].terminate()
        following[0].wait(30)
        following[2].unlink()


def with_log(lines: str, log: str) -> list[dict[str, Any]]:
    """One case's lines, the engine's with what its log says."""
    figures = log_figures(log)
    kv = {"kv_tokens_config": int(figures["kv_tokens"])} if "kv_tokens" in figures else {}
    rows = [json.loads(line) for line in lines.splitlines()]
    return [{**row, **kv, "log": figures} if row["kind"] == "engine" else row for row in rows]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    words.add_argument("cases", nargs="?", type=Path)
    words.add_argument("out", type=Path)
    words.add_argument("--seconds", type=float, default=3600)
    words.add_argument("--case", help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.case:
        child(json.loads(given.case), given.out)
    else:
        run(
            [json.loads(line) for line in given.cases.read_text().splitlines() if line.strip()],
            given.out,
            given.seconds,
        )


if __name__ == "__main__":
    main()
