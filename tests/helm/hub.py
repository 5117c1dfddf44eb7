"""
A stand-in for a Hugging Face hub: what the real ``huggingface_hub`` asks of one, on an address of this machine.

Large files are in "storage", a redirect to another host name, as on the real one. It can refuse, lie and break off.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests import servers
from tests.servers import Quiet

COMMIT = "9216db5781bf21249d130ec9da846c4624c16137"
LARGE_BYTES = 1000


@dataclass
class Asked:
    """One request as it came: path, Range and Authorization ("" if absent)."""

    path: str
    range: str
    authorization: str


@dataclass
class Hub:
    """Repositories (id -> path -> content) and how the server behaves; ``asked`` is everything that came."""

    repositories: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    cut_after_bytes: int | None = None  # the next answer from storage breaks off there, once
    altered: set[str] = field(default_factory=set)  # files whose last byte arrives changed
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    storage_url: str = ""

    def fetched(self) -> list[str]:
        """Paths of the files that were asked for, in order."""
        return [one.path.split("/resolve/")[1].partition("/")[2] for one in self.asked if "/resolve/" in one.path]


@contextmanager
def serving(hub: Hub, address: str = "127.0.0.1", storage: str = "localhost") -> Iterator[Hub]:
    """*hub* at its ``url`` while the block runs. *storage* is another name of *address*."""

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, hub)

    with servers.serving(ThreadingHTTPServer((address, 0), Handler)) as server:
        hub.url, hub.storage_url = (f"http://{host}:{server.server_port}" for host in (address, storage))
        yield hub


def _answer(to: BaseHTTPRequestHandler, hub: Hub) -> None:
    path = unquote(urlsplit(to.path).path)
    said = to.headers.get("Authorization", "")
    hub.asked.append(Asked(path, to.headers.get("Range", ""), said))
    if said and said.removeprefix("Bearer ") not in hub.tokens:
        return _refuse(to, 401, "", "Invalid credentials in Authorization header")
    if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
        repository, revision = found.groups()
        if repository not in hub.repositories:
            return _refuse(to, 401, "RepoNotFound", "Repository not found")
        if revision not in ("main", COMMIT):
            return _refuse(to, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = hub.repositories[repository]
        siblings = [_listed(name, content) for name, content in files.items()]
        return _send(to, json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode())
    if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
        repository, _, name = found.groups()
        if repository in hub.gated and not said:
            return _refuse(to, 401, "GatedRepo", "Access to this model is restricted")
        if repository in hub.gated and said.endswith("-stranger"):
            return _refuse(to, 403, "GatedRepo", "You are not in the authorized list")
        content = hub.repositories[repository][name]
        if len(content) >= LARGE_BYTES:
            to.send_response(302)
            to.send_header("Location", f"{hub.storage_url}/storage/{repository}/{name}")
            to.send_header("Content-Length", "0")
            return to.end_headers()
        return _send(to, content)
    if found := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", path):
        repository, name = found.groups()
        content = hub.repositories[repository][name]
        if name in hub.altered:
            content = content[:-1] + bytes([content[-1] ^ 1])
        return _send(to, content, hub)
    return _refuse(to, 404, "EntryNotFound", "not here")


def _listed(name: str, content: bytes) -> dict[str, object]:
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git}
    if len(content) >= LARGE_BYTES:
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        entry["blobId"] = "0" * 40  # the pointer's, which says nothing about the content
    return entry


def _send(to: BaseHTTPRequestHandler, content: bytes, hub: Hub | None = None) -> None:
    part = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range", ""))
    start = int(part[1]) if part else 0
    to.send_response(206 if "Range" in to.headers else 200)
    if "Range" in to.headers:
        to.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    to.send_header("Content-Length", str(len(content) - start))
    to.end_headers()
    if hub and hub.cut_after_bytes is not None:
        to.wfile.write(content[start : start + hub.cut_after_bytes])
        hub.cut_after_bytes = None
        to.close_connection = True
        return
    to.wfile.write(content[start:])


def _refuse(to: BaseHTTPRequestHandler, status: int, code: str, message: str) -> None:
    to.send_response(status)
    if code:
        to.send_header("X-Error-Code", code)
    to.send_header("X-Error-Message", message)
    to.send_header("Content-Length", "0")
    to.end_headers()
