"""Buckets on an address of this machine: rclone's S3 server, which checks the signature of every request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.tools.get import tool
from tests.children import child

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # AWS's own example
START_LIMIT_S = 60


@dataclass
class Buckets:
    url: str


@contextmanager
def serving(folder: Path, address: str = "127.0.0.1") -> Iterator[Buckets]:
    """Every folder in *folder* is a bucket while the block runs, for who has KEY and SECRET."""
    command: list[str | Path] = [
        tool("s3"),
        "-folder",
        folder,
        "-address",
        f"{address}:0",
        "-key",
        KEY,
        "-secret",
        SECRET,
    ]
    with child(command, stderr=None) as server:
        yield Buckets(f"http://{server.line(START_LIMIT_S)}")
