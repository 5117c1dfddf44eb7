"""Step 2: the literal ``pulumi up``, twice, against the stand-in for AWS."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from lab.demo.screen import Screen
from lab.standins.aws.run import stand_in_for_aws
from lab.tools.get import tool

STACK = "prod-qwen3-8b"


def place_on_aws(screen: Screen, folder: Path, undo: ExitStack) -> None:
    """Create the stack, show that a second ``up`` changes nothing, and leave its destruction to *undo*."""
    screen.real("the Pulumi engine, its CLI, SDK, state and encryption; the program in infra/ and the committed plan")
    screen.stands_in("AWS: a provider that checks every argument against pulumi-aws's own types and keeps a ledger")
    pulumi = tool("pulumi")
    folder.mkdir()
    aws = undo.enter_context(stand_in_for_aws(folder, pulumi))

    def run(arguments: str) -> None:
        command = [str(pulumi), *arguments.split(), "--non-interactive", "--color", "never"]
        screen.run(command, f"pulumi {arguments}", cwd=aws.project, env=aws.environment)

    run(f"stack init {STACK}")
    undo.callback(run, f"destroy --stack {STACK} --yes --suppress-progress")
    run(f"up --stack {STACK} --yes --suppress-progress")
    run(f"up --stack {STACK} --yes --suppress-progress --expect-no-changes")
