"""
What the kit knows: models, GPUs, engines, hosts, AWS instance types and dated prices.

The folder is the registry: one TOML file per model, GPU, engine and home host under ``data/``, one CSV row per AWS
instance type and per price. Every fact carries its unit in its name and its source in its file. Nothing here decides
anything; ``load_facts`` reads once and returns an immutable ``Facts``.

Errors: ``UnknownFact`` names the nearest known thing and the file to add.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import re
import tomllib
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sizing.errors import BadRequest, UnknownFact, echo

DATA = Path(__file__).parent / "data"

Basis = Literal["measured", "documented", "calculated"]
Precision = Literal["bf16", "fp16", "fp8", "int8", "awq", "gptq-int4", "gptq-int8", "nvfp4", "w4a16"]
Api = Literal["chat", "embeddings", "rerank"]
Repository = Literal[Precision, "gguf"]  # what a quantised repository of the hub holds


class Fact(BaseModel):
    """A frozen record read from a data file; an unknown key in the file is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sourced(Fact):
    """A number with its basis and source, for facts that differ in how well they are known."""

    value: float
    basis: Basis = "documented"
    source: str


class Rope(Fact):
    """What the checkpoint says of its rotary embedding beside the base; a stretched one must say it again."""

    mrope_section: tuple[int, ...] | None = None
    mrope_interleaved: bool | None = None
    partial_rotary_factor: float | None = None


class Context(Fact):
    """Context lengths in tokens; ``yarn_*`` are absent where the model has no documented extension."""

    native_tokens: int
    stated: str = ""
    extension: str = ""
    yarn_tokens: int | None = None
    yarn_factor: float | None = None
    yarn_original_tokens: int | None = None
    rope_theta: float | None = None
    rope: Rope = Rope()


class Params(Fact):
    """
    Parameter counts. ``total`` = text + tower + other, without the MTP head; ``active_text`` per token;
    ``other_on_gpu`` = the part of ``other`` that an engine loads onto the GPU.
    """

    total: int
    text: int
    tower: int = 0
    other: int = 0
    other_on_gpu: int = 0
    mtp: int = 0
    active_text: int
    quantisable_linear: int
    hub_published: int | None = None
    tower_shape: str = ""
    other_shape: str = ""


class Shape(Fact):
    """The text stack. ``layers`` = full-attention + linear-attention layers."""

    layers: int
    full_attention_layers: int
    linear_attention_layers: int
    hidden_size: int
    intermediate_size: int | None = None
    attention_heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    attn_output_gate: bool
    extra_kv_bytes_per_token: int = 0


class Experts(Fact):
    """Mixture of experts: every layer has ``count`` experts of ``intermediate_size``, ``per_token`` of them used."""

    count: int
    per_token: int
    intermediate_size: int
    shared_intermediate_size: int = 0


class LinearAttention(Fact):
    """
    Gated DeltaNet layers, whose state is fixed per running sequence.

    ``extra_conv_states``: convolution states besides the layers' own, each on a page of its own, together
    ``extra_conv_state_bytes`` (included in ``state_bytes_per_sequence``).
    """

    key_heads: int
    key_head_dim: int
    value_heads: int
    value_head_dim: int
    conv_kernel: int
    state_bytes_per_sequence: int
    ssm_state_bytes_per_element: int
    extra_conv_states: int = 0
    extra_conv_state_bytes: int = 0


class Vision(Fact):
    """
    An image tower: patch embedding, ``layers`` blocks, mergers of 2 x 2 patches into the text width.

    Images are scaled to between ``min_pixels`` and ``max_pixels``. ``windowed_layers`` of the layers attend within
    ``window_patches`` patches, the others over the whole image.
    """

    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    output_size: int
    patch_size: int
    min_pixels: int
    max_pixels: int
    image_source: str
    windowed_layers: int = 0
    window_patches: int = 0
    patch_bias: bool = False
    gated_ffn: bool = False
    norm_bias: bool = True
    position_embeddings: int = 0
    deepstack_mergers: int = 0


class Audio(Fact):
    """
    A Whisper-style audio tower. ``sharded``: the engine splits it over tensor-parallel ranks.

    A second of sound is ``positions_per_s`` positions in the tower and ``tokens_per_s`` tokens of the prompt; where
    there is a ``clip_s``, the tower computes that many seconds for every clip, and no clip is longer.
    """

    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    output_size: int
    params: int
    tokens_per_s: int
    positions_per_s: int
    clip_s: int | None = None
    token_source: str
    sharded: bool = False


