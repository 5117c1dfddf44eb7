"""One stack of this project under the literal ``pulumi`` command, with the stand-in where AWS would be."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.standins.aws.cloud import Resource
from lab.standins.aws.run import StandInAws
from tests.docs.pages import documented

UP = documented("pulumi up")
LIMIT_S = 300


@dataclass(frozen=True)
class Stack:
    """Runs the CLI in the project copy, and looks at what came of it."""

    aws: StandInAws
    name: str

    def pulumi(self, *arguments: str, exit_code: int | None = 0) -> str:
        """What ``pulumi <arguments>`` printed; its exit code must be *exit_code* (None: anything but 0)."""
        done = self._run(*arguments)
        printed = done.stdout + done.stderr
        assert done.returncode == exit_code if exit_code is not None else done.returncode != 0, printed
        return printed

    def json(self, *arguments: str) -> Any:
        """What ``pulumi <arguments>`` answered as JSON; warnings go to the other stream."""
        done = self._run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self.aws.project,
            env=self.aws.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    def up(self, *options: str, exit_code: int | None = 0) -> str:
        """As printed, but for the name of the stack, and that nobody is there to say yes."""
        *printed, _ = shlex.split(UP)[1:]
        return self.pulumi(*printed, self.name, "--yes", *options, exit_code=exit_code)

    def planned(self) -> dict[str, str]:
        """What ``up`` would do: name and type of each AWS resource -> operation, unchanged ones left out."""
        report = self.json("preview", "--stack", self.name, "--json")
        return {
            _short(step["urn"]): step["op"]
            for step in report["steps"]
            if step["op"] != "same" and "::aws:" in step["urn"].replace("$", "::")
        }

    def outputs(self) -> dict[str, Any]:
        outputs: dict[str, Any] = self.json("stack", "output", "--stack", self.name, "--json")
        return outputs

    def exists(self, kind: str, name: str) -> Resource:
        """The one resource of that type and name in the stand-in's cloud."""
        [found] = [one for one in self.aws.cloud.resources() if (one.type, one.name) == (kind, name)]
        return found

    def plan_file(self) -> Path:
        return self.aws.project / "deployments" / self.name / "plan.json"

    def placement(self) -> dict[str, Any]:
        """The part of the plan that is placed."""
        placement: dict[str, Any] = json.loads(self.plan_file().read_text(encoding="utf-8"))["placement"]
        return placement

    def change_placement(self, **changes: Any) -> None:
        """Edit the project copy's committed plan."""
        plan = json.loads(self.plan_file().read_text(encoding="utf-8"))
        assert changes.keys() <= plan["placement"].keys()
        plan["placement"] |= changes
        self.plan_file().write_text(json.dumps(plan, indent=2), encoding="utf-8")


def _short(urn: str) -> str:
    kind, name = urn.split("::")[2].split("$")[-1], urn.split("::")[3]
    return f"{kind.split(':')[-1]} {name}"
