"""The mirror that a stand-in host downloads everything from: plain HTTP on one address of this machine."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextlib.contextmanager
def serving(address: str, folder: Path, files: Mapping[str, Path]) -> Iterator[str]:
    """Serve *folder*, and each of *files* under its name, on a free port of *address*; the base URL."""
    handler = partial(_Handler, directory=str(folder), files=files)
    with ThreadingHTTPServer((address, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="stand-in mirror", daemon=True)
        thread.start()
        try:
            yield f"http://{address}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: object, files: Mapping[str, Path], **kwargs: object) -> None:
        self._files = files
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        extra = self._files.get(path.lstrip("/"))
        return str(extra) if extra else super().translate_path(path)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the playbook's own output says what it fetched."""
