"""An engine: its deployable versions, its words for settings, and what runs on which GPU."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from sizing.errors import UnknownFact, echo
from sizing.facts.fact import Fact


class EngineVersion(Fact):
    """A release the kit can deploy: pinned image, CUDA it was built for, oldest NVIDIA driver branch that runs it."""

    version: str
    image: str
    digest: str | None = None
    cuda: str
    min_driver_branch: int
    source: str


class FixedArguments(Fact):
    """
    Arguments that follow from a yes or no, and the engine's word for an fp8 KV cache.

    ``pooling``: by modality, for models that generate nothing; ``overrides``: what their config must say besides.
    ``text_only``: leaves the towers of a multimodal model out; empty where the engine loads them all the same.
    ``no_nvlink``: for several GPUs of a host that only PCIe joins.
    ``speculative``: for an MTP head, with ``{tokens}`` and ``{tokens+1}`` where the number of drafted tokens stands.
    """

    always: tuple[str, ...]
    tools: tuple[str, ...]
    lora: tuple[str, ...] = ()
    speculative: tuple[str, ...] = ()
    no_nvlink: tuple[str, ...] = ()
    no_nvlink_source: str = ""
    text_only: tuple[str, ...] = ()
    text_only_source: str = ""
    pooling: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    overrides: dict[str, dict[str, object]] = Field(default_factory=dict)
    pooling_source: str = ""
    kv_cache_fp8: str


class SearchedSettings(Fact):
    """
    Values that a plan may give a setting, in the order they are tried; the engine's own default needs no value.

    ``burst_room``: max_num_seqs over the expected concurrency; ``sequences_at_a_rate``: where only a rate is known.
    ``most_busy``: the share of the rate a full replica answers that arrivals may take; the queue grows as 1 / (1 - it).
    """

    max_num_batched_tokens: tuple[int, ...]
    max_num_seqs: tuple[int, ...]
    gpu_memory_utilization: tuple[float, ...]
    burst_room: float
    sequences_at_a_rate: int
    most_busy: Annotated[float, Field(gt=0, lt=1)]
    most_busy_source: str
    source: str


class Nightly(Fact):
    """Images tagged by a day up to *until* (and after the one before) hold what became *release*."""

    until: date
    release: str
    source: str


class Engine(Fact):
    """
    An engine: what can be deployed, its words for the settings, and what a replica needs of its host.

    ``server``: whose server code it is, which decides models, parsers and memory rules.
    """

    id: Literal["vllm", "sglang", "vllm-cpu"]
    server: Literal["vllm", "sglang"]
    default_version: str
    host_memory_base_gib: float
    host_memory_per_gpu_gib: float
    image_gib: float
    host_source: str
    start_s: int
    download_mb_per_s: float
    start_source: str
    flags: dict[str, str]
    fixed: FixedArguments
    searched: SearchedSettings | None = None
    env: dict[str, str]
    versions: tuple[EngineVersion, ...]
    nightlies: tuple[Nightly, ...] = ()

    def release(self, tag: str | None) -> str:
        """The release that *tag* names or, for ``nightly-dev-20260216-d3bae71e``, became; without one the default."""
        if tag is None or not tag.startswith("nightly"):
            return tag or self.default_version
        day = re.search(r"\d{8}", tag)
        became = [nightly.release for nightly in self.nightlies if day and f"{nightly.until:%Y%m%d}" >= day[0]]
        return became[0] if became else self.default_version

    def version(self, version: str | None) -> EngineVersion:
        """The deployable release *version*, or the default. Raises ``UnknownFact``."""
        wanted = version or self.default_version
        for known in self.versions:
            if known.version == wanted:
                return known
        raise UnknownFact(
            f"{self.id} {echo(wanted)} has no pinned image; known are {', '.join(v.version for v in self.versions)}. "
            f"To add it, add a [[versions]] table to sizing/data/engines/{self.id}.toml."
        )