class QuantisedRepository(Fact):
    """
    How an official quantised repository departs from its method's plain rule.

    ``unquantised``: parts (names as in sizing/weights.py) that stay in 16 bits; ``padded_intermediate_size``: the
    feed-forward width stored, where it was padded to whole groups.
    """

    unquantised: tuple[str, ...] = ()
    padded_intermediate_size: int | None = None
    source: str


class HostTable(Fact):
    """Parameters that the engine pins in host memory instead of the GPU; quantised where the rest is."""

    params: int
    source: str


class EngineSupport(Fact):
    """From which release an engine serves the model (and until which); parsers by that engine's names."""

    supported: bool = True
    first: str | None = None
    last: str | None = None
    stated: str = ""
    tool_parser: str = ""
    reasoning_parser: str = ""
    lora: bool = True


class Stated(Fact):
    stated: str = ""


_APIS: dict[str, Api] = {"embedding": "embeddings", "reranker": "rerank"}  # by modality


class Model(Fact):
    """One architecture of the Qwen family; its hub ids share every number."""

    key: str
    family: str
    generation: str
    modality: str
    hub_ids: tuple[str, ...]
    model_type: str
    architecture: str
    licence: str  # id of a file of licences/, for the first hub id
    licence_stated: str = ""  # where it was seen, if not as the tag of the hub's own page
    thinking: Literal["hybrid", "always", "never"]
    thinking_stated: str
    source: str
    notes: str = ""
    quantised: dict[str, Repository] = Field(default_factory=dict)
    context: Context
    params: Params
    shape: Shape
    experts: Experts | None = None
    linear_attention: LinearAttention | None = None
    vision: Vision | None = None
    audio: Audio | None = None
    quantised_repository: dict[Precision, QuantisedRepository] = Field(default_factory=dict)
    host_table: HostTable | None = None
    pipeline_parallel: bool = True
    vllm: EngineSupport
    sglang: EngineSupport
    transformers: Stated

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def name(self) -> str:
        """As people write it: the hub id without its owner."""
        return self.hub_ids[0].split("/")[-1]

    def supported_by(self, server: Literal["vllm", "sglang"]) -> EngineSupport:
        """What is known of the model in that engine."""
        return self.sglang if server == "sglang" else self.vllm

    @property
    def api(self) -> Api:
        """What clients ask it for."""
        return _APIS.get(self.modality, "chat")

    @property
    def generates(self) -> bool:
        """Whether it answers in tokens; an embedding model or a reranker answers after the prompt."""
        return self.api == "chat"

    def repository(self, precision: str) -> str | None:
        """Hub id whose checkpoint has *precision* as it lies on the hub; None if nobody official published one."""
        if precision in ("bf16", "fp16"):
            return self.hub_ids[0]
        base = self.hub_ids[0]
        published = [hub_id for hub_id, kind in self.quantised.items() if kind == precision]
        return min(published, key=lambda hub_id: (not hub_id.startswith(base), hub_id), default=None)


class Licence(Fact):
    """What a model's licence says about selling with it, and why."""

    id: str
    name: str
    commercial: Literal["yes", "conditions", "no", "unknown"]
    why: str
    source: str
    dated: date


Segment = Literal["consumer", "workstation", "datacentre"]


class SegmentFacts(Fact):
    """What a kind of card brings besides memory and speed."""

    name: str
    driver_licence: str
    continuous_use: str
    warranty: str
    source: str
    dated: date


class Ecc(Fact):
    """Error correction of a card's memory as it is shipped: on, off (it can be switched on), or none."""

    state: Literal["on", "off", "none"]
    source: str


class Noise(Fact):
    """How loud a card is under load, as somebody measured it."""

    stated: str
    source: str


