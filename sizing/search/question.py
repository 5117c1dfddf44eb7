"""
What a request asks, with every name looked up: ``question(request, facts)``.

Everything that names no fact is reported at once. What the request leaves open (precision, hardware, settings) stays
open; only the context length is decided here, since memory and candidates need it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

from sizing.engine.arguments import served_with
from sizing.engine.settings import Settings
from sizing.engine.support import served_by, thinking_default, yarn_override
from sizing.errors import BadRequest, KitError, UnknownFact, Unsupported
from sizing.facts.catalogue import Facts
from sizing.facts.engine import Engine, EngineVersion, SearchedSettings
from sizing.facts.model import Model
from sizing.facts.precision import Repository
from sizing.hosts.home import home_host
from sizing.request.demand import longest_request, whole
from sizing.request.request import Limits, Request
from sizing.search.share import Share

T = TypeVar("T")

ROOM = 2  # max_model_len over the mean request, where the request does not limit it
SHORTEST_MAX_MODEL_LEN = 8192


@dataclass(frozen=True)
class Question:
    """
    A request and the facts it names.

    ``asked`` is what was written, with the precision that the repository implies; in ``request`` its load is whole:
    images, sound and reasoning are among the tokens.
    """

    asked: Request
    request: Request
    facts: Facts
    model: Model
    engine: Engine
    release: EngineVersion
    max_model_len: int

    @cached_property
    def share(self) -> Share:
        """The whole load, as one replica would get it."""
        return Share(self.request.load.concurrency, self.request.load.request_rate)

    @cached_property
    def settings(self) -> Settings:
        """What the request fixes of the engine's settings; the search chooses the rest."""
        own = Settings(max_model_len=self.max_model_len)
        return served_with(own, self.request.serving, self.engine.server)

    @property
    def searched(self) -> SearchedSettings:
        """What a plan may choose of the engine. Raises ``BadRequest`` for an engine without a GPU."""
        if self.engine.searched is None:
            raise BadRequest(f"{self.engine.id} serves no GPU; choose vllm or sglang")
        return self.engine.searched


def question(request: Request, facts: Facts, model: Model | None = None) -> Question:
    """
    *request* with its names looked up. *model* replaces the catalogue's (weights in a folder of one's own).

    Raises:
        BadRequest: contradictions with the model.
        UnknownFact: names without facts, all of them.
        Unsupported: that release of the engine does not serve the model so.
    """
    model, asked = _known(request, facts, model)
    request = whole(asked, model)
    engine = facts.engines[request.engine]
    release = engine.version(request.limits.engine_version)
    served_by(model, engine.server, release.version)
    thinking_default(model, request.serving)
    if not request.serving.name and model.key in (adapter.name for adapter in request.serving.adapters):
        raise BadRequest(
            f"two things are served as {model.key}; give the adapter another name, or the model one in serving.name"
        )
    _served_so(request, model, engine)
    length = context_length(request, model)
    yarn_override(model, length)
    return Question(asked, request, facts, model, engine, release, length)


def _served_so(request: Request, model: Model, engine: Engine) -> None:
    """Raises ``Unsupported`` where *engine* does not do with the model what the request wants of it."""
    problems = []
    if not model.generates and model.modality not in engine.fixed.pooling:
        problems.append(
            f"{engine.id} serves {model.name} ({model.modality}) only with files that its repository does not have "
            f"({engine.fixed.pooling_source}); set limits.engine to vllm"
        )
    if request.serving.adapters and not model.supported_by(engine.server).lora:
        problems.append(f"{engine.id} loads no LoRA adapters on {model.name}; merge the adapter into the weights")
    if request.serving.text_only and engine.searched and not engine.fixed.text_only:
        problems.append(
            f"{engine.id} loads the towers of {model.name} whether they are used or not; leave serving.text_only "
            f"out or set limits.engine to vllm"
        )
    if problems:
        raise Unsupported(*problems)


def _known(request: Request, facts: Facts, model: Model | None) -> tuple[Model, Request]:
    """The model and the request with its implied precision; every name without facts is reported at once."""
    problems: list[str] = []

    def look_up(look: Callable[[], T]) -> T | None:
        try:
            return look()
        except KitError as refusal:
            problems.extend(refusal.problems)
            return None

    found = look_up(lambda: facts.model(request.model)) if model is None else (model, None)
    for gpu in request.limits.gpus or ():
        look_up(partial(facts.gpu, gpu))
    named = request.place.host
    if named is not None and request.engine != "vllm-cpu":
        look_up(lambda: home_host(facts, named))
    look_up(lambda: facts.engines[request.engine].version(request.limits.engine_version))
    precise = look_up(lambda: with_precision(request, found[1])) if found else None
    if problems or found is None or precise is None:
        raise UnknownFact(*problems)
    return found[0], precise


def with_precision(request: Request, implied: Repository | None) -> Request:
    """The request with the precision that its repository implies. Raises ``BadRequest`` if the two disagree."""
    if implied is None:
        return request
    asked = request.limits.precision
    if implied == "gguf":
        raise BadRequest(
            f"{request.model} holds GGUF files, which neither vLLM nor SGLang serves well; name the plain model"
        )
    if asked not in (None, implied):
        raise BadRequest(f"{request.model} is {implied} but limits.precision asks for {asked}; leave one of them out")
    return request.model_copy(
        update={"limits": Limits.model_validate({**request.limits.model_dump(), "precision": implied})}
    )


def context_length(request: Request, model: Model) -> int:
    """
    ``max_model_len``: as limited, else room for the longest request that is played and for twice the mean one, at least
    8192, at most the native length.
    """
    if request.limits.max_model_len:
        return request.limits.max_model_len
    tokens = request.load.input_tokens + request.load.output_tokens
    native = model.context.native_tokens
    roomy = math.ceil(max(ROOM * tokens, longest_request(request.load)) / 1024) * 1024
    return max(min(max(SHORTEST_MAX_MODEL_LEN, roomy), native), tokens)
