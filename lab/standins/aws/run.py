"""
Everything the literal ``pulumi`` commands need on a machine without an AWS account, as one environment.

    with stand_in_for_aws(folder, pulumi) as aws:
        subprocess.run(["pulumi", "stack", "init", "prod-qwen3-8b"], cwd=aws.project, env=aws.environment)
        subprocess.run(["pulumi", "up", "--stack", "prod-qwen3-8b", "--yes"], cwd=aws.project, env=aws.environment)

From a shell, with the state kept in FOLDER from one command to the next:

    python -m lab.standins.aws.run FOLDER pulumi up --stack prod-qwen3-8b --yes

Stands in for: a Pulumi backend with an account (here: files), the AWS plugin (``provider``), and, only where it is
missing, the Python language plugin (``language_host``). The engine, the CLI, the SDK, the state and the encryption
are Pulumi's own.
Cannot show: what those files say of themselves.
"""

from __future__ import annotations

import argparse
import os
import secrets
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.standins.aws.cloud import Cloud

ROOT = Path(__file__).parents[3]
LANGUAGE_PLUGIN = "pulumi-language-python"
START_LIMIT_S, END_LIMIT_S = 300, 60  # for one that hangs, on a machine however busy


@dataclass(frozen=True)
class StandInAws:
    """A project folder to run ``pulumi`` in, the environment to run it with, and the cloud it will find."""

    project: Path
    environment: dict[str, str]
    cloud: Cloud


@contextmanager
def stand_in_for_aws(folder: Path, pulumi: Path) -> Iterator[StandInAws]:
    """
    Start the provider for as long as the block runs; *pulumi* is the CLI. State, cloud and passphrase stay in *folder*.

    ``pulumi stack init`` writes into ``Pulumi.<stack>.yaml``, so commands run in a copy of the project.
    """
    project = folder / "project"
    if not project.exists():
        _copy_project(project)
    backend, home, bin_dir = folder / "backend", folder / "home", folder / "bin"
    for made in (backend, home, bin_dir):
        made.mkdir(parents=True, exist_ok=True)
    passphrase = folder / "passphrase"
    if not passphrase.exists():
        passphrase.touch(mode=0o600)
        passphrase.write_text(secrets.token_hex(16), encoding="utf-8")
    cloud = Cloud(folder / "cloud.json")
    path = os.pathsep.join([str(pulumi.parent), os.environ.get("PATH", os.defpath)])
    if shutil.which(LANGUAGE_PLUGIN, path=path) is None:
        _write_language_plugin(bin_dir / LANGUAGE_PLUGIN)
        path = os.pathsep.join([str(bin_dir), path])
    # No credential, profile or Pulumi setting of the person at the keyboard gets in.
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PULUMI_"))}
    environment = clean | {
        "PATH": path,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), clean.get("PYTHONPATH")])),
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": backend.resolve().as_uri(),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    command = [sys.executable, "-m", "lab.standins.aws.provider", str(cloud.path)]
    provider = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert provider.stdin is not None
    assert provider.stdout is not None
    with provider:
        try:
            speaks, _, _ = select.select([provider.stdout], [], [], START_LIMIT_S)
            if not speaks:
                raise TimeoutError(f"the stand-in for AWS did not start within {START_LIMIT_S} s")
            port = int(provider.stdout.readline())
            yield StandInAws(project, environment | {"PULUMI_DEBUG_PROVIDERS": f"aws:{port}"}, cloud)
        finally:
            provider.stdin.close()  # it ends when this does, also when this process is killed
            try:
                provider.wait(timeout=END_LIMIT_S)
            finally:
                provider.kill()


def _copy_project(project: Path) -> None:
    project.mkdir(parents=True)
    for settings in ROOT.glob("Pulumi*.yaml"):
        shutil.copy(settings, project)
    for tree in ("infra", "deployments"):
        shutil.copytree(ROOT / tree, project / tree, ignore=shutil.ignore_patterns("__pycache__"))


def _write_language_plugin(path: Path) -> None:
    path.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m lab.standins.aws.language_host "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o755)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.standins.aws.run", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("folder", type=Path, help="where state is kept between commands")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="pulumi, and its arguments")
    asked = parser.parse_args()
    from lab.tools.get import tool

    with stand_in_for_aws(asked.folder.resolve(), tool("pulumi")) as aws:
        return subprocess.run(asked.command, cwd=aws.project, env=aws.environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