class Gpu(Fact):
    """
    One GPU as the engines see it. Tensor rates are dense (no sparsity), TFLOPS; bandwidths GB/s (10^9).

    ``nvidia_smi_name`` is what ``nvidia-smi --query-gpu=name`` prints, to the letter, as the source of
    ``nvidia_smi_total_mib`` shows it; None where no log was seen.
    """

    id: str
    aliases: tuple[str, ...] = ()
    nvidia_smi_name: str | None = None
    architecture: str
    compute_capability: float
    spec_memory_gb: float
    cuda_total_gib: Sourced
    nvidia_smi_total_mib: Sourced | None = None
    mem_bandwidth_gb_s: float
    bf16_dense_tflops: float
    fp16_acc16_dense_tflops: float | None = None
    fp8_dense_tflops: float | None = None
    int8_dense_tops: float | None = None
    fp4_dense_tflops: float | None = None
    fp8_hardware: bool
    bf16_hardware: bool
    tdp_w: int
    segment: Segment
    ecc: Ecc
    noise: Noise | None = None
    interconnect: str
    pcie_gb_s_one_direction: float
    nvlink_gb_s_total: float
    launch_msrp_usd: Decimal | None = None
    min_driver_branch: int
    kernel_module: str
    source: str
    confidence: str


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
    ``speculative``: for an MTP head, with ``{tokens}`` and ``{tokens+1}`` where the number of drafted tokens stands.
    """

    always: tuple[str, ...]
    tools: tuple[str, ...]
    lora: tuple[str, ...] = ()
    speculative: tuple[str, ...] = ()
    pooling: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    overrides: dict[str, dict[str, object]] = Field(default_factory=dict)
    pooling_source: str = ""
    kv_cache_fp8: str


class SearchedSettings(Fact):
    """
    Values that a plan may give a setting, in the order they are tried; the engine's own default needs no value.

    ``burst_room``: max_num_seqs over the expected concurrency; ``sequences_at_a_rate``: where only a rate is known.
    """

    max_num_batched_tokens: tuple[int, ...]
    max_num_seqs: tuple[int, ...]
    gpu_memory_utilization: tuple[float, ...]
    burst_room: float
    sequences_at_a_rate: int
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


class PrecisionRule(Fact):
    """Which GPUs run a precision; ``tier`` 0 is taken freely, 2 only when asked for or when nothing else meets."""

    min_compute_capability: float
    tier: int
    source: str


class PlaceLine(Fact):
    """A running cost of a place that is there with or without requests: *count* of the priced *item*."""

    name: str
    item: str
    count: int


class PlaceFacts(Fact):
    """What a place costs besides its GPU hosts."""

    lines: tuple[PlaceLine, ...]
    source: str


class InstanceType(Fact):
    """One AWS GPU instance type; ``usd_per_hour`` is in the price table, not here."""

    id: str
    vcpu: int
    memory_mib: int
    gpu: str
    gpu_count: int
    gpu_partition: float
    local_nvme_gb: float
    network_gbps: float
    zone_ids: dict[str, tuple[str, ...]]  # by region, where they are known
    regions: tuple[str, ...]
    on_demand: bool
    k8s_allocatable_memory_mib: int | None
    quota_code: str
    quota_vcpus: int | None
    note: str


Purchase = Literal["on-demand", "spot"]


class Price(Fact):
    """A dated price of one thing in one region, bought as *purchase*."""

    item: str
    region: str
    purchase: Purchase
    usd_per_hour: Decimal
    dated: date
    source: str


class Rental(Fact):
    """One GPU that a provider rents by the hour; what of a machine comes with it is the provider's."""

    gpu: str
    provider: str
    usd_per_hour: Decimal
    dated: date
    source: str

    @property
    def id(self) -> str:
        return f"{self.gpu} at {self.provider}"


class CpuFacts(Fact):
    """What is known of the CPU build: its block size, and a step of reading the weights and a fixed cost."""

    block_size: Sourced
    smallest_kv_cache_gib: Sourced
    read_gb_per_s_per_core: Sourced
    read_share: Sourced
    step_s: Sourced
    prefill_tflops_per_core: Sourced
    local_cores: Sourced
    band_factor: Sourced
    max_num_seqs: Sourced
    max_num_batched_tokens: Sourced
    pod_request_millicores: Sourced
    pod_limit_millicores: Sourced


class BillFacts(Fact):
    """What a bill of materials adds to a home host's own file: the CPU's task, and how a power supply is chosen."""

    cores_base: Sourced
    cores_per_gpu: Sourced
    cpu_limit_w: Sourced
    board_w: Sourced
    psu_margin: Sourced
    psu_sizes_w: tuple[int, ...]
    circuit_w: tuple[int, int]
    desktop_cards: int
    why_desktop_cpu: str
    why_larger_cpu: str


class HomeHost(Fact):
    """A bare-metal host: what the bill of materials says, and what the engine gets."""

    id: str
    gpu: str
    gpu_count: int
    cpu: str
    vcpu: int
    memory_gib: int
    nvme_gb: int
    psu_w: int
    power_limit_w_per_gpu: int
    idle_w: int
    load_w: int
    hardware_usd: Decimal
    hardware_usd_dated: date
    depreciation_years: int
    electricity_usd_per_kwh: Decimal
    source: str


class Platform(Fact):
    """The machine around up to ``most_cards`` cards of a home host that no file describes."""

    most_cards: int
    cpu: str
    vcpu: int
    memory_gib: int
    nvme_gb: int
    idle_w: int
    load_w: int
    hardware_usd: Decimal
    hardware_usd_dated: date
    source: str


