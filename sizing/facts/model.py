"""A model: its shape, sizes, contexts, towers, repositories, and which engines serve it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sizing.facts.fact import Api, Fact
from sizing.facts.precision import Precision, Repository


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

    ``unquantised``: parts (as sizing/engine/tensors.py names them) that stay in 16 bits; ``padded_intermediate_size``:
    the feed-forward width stored, where it was padded to whole groups.
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


class Sampling(Fact):
    """How the next token is drawn unless a request says otherwise."""

    temperature: float
    top_p: float
    top_k: int
    presence_penalty: float = 0.0


class ModeSampling(Fact):
    """
    What the model card recommends in each mode of a model that can switch.

    Models with one mode need none: the ``generation_config.json`` of their repository is for it.
    """

    thinking: Sampling
    non_thinking: Sampling
    source: str


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
    thinks_unasked: bool = True  # a hybrid, where neither deployment nor request says so: its chat template decides
    source: str
    notes: str = ""
    quantised: dict[str, Repository] = Field(default_factory=dict)
    sampling: ModeSampling | None = None
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

    def thinks(self, asked: bool | None) -> bool:
        """Whether answers begin with reasoning: as *asked* of a hybrid, else as its chat template does by itself."""
        if self.thinking != "hybrid":
            return self.thinking == "always"
        return self.thinks_unasked if asked is None else asked

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
