"""
Every command of the README and the docs is executed by a test: the quick ones here, each in the checkout; the others
by a lane, which reads the line from the page.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ansible.play import PLAY
from tests.docs.pages import ROOT, commands, documented
from tests.helm.test_on_a_cluster import INSTALL, TEST
from tests.infra.stack import UP
from tests.infra.test_device_plugin import APPLY
from tests.lab.demo.alone import DEMO

SLOW = {UP, PLAY, APPLY, INSTALL, TEST}  # each run by the lane that it is imported from
MAKE = {"make demo", "make test", "make lanes"}
LANE = documented("make lane ")
ACTIVATE = documented(". ")
README_INSTALL = next(command for command in commands() if command.startswith("helm install"))
HERE = [command for command in commands() if command not in {*SLOW, *MAKE, README_INSTALL, LANE, ACTIVATE}]


def run(command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # What a make around this test tells the ones below it is nothing that a user's would be told.
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**inherited, "PATH": path},
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", HERE)
def test_a_documented_command_works_as_printed(command: str) -> None:
    assert run(command)


def test_the_environment_that_is_activated_has_the_command_of_the_kit() -> None:
    activate = ACTIVATE.replace(".venv", sys.prefix)
    assert Path(run(f"PATH=/usr/bin:/bin; {activate} && command -v qwenkit").strip()).parent == Path(sys.prefix, "bin")


def test_make_demo_starts_what_the_test_of_the_demo_starts() -> None:
    assert shlex.split(run("make -n demo").splitlines()[-1])[-len(DEMO) + 1 :] == DEMO[1:]


def test_make_test_is_what_runs_on_a_clean_checkout() -> None:
    assert documented("make test") in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


def test_make_lane_runs_the_lane_that_is_named() -> None:
    _, _, name = LANE.partition("NAME=")
    assert shlex.split(run(f"make -n lane NAME={name}").splitlines()[-1])[-3:] == ["-m", "tests.suite", name]
    # Not without -n: out of date, it would make the environment anew that this test runs in.
    assert shlex.split(run("make -n lanes").splitlines()[-1])[-3:] == ["-m", "tests.suite", "--list"]


def test_the_readmes_install_is_the_charts_for_a_deployment_that_is_here() -> None:
    name = README_INSTALL.partition("deployments/")[2].partition("/")[0]
    assert README_INSTALL.replace(name, "<name>") == INSTALL
    assert (ROOT / "deployments" / name / "values.yaml").exists()


def test_the_readme_has_the_two_commands_that_do_everything() -> None:
    assert set(commands()) >= MAKE
