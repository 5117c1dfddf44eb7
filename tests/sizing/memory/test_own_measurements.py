"""What lab/bench/gpu/measure.py writes is read as cases, and its engine starts are met by the memory answer."""

from __future__ import annotations

import json

import pytest

from lab.bench.gpu.measure import log_figures, spread, with_log
from lab.pages.memory_table import ask
from sizing.facts.catalogue import load_facts
from sizing.fitting.measurements import MEASUREMENTS, own

FILE = MEASUREMENTS / "h100-vllm-0.26.0.jsonl"
LINES = [json.loads(line) for line in FILE.read_text().splitlines()]
STARTS = [line for line in LINES if line["kind"] == "engine"]
LOADS = [line for line in LINES if line["kind"] == "load"]

LOG = """
INFO 11-24 13:35:57 [gpu_model_runner.py:5347] Model loading took 29.04 GiB memory and 2.175 seconds
INFO 11-24 13:36:02 [gpu_worker.py:560] Available KV cache memory: 40.24 GiB
INFO 11-24 13:36:02 [kv_cache_utils.py:2177] GPU KV cache size: 439,536 tokens
INFO 11-24 13:36:02 [fp8.py:405] Using TRITON Fp8 MoE backend out of potential backends: ['TRITON']
"""


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start["case"])
def test_a_start_on_an_h100_is_met_within_one_percent(start: dict[str, object]) -> None:
    answer = ask(
        str(start["model"]),
        str(start["gpu"]),
        precision=start["precision"],  # type: ignore[arg-type]
        engine_version="0.26.0",
        max_model_len=start["max_model_len"],
        text_only=True,
    )
    assert answer.kv_cache_tokens == pytest.approx(start["kv_tokens_config"], rel=0.01)


def test_every_load_is_a_case_and_one_measured_while_kernels_were_built_has_only_its_tpot() -> None:
    cases = [*own(load_facts(), FILE)]
    assert len(cases) == len(LOADS) == 32
    assert {case.traffic.pattern for case in cases} == {"closed", "burst"}
    assert [case.id for case in cases if set(case.seen) == {"tpot"}] == [
        f"{line['case']} c{line['concurrency']} {line['isl']}" for line in LOADS if line.get("compiling")
    ]
    assert all(case.setup.max_num_seqs == 1024 and case.setup.gpu.id == "H100-SXM" for case in cases)


def test_the_figures_of_a_start_come_from_its_log() -> None:
    figures = log_figures(LOG)
    assert figures == {
        "weights_gib": 29.04,
        "load_s": 2.175,
        "kv_gib": 40.24,
        "kv_tokens": 439536.0,
        "moe_backend": "TRITON",
    }
    engine, load = with_log('{"kind": "engine"}\n{"kind": "load"}\n', LOG)
    assert engine == {"kind": "engine", "kv_tokens_config": 439536, "log": figures}
    assert load == {"kind": "load"}


def test_percentiles_are_of_the_nearest_rank_in_milliseconds() -> None:
    assert spread("ttft", [0.004, 0.001, 0.002, 0.003]) == {
        "ttft_ms_mean": 2.5,
        "ttft_ms_p50": 2.0,
        "ttft_ms_p95": 4.0,
        "ttft_ms_p99": 4.0,
    }
