"""What the demo reads of the engine's metrics."""

from __future__ import annotations

import pytest

from lab.demo.chat import cache_config
from sizing.errors import BadRequest

# One line as vLLM 0.32.0 prints it, shortened.
METRICS = """# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="128",engine="0",kv_cache_max_concurrency="7.1",kv_cache_size_tokens="58240"} 1.0
"""


def test_the_labels_of_the_cache_configuration_are_read() -> None:
    found = cache_config(METRICS)
    assert found["kv_cache_size_tokens"] == "58240"
    assert found["block_size"] == "128"


def test_metrics_without_it_are_refused() -> None:
    with pytest.raises(BadRequest, match="no vllm:cache_config_info"):
        cache_config("vllm:num_requests_running 0.0\n")
