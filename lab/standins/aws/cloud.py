"""
The stand-in's "cloud": one JSON file that holds what exists, so that a test can look at it and change it from outside.

Stands in for: the state that AWS keeps, a delete that AWS refuses because something still uses the resource, and a
create that AWS refuses (no capacity, no permission).
Cannot show: time, eventual consistency, quotas, or anything that happens inside a resource.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


class InUse(Exception):
    """Something that still exists mentions the resource."""


class Refused(Exception):
    """The cloud was told not to create this."""


@dataclass(frozen=True)
class Resource:
    """One thing that exists. ``type`` is a Pulumi type token, ``name`` the resource's name in the program."""

    id: str
    type: str
    name: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]


class Cloud:
    """Every call reads the file and writes it whole, under a new name that then takes its place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resources(self) -> list[Resource]:
        """All that exists, oldest first."""
        return [Resource(**row) for row in self._read()["resources"].values()]

    def find(self, kind: str, identifier: str) -> Resource | None:
        """The resource of type token *kind* with that id, if it exists."""
        row = self._read()["resources"].get(_key(kind, identifier))
        return Resource(**row) if row else None

    def put(self, resource: Resource) -> None:
        """Create or change *resource*."""
        content = self._read()
        content["resources"][_key(resource.type, resource.id)] = asdict(resource)
        self._write(content)

    def remove(self, kind: str, identifier: str) -> None:
        """
        Delete as AWS would: raises ``InUse`` while an input of another resource is the id, name or ARN of this one.
        Text that merely contains the ARN (an IAM policy) does not hold it, as in AWS.
        """
        content = self._read()
        gone = content["resources"].pop(_key(kind, identifier), None)
        if gone is None:
            return
        handles = {gone["id"], gone["outputs"].get("arn")} - {None}
        for other in content["resources"].values():
            if handles & set(_texts(other["inputs"])):
                raise InUse(f"DependencyViolation: {kind} {gone['name']} is used by {other['type']} {other['name']}")
        self._write(content)

    def vanish(self, kind: str, name: str) -> None:
        """Delete behind the engine's back, as a person in the AWS console would."""
        content = self._read()
        [key] = [key for key, row in content["resources"].items() if (row["type"], row["name"]) == (kind, name)]
        del content["resources"][key]
        self._write(content)

    def refuse(self, kind: str, name: str, reason: str) -> None:
        """From now on every create of that resource fails with *reason*, until ``allow_everything``."""
        content = self._read()
        content["refused"][_key(kind, name)] = reason
        self._write(content)

    def allow_everything(self) -> None:
        """Forget what ``refuse`` said."""
        content = self._read()
        content["refused"] = {}
        self._write(content)

    def admit(self, kind: str, name: str) -> None:
        """Raises ``Refused`` with the reason when that resource may not be created."""
        reason = self._read()["refused"].get(_key(kind, name))
        if reason:
            raise Refused(reason)

    def serial(self) -> int:
        """A number that no earlier call returned, from which ids are made."""
        content = self._read()
        content["serial"] += 1
        self._write(content)
        return int(content["serial"])

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {"serial": 0, "resources": {}, "refused": {}}
        content: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return content

    def _write(self, content: dict[str, Any]) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
        fresh.replace(self.path)


def _key(kind: str, name: str) -> str:
    return f"{kind} {name}"


def _texts(value: Any) -> list[str]:
    """Every text in *value*, tags left out: a tag that repeats a name uses nothing."""
    if isinstance(value, dict):
        return [text for key, item in value.items() if not key.startswith("tags") for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []
