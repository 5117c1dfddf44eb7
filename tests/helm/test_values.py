"""values.yaml, its schema and its README agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from lab.pages.values_table import README, values_table, with_table
from tests.helm.chart import CHART

LONGEST_VALUES_FILE = 130
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def keys(table: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """Dotted names of a values table, as deep as the schema names properties."""
    found = set()
    for key, value in table.items():
        inner = schema.get("properties", {}).get(key, {})
        found |= {f"{key}.{name}" for name in keys(value, inner)} if "properties" in inner else {key}
    return found


def properties(schema: dict[str, Any]) -> set[str]:
    found = set()
    for key, inner in schema["properties"].items():
        found |= {f"{key}.{name}" for name in properties(inner)} if "properties" in inner else {key}
    return found


def test_the_schema_names_exactly_the_keys_of_the_values() -> None:
    assert properties(SCHEMA) - {"global"} == keys(VALUES, SCHEMA)


def test_the_schema_refuses_unknown_keys_on_every_level() -> None:
    tables = [SCHEMA, *(inner for inner in SCHEMA["properties"].values() if "properties" in inner)]
    assert all(table["additionalProperties"] is False for table in tables)
    assert all(set(table["required"]) == set(table["properties"]) - {"global"} for table in tables)


def test_a_person_can_read_the_values_in_one_go() -> None:
    assert len((CHART / "values.yaml").read_text().splitlines()) <= LONGEST_VALUES_FILE


def test_the_table_of_the_readme_is_current() -> None:
    readme = README.read_text()
    current = with_table(readme, values_table((CHART / "values.yaml").read_text()))
    assert readme == current, "helm/qwen/README.md is stale; run: python -m lab.pages.values_table"


def test_a_key_without_a_comment_is_found() -> None:
    with pytest.raises(ValueError, match="2 has no comment"):
        values_table("a: 1  # one\nb: 2\n")
