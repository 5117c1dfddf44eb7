"""The keys that clients may use: the lines of a mounted Secret, read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path


class Keys:
    """The keys of *path*, one a line. No file, or an empty one, accepts nobody."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._version: tuple[int, int, int] | None = None
        self._digests: list[bytes] = []

    def accept(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether *headers* carry one of the keys as a Bearer token; every key is compared, in constant time."""
        sent = [value for name, value in headers if name == b"authorization"]
        scheme, _, key = sent[0].partition(b" ") if len(sent) == 1 else (b"", b"", b"")
        asked = hashlib.sha256(key.strip()).digest()
        matches = [hmac.compare_digest(asked, known) for known in self._current()]
        return scheme.lower() == b"bearer" and any(matches)

    def present(self) -> bool:
        return bool(self._current())

    def _current(self) -> list[bytes]:
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_ino, found.st_size)
            if version != self._version:
                lines = self._path.read_bytes().splitlines()
                self._digests = [hashlib.sha256(line.strip()).digest() for line in lines if line.strip()]
                self._version = version
        except OSError:
            self._version, self._digests = None, []
        return self._digests
