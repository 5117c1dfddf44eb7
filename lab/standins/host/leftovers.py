"""What a host leaves when its owner was killed outright: it died with it, its namespace and folder stay until here."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

from lab.standins.host.cache import cache_dir

NAMESPACES = Path("/run/netns")
OWNED = re.compile(r"(?:qwenkit-host|run)-(\d+)-")  # how network.py and machine.py name theirs


def sweep() -> None:
    """Remove namespaces (their links go along) and folders whose owning process is no more."""
    for namespace in NAMESPACES.glob("qwenkit-host-*"):
        if _is_orphan(namespace):
            done = subprocess.run(
                ["ip", "netns", "delete", namespace.name], capture_output=True, text=True, check=False
            )
            if done.returncode and namespace.exists():  # else another sweep was quicker
                raise RuntimeError(f"ip netns delete {namespace.name}: {done.stderr.strip()}")
    for folder in cache_dir().glob("run-*"):
        if _is_orphan(folder):
            with contextlib.suppress(FileNotFoundError):  # likewise
                shutil.rmtree(folder)


def _is_orphan(path: Path) -> bool:
    owner = OWNED.match(path.name)
    return owner is not None and not Path(f"/proc/{owner[1]}").exists()