class HomeRule(Fact):
    """How a home host follows from its card and their number: the smallest platform that takes them."""

    counts: tuple[int, ...]
    card_idle_w: int
    power_share: Sourced
    depreciation_years: int
    electricity_usd_per_kwh: Decimal
    platforms: tuple[Platform, ...]


class CpuHost(Fact):
    """A machine without a GPU. ``cores`` are physical; on AWS its price is a row of prices.csv, at home it is here."""

    id: str
    place: Literal["home", "aws"]
    cpu: str
    cores: int
    vcpu: int
    memory_gib: int
    memory_gb_per_s: Sourced
    hardware_usd: Decimal = Decimal(0)
    hardware_usd_dated: date | None = None
    idle_w: int = 0
    load_w: int = 0
    note: str = ""
    source: str


def _nearest(asked: str, known: list[str]) -> str:
    match = difflib.get_close_matches(asked.lower(), [k.lower() for k in known], n=1, cutoff=0.3)
    nearest = next((k for k in known if match and k.lower() == match[0]), None)
    return f"; the nearest known is {nearest}" if nearest else ""


def _spelling(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


class Facts(Fact):
    """Every fact, immutable. Look-ups raise ``UnknownFact`` with the nearest name and the file to add."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    models: dict[str, Model]
    gpus: dict[str, Gpu]
    engines: dict[str, Engine]
    instances: dict[str, InstanceType]
    hosts: dict[str, HomeHost]
    home_rule: HomeRule
    cpu_hosts: dict[str, CpuHost]
    rentals: tuple[Rental, ...]
    places: dict[str, PlaceFacts]
    cpu: CpuFacts
    bill: BillFacts
    licences: dict[str, Licence]
    segments: dict[Segment, SegmentFacts]
    precisions: dict[Precision, PrecisionRule]
    prices: tuple[Price, ...]
    digest: str

    @cached_property
    def _model_names(self) -> dict[str, tuple[str, Repository | None]]:
        names: dict[str, tuple[str, Repository | None]] = {}
        for key, model in self.models.items():
            names[key.lower()] = (key, None)
            names.update({hub_id.lower(): (key, None) for hub_id in model.hub_ids})
            names.update({hub_id.lower(): (key, kind) for hub_id, kind in model.quantised.items()})
        return names

    @cached_property
    def _gpu_names(self) -> dict[str, str]:
        """Every spelling, with and without the card's memory behind it (`L40S 48GB`)."""
        names = [(name, gpu) for gpu in self.gpus.values() for name in (gpu.id, *gpu.aliases)]
        with_memory = {_spelling(f"{name} {gpu.spec_memory_gb:g}GB"): gpu.id for name, gpu in names}
        return with_memory | {_spelling(name): gpu.id for name, gpu in names}

    @cached_property
    def _newest_prices(self) -> dict[tuple[str, str, Purchase], Price]:
        by_date = sorted(self.prices, key=lambda price: price.dated)
        return {(price.item, price.region, price.purchase): price for price in by_date}

    def model(self, name: str) -> tuple[Model, Repository | None]:
        """The model called *name* (catalogue key or hub id, any case) and the precision its repository implies."""
        found = self._model_names.get(name.strip().lower())
        if not found:
            near = _nearest(name, list(self._model_names))
            raise UnknownFact(
                f"{echo(name)} is not in the model catalogue{near}. To add it, write sizing/data/models/<name>.toml.",
                kind="unknown-model",
            )
        return self.models[found[0]], found[1]

    def licence(self, model: Model) -> Licence:
        """The licence of *model*'s first repository."""
        if model.licence not in self.licences:
            near = _nearest(model.licence, list(self.licences))
            raise UnknownFact(
                f"the licence {model.licence!r} of {model.key} is not described{near}. "
                f"To add it, write sizing/data/licences/<id>.toml."
            )
        return self.licences[model.licence]

    def gpu(self, name: str) -> Gpu:
        """The GPU called *name*: its id or a usual spelling, any case."""
        found = self._gpu_names.get(_spelling(name.strip()))
        if not found:
            near = _nearest(name, [gpu.id for gpu in self.gpus.values()])
            raise UnknownFact(
                f"{echo(name)} is not among the known GPUs{near}. To add it, write sizing/data/gpus/<name>.toml.",
                kind="unknown-gpu",
            )
        return self.gpus[found]

    def host(self, name: str) -> HomeHost:
        """The home host called *name*."""
        if name not in self.hosts:
            near = _nearest(name, list(self.hosts))
            raise UnknownFact(
                f"{echo(name)} is not a known home host{near}. To add it, write sizing/data/hosts/<name>.toml."
            )
        return self.hosts[name]

    def price(self, item: str, region: str, purchase: Purchase = "on-demand") -> Price | None:
        """The newest price of *item* in *region*; None when the tables have none."""
        return self._newest_prices.get((item, region, purchase))


def _table(path: Path) -> dict[str, object]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


T = TypeVar("T", bound=Fact)


def _read(kind: type[T], folder: str) -> list[T]:
    """Every file of *folder* as *kind*. Raises ``BadRequest`` naming the files that are not, all of them."""
    found, problems = [], []
    for path in sorted((DATA / folder).glob("*.toml")):
        try:
            found.append(kind.model_validate(_table(path)))
        except (ValueError, OSError) as broken:  # a pydantic ValidationError is a ValueError, so is broken TOML
            problems.append(
                f"sizing/data/{folder}/{path.name} is not a {kind.__name__}: {' '.join(str(broken).split())}"
            )
    if problems:
        raise BadRequest(*problems)
    return found


def _by_name(items: Sequence[T], name: str, folder: str) -> dict[str, T]:
    """*items* by their field *name*. Raises ``BadRequest`` for two of one name."""
    found: dict[str, T] = {}
    for item in items:
        key = getattr(item, name)
        if key in found:
            raise BadRequest(f"two files of sizing/data/{folder} describe {key!r}; each thing has one file")
        found[key] = item
    return found


def _instance(row: dict[str, str]) -> InstanceType:
    return InstanceType(
        id=row["instance_type"],
        vcpu=int(row["vcpu"]),
        memory_mib=int(row["memory_mib"]),
        gpu=row["gpu"],
        gpu_count=int(row["gpu_count"]),
        gpu_partition=float(row["gpu_partition"]),
        local_nvme_gb=float(row["local_nvme_gb"] or 0),
        network_gbps=float(row["network_gbps"] or 0),
        zone_ids={"us-east-1": tuple(row["us_east_1_zone_ids"].split())},
        regions=tuple(row["regions"].split()),
        on_demand="on-demand" in row["usage_classes"],
        k8s_allocatable_memory_mib=int(row["k8s_allocatable_memory_mib"])
        if row["k8s_allocatable_memory_mib"]
        else None,
        quota_code=row["quota_code"],
        quota_vcpus=int(row["quota_vcpus"]) if row["quota_vcpus"] else None,
        note=row["note"],
    )


_PURCHASE: TypeAdapter[Purchase] = TypeAdapter(Purchase)


@lru_cache(maxsize=1)
def load_facts() -> Facts:
    """Read every data file of the kit. The digest changes when any fact does."""
    precisions = TypeAdapter(dict[Precision, PrecisionRule]).validate_python(_table(DATA / "precisions.toml"))
    with (DATA / "aws-instances.csv").open(newline="") as rows:
        instances = [_instance(row) for row in csv.DictReader(rows)]
    with (DATA / "prices.csv").open(newline="") as rows:
        prices = tuple(Price.model_validate(row) for row in csv.DictReader(rows))
    with (DATA / "rentals.csv").open(newline="") as rows:
        rentals = tuple(Rental.model_validate(row) for row in csv.DictReader(rows))
    digest = hashlib.sha256()
    for path in sorted(DATA.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(DATA).as_posix().encode() + b"\0" + path.read_bytes())
    return Facts(
        models=_by_name(_read(Model, "models"), "key", "models"),
        gpus=_by_name(_read(Gpu, "gpus"), "id", "gpus"),
        engines=_by_name(_read(Engine, "engines"), "id", "engines"),
        instances={instance.id: instance for instance in instances},
        hosts=_by_name(_read(HomeHost, "hosts"), "id", "hosts"),
        home_rule=HomeRule.model_validate(_table(DATA / "home-rule.toml")),
        cpu_hosts=_by_name(_read(CpuHost, "cpu-hosts"), "id", "cpu-hosts"),
        rentals=rentals,
        places={
            path.stem: PlaceFacts.model_validate(_table(path)) for path in sorted((DATA / "places").glob("*.toml"))
        },
        cpu=CpuFacts.model_validate(_table(DATA / "cpu.toml")),
        bill=BillFacts.model_validate(_table(DATA / "bill.toml")),
        licences=_by_name(_read(Licence, "licences"), "id", "licences"),
        segments=TypeAdapter(dict[Segment, SegmentFacts]).validate_python(_table(DATA / "gpu-segments.toml")),
        precisions=precisions,
        prices=prices,
        digest="sha256:" + digest.hexdigest(),
    )
