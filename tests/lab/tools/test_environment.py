"""The checkout's environment has no package of its own and finds all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.tools import build, environment

ROOT = Path(__file__).parents[3]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment beside a build that has one package and one program."""
    whole = tmp_path / "build"
    packages = whole / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    packages.mkdir(parents=True)
    (packages / "only_there.py").write_text("")
    (whole / "bin").mkdir()
    for name in ("ansible-playbook", "python3", "activate", "pip"):
        (whole / "bin" / name).write_text("#!/bin/sh\necho built\n")
        (whole / "bin" / name).chmod(0o755)
    monkeypatch.setattr(build, "make", lambda *_: whole)
    environment.make(tmp_path / "venv")
    return tmp_path / "venv"


def test_it_imports_the_packages_of_the_build_and_the_checkout_from_anywhere(made: Path, tmp_path: Path) -> None:
    code = "import json, only_there, sizing, sys; print(json.dumps([only_there.__file__, sizing.__file__, sys.prefix]))"
    said = subprocess.run([made / "bin/python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    package, kit, prefix = json.loads(said.stdout)
    assert Path(package).is_relative_to(tmp_path / "build")
    assert kit == str(ROOT / "sizing/__init__.py")
    assert prefix == str(made)


def test_it_has_the_programs_of_the_packages_and_its_own_python(made: Path) -> None:
    said = subprocess.run([made / "bin/ansible-playbook"], capture_output=True, text=True, check=True)
    assert said.stdout == "built\n"
    assert (made / "bin/python3").resolve() == Path(sys.executable).resolve()
    assert not (made / "bin/pip").exists()
    assert (made / "bin/qwenkit").read_text().startswith(f"#!{made}/bin/python\n")


def test_another_lock_or_python_is_another_build() -> None:
    packages = environment.packages()
    assert packages.listed.resolve() == ROOT / "requirements.lock"
    assert packages.version == f"{sys.version_info.major}.{sys.version_info.minor}"
