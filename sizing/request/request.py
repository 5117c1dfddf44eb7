"""
What may be asked: a model, a load, targets, a place and limits, as one frozen ``Request``.

``read_request`` turns ``deployments/<name>/request.toml`` into it, and the trace that it may name into the rows that a
plan keeps. Everything wrong with the file is reported at once, one sentence each (``BadRequest``); nothing here looks
at facts. docs/request.md says what each field means; a test holds it to this module.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from sizing.errors import BadRequest
from sizing.facts.fact import sentences
from sizing.facts.place import Purchase
from sizing.facts.precision import Precision
from sizing.request.trace import Trace, TraceRow, read_trace

Tokens = Annotated[int, Field(gt=0, le=10_000_000)]
DEFAULT_REGION = "us-east-1"
PlaceKind = Literal["aws-eks", "aws-ec2", "home", "local", "rented"]
EngineName = Literal["vllm", "sglang", "vllm-cpu"]
WIDEST_SPREAD = 5  # a standard deviation over the mean; wider than any published trace of lengths


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _row(text: object) -> TraceRow:
    gap, tokens_in, tokens_out = text if isinstance(text, TraceRow) else str(text).split()
    return TraceRow(None if gap in ("-", None) else float(gap), int(tokens_in), int(tokens_out))


def _row_text(row: TraceRow) -> str:
    return f"{'-' if row.gap_s is None else f'{row.gap_s:.15g}'} {row.input_tokens} {row.output_tokens}"


class Images(_Part):
    """``count`` images of the same size in pixels with every request."""

    count: Annotated[int, Field(gt=0, le=1000)] = 1
    width: Annotated[int, Field(gt=0, le=20_000)]
    height: Annotated[int, Field(gt=0, le=20_000)]

    @model_validator(mode="after")
    def _no_ribbon(self) -> Images:
        if max(self.width, self.height) > 200 * min(self.width, self.height):
            raise ValueError(f"an image of {self.width} x {self.height} is refused: no side may be 200 times the other")
        return self


class Load(_Part):
    """
    ``concurrency`` requests in flight (closed loop) or ``request_rate`` per second (Poisson): one of the two.

    ``input_tokens`` and ``output_tokens`` are means over requests of the text alone; what images, sound and reasoning
    add comes on top. ``rows`` is what ``read_request`` keeps of the file ``trace``, and written by nobody.
    """

    concurrency: Annotated[int, Field(gt=0, le=100_000)] | None = None
    request_rate: Annotated[float, Field(ge=0.001, le=100_000)] | None = None
    input_tokens: Tokens
    input_tokens_stddev: Annotated[float, Field(ge=0, le=10_000_000)] = 0.0
    output_tokens: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    output_tokens_stddev: Annotated[float, Field(ge=0, le=10_000_000)] = 0.0
    trace: str | None = None
    rows: tuple[Annotated[TraceRow, PlainValidator(_row), PlainSerializer(_row_text)], ...] = ()
    prefix_hit_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    thinking_tokens: Tokens | None = None
    images: Images | None = None
    audio_s: Annotated[float, Field(gt=0, le=36_000)] | None = None

    @model_validator(mode="after")
    def _one_load(self) -> Load:
        if (self.concurrency is None) == (self.request_rate is None):
            raise ValueError("give either concurrency or request_rate, not both and not neither")
        if bool(self.rows) != (self.trace is not None):
            raise ValueError("rows are what read_request keeps of the file trace: neither is given without the other")
        for name in ("input_tokens", "output_tokens"):
            mean, stddev = getattr(self, name), getattr(self, f"{name}_stddev")
            if stddev > WIDEST_SPREAD * mean:
                raise ValueError(
                    f"{name}_stddev is {stddev:g} but {name} is {mean}; it may be {WIDEST_SPREAD} times the mean; "
                    f"beyond that give a trace"
                )
        return self


class Targets(_Part):
    """Latency limits in ms on ``statistic`` over requests; an absent one is no limit."""

    ttft_ms: Annotated[float, Field(gt=0)] | None = None
    tpot_ms: Annotated[float, Field(gt=0)] | None = None
    statistic: Literal["mean", "p50", "p95", "p99"] = "mean"


class Place(_Part):
    """
    Where it runs. ``host`` names a home host (a file of sizing/data/hosts, or as ``home-4x-rtx-3090``); without it the
    cheapest that meets is named. ``purchase`` is how AWS sells the GPU hosts.
    """

    kind: PlaceKind
    region: str = DEFAULT_REGION
    host: str | None = None
    purchase: Purchase = "on-demand"


class Limits(_Part):
    """
    What the plan may choose from; everything absent is the kit's choice.

    ``spare_replicas`` may fail, and ``spare_share`` of the capacity stays free, while the targets are still met.
    """

    gpus: tuple[str, ...] | None = Field(default=None, strict=False)
    usd_per_hour: Annotated[float, Field(gt=0)] | None = None
    precision: Precision | None = None
    kv_cache_dtype: Literal["auto", "fp8"] | None = None
    engine: EngineName | None = None
    engine_version: str | None = None
    max_model_len: Tokens | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    min_replicas: Annotated[int, Field(gt=0, le=256)] = 1
    spare_replicas: Annotated[int, Field(ge=0, le=64)] = 0
    spare_share: Annotated[float, Field(ge=0, le=0.9)] = 0.0


class Adapter(_Part):
    """A LoRA adapter that clients ask for by ``name``: a hub id or a path inside the container, and its rank."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$")]
    source: Annotated[str, Field(pattern=r"^[A-Za-z0-9/][A-Za-z0-9._/-]{0,299}$")]
    rank: Annotated[int, Field(gt=0, le=512)]

    @property
    def in_container(self) -> bool:
        """Whether ``source`` is a path: then nothing is fetched."""
        return self.source.startswith("/")


