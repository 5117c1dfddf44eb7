"""The command for those who do not know what to deploy."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from sizing.cli.shared import AsJson
from sizing.errors import BadRequest

commands = typer.Typer()


@commands.command()
def recommend(
    context: typer.Context,
    need: Annotated[
        list[str] | None, typer.Option(help="text, code, math, vision, audio, long-context, agents.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="A GPU you own.")] = None,
    count: Annotated[int, typer.Option(help="How many of them, in one host.")] = 1,
    ram_gib: Annotated[int, typer.Option(help="Memory of that host.")] = 64,
    host: Annotated[str | None, typer.Option(help="A home host to buy: home-2x-rtx-4090, home-1x-rtx-3090...")] = None,
    usd_per_hour: Annotated[str | None, typer.Option(help="A budget: the cloud, or a home host by the hour.")] = None,
    usd_per_month: Annotated[str | None, typer.Option(help="The same budget by the month.")] = None,
    region: Annotated[str, typer.Option(help="AWS region of a budget.")] = "us-east-1",
    cpu_only: Annotated[bool, typer.Option("--cpu-only", help="No GPU at all.")] = False,
    commercial: Annotated[bool, typer.Option("--commercial/--non-commercial", help="Will you sell with it?")] = True,
    concurrency: Annotated[int | None, typer.Option(help="Requests at the same time.")] = None,
    input_tokens: Annotated[int | None, typer.Option(help="Of a request.")] = None,
    output_tokens: Annotated[int | None, typer.Option(help="Of an answer.")] = None,
    ttft_ms: Annotated[float | None, typer.Option(help="Mean time to the first token, at most.")] = None,
    tpot_ms: Annotated[float | None, typer.Option(help="Mean time per token after it, at most.")] = None,
    answers: Annotated[int | None, typer.Option(help="How many models.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also why not the others, and errors of the notes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Which Qwen, on which hardware, may I sell with it, what do I give up. Without flags: asks three questions."""
    from sizing.advice.recommend import recommend as recommended
    from sizing.advice.wish import Hardware, Wish
    from sizing.cli.dialogue import ask_wish, budget
    from sizing.facts.catalogue import load_facts

    facts = load_facts()
    if all(getattr(context.get_parameter_source(name), "name", "") == "DEFAULT" for name in context.params):
        if not sys.stdin.isatty():
            raise BadRequest("give flags (`qwenkit recommend --help`), or a terminal in which questions can be asked")
        wish = ask_wish(lambda question, default: str(typer.prompt(question, default=default)), print, facts)
    else:
        own = Hardware(gpu, count, ram_gib, host, budget(usd_per_hour, usd_per_month), region, cpu_only)
        load = (concurrency, input_tokens, output_tokens, ttft_ms, tpot_ms)
        wish = Wish(tuple(need or ()), own, commercial, *load, answers)
    advice = recommended(wish, facts)
    from sizing.views.advice import advice_data, advice_view

    if as_json:
        print(json.dumps(advice_data(advice), indent=2, ensure_ascii=False))
        return
    from sizing.views.tables import console

    console().print(advice_view(advice, explain))
