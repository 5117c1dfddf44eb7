"""
What the kit knows: models, GPUs, engines, hosts, AWS instance types and dated prices.

The folder is the registry: one TOML file per model, GPU, engine and home host under ``data/``, one CSV row per AWS
instance type and per price. Every fact carries its unit in its name and its source in its file. Nothing here decides
anything; ``load_facts`` reads once and returns an immutable ``Facts``.

Errors: ``UnknownFact`` names the nearest known thing and the file to add.
"""

from __future__ import annotations

import difflib
import hashlib
from datetime import date
from functools import cached_property, lru_cache
from typing import Literal, TypeVar

from pydantic import ConfigDict

from sizing.errors import BadRequest, UnknownFact, echo
from sizing.facts.data import record, records, rows
from sizing.facts.engine import Engine
from sizing.facts.fact import DATA, Fact
from sizing.facts.gpu import Gpu, Segment, SegmentFacts
from sizing.facts.model import Model
from sizing.facts.place import (
    BillFacts,
    CpuFacts,
    CpuHost,
    HomeHost,
    HomeRule,
    HostNeeds,
    InstanceType,
    PlaceFacts,
    Price,
    Purchase,
    Rental,
)
from sizing.facts.precision import Precision, PrecisionFacts, Repository, precisions

T = TypeVar("T", bound=Fact)


class Licence(Fact):
    """What a model's licence says about selling with it, and why."""

    id: str
    name: str
    commercial: Literal["yes", "conditions", "no", "unknown"]
    why: str
    source: str
    dated: date


def _nearest(asked: str, known: list[str]) -> str:
    match = difflib.get_close_matches(asked.lower(), [k.lower() for k in known], n=1)
    nearest = next((k for k in known if match and k.lower() == match[0]), None)
    return f"; the nearest known is {nearest}" if nearest else ""


