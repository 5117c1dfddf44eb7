"""Helm 3, the other line that the chart supports, renders and refuses as helm 4 does: once a case."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.tools.get import tool
from tests.helm.chart import CHART, COMMITTED, OTHERS, Values, every_case, refusal, template
from tests.helm.test_refusals import REFUSED, problem_lines, refused_values

CASES = every_case() | {path.parent.name: yaml.safe_load(path.read_text()) for path in COMMITTED}
MADE_ANEW = "api-key"  # a random key, where the release has none yet


@pytest.fixture(scope="module")
def helm3() -> Path:
    return Path(tool("helm3"))


def objects(helm: Path, values: Values) -> list[dict[str, Any]]:
    """Every object that is rendered, whatever the order of the documents."""
    done = template(helm, values, apis=OTHERS)
    assert done.returncode == 0, done.stderr
    found = [each for each in yaml.safe_load_all(done.stdout) if each]
    for each in found:
        if each["kind"] == "Secret":
            assert len(each["data"].pop(MADE_ANEW)) >= 40
    return sorted(found, key=lambda each: (each["kind"], each["metadata"]["name"]))


@pytest.mark.parametrize("values", CASES.values(), ids=list(CASES))
def test_both_render_the_same(helm: Path, helm3: Path, values: Values) -> None:
    assert objects(helm3, values) == objects(helm, values)


@pytest.mark.parametrize("what", REFUSED)
def test_both_refuse_with_the_same_words(helm: Path, helm3: Path, what: str) -> None:
    entry = REFUSED[what]
    asked = (refused_values(entry), entry.get("release", "qwen"), tuple(entry.get("apis", ())))
    assert problem_lines(refusal(helm3, *asked)) == problem_lines(refusal(helm, *asked))


def test_its_linter_finds_nothing_either(helm3: Path) -> None:
    [values] = [path for path in COMMITTED if path.parent.name == "prod-qwen3-8b"]
    command: list[str | Path] = [helm3, "lint", "--strict", CHART, "-f", values, "--kube-version", "1.37.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
