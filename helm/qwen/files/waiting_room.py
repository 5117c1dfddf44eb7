"""
Answer for the engine while none does: 503, and when to come again.

On the last GPU an old engine is gone before a new one can start. This pod then joins the engine's Service by taking
the label that the Service selects, and leaves when an engine answers there. It is ready all the time: a pod that is
not ready by design would hold up `helm --wait` and set off alerts.

Environment: SERVICE (host:port), PORT, POD, NAMESPACE, LABEL (its name), ENGINE and WAITING (its two values), and
KUBERNETES_SERVICE_HOST and _PORT from Kubernetes. Its token may patch the two such pods and nothing else.
Standard library only: it runs in the engine's own image.
"""

import contextlib
import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RETRY_AFTER_S = 5
LOOK_EVERY_S = 0.5
LOOK_AGAIN_S = 0.1  # while in the Service, where a look may meet a waiting room instead of the engine
ANSWER_LIMIT_S = 2
LATE_BODY_LIMIT_S = 5
NAME = "waiting-room"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
BODY = json.dumps({"error": {"message": "No engine is ready; try again.", "type": "unavailable", "code": 503}}).encode()


class Room(ThreadingHTTPServer):
    request_queue_size = 1024  # the default of 5 drops connections, and clients wait for ever
    daemon_threads = True


class Refusal(BaseHTTPRequestHandler):
    """One answer to every request."""

    protocol_version = "HTTP/1.1"
    server_version = NAME
    sys_version = ""
    timeout = LATE_BODY_LIMIT_S

    def refuse(self) -> None:
        self.send_response(503)
        for name, value in (
            ("Retry-After", RETRY_AFTER_S),
            ("Connection", "close"),
            ("Content-Type", "application/json"),
            ("Content-Length", len(BODY)),
        ):
            self.send_header(name, str(value))
        self.end_headers()
        with contextlib.suppress(OSError):
            if self.command != "HEAD":
                self.wfile.write(BODY)
            # Closing on a body still on its way would reset the connection before the client has read the answer.
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(65536):
                pass

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = refuse

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a gap has thousands of them."""


def an_engine_answers(service: str) -> "bool | None":
    """
    Whether an engine is behind the Service; None if that cannot be told.

    Nobody there, and an engine's 503 (it has left), are a no. Silence says nothing, for busy engines are slow; nor does
    a waiting room, this one or another.
    """
    connection = http.client.HTTPConnection(service, timeout=ANSWER_LIMIT_S)
    try:
        connection.request("GET", "/health", headers={"Connection": "close"})
        answer = connection.getresponse()
        return None if NAME in answer.headers.get("Server", "") else answer.status != 503
    except (TimeoutError, socket.gaierror):
        return None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def take_label(value: str) -> None:
    """Set this pod's label; OSError with the API server's words if it refuses."""
    address = f"{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    api = http.client.HTTPSConnection(
        address, timeout=ANSWER_LIMIT_S, context=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    )
    try:
        api.request(
            "PATCH",
            f"/api/v1/namespaces/{os.environ['NAMESPACE']}/pods/{os.environ['POD']}",
            json.dumps({"metadata": {"labels": {os.environ["LABEL"]: value}}}),
            {
                "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
                "Content-Type": "application/merge-patch+json",
            },
        )
        answer = api.getresponse()
        said = answer.read().decode(errors="replace")
        if answer.status != 200:
            raise OSError(f"{answer.status} {said}")
    finally:
        api.close()


def main() -> None:
    server = Room(("", int(os.environ["PORT"])), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answered = None  # a container that starts again does not know its pod's label
    while True:
        answers = an_engine_answers(os.environ["SERVICE"])
        if answers is not None and answers is not answered:
            try:
                take_label(os.environ["WAITING" if answers else "ENGINE"])
                answered = answers
                print("an engine answers: left the Service" if answers else "no engine: joined the Service", flush=True)
            except (OSError, http.client.HTTPException) as failure:
                print(f"cannot change this pod's label: {failure}", file=sys.stderr, flush=True)
        time.sleep(LOOK_AGAIN_S if answered is False else LOOK_EVERY_S)


if __name__ == "__main__":
    main()
