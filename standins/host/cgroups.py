"""Control groups that a stand-in host leaves in this machine's hierarchies (cgroup v1 has no namespace to hide them)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def removing_new_groups() -> Iterator[None]:
    """At the end, remove every empty group that was not there at the beginning."""
    before = set(_groups())
    try:
        yield
    finally:
        for group in sorted(set(_groups()) - before, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):  # somebody else's, in use
                group.rmdir()


def _groups() -> Iterator[Path]:
    return (path for path in ROOT.rglob("*") if path.is_dir())
