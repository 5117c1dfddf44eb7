"""`pip install .`: the commands work from the wheel alone, beside the dependencies that it declares and no others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sizing import __version__

ROOT = Path(__file__).parents[3]
PACKED = ("pyproject.toml", "README.md", "LICENSE", "sizing", "templates")
QUESTION = '{"model": "Qwen/Qwen3-8B", "gpu": "RTX 4090", "max_model_len": 8192}'


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel of this checkout, and what the wheel asks for."""
    work = tmp_path_factory.mktemp("wheel")
    (work / "checkout").mkdir()
    subprocess.run(["cp", "-a", *(ROOT / name for name in PACKED), work / "checkout"], check=True)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", work, work / "checkout")
    shutil.rmtree(work / "checkout")
    [wheel] = work.glob("*.whl")
    venv.create(work / "environment", symlinks=True)
    pip("--python", work / "environment", "install", "--no-deps", "--no-index", wheel)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(work / "environment")}))
    [own] = (Distribution.at(path) for path in packages.glob("qwenkit-*.dist-info"))
    for part in {part for needed in closure(own, set()) for part in top_level(needed)}:
        (packages / part.name).symlink_to(part)
    return work / "environment"


def pip(*arguments: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "-q", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def closure(of: Distribution, seen: set[str]) -> Iterator[Distribution]:
    """What *of* asks for without any extra, and what that asks for."""
    for line in of.requires or ():
        asked = Requirement(line)
        if (asked.marker is None or asked.marker.evaluate({"extra": ""})) and asked.name not in seen:
            seen.add(asked.name)
            found = distribution(asked.name)
            yield found
            yield from closure(found, seen)


def top_level(of: Distribution) -> set[Path]:
    """The folders and modules that it brought, where this environment has them."""
    names = {file.parts[0] for file in of.files or () if file.parts[0] not in ("..", "__pycache__")}
    return {Path(str(of.locate_file(name))) for name in names}


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """What a user brings: a request."""
    (tmp_path / "deployments/prod-qwen3-8b").mkdir(parents=True)
    shutil.copy(ROOT / "deployments/prod-qwen3-8b/request.toml", tmp_path / "deployments/prod-qwen3-8b")
    return tmp_path


def qwenkit(environment: Path, cwd: Path, *arguments: str, stdin: str = "") -> str:
    command: list[str | Path] = [environment / "bin/qwenkit", *arguments]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, cwd=cwd, env={}, input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_says_its_version(environment: Path, workplace: Path) -> None:
    assert qwenkit(environment, workplace, "--version") == f"qwenkit {__version__}\n"


def test_a_deployment_is_planned_written_and_fresh_as_in_the_checkout(environment: Path, workplace: Path) -> None:
    planned = json.loads(qwenkit(environment, workplace, "plan", "prod-qwen3-8b", "--json"))
    assert planned["placement"]["host_type"]
    assert "values.yaml" in qwenkit(environment, workplace, "write", "prod-qwen3-8b")
    assert "fresh" in qwenkit(environment, workplace, "check")
    for file in ("plan.json", "values.yaml"):
        written = (workplace / "deployments/prod-qwen3-8b" / file).read_text()
        assert written == (ROOT / "deployments/prod-qwen3-8b" / file).read_text()


def test_questions_are_answered(environment: Path, workplace: Path) -> None:
    assert json.loads(qwenkit(environment, workplace, "estimate", stdin=QUESTION))["fits"] is True
    advice = qwenkit(environment, workplace, "recommend", "--need", "code", "--gpu", "RTX 4090", "--json")
    assert json.loads(advice)["recommendations"]


def test_a_report_is_written(environment: Path, workplace: Path) -> None:
    qwenkit(environment, workplace, "report", "prod-qwen3-8b", "--into", "it.html")
    assert "<svg" in (workplace / "it.html").read_text()
