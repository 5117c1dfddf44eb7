"""
What may be asked: a model, a load, targets, a place and limits, as one frozen ``Request``.

``read_request`` turns ``deployments/<name>/request.toml`` into it. Everything wrong with the file is reported at once,
one sentence each (``BadRequest``); nothing here looks at facts.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sizing.errors import BadRequest, echo
from sizing.facts import Precision, Purchase

Tokens = Annotated[int, Field(gt=0, le=10_000_000)]
DEFAULT_REGION = "us-east-1"
PlaceKind = Literal["aws-eks", "aws-ec2", "home", "local", "rented"]
EngineName = Literal["vllm", "sglang", "vllm-cpu"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Load(_Part):
    """``concurrency`` requests in flight (closed loop) or ``request_rate`` per second (Poisson): one of the two."""

    concurrency: Annotated[int, Field(gt=0, le=100_000)] | None = None
    request_rate: Annotated[float, Field(ge=0.001, le=100_000)] | None = None
    input_tokens: Tokens
    output_tokens: Tokens
    prefix_hit_rate: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _one_load(self) -> Load:
        if (self.concurrency is None) == (self.request_rate is None):
            raise ValueError("give either concurrency or request_rate, not both and not neither")
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


class Serving(_Part):
    """How the model answers: served name, thinking by default (where the model can switch), tool calls."""

    name: str | None = None
    thinking: bool | None = None
    tools: bool = True


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
        length = self.load.input_tokens + self.load.output_tokens
        limit = self.limits.max_model_len
        if limit is not None and limit < length:
            raise ValueError(
                f"limits.max_model_len is {limit} but load asks for {self.load.input_tokens} + "
                f"{self.load.output_tokens} = {length} tokens a request; raise max_model_len to at least {length}"
            )
        kind = self.place.kind
        if kind != "home" and self.place.host is not None:
            raise ValueError(f'place.host belongs to place.kind "home"; place.kind is "{kind}"')
        if not kind.startswith("aws") and self.place.region != DEFAULT_REGION:
            raise ValueError(f'place.region belongs to AWS; place.kind is "{kind}"')
        if not kind.startswith("aws") and self.place.purchase != "on-demand":
            raise ValueError(f'place.purchase belongs to AWS; place.kind is "{kind}"')
        if kind == "local" and self.limits.engine != "vllm-cpu":
            raise ValueError('the place "local" has no GPU: set limits.engine to "vllm-cpu"')
        if kind == "rented" and self.limits.engine == "vllm-cpu":
            raise ValueError('the place "rented" is a GPU; "vllm-cpu" runs at the places local, home, aws-eks, aws-ec2')
        return self


def sentences(error: ValidationError, prefix: str = "") -> list[str]:
    """Each problem pydantic found as one sentence that starts with the dotted name of the field."""
    found = []
    for problem in error.errors():
        field = ".".join(str(part)[:60] for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        asked = problem.get("input")
        shown = (
            f" (it is {echo(asked)})" if field and not isinstance(asked, dict) and problem["type"] != "missing" else ""
        )
        found.append(f"{prefix}{field + ': ' if field else ''}{message}{shown}")
    return found


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
    try:
        return Request.model_validate(table)
    except ValidationError as error:
        raise BadRequest(*sentences(error, prefix=f"{path}: ")) from None
