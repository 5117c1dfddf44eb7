"""The parts of a plan that GPU and CPU plans have alike: what is served, the finished engine, start and drain."""

from __future__ import annotations

from sizing.engine.arguments import PORT, engine_args
from sizing.engine.settings import Settings
from sizing.engine.support import thinking_default
from sizing.facts.precision import Precision
from sizing.hosts.room import drain_s, image_pull_s, max_in_flight, requests_per_replica, weight_load_s
from sizing.plan.plan import EngineSettings, Estimates, ModelChoice, Serve
from sizing.search.question import Question


def model_choice(asked: Question, repository: str, precision: Precision, weight_bytes: int) -> ModelChoice:
    """What is served, by the name the request gives it."""
    return ModelChoice(
        key=asked.model.key,
        repository=repository,
        precision=precision,
        served_name=asked.request.serving.name or asked.model.key,
        licence=asked.model.licence,
        weight_bytes_on_disk=weight_bytes,
    )


def engine_settings(
    asked: Question,
    choice: ModelChoice,
    settings: Settings,
    *,
    nvlink: bool = True,
    block_size: int,
    min_driver_branch: int,
    env: dict[str, str],
) -> EngineSettings:
    """The engine with its argument list."""
    engine, release = asked.engine, asked.release
    kept = {name: value for name, value in settings.all().items() if name in EngineSettings.model_fields}
    return EngineSettings(
        name=engine.id,
        version=release.version,
        image=release.image,
        digest=release.digest,
        min_driver_branch=min_driver_branch,
        args=engine_args(
            engine,
            asked.model,
            choice.served_name,
            choice.precision,
            settings,
            asked.request.serving,
            nvlink=nvlink,
        ),
        env=env,
        port=PORT,
        **{**kept, "block_size": block_size},
    )


def serve(asked: Question, estimates: Estimates, weight_bytes: int, max_num_seqs: int, replicas: int) -> Serve:
    """Start, queue, drain and parsers, for the chart and the host."""
    load, spare = asked.request.load, asked.request.limits.spare_replicas
    model, engine, serving = asked.model, asked.engine, asked.request.serving
    support = model.supported_by(engine.server)
    tpot_s = estimates.tpot_s.mean if estimates.tpot_s else 0.0
    stream_s = estimates.ttft_s.mean + load.output_tokens * tpot_s
    in_flight = load.concurrency or estimates.requests_per_s.mean * stream_s  # Little's law
    held = requests_per_replica(in_flight, replicas - spare)
    load_s = weight_load_s(engine, weight_bytes)
    return Serve(
        api=model.api,
        image_pull_s=image_pull_s(engine),
        # They are also read, and a cold disk may be as slow as the line that brought them.
        startup_budget_s=engine.start_s + load_s,
        max_in_flight=max_in_flight(max_num_seqs, held),
        requests_per_replica=held,
        drain_s=drain_s(stream_s),
        weight_load_s=load_s,
        thinking_default=thinking_default(model, serving),
        tool_parser=support.tool_parser if serving.tools else "",
        reasoning_parser=support.reasoning_parser,
    )
