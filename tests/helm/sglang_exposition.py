"""
What SGLang's own metric classes expose after a few requests, without the GPU that SGLang itself wants.

    python -m tests.helm.sglang_exposition FOLDER VERSION > tests/helm/expositions/sglang-VERSION.txt

FOLDER is its unpacked wheel; the Python that runs this has prometheus_client (the CPU engine's environment does). The
two modules that make the metrics are the real ones, what they import beside them is not needed for it and a mock.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

IMPORTED = (
    "msgspec",
    "sglang",
    "sglang.srt",
    "sglang.srt.disaggregation.utils",
    "sglang.srt.model_executor.forward_batch_info",
    "sglang.srt.observability",
    "sglang.srt.observability.scheduler_stage_metrics",
    "sglang.srt.runtime_context",
    "sglang.srt.server_args",
    "sglang.srt.utils",
)
REAL = ("observability/utils", "utils/gauge_histogram", "observability/metrics_collector")
METRICS = Path(__file__).parents[2] / "helm/qwen/files/monitoring/metrics.yaml"


def collectors(wheel: Path) -> Any:
    """The module of *wheel* that makes its metrics."""
    sys.modules.update({name: MagicMock() for name in IMPORTED})
    context: Any = sys.modules["sglang.srt.runtime_context"]
    context.exports_expert_balancedness_to_prometheus.return_value = False
    context.get_schedule.return_value = SimpleNamespace(
        prefill_delayer_max_delay_passes=30,
        prefill_delayer_forward_passes_buckets=None,
        prefill_delayer_wait_seconds_buckets=None,
    )
    context.get_observability.return_value = SimpleNamespace(
        prompt_tokens_buckets=None, generation_tokens_buckets=None, stat_loggers=None
    )
    stages: Any = sys.modules["sglang.srt.observability.scheduler_stage_metrics"]
    stages.SCHEDULER_STAGE_CATEGORIES = ()
    module = ModuleType("none")
    for name in REAL:
        full = "sglang.srt." + name.replace("/", ".")
        spec = importlib.util.spec_from_file_location(full, wheel / f"sglang/srt/{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return module


def exposition(wheel: Path) -> str:
    """Five streamed answers of 16 tokens, one retraction; three requests run and two wait."""
    from prometheus_client import REGISTRY, generate_latest

    made = collectors(wheel)
    for own in list(REGISTRY._collector_to_names):
        REGISTRY.unregister(own)
    of_server = {"model_name": "qwen3-8b", "engine_type": "unified"}
    scheduler = made.SchedulerMetricsCollector(
        labels={**of_server, "tp_rank": "0", "pp_rank": "0", "moe_ep_rank": "0"}, server_args=MagicMock()
    )
    tokenizer = made.TokenizerMetricsCollector(labels=of_server)
    now = made.SchedulerStats()
    now.num_running_reqs, now.num_queue_reqs = made.QueueCount(total=3), made.QueueCount(total=2)
    now.token_usage = 0.42
    scheduler.log_stats(now)
    for request in range(5):
        scheduler.observe_queue_time(0.01 * request)
        scheduler.increment_realtime_tokens(None, prefill_compute_tokens=100, prefill_cache_tokens=20)
        tokenizer.observe_time_to_first_token(of_server, 0.1 + 0.05 * request, stream=True)
        for _ in range(15):
            scheduler.increment_realtime_tokens(None, decode_tokens=1)
            tokenizer.observe_inter_token_latency(of_server, 0.02, 1)
        tokenizer.observe_one_finished_request(
            of_server,
            prompt_tokens=120,
            generation_tokens=16,
            cached_tokens=20,
            e2e_latency=0.5,
            has_grammar=False,
            is_streaming=True,
        )
    scheduler.increment_retracted_reqs(1, 10, 5)
    return str(generate_latest().decode())


def asked_for(text: str) -> str:
    """The families of *text* whose series the chart's queries name."""
    names = set(re.findall(r"sglang:\w+", METRICS.read_text()))
    families = re.split(r"^(?=# HELP )", text, flags=re.MULTILINE)[1:]
    return "".join(family for family in families if names & {(n := family.split()[2]), f"{n}_total"})


if __name__ == "__main__":
    print(f"# SGLang {sys.argv[2]}, its own metric classes: python -m tests.helm.sglang_exposition")
    print(asked_for(exposition(Path(sys.argv[1]))), end="")