def _spelling(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


class Facts(Fact):
    """Every fact, immutable. Look-ups raise ``UnknownFact`` with the nearest name and the file to add."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    models: dict[str, Model]
    gpus: dict[str, Gpu]
    engines: dict[str, Engine]
    instances: dict[str, InstanceType]
    hosts: dict[str, HomeHost]
    home_rule: HomeRule
    cpu_hosts: dict[str, CpuHost]
    rentals: tuple[Rental, ...]
    places: dict[str, PlaceFacts]
    cpu: CpuFacts
    bill: BillFacts
    licences: dict[str, Licence]
    segments: dict[Segment, SegmentFacts]
    precisions: dict[Precision, PrecisionFacts]
    prices: tuple[Price, ...]
    digest: str

    @cached_property
    def _model_names(self) -> dict[str, tuple[str, Repository | None]]:
        names: dict[str, tuple[str, Repository | None]] = {}
        for key, model in self.models.items():
            names[key.lower()] = (key, None)
            names.update({hub_id.lower(): (key, None) for hub_id in model.hub_ids})
            names.update({hub_id.lower(): (key, kind) for hub_id, kind in model.quantised.items()})
        return names

    @cached_property
    def _gpu_names(self) -> dict[str, str]:
        """Every spelling, with and without the card's memory behind it (`L40S 48GB`)."""
        names = [(name, gpu) for gpu in self.gpus.values() for name in (gpu.id, *gpu.aliases)]
        with_memory = {_spelling(f"{name} {gpu.spec_memory_gb:g}GB"): gpu.id for name, gpu in names}
        return with_memory | {_spelling(name): gpu.id for name, gpu in names}

    @cached_property
    def _newest_prices(self) -> dict[tuple[str, str, Purchase], Price]:
        by_date = sorted(self.prices, key=lambda price: price.dated)
        return {(price.item, price.region, price.purchase): price for price in by_date}

    def model(self, name: str) -> tuple[Model, Repository | None]:
        """The model called *name* (catalogue key or hub id, any case) and the precision its repository implies."""
        found = self._model_names.get(name.strip().lower())
        if not found:
            near = _nearest(name, list(self._model_names))
            raise UnknownFact(
                f"{echo(name)} is not in the model catalogue{near}. To add it, write sizing/data/models/<name>.toml.",
                kind="unknown-model",
            )
        return self.models[found[0]], found[1]

    def licence(self, model: Model) -> Licence:
        """The licence of *model*'s first repository."""
        if model.licence not in self.licences:
            near = _nearest(model.licence, list(self.licences))
            raise UnknownFact(
                f"the licence {model.licence!r} of {model.key} is not described{near}. "
                f"To add it, write sizing/data/licences/<id>.toml."
            )
        return self.licences[model.licence]

    def gpu(self, name: str) -> Gpu:
        """The GPU called *name*: its id or a usual spelling, any case."""
        found = self._gpu_names.get(_spelling(name.strip()))
        if not found:
            near = _nearest(name, [gpu.id for gpu in self.gpus.values()])
            raise UnknownFact(
                f"{echo(name)} is not among the known GPUs{near}. To add it, write sizing/data/gpus/<name>.toml.",
                kind="unknown-gpu",
            )
        return self.gpus[found]

    def host(self, name: str) -> HomeHost:
        """The home host called *name*."""
        if name not in self.hosts:
            near = _nearest(name, list(self.hosts))
            raise UnknownFact(
                f"{echo(name)} is not a known home host{near}. To add it, write sizing/data/hosts/<name>.toml."
            )
        return self.hosts[name]

    def price(self, item: str, region: str, purchase: Purchase = "on-demand") -> Price | None:
        """The newest price of *item* in *region*; None when the tables have none."""
        return self._newest_prices.get((item, region, purchase))


def _by_name(kind: type[T], name: str, folder: str) -> dict[str, T]:
    """Every *kind* of *folder* by its field *name*. Raises ``BadRequest`` for two of one name."""
    found: dict[str, T] = {}
    for item in records(kind, folder).values():
        key = getattr(item, name)
        if key in found:
            raise BadRequest(f"two files of sizing/data/{folder} describe {key!r}; each thing has one file")
        found[key] = item
    return found


def _instance(row: dict[str, str]) -> dict[str, object]:
    """The row as the fields of an ``InstanceType``; what is not stated is left to the field's default, or none."""
    plain = ("vcpu", "memory_mib", "gpu", "gpu_count", "gpu_partition", "quota_code", "note")
    return {
        **{name: row[name] for name in plain},
        "id": row["instance_type"],
        "local_nvme_gb": row["local_nvme_gb"] or 0,
        "network_gbps": row["network_gbps"] or 0,
        "zone_ids": {"us-east-1": row["us_east_1_zone_ids"].split()},
        "regions": row["regions"].split(),
        "on_demand": "on-demand" in row["usage_classes"],
        "k8s_allocatable_memory_mib": row["k8s_allocatable_memory_mib"] or None,
        "quota_vcpus": row["quota_vcpus"] or None,
    }


@lru_cache(maxsize=1)
def load_facts() -> Facts:
    """Read every data file of the kit. The digest changes when any fact does."""
    digest = hashlib.sha256()
    for path in sorted(DATA.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(DATA).as_posix().encode() + b"\0" + path.read_bytes())
    return Facts(
        models=_by_name(Model, "key", "models"),
        gpus=_by_name(Gpu, "id", "gpus"),
        engines=_by_name(Engine, "id", "engines"),
        instances={instance.id: instance for instance in rows(InstanceType, "aws-instances.csv", _instance)},
        hosts=_by_name(HomeHost, "id", "hosts"),
        home_rule=record(HomeRule, "home-rule.toml"),
        cpu_hosts=_by_name(CpuHost, "id", "cpu-hosts"),
        rentals=tuple(rows(Rental, "rentals.csv")),
        places=records(PlaceFacts, "places"),
        cpu=record(CpuFacts, "cpu.toml"),
        bill=record(BillFacts, "bill.toml"),
        licences=_by_name(Licence, "id", "licences"),
        segments=record(dict[Segment, SegmentFacts], "gpu-segments.toml"),
        precisions=precisions(),
        prices=tuple(rows(Price, "prices.csv")),
        digest="sha256:" + digest.hexdigest(),
    )


@lru_cache(maxsize=1)
def host_needs() -> HostNeeds:
    """The planning assumptions about hosts."""
    return record(HostNeeds, "host-needs.toml")
