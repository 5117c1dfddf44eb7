"""
The first process of namespaces of its own: runs ``make demo``'s program, and tells what is left once that has ended.

    unshare --net --mount --pid --fork --kill-child --mount-proc \\
      python -m tests.demo.alone RESULT SCRATCH [STEP SECONDS]

Network, processes and mounts here are the demo's alone, so whatever else runs on the machine cannot be mistaken for
what it left. With a STEP it gets Ctrl-C so many SECONDS after it has told of that step. RESULT is a JSON file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

DEMO = [sys.executable, "-m", "demo"]
CLUSTERS = Path("/var/tmp")


def main(result: Path, scratch: Path, step: str = "", after_s: str = "0") -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name in ("temporary", "clusters"):
        (scratch / name).mkdir()
    subprocess.run(["mount", "--bind", scratch / "clusters", CLUSTERS], check=True)
    mounts = set(Path("/proc/self/mounts").read_text().splitlines())
    environment = {**os.environ, "TMPDIR": str(scratch / "temporary")}
    environment.pop("MODEL", None)  # the demo's own
    said = []
    with subprocess.Popen(
        DEMO, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            said.append(line)
            if step and step in line:
                step = ""
                # As Ctrl-C does: to everything in the foreground.
                threading.Timer(float(after_s), os.killpg, (demo.pid, signal.SIGINT)).start()
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass  # orphans that have ended, which the first process buries
    left = {
        "interfaces": [link.name for link in Path("/sys/class/net").iterdir() if link.name != "lo"],
        "mounts": sorted(set(Path("/proc/self/mounts").read_text().splitlines()) - mounts),
        "folders": [path.name for path in (*(scratch / "temporary").iterdir(), *CLUSTERS.iterdir())],
        "processes": [
            (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            for entry in Path("/proc").glob("[0-9]*")
            if entry.name != str(os.getpid())
        ],
    }
    result.write_text(json.dumps({"status": demo.returncode, "said": "".join(said), "left": left}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]), *sys.argv[3:])
