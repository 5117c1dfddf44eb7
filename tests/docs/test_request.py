"""docs/request.md names every field of a request, with its default, and its examples can be planned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from sizing.facts.catalogue import load_facts
from sizing.planning.planning import plan
from sizing.request.request import Adapter, Images, Limits, Load, Place, Request, Serving, Targets, read_request

PAGE = (Path(__file__).parents[2] / "docs" / "request.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[BaseModel]] = {
    "## Top level": Request,
    "## `[load]`": Load,
    "### `[load.images]`": Images,
    "## `[targets]`": Targets,
    "## `[place]`": Place,
    "## `[limits]`": Limits,
    "## `[serving]`": Serving,
    "### `[[serving.adapters]]`": Adapter,
}
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def rows(heading: str) -> dict[str, str]:
    """Field and default of each row of the table under *heading*."""
    section = re.split(r"^##", PAGE.partition(f"{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_is_documented_and_no_other(heading: str) -> None:
    assert list(rows(heading)) == list(SECTIONS[heading].model_fields)


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_documented_defaults_are_the_real_ones(heading: str) -> None:
    said = rows(heading)
    for name, field in SECTIONS[heading].model_fields.items():
        assert (said[name] == "required") == field.is_required(), name
        if not field.is_required() and field.default not in (None, ()) and not isinstance(field.default, BaseModel):
            default = f'`"{field.default}"`' if isinstance(field.default, str) else f"{field.default:g}"
            assert said[name] == (str(field.default).lower() if isinstance(field.default, bool) else default), name


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_page_can_be_planned(number: int, tmp_path: Path) -> None:
    (tmp_path / "request.toml").write_text(EXAMPLES[number])
    lines = (f"{at},{200 + 37 * at},{50 + at}" for at in range(100))
    (tmp_path / "trace.csv").write_text("arrival_s,input_tokens,output_tokens\n" + "\n".join(lines))
    made = plan("example", read_request(tmp_path / "request.toml"), load_facts())
    targets = made.request.targets
    assert targets.ttft_ms is None or getattr(made.estimates.ttft_s, targets.statistic) * 1000 <= targets.ttft_ms