class Serving(_Part):
    """
    How the model answers: served name, thinking by default (where the model can switch), tool calls, LoRA adapters
    beside it, how many tokens its MTP head drafts a step, and whether a multimodal model leaves its towers out.
    """

    name: str | None = None
    thinking: bool | None = None
    tools: bool = True
    adapters: Annotated[tuple[Adapter, ...], Field(strict=False, max_length=64)] = ()
    speculative_tokens: Annotated[int, Field(ge=0, le=16)] = 0
    text_only: bool = False

    @model_validator(mode="after")
    def _own_names(self) -> Serving:
        names = [adapter.name for adapter in self.adapters]
        twice = sorted({name for name in names if names.count(name) > 1 or name == self.name})
        if twice:
            raise ValueError(f"two things are served as {', '.join(twice)}; give each adapter a name of its own")
        return self


class Request(_Part):
    """One deployment, as asked."""

    model: str
    load: Load
    targets: Targets = Targets()
    place: Place
    limits: Limits = Limits()
    serving: Serving = Serving()

    @model_validator(mode="after")
    def _consistent(self) -> Request:
        kind = self.place.kind
        if kind != "home" and self.place.host is not None:
            raise ValueError(f'place.host belongs to place.kind "home"; place.kind is "{kind}"')
        if not kind.startswith("aws") and self.place.region != DEFAULT_REGION:
            raise ValueError(f'place.region belongs to AWS; place.kind is "{kind}"')
        if not kind.startswith("aws") and self.place.purchase != "on-demand":
            raise ValueError(f'place.purchase belongs to AWS; place.kind is "{kind}"')
        if kind == "local" and self.limits.engine not in (None, "vllm-cpu"):
            raise ValueError('the place "local" has no GPU: leave limits.engine out, or set it to "vllm-cpu"')
        if kind == "rented" and self.limits.engine == "vllm-cpu":
            raise ValueError('the place "rented" is a GPU; "vllm-cpu" runs at the places local, home, aws-eks, aws-ec2')
        return self

    @property
    def engine(self) -> EngineName:
        """The engine that was asked, or the place's own."""
        return self.limits.engine or ("vllm-cpu" if self.place.kind == "local" else "vllm")


def read_request(path: Path) -> Request:
    """The request in *path*. Raises ``BadRequest`` with every problem of the file, or the line TOML breaks at."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadRequest(f"{path} does not exist; a deployment is a folder with a request.toml") from None
    except OSError as failed:
        raise BadRequest(f"{path} cannot be read: {failed.strerror}") from None
    except (ValueError, RecursionError) as broken:  # not TOML, not UTF-8, a number of thousands of digits
        raise BadRequest(f"{path} is not valid TOML: {broken}") from None
    problems: list[str] = []
    load = table.get("load")
    if isinstance(load, dict) and isinstance(load.get("trace"), str):
        try:
            table["load"] = _traced(load, read_trace(path.parent / load["trace"]))
        except BadRequest as bad:
            problems += bad.problems
            table["load"] = {"concurrency": 1, "input_tokens": 1}  # the rest of the file is checked all the same
    try:
        request = Request.model_validate(table)
    except ValidationError as error:
        raise BadRequest(*problems, *sentences(error, Request, f"{path}: ")) from None
    if problems:
        raise BadRequest(*problems)
    return request


def _traced(load: dict[str, object], trace: Trace) -> dict[str, object]:
    """*load* with the trace's rows, their mean lengths and, where nothing else is asked, the trace's own rate."""
    whole = ("input_tokens", "output_tokens", "thinking_tokens", "images", "audio_s", "rows")
    given = [name for name in load if name.removesuffix("_stddev") in whole]
    problems = [f"load.{name} is given, but load.trace says how long requests are; leave it out" for name in given]
    rate = trace.requests_per_s
    timed = load.get("concurrency") is not None or load.get("request_rate") is not None
    if not timed and rate is None:
        problems.append("load.trace has no arrivals at different times; give load.concurrency or load.request_rate")
    if problems:
        raise BadRequest(*problems)
    return {
        **load,
        **({} if timed else {"request_rate": round(rate or 0.0, 6)}),
        "input_tokens": max(1, round(sum(row.input_tokens for row in trace.rows) / len(trace.rows))),
        "output_tokens": max(1, round(sum(row.output_tokens for row in trace.rows) / len(trace.rows))),
        "rows": trace.rows,
    }
