"""
How long one engine step takes: what it reads, what it computes, what it costs besides.

A step carries ``decode_sequences`` one-token rows and ``prefill_tokens`` prompt tokens through every layer:

    matrices     weights read once / (bandwidth x share)  with  2 x weights x rows / (tensor rate x share)
    experts      the same, over the experts that the rows touch: 1 - (1 - k/E)^rows of them
    attention    keys and values of every decoded sequence read once; 4 x heads x head_dim x pairs FLOP for prompts
    state        Gated-DeltaNet state read and written once per decoded sequence
    all-reduce   two per layer under tensor parallelism: latency + 2 (tp-1)/tp x hidden bytes / link
    fixed        per layer on the GPU; per step and per sequence in the engine: scheduling, sampling
    launches     without a captured graph the CPU starts every kernel: the step takes at least that long

Where reading and computing overlap they are joined as (a^3 + b^3)^(1/3): between the larger and the sum, as GEMMs
measured at 64..512 rows on an H200 lie (data/measurements/h200-roofline.jsonl). Shares and fixed costs are fitted
constants (``sizing.facts.calibration``); everything else is facts.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizing.engine.setup import Setup
from sizing.facts.calibration import Calibration, Constants, calibration
from sizing.facts.gpu import Gpu
from sizing.facts.precision import Arithmetic, precisions

_TERA = 1e12
_GIGA = 1e9


def arithmetic(kernel: Arithmetic, gpu: Gpu) -> Arithmetic:
    """What the tensor cores really do: FP8 or FP4 weights on a card without such units are unpacked to 16 bit."""
    if kernel == "fp8" and not gpu.fp8_hardware:
        return "weight_only"
    if kernel == "fp4" and not gpu.fp4_dense_tflops:
        return "weight_only"
    if kernel == "int8" and not gpu.int8_dense_tops:
        return "weight_only"
    return kernel


def tensor_flops(kind: Arithmetic, gpu: Gpu) -> float:
    """FLOP/s that the datasheet gives for *kind* with 32-bit accumulation, no sparsity."""
    tflops = {
        "fp8": gpu.fp8_dense_tflops,
        "int8": gpu.int8_dense_tops,
        "fp4": gpu.fp4_dense_tflops,
    }.get(kind)
    return (tflops or gpu.bf16_dense_tflops) * _TERA


def _overlap(read_s: float, compute_s: float) -> float:
    """Reading and computing at once: never less than the longer, a little more where both are long."""
    return float((read_s**3 + compute_s**3) ** (1 / 3))


@dataclass(frozen=True, slots=True)
class StepModel:
    """Coefficients of one replica's step, in seconds per what their names say. Built by ``of``."""

    constants: Constants
    stages: int
    rows_per_sequence: int  # 1, and one for every drafted token that is verified with it
    tokens_per_step: float  # tokens that a sequence gains in a decode step, drafts that are accepted included
    matrix_read_s: float
    matrix_token_s: float
    head_read_s: float
    head_row_s: float
    expert_read_s: float  # all experts of every layer
    expert_token_s: float
    expert_miss: float  # share of experts that one row leaves untouched
    expert_floor: float  # share that is read whatever is touched
    expert_spread: float  # below 1: rows choose the same experts more often than by chance
    kv_token_s: float
    state_sequence_s: float
    pair_s: float  # one query attending one key, all layers
    reduce_step_s: float
    reduce_token_s: float
    step_fixed_s: float  # on the GPU
    engine_step_s: float  # on the CPU, between steps
    engine_prefill_s: float
    launch_s: float  # on the CPU, all kernels one by one, while the GPU works
    eager: bool  # decode steps are launched kernel by kernel too
    tower_flops: float  # of the towers of images and sound
    graph_rows: float  # up to so many rows with a prompt among them, one launch replays a captured graph
    sequence_s: float

    @classmethod
    def of(cls, setup: Setup, known: Calibration | None = None) -> StepModel:
        """The step model of *setup*; *known* replaces the kit's calibration while fitting."""
        known = known or calibration()
        constants = known.constants(setup.engine, setup.engine_version, setup.gpu)
        model, gpu, tp = setup.model, setup.gpu, setup.tp
        shape = model.shape
        kernel = precisions()[setup.precision].kernel
        kind = arithmetic(kernel.arithmetic, gpu)
        packed = kind == "weight_only"
        bandwidth = gpu.mem_bandwidth_gb_s * _GIGA * constants["memory"]
        weight_bandwidth = bandwidth * (constants["memory_packed"] if packed else 1.0)
        flops = tensor_flops(kind, gpu) * constants[f"gemm_{kind}"]
        bf16_flops = gpu.bf16_dense_tflops * _TERA
        weight_bytes = kernel.bits_per_weight / 8

        layers = shape.layers
        experts = model.experts
        expert_weights = experts_per_token = 0.0
        if experts:
            expert_weights = layers * experts.count * 3.0 * shape.hidden_size * experts.intermediate_size
            experts_per_token = expert_weights * experts.per_token / experts.count
        matrix_weights = max(model.params.quantisable_linear - expert_weights, 0.0)
        head_weights = float(shape.vocab_size * shape.hidden_size)
        draft = 0.0
        if setup.speculative_tokens:  # every draft token is one more layer and one more read of the head
            draft = setup.speculative_tokens / layers
        expert_bandwidth = weight_bandwidth * constants["expert_memory"]
        expert_flops = flops * constants["expert_gemm"]

        kv_heads = max(1.0, shape.kv_heads / tp)
        kv_bytes = 2 * kv_heads * shape.head_dim * (1 if setup.kv_cache_dtype == "fp8" else 2)
        kv_bytes = shape.full_attention_layers * kv_bytes + shape.extra_kv_bytes_per_token
        linear = model.linear_attention
        state_bytes = 2.0 * linear.state_bytes_per_sequence / tp if linear else 0.0

        reduces = 2 * layers if tp > 1 else 0
        link = gpu.nvlink_gb_s_total / 2 if constants.link == "nvlink" else gpu.pcie_gb_s_one_direction
        reduce_bytes = 2 * (tp - 1) / tp * shape.hidden_size * 2

        linear_layers = shape.linear_attention_layers
        fixed = layers * constants["layer_s"] + linear_layers * constants["linear_layer_s"]
        if kind in ("fp8", "int8", "fp4"):  # activations are brought to the weights' format first
            fixed += layers * constants["quantised_layer_s"]
        elif packed:
            fixed += layers * constants["packed_layer_s"]
        if experts:
            fixed += layers * constants["expert_layer_s"]
            if setup.expert_parallel:
                fixed += layers * constants["expert_parallel_layer_s"]
        launch = layers * constants["eager_layer_s"] + linear_layers * constants["eager_linear_layer_s"]
        return cls(
            constants=constants,
            stages=setup.pp,
            rows_per_sequence=1 + setup.speculative_tokens,
            tokens_per_step=sum(constants["draft_accepted"] ** i for i in range(setup.speculative_tokens + 1)),
            matrix_read_s=(1 + draft) * matrix_weights * weight_bytes / tp / weight_bandwidth,
            matrix_token_s=2 * matrix_weights / tp / flops,
            head_read_s=(1 + setup.speculative_tokens) * head_weights * 2 / tp / bandwidth,
            head_row_s=2 * head_weights / tp / (bf16_flops * constants["gemm_bf16"]),
            expert_read_s=(1 + draft) * expert_weights * weight_bytes / tp / expert_bandwidth,
            expert_token_s=2 * experts_per_token / tp / expert_flops,
            expert_miss=1 - experts.per_token / experts.count if experts else 1.0,
            expert_floor=min(1.0, constants["expert_floor"] if kind != "bf16" else 0.0),
            expert_spread=constants["expert_spread"],
            kv_token_s=kv_bytes / (gpu.mem_bandwidth_gb_s * _GIGA * constants["kv"]),
            state_sequence_s=state_bytes / bandwidth,
            pair_s=4
            * shape.full_attention_layers
            * shape.attention_heads
            / tp
            * shape.head_dim
            / (bf16_flops * constants["attention"]),
            reduce_step_s=reduces
            * constants["reduce_s"]
            * constants["link_latency"]
            * (tp - 1) ** constants["reduce_growth"],
            reduce_token_s=reduces * reduce_bytes / (link * _GIGA * constants["link"]),
            step_fixed_s=fixed * constants["kernel_latency"],
            engine_step_s=constants["step_s"] + (setup.pp - 1) * constants["stage_s"],
            engine_prefill_s=constants["prefill_step_s"],
            launch_s=launch,
            eager=setup.enforce_eager,
            tower_flops=tp * bf16_flops * constants["gemm_bf16"],
            graph_rows=0.0 if setup.enforce_eager else constants["graph_rows"],
            sequence_s=constants["sequence_s"] + (constants["draft_sequence_s"] if setup.speculative_tokens else 0.0),
        )

    def tower_s(self, flop: float) -> float:
        """Seconds in the towers for *flop* operations, spread over the ranks; bf16 as the towers always are."""
        return flop / self.tower_flops

    def step_s(
        self,
        decode_sequences: float,
        decode_context_tokens: float,
        prefill_tokens: float,
        prefill_context_tokens: float,
    ) -> float:
        """
        Seconds of one engine step.

        Args:
            decode_sequences: sequences that get one token each.
            decode_context_tokens: keys they attend, summed over them. The step is affine in it.
            prefill_tokens: prompt tokens computed, over all prompts of the step.
            prefill_context_tokens: keys that an average prompt token attends.

        With pipeline stages the sequences run as that many groups, one behind the other.
        """
        decode_sequences /= self.stages
        decode_context_tokens /= self.stages
        decode_rows = decode_sequences * self.rows_per_sequence
        rows = decode_rows + prefill_tokens
        seconds = (
            self.step_fixed_s
            + _overlap(self.matrix_read_s, self.matrix_token_s * rows)
            + _overlap(self.head_read_s, self.head_row_s * (decode_rows + 1))
            + self.kv_token_s * decode_context_tokens
            + self.state_sequence_s * decode_sequences
            + self.reduce_step_s
            + self.reduce_token_s * rows
        )
        if self.expert_read_s:
            touched = 1 - (1 - self.expert_floor) * self.expert_miss ** (rows * self.expert_spread)
            seconds += _overlap(self.expert_read_s * touched, self.expert_token_s * rows)
        engine_s = self.engine_step_s + self.sequence_s * decode_sequences
        if prefill_tokens:
            seconds += self.pair_s * prefill_tokens * prefill_context_tokens
            engine_s += self.engine_prefill_s
        if rows > self.graph_rows and (prefill_tokens or self.eager):
            seconds = _overlap(seconds, self.launch_s)
        return seconds + engine_s
