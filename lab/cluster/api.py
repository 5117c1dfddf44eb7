"""The Kubernetes API as JSON over HTTPS, for the few calls that setting up needs; users have kubectl."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CALL_LIMIT_S = 10


class Api:
    """Requests to *url* as the administrator."""

    def __init__(self, url: str, token: str, certificate: Path) -> None:
        self.url = url
        self._token = token
        self._certificate = certificate

    def get(self, path: str) -> dict[str, Any] | None:
        """The object at *path*, None if there is no such object."""
        return self._ask("GET", path, None, absent=404)

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Create *body* in the collection *path*; an object of that name stays as it is."""
        self._ask("POST", path, body, absent=409)

    def patch(self, path: str, body: dict[str, Any]) -> None:
        """Merge *body* into the object at *path*."""
        self._ask("PATCH", path, body)

    def is_ready(self) -> bool:
        """Whether the server says that it is ready."""
        if not self._certificate.exists():
            return False
        try:
            with self._open("GET", "/readyz", None) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, absent: int = 0) -> dict[str, Any] | None:
        try:
            with self._open(method, path, body) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            with error:
                if error.code == absent:
                    return None
                reason = error.read().decode(errors="replace")
            raise RuntimeError(f"{method} {path}: {error.code} {reason}") from error

    def _open(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        trust = ssl.create_default_context(cafile=str(self._certificate))
        # A proxy from the environment must not come between this machine and itself.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        return opener.open(request, timeout=CALL_LIMIT_S)
