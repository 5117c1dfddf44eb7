"""
What AWS's own provider code says about the stand-in's cloud: ``terraform validate``, without an account.

``pulumi_aws`` wraps the Terraform provider, so each resource is written down under the provider's names and validated
by the provider itself: values, formats and combinations that the SDK's types let pass.
Stands in for: the provider's checks inside ``pulumi-resource-aws``. Needs ``terraform`` and the provider (``plugins``).
Cannot show: what only the AWS API refuses; properties younger than the provider that is there, listed in ``YOUNGER``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab.standins.aws.cloud import Resource

# Not in provider 5.100, but in the 6.x that pulumi_aws 7 wraps.
YOUNGER = {("aws_eks_node_group.update_config", "updateStrategy")}

NAMED_BY = "QWENKIT_TERRAFORM_PLUGINS"
AWS = "registry.terraform.io/hashicorp/aws"
# Where Terraform itself looks, and where add-on software lies.
PLACES = (
    ".terraform.d/plugins",
    ".terraform.d/plugin-cache",
    ".local/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
    "/opt/*",
)


class NotHere(Exception):
    """There is no ``terraform``, or no provider of AWS for it; says what was looked for."""


def plugins() -> Path:
    """
    The folder with AWS's provider: the one that ``QWENKIT_TERRAFORM_PLUGINS`` names, else the first of ``PLACES``.

    Raises: ``NotHere``.
    """
    if not shutil.which("terraform"):
        raise NotHere("AWS's own provider is not asked: no terraform on the PATH")
    named = os.environ.get(NAMED_BY)
    places = [str(Path.home() / place) for place in ([Path(named).absolute()] if named else PLACES)]
    found = [one for place in places for one in sorted(Path("/").glob(f"{place[1:]}/{AWS}"))]
    if not found:
        raise NotHere(f"AWS's own provider is not asked: no {AWS} in {', '.join(places)}; {NAMED_BY} names a folder")
    return found[0].parents[AWS.count("/")]


class Provider:
    """AWS's provider from *plugins* (a Terraform plugin folder), set up in *folder*."""

    def __init__(self, plugins: Path, folder: Path) -> None:
        self.folder = folder
        self._write({"terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}}})
        self._terraform("init", "-input=false", f"-plugin-dir={plugins}")
        schemas = json.loads(self._terraform("providers", "schema", "-json"))["provider_schemas"]
        [provider] = schemas.values()
        self.blocks = {name: schema["block"] for name, schema in provider["resource_schemas"].items()}

    def objections(self, resources: Mapping[str, Resource]) -> dict[str, list[str]]:
        """
        What is wrong with each of *resources*, by the name it is given here: a sentence for each thing.

        Names that the provider does not have raise ``KeyError``.
        """
        written: dict[str, dict[str, Any]] = {}
        names = {}
        for number, (name, one) in enumerate(resources.items()):
            kind = self._type(one.type)
            names[f"{kind}.r{number}"] = name
            written.setdefault(kind, {})[f"r{number}"] = _block(self.blocks[kind], one.inputs, kind)
        self._write({"resource": written})
        answer = json.loads(self._terraform("validate", "-json", check=False))
        said: dict[str, list[str]] = {}
        for problem in answer["diagnostics"]:
            if problem["severity"] == "error":
                sentence = f"{problem['summary']} {problem.get('detail', '')}".strip()
                said.setdefault(names[problem["address"]], []).append(sentence)
        return said

    def _type(self, token: str) -> str:
        module, name = token.split(":")[1].split("/")[0], _snake(token.split(":")[2])
        return next(kind for kind in (f"aws_{module}_{name}", f"aws_{name}") if kind in self.blocks)

    def _write(self, content: dict[str, Any]) -> None:
        name = "versions" if "terraform" in content else "resources"
        (self.folder / f"{name}.tf.json").write_text(json.dumps(content), encoding="utf-8")

    def _terraform(self, *arguments: str, check: bool = True) -> str:
        quiet = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_"))}
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env=quiet | {"CHECKPOINT_DISABLE": "1"},
            capture_output=True,
            text=True,
            check=check,
        )
        return done.stdout


def _block(block: dict[str, Any], properties: dict[str, Any], path: str) -> dict[str, Any]:
    attributes, nested = block.get("attributes", {}), block.get("block_types", {})
    body = {}
    for name, value in properties.items():
        if name.startswith("__") or (path, name) in YOUNGER:
            continue
        field = _field(name, attributes.keys() | nested.keys(), path)
        if field in nested:
            inner = nested[field]["block"]
            items = value if isinstance(value, list) else [value]
            body[field] = [_block(inner, item, f"{path}.{field}") for item in items]
        else:
            body[field] = _attribute(attributes[field].get("type"), value, f"{path}.{field}")
    return body


def _attribute(kind: Any, value: Any, path: str) -> Any:
    """*value* under the provider's names; an object that is an attribute wants every one of its keys."""
    if not isinstance(kind, list):
        return value
    shape, of = kind
    if shape == "object":
        given = {_field(name, of.keys(), path): item for name, item in value.items()}
        return {name: _attribute(inner, given[name], path) if name in given else None for name, inner in of.items()}
    if shape == "map":
        return value
    return [_attribute(of, item, path) for item in (value if isinstance(value, list) else [value])]


def _field(name: str, known: Iterable[str], path: str) -> str:
    """The provider's name: snake case, and singular where Pulumi has the plural of a block."""
    snake = _snake(name)
    for candidate in (snake, re.sub(r"ies$", "y", snake), re.sub(r"(?<=[sx])es$|s$", "", snake)):
        if candidate in known:
            return candidate
    raise KeyError(f"{path}: the provider has no {name}")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
