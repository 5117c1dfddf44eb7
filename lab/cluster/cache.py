"""What is made once and kept between runs, outside the checkout; a half-made thing never gets its final name."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """``$QWENKIT_CACHE/local``, by default ``~/.cache/qwenkit/local``."""
    return Path(os.environ.get("QWENKIT_CACHE", Path.home() / ".cache/qwenkit")) / "local"


def kept(name: str, made_of: str, make: Callable[[Path], None]) -> Path:
    """The folder *name* made of *made_of*; *make* fills it the first time."""
    final = cache_folder() / f"{name}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    if not final.is_dir():
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=final.parent) as scratch:
            filled = Path(scratch) / "filled"
            filled.mkdir(mode=0o755)
            make(filled)
            try:
                filled.rename(final)
            except OSError:  # another process has just made the same
                if not final.is_dir():
                    raise
    return final
