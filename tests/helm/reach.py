"""
Whom a pod reaches, asked inside it: everything at once, beside something that it must reach. Where that is not reached
either, in the same seconds, nothing was refused; the machine is busy, and the question is asked again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.waiting import wait_until

CONNECT_LIMIT_S = 5
LIMIT_S = 60

Target = tuple[str, int] | tuple[str]  # an address and its port, or a name that is to be resolved

LOOK = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
limit_s, targets = json.loads(sys.argv[1])
def reaches(target):
    try: socket.create_connection(target, limit_s).close() if len(target) == 2 else socket.gethostbyname(*target)
    except OSError: return False
    return True
with ThreadPoolExecutor(len(targets)) as looking:
    print(json.dumps(list(looking.map(reaches, targets))))
"""


@dataclass(frozen=True)
class Asked:
    """
    A pod.

    Args:
        run: whether a command succeeds inside it, and what it says.
        control: what it must reach.
    """

    run: Callable[..., tuple[bool, str]]
    control: Target

    def reached(self, targets: Mapping[str, Target]) -> list[str]:
        """Names of those of *targets* that it reaches."""
        question = json.dumps([CONNECT_LIMIT_S, [self.control, *targets.values()]])
        found: list[bool] = []
        said = ""

        def look() -> bool:
            nonlocal found, said
            done, said = self.run("python3", "-c", LOOK, question)
            control, *found = json.loads(said.splitlines()[0]) if done else [False]
            return control

        wait_until(look, LIMIT_S, lambda: f"it reaches {self.control}, as it must: {said}")
        return [name for name, is_reached in zip(targets, found, strict=True) if is_reached]

    def wait_to_reach(self, wanted: Sequence[str], targets: Mapping[str, Target]) -> None:
        """Return once it reaches just the *wanted* of *targets*."""
        found: list[str] = []

        def look() -> bool:
            found[:] = self.reached(targets)
            return found == list(wanted)

        wait_until(look, LIMIT_S, lambda: f"of {dict(targets)} it reaches {found}, not {wanted}")
