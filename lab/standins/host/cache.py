"""Where built things are kept between runs, and how a half-built one never becomes a kept one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


def cache_dir() -> Path:
    """``$QWENKIT_CACHE/host`` (default ``~/.cache/qwenkit/host``), made if missing."""
    path = Path(os.environ.get("QWENKIT_CACHE", Path.home() / ".cache" / "qwenkit")) / "host"
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*inputs: bytes | str) -> str:
    """First 16 hex digits of SHA-256 over *inputs*, each told apart from its neighbours."""
    total = hashlib.sha256()
    for item in inputs:
        data = item.encode() if isinstance(item, str) else item
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:16]


def tree_digest(folder: Path) -> str:
    """Digest of every file's name, mode and content under *folder*."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [(str(p.relative_to(folder)), str(p.stat().st_mode), p.read_bytes()) for p in files]
    return digest(*(item for part in parts for item in part))


def kept(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Folder ``<cache>/<name>-<key>``; *build* fills it once, and only a finished one gets that name."""
    folder = cache_dir() / f"{name}-{key}"
    if folder.is_dir():
        return folder
    with _scratch(cache_dir(), f"{name}-") as scratch:
        build(scratch)
        with contextlib.suppress(OSError):  # another process finished the same thing first
            scratch.rename(folder)
    return folder


@contextlib.contextmanager
def _scratch(parent: Path, prefix: str) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=parent))
    path.chmod(0o755)
    try:
        yield path
    finally:
        if path.exists():
            shutil.rmtree(path)
