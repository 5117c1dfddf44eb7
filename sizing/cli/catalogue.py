"""Commands about what the kit knows."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from sizing.cli.shared import AsJson, Match, deployments, plan_of, print_matching
from sizing.errors import BadRequest

commands = typer.Typer()


@commands.command()
def models(match: Match = "", as_json: AsJson = False) -> None:
    """The model catalogue."""
    from sizing.facts.catalogue import load_facts
    from sizing.views.catalogue import model_rows

    print_matching(model_rows(load_facts()), match, as_json)


@commands.command()
def gpus(match: Match = "", as_json: AsJson = False) -> None:
    """The GPUs the kit knows, and the AWS instance types that carry them."""
    from sizing.facts.catalogue import load_facts
    from sizing.views.catalogue import gpu_rows

    print_matching(gpu_rows(load_facts()), match, as_json)


@commands.command()
def hosts(match: Match = "", as_json: AsJson = False) -> None:
    """AWS instance types and home hosts, with prices."""
    from sizing.facts.catalogue import load_facts
    from sizing.views.catalogue import host_rows

    print_matching(host_rows(load_facts()), match, as_json)


@commands.command()
def errata(match: Match = "", as_json: AsJson = False) -> None:
    """What the notes this kit started from got wrong, with the correction and its source."""
    from sizing.facts.errata import load_errata

    print_matching([erratum.model_dump(exclude={"touches"}) for erratum in load_errata()], match, as_json)


@commands.command()
def licences(match: Match = "", as_json: AsJson = False) -> None:
    """May I sell with it? Every licence of the catalogue: the verdict, why, and the models under it."""
    from sizing.facts.catalogue import load_facts
    from sizing.facts.licences import licence_rows

    print_matching(licence_rows(load_facts()), match, as_json)


@commands.command()
def bom(
    name: Annotated[
        str, typer.Argument(help="A home host (home-2x-rtx-4090, home-4x-rtx-3090...), or a deployment at home.")
    ],
    usd_per_kwh: Annotated[float | None, typer.Option(help="Price of electricity instead of the host file's.")] = None,
    as_json: AsJson = False,
) -> None:
    """The bill of materials of a home host: parts and why, power supply, watts, heat, electricity a month."""
    from dataclasses import asdict

    from sizing.facts.catalogue import load_facts
    from sizing.hosts.bill import bill_of_materials, electricity_price, without_cards
    from sizing.hosts.home import home_host

    facts, price, disk = load_facts(), electricity_price(usd_per_kwh), None
    if name in facts.cpu_hosts:
        raise BadRequest(without_cards(facts.cpu_hosts[name]))
    if name not in facts.hosts and (name in deployments() or os.sep in name):
        _, planned = plan_of(name, None)
        if planned.placement.kind != "home" or planned.placement.gpu is None:
            raise BadRequest(
                f"{name} is placed on {planned.placement.host_type} ({planned.placement.kind}); only a home host with "
                f"GPUs has a bill of materials"
            )
        name, disk = planned.placement.host_type, planned.placement.disk_gib
    bill = bill_of_materials(home_host(facts, name), facts, price, disk)
    if as_json:
        print(json.dumps(asdict(bill), indent=2, default=str, ensure_ascii=False))
        return
    from sizing.views.bill import bill_view
    from sizing.views.tables import console

    console().print(bill_view(bill))
