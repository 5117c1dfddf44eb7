"""README's table "Add": on a copy of `sizing`, only what a row names is written, and the kit knows the new thing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sizing.facts.catalogue import load_facts

ROOT = Path(__file__).parents[3]
FACTS = load_facts()


class Copy:
    """A copy of the package, what is added to it, and what its command line then says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "sizing/data"
        shutil.copytree(ROOT / "sizing", folder / "sizing", ignore=shutil.ignore_patterns("__pycache__"))

    def file(self, like: str, name: str, *changes: tuple[str, str]) -> None:
        """A file beside *like* with its text, but for *changes*."""
        text = (self.data / like).read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (self.data / like).with_name(name).write_text(text)

    def row(self, table: str, row: str) -> None:
        """*row* at the end of the file *table*."""
        path = self.data / table
        path.write_text(f"{path.read_text().rstrip()}\n{row}\n")

    def says(self, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sizing", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def estimate(self, **question: object) -> dict[str, Any]:
        asked = {"model": "qwen3-8b", "gpu": "RTX 4090", "max_model_len": 8192, **question}
        answer: dict[str, Any] = json.loads(self.says("estimate", stdin=json.dumps(asked)))
        assert "error" not in answer, answer
        return answer


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def row_of(table: str, first: str) -> str:
    [row] = [line for line in (ROOT / "sizing/data" / table).read_text().splitlines() if line.startswith(f"{first},")]
    return row


def test_a_model_is_one_file(copy: Copy) -> None:
    copy.file("models/qwen3-8b.toml", "mine-8b.toml", ('"qwen3-8b"', '"mine-8b"'), ("Qwen/Qwen3-8B", "Mine/Mine-8B"))
    assert copy.estimate(model="Mine/Mine-8B")["model"] == "mine-8b"


def test_a_gpu_is_one_file(copy: Copy) -> None:
    aliases = 'aliases = ["4090", "GeForce RTX 4090", "NVIDIA GeForce RTX 4090"]'
    changes = (('id = "RTX 4090"', 'id = "RTX 4090 D"'), (aliases, "aliases = []"))
    copy.file("gpus/rtx-4090.toml", "rtx-4090-d.toml", *changes)
    assert copy.estimate(gpu="rtx 4090 d")["gpu"] == "RTX 4090 D"


def test_an_instance_type_is_a_row_and_a_price(copy: Copy) -> None:
    copy.row("aws-instances.csv", row_of("aws-instances.csv", "g6e.xlarge").replace("g6e.xlarge", "g9.xlarge"))
    copy.row("prices.csv", "g9.xlarge,us-east-1,on-demand,0.11,2026-11-30,a test")
    [host] = json.loads(copy.says("hosts", "g9.xlarge", "--json"))
    assert (host["gpus"], host["usd_per_hour"]) == ("1 x L40S", "0.11")


def test_a_price_is_a_row_and_the_newest_counts(copy: Copy) -> None:
    copy.row("prices.csv", "g6e.xlarge,us-east-1,on-demand,1.23,2027-01-01,a test")
    [host] = json.loads(copy.says("hosts", "g6e.xlarge", "--json"))
    assert (host["usd_per_hour"], host["price_dated"]) == ("1.23", "2027-01-01")


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_an_engine_version_is_one_table(copy: Copy, engine: str) -> None:
    version = '[[versions]]\nversion = "0.99.0"\nimage = "docker.io/mine/engine:0.99.0"\ncuda = "13.0"\n'
    copy.row(f"engines/{engine}.toml", f'{version}min_driver_branch = 580\nsource = "a test"')
    request = (ROOT / "deployments/prod-qwen3-8b/request.toml").read_text()
    (copy.folder / "deployments/mine").mkdir(parents=True)
    limits = f'\n[limits]\nengine = "{engine}"\nengine_version = "0.99.0"\n'
    (copy.folder / "deployments/mine/request.toml").write_text(request + limits)
    planned = json.loads(copy.says("plan", "mine", "--json"))
    assert planned["engine"]["image"] == "docker.io/mine/engine:0.99.0"


def test_a_home_host_is_one_file(copy: Copy) -> None:
    changes = (('id = "home-2x-rtx-4090"', 'id = "my-box"'), ("memory_gib = 64", "memory_gib = 96"))
    copy.file("hosts/home-2x-rtx-4090.toml", "my-box.toml", *changes)
    [host] = json.loads(copy.says("hosts", "my-box", "--json"))
    assert host["memory_gib"] == 96
    assert "my-box" in copy.says("bom", "my-box")


def test_a_precision_is_one_file(copy: Copy) -> None:
    changes = (('id = "w4a16"', 'id = "w3a16"'), ("rank = 8", "rank = 9"), ("bits = 4\n", "bits = 3\n"))
    copy.file("precisions/w4a16.toml", "w3a16.toml", *changes, ("bits_per_weight = 4.125", "bits_per_weight = 3.125"))
    new, old = copy.estimate(precision="w3a16"), copy.estimate(precision="w4a16")
    assert new["weight_bytes_per_gpu"] < old["weight_bytes_per_gpu"]


MEASURED = """
import sys
from sizing.facts.catalogue import load_facts
from sizing.fitting.measurements import cases
print(sum(case.setup.engine == sys.argv[1] for case in cases(load_facts())))
"""


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_measurement_is_one_file(copy: Copy, engine: str) -> None:
    def known() -> int:
        command = [sys.executable, "-c", MEASURED, engine]
        environment = {**os.environ, "PYTHONPATH": str(copy.folder)}
        return int(subprocess.run(command, cwd=copy.folder, env=environment, capture_output=True, check=True).stdout)

    before = known()
    copy.file(
        "measurements/h100-vllm-0.26.0.jsonl", f"mine-{engine}-0.99.0.jsonl", ('"vllm 0.26.0"', f'"{engine} 0.99.0"')
    )
    assert known() > before


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda copy: copy.file("models/qwen3-8b.toml", "broken.toml", ("[shape]", "[shape")), "models/broken.toml"),
        (lambda copy: copy.file("precisions/awq.toml", "x.toml", ("rank = 4", 'rank = "4"x')), "precisions/x.toml"),
        (lambda copy: copy.row("prices.csv", "g6e.xlarge,us-east-1,on-demand,cheap,2026-11-30,a test"), "prices.csv:"),
        (lambda copy: copy.row("rentals.csv", "RTX 4090,me,soon,2026-11-30,a test"), "rentals.csv:"),
        (
            lambda copy: copy.row(
                "aws-instances.csv", row_of("aws-instances.csv", "g6e.xlarge").replace(",1,1.0", ",one,1.0")
            ),
            "aws-instances.csv:",
        ),
    ],
    ids=["model", "precision", "price", "rental", "instance type"],
)
def test_a_mistake_is_a_sentence_with_file_and_line(copy: Copy, break_it: Callable[[Copy], None], named: str) -> None:
    break_it(copy)
    with pytest.raises(AssertionError) as refused:
        copy.says("gpus")
    assert f"sizing/data/{named}" in str(refused.value)
    assert "Traceback" not in str(refused.value)
