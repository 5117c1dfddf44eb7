"""
The first process of namespaces of its own: runs ``make demo``'s program, and tells what is left once that has ended.

    unshare --net --mount --pid --fork --kill-child --mount-proc \\
      python -m tests.lab.demo.alone RESULT FOLDER [STEP SECONDS]

Network, processes and mounts here are the demo's alone, so whatever else runs on the machine cannot be mistaken for
what it left; FOLDER is its /var/tmp, with the cache and the checkout where they lie below it. With a STEP it gets
Ctrl-C so many SECONDS after it has told of that step, and it gets one when standard input ends. RESULT is a JSON file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from lab.cluster import cgroups
from lab.tools.build import cache

DEMO = [sys.executable, "-m", "lab.demo"]
CHECKOUT = Path(__file__).parents[3]
VAR_TMP = Path("/var/tmp")
TEMPORARY = VAR_TMP / "temporary"


def main(result: Path, folder: Path, step: str = "", after_s: str = "0") -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for needed in (cache(), CHECKOUT, result.parent):
        if needed.is_relative_to(VAR_TMP):
            (inside := folder / needed.relative_to(VAR_TMP)).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", needed, inside], check=True)
    subprocess.run(["mount", "--rbind", folder, VAR_TMP], check=True)
    TEMPORARY.mkdir()
    before = traces()
    environment = {**os.environ, "TMPDIR": str(TEMPORARY)}
    environment.pop("MODEL", None)  # the demo's own
    said = []
    with subprocess.Popen(
        DEMO, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as demo:

        def interrupt() -> None:
            """As Ctrl-C does: to everything in the foreground."""
            with contextlib.suppress(ProcessLookupError):
                os.killpg(demo.pid, signal.SIGINT)

        def interrupt_at_the_end_of_input() -> None:
            sys.stdin.read()
            interrupt()

        threading.Thread(target=interrupt_at_the_end_of_input, daemon=True).start()
        assert demo.stdout is not None
        for line in demo.stdout:
            said.append(line)
            if step and step in line:
                step = ""
                threading.Timer(float(after_s), interrupt).start()
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass  # orphans that have ended, which the first process buries
    left = {kind: sorted(found - before[kind]) for kind, found in traces().items()}
    result.write_text(json.dumps({"status": demo.returncode, "said": "".join(said), "left": left}))


def traces() -> dict[str, set[str]]:
    """What is here. Of control groups, which have no namespace of their own, those that no process is in."""
    processes = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # just ending
            processes.add((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return {
        "interfaces": {name for _, name in socket.if_nameindex()},
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "folders": {path.name for path in (*VAR_TMP.iterdir(), *TEMPORARY.iterdir())},
        "processes": processes,
        "groups": {group.name for root in cgroups.hierarchies() for group in root.glob("qwenkit-0-*") if empty(group)},
    }


def empty(group: Path) -> bool:
    with contextlib.suppress(OSError):
        return not any(file.read_text() for file in group.rglob("cgroup.procs"))
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
