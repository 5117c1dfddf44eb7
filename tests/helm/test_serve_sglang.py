"""
The SGLang launcher hands its key over and hides it.

SGLang itself needs a GPU; a module of its name stands in for it. It does what the launcher must survive: it logs its
settings as SGLang 0.5.19 and 0.5.23 do (``server_args={...}``), and starts a child with multiprocessing's "spawn".
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
import json, logging, multiprocessing, os, sys
from pathlib import Path
from sglang.worker import work

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, force=True)
    logging.getLogger("sglang").info(f"server_args={{'api_key': '{sys.argv[-1]}'}}")
    logging.info("settings %s", sys.argv)
    logging.info("does not fit %d %d", sys.argv[-1])
    logging.info("does not fit either %d", "anything")
    process = multiprocessing.get_context("spawn").Process(target=work, args=(sys.argv[2], sys.argv[-1]))
    process.start()
    process.join()
    print(json.dumps({
        "argv": sys.argv[1:],
        "command_line": Path("/proc/self/cmdline").read_text().split("\\0"),
        "pid": os.getpid(),
        "key_in_environment": "QWEN_API_KEY" in os.environ,
        "child_exit": process.exitcode,
    }))
"""
WORKER = """
import json, logging, os
from pathlib import Path

def work(out, key):
    logging.basicConfig(level=logging.INFO)
    logging.info("the child got %s", key)
    seen = {"environment": dict(os.environ), "command_line": Path("/proc/self/cmdline").read_text()}
    Path(out).write_text(json.dumps(seen))
"""


@pytest.fixture
def run(tmp_path: Path) -> tuple[dict[str, object], str, dict[str, object]]:
    """What the stand-in saw, what was logged, and what its child saw."""
    package = tmp_path / "sglang"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "launch_server.py").write_text(SERVER)
    (package / "worker.py").write_text(WORKER)
    seen_by_child = tmp_path / "child.json"
    started = subprocess.Popen(
        [sys.executable, CHART / "files" / "serve_sglang.py", "--model-path", str(seen_by_child), "--port", "30000"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "QWEN_API_KEY": "sk-very-secret"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, log = started.communicate(timeout=60)
    assert started.returncode == 0, log
    seen = json.loads(out)
    assert seen["pid"] == started.pid, "the server is another process than the one that was started"
    return seen, log, json.loads(seen_by_child.read_text())


def test_the_key_reaches_sglang_and_nobody_else(run: tuple[dict[str, object], str, dict[str, object]]) -> None:
    seen, log, child = run
    assert seen["argv"] == ["--model-path", seen["argv"][1], "--port", "30000", "--api-key", "sk-very-secret"]  # type: ignore[index]
    assert "sk-very-secret" not in str(seen["command_line"])
    assert seen["key_in_environment"] is False
    assert "sk-very-secret" not in str(child)
    assert "sk-very-secret" not in log


def test_the_rest_of_the_log_is_kept(run: tuple[dict[str, object], str, dict[str, object]]) -> None:
    _, log, _ = run
    assert "server_args={'api_key': '[key]'}" in log
    assert "'--port', '30000'" in log
    assert "the child got [key]" in log


def test_a_message_whose_arguments_do_not_fit_ends_nothing_and_shows_no_key(
    run: tuple[dict[str, object], str, dict[str, object]],
) -> None:
    _, log, _ = run
    assert "does not fit %d %d ('[key]',)" in log
    assert "Message: 'does not fit either %d'" in log  # logging's own report


def test_spawned_processes_of_the_server_start(run: tuple[dict[str, object], str, dict[str, object]]) -> None:
    seen, _, _ = run
    assert seen["child_exit"] == 0
