"""Are the committed files still what the request and today's facts give?"""

from __future__ import annotations

from pathlib import Path

from sizing.errors import KitError
from sizing.facts.catalogue import load_facts
from sizing.plan.files import EVERY_FILE, render
from sizing.plan.plan import Plan
from sizing.planning.planning import plan
from sizing.request.request import read_request


def stale(deployment: Path) -> list[str]:
    """
    One sentence for every file of *deployment* that ``qwenkit write`` would change; empty when all are fresh.

    Never raises for a request that cannot be planned any more, or not be written: that is a sentence too.
    """
    name = deployment.name
    try:
        now = plan(name, read_request(deployment / "request.toml"), load_facts())
    except KitError as refusal:
        return [f"{name} cannot be planned any more: {problem}" for problem in refusal.problems]
    remedy = f"run: qwenkit write {name}"
    problems = []
    try:
        files = render(_with_provenance_of(deployment / "plan.json", now))
    except KitError as refusal:
        return list(refusal.problems)
    for file in EVERY_FILE:
        path = deployment / file
        found = _content(path)
        if file not in files:
            if found is not None:
                problems.append(f"{path} is left of an earlier plan; {remedy}")
        elif found is None:
            problems.append(f"{path} is missing; {remedy}")
        elif found != files[file].encode():
            problems.append(f"{path} is stale: request or facts have changed since it was written; {remedy}")
    return problems


def _content(path: Path) -> bytes | None:
    """The file's bytes; None when there is none, or nothing that can be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _with_provenance_of(committed: Path, now: Plan) -> Plan:
    """*now* under the digest and kit version of the committed plan: a fact that changes nothing makes nothing stale."""
    try:
        then = Plan.load(committed)
    except KitError:
        return now
    return now.model_copy(update={"facts_digest": then.facts_digest, "kit_version": then.kit_version})
