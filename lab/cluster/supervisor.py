"""
The first process of a cluster's process namespace: starts what it is told, reaps, and takes everything along.

Commands are JSON lines on standard input: {"start": name, "argv": [...]} or {"detach": true}. Whoever holds the other
end owns the cluster: when it closes without "detach", when SIGTERM comes, or when one component ends, all end. The
kernel kills what is left in the namespace with its first process, and mounts and interfaces go with the last one:
no list of processes or mounts exists that could be wrong.

Arguments: the cluster's folder, the name of its control group.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path

from lab.cluster import cgroups

# Fixed paths that containerd, CNI and the kubelet write to whatever their settings say; ours only, in this namespace.
FIXED_PATHS = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")


class Supervisor:
    def __init__(self, folder: Path, group: str) -> None:
        self._folder = folder
        self._group = group
        self._running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}

    def run(self) -> None:
        """Serve commands until the end, then leave nothing."""
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._prepare()
            print("ready", flush=True)
            self._serve(woken)
        finally:
            self._end()

    def _prepare(self) -> None:
        cgroups.make(self._group)
        for path in FIXED_PATHS:
            Path(path).mkdir(parents=True, exist_ok=True)
            own = self._folder / "fixed" / path.strip("/").replace("/", "-")
            own.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", own, path], check=True)
        if not Path("/dev/kmsg").exists():  # not in a systemd-nspawn host, and the kubelet insists
            Path("/dev/kmsg").symlink_to("/dev/null")

    def _serve(self, woken: int) -> None:
        selector = selectors.DefaultSelector()
        selector.register(woken, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        pending = b""
        while True:
            for key, _ in selector.select():
                if key.fd == woken:
                    if signal.SIGTERM in os.read(woken, 4096) or not self._reap():
                        return
                    continue
                received = os.read(key.fd, 65536)
                if not received:
                    return
                *lines, pending = (pending + received).split(b"\n")
                for command in map(json.loads, lines):
                    if "start" in command:
                        self._start(command["start"], command["argv"])
                    else:
                        selector.unregister(key.fd)

    def _start(self, name: str, argv: list[str]) -> None:
        with (self._folder / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._running[process.pid] = (name, process)

    def _reap(self) -> bool:
        """Collect ended processes, orphans too; False once a component was among them."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if component := self._running.get(ended[0]):
                    status = os.waitstatus_to_exitcode(ended[1])
                    (self._folder / "ended").write_text(f"{component[0]} {status}\n")
                    return False
        return True

    def _end(self) -> None:
        signal.set_wakeup_fd(-1)
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # everything in this process namespace but its first process
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        cgroups.remove(self._group)


if __name__ == "__main__":
    if os.getpid() != 1:
        sys.exit("lab.cluster.supervisor is started by lab.cluster.cluster, as the first process of its own namespaces")
    Supervisor(Path(sys.argv[1]), sys.argv[2]).run()
