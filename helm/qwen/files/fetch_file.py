"""
One file over HTTP into a folder: resumed where it broke off, checked by size and checksum, then given its name.

What may pass is tried again with growing pauses; what only a person can mend is a ``Trouble``, one sentence.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

BLOCK_BYTES = 1 << 20
SILENCE_S = 60  # a connection that says nothing for so long is dead
PAUSES_S = (1, 2, 5, 10, 20, 40, 60, 60)  # with no byte between them; then it is a Trouble
MAY_PASS = (408, 425, 429, 500, 502, 503, 504)

Say = Callable[[str], None]
Result = TypeVar("Result")


class Trouble(Exception):
    """What a person has to mend: a sentence that names the thing and the remedy."""


class Passing(Exception):
    """What may be over in a moment."""


@dataclass(frozen=True)
class Remote:
    """
    A file to fetch. ``version`` changes with its content; ``checksum``: algorithm and digits, as its source states.

    ``request`` makes a request for it, signed anew each time; ``refused`` says in a sentence what a status means.
    """

    path: str
    size: int
    version: str
    checksum: tuple[str, str] | None
    request: Callable[[], urllib.request.Request]
    refused: Callable[[int], str]


@cache
def _tls() -> ssl.SSLContext:
    """Trusts the system's authorities, and certifi's where the image has it: a small image has no others."""
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


@contextlib.contextmanager
def answer_to(request: urllib.request.Request) -> Iterator[http.client.HTTPResponse]:
    """The answer, if its status is below 400. Raises ``HTTPError``, or ``Passing`` where another try may help."""
    host = request.host
    try:
        with urllib.request.urlopen(request, timeout=SILENCE_S, context=_tls()) as answer:
            yield answer
    except urllib.error.HTTPError as refusal:
        if refusal.code in MAY_PASS:
            raise Passing(f"{host} answers {refusal.code}") from None
        raise
    except urllib.error.URLError as failed:
        raise Passing(f"{host} cannot be reached: {failed.reason}") from None
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as broken:
        raise Passing(f"{host} broke off: {type(broken).__name__}") from None


def patiently(attempt: Callable[[], Result], say: Say, reached: Callable[[], int] = int) -> Result:
    """What *attempt* gives, once it succeeds; a ``Trouble`` after all pauses in a row with *reached* where it was."""
    tried, before = 0, reached()
    while True:
        try:
            return attempt()
        except Passing as trouble:
            if reached() > before:
                tried, before = 0, reached()
            if tried == len(PAUSES_S):
                raise Trouble(f"{trouble}; it did so {tried + 1} times in a row.") from None
            say(f"{trouble}; trying again in {PAUSES_S[tried]} s")
            time.sleep(PAUSES_S[tried])
            tried += 1


def part_of(remote: Remote, folder: Path) -> Path:
    """Where its bytes lie until they are whole; those of another version are never gone on with."""
    whole = folder / remote.path
    return whole.with_name(f".{whole.name}.{hashlib.sha256(remote.version.encode()).hexdigest()[:12]}.part")


def fetch(remote: Remote, folder: Path, say: Say, count: Callable[[int], None]) -> None:
    """Bring *remote* below *folder*. *count* hears of all bytes that arrive, and takes back those that were in vain."""
    for last in (False, True):
        part = _Part(remote, part_of(remote, folder))
        patiently(lambda part=part: part.go_on(count), say, lambda part=part: part.size)  # type: ignore[misc]
        found = part.hash.hexdigest()
        if remote.checksum is None or found == remote.checksum[1]:
            part.path.replace(folder / remote.path)
            return
        part.empty(count)
        if not last:
            say(f"{remote.path} does not have its checksum; fetching it once more")
    assert remote.checksum is not None
    algorithm, stated = remote.checksum
    raise Trouble(
        f"{remote.path} has the {algorithm} checksum {found}, but its source states {stated}: fetched twice, it was "
        f"altered there or on the way (a proxy?)."
    )


class _Part:
    """The bytes that are there, and their checksum."""

    def __init__(self, remote: Remote, path: Path) -> None:
        self.remote, self.path = remote, path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._begin()
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                self._add(block)

    def _begin(self) -> None:
        self.size = 0
        self.hash = hashlib.new(self.remote.checksum[0].removeprefix("git-") if self.remote.checksum else "sha256")
        if self.remote.checksum and self.remote.checksum[0].startswith("git-"):
            self.hash.update(b"blob %d\0" % self.remote.size)

    def _add(self, block: bytes) -> None:
        self.size += len(block)
        self.hash.update(block)

    def empty(self, count: Callable[[int], None]) -> None:
        count(-self.size)
        self.path.write_bytes(b"")
        self._begin()

    def go_on(self, count: Callable[[int], None]) -> None:
        """Ask for what is missing, until the file has its size."""
        if self.size > self.remote.size:
            self.empty(count)
        if self.size == self.remote.size:
            return
        request = self.remote.request()
        request.add_header("Range", f"bytes={self.size}-")
        try:
            with answer_to(request) as answer, self.path.open("ab") as file:
                if answer.status != 206:  # this server begins at the beginning
                    file.truncate(0)
                    count(-self.size)
                    self._begin()
                while block := answer.read(BLOCK_BYTES):
                    file.write(block)
                    self._add(block)
                    count(len(block))
        except urllib.error.HTTPError as refusal:
            raise Trouble(self.remote.refused(refusal.code)) from None
        if self.size != self.remote.size:
            raise Passing(f"{request.host} ended {self.remote.path} after {self.size} of {self.remote.size} bytes")
