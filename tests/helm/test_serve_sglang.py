"""
The SGLang launcher puts the guard around SGLang's server.

SGLang itself needs a GPU; a module of its name, with a FastAPI that builds its stack as the real one does, stands in
for it here. It also starts a child with multiprocessing's "spawn", as SGLang does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helm.chart import CHART

SERVER = """
import json, multiprocessing, os, sys
from pathlib import Path
from fastapi import FastAPI
from sglang.worker import work

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work, args=(sys.argv[2],))
    process.start()
    process.join()
    app = FastAPI()
    app.add_middleware("last")
    print(json.dumps({
        "argv": sys.argv[1:],
        "pid": os.getpid(),
        "child_exit": process.exitcode,
        "stack": str(app.build_middleware_stack()),
    }))
"""
WORKER = """
from pathlib import Path
from fastapi import FastAPI

def work(out):
    Path(out).write_text(str(FastAPI().build_middleware_stack()))
"""
FASTAPI = """
class FastAPI:
    def __init__(self):
        self.stack = "routes"
    def add_middleware(self, name):
        self.stack = f"{name}({self.stack})"
    def build_middleware_stack(self):
        return self.stack
"""
GUARD = """
def Guard(app):
    return f"guard({app})"
"""


@pytest.fixture
def seen(tmp_path: Path) -> dict[str, object]:
    """What the stand-in and its child saw."""
    package = tmp_path / "sglang"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "launch_server.py").write_text(SERVER)
    (package / "worker.py").write_text(WORKER)
    (tmp_path / "fastapi.py").write_text(FASTAPI)
    (tmp_path / "guard.py").write_text(GUARD)
    launcher = tmp_path / "launcher.py"  # beside the stand-ins: its own folder comes first in the search
    launcher.write_text((CHART / "files" / "serve_sglang.py").read_text())
    child = tmp_path / "child"
    started = subprocess.Popen(
        [sys.executable, launcher, "--model-path", child, "--port", "30000"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, log = started.communicate(timeout=60)
    assert started.returncode == 0, log
    found: dict[str, object] = {**json.loads(out), "child": child.read_text(), "launched": started.pid}
    return found


def test_the_guard_is_outside_of_what_sglang_adds(seen: dict[str, object]) -> None:
    assert seen["stack"] == "guard(last(routes))"


def test_a_server_in_a_spawned_process_is_guarded_too(seen: dict[str, object]) -> None:
    assert seen["child_exit"] == 0
    assert seen["child"] == "guard(routes)"


def test_the_launched_process_becomes_the_server_with_the_same_arguments(seen: dict[str, object]) -> None:
    assert seen["pid"] == seen["launched"]
    assert seen["argv"] == ["--model-path", str(seen["argv"][1]), "--port", "30000"]  # type: ignore[index]
