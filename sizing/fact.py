"""What every fact is: a frozen, checked record; and the words that facts of several kinds share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

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
