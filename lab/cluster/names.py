"""
A stand-in for CoreDNS: answers A questions for <service>.<namespace>.svc.cluster.local over UDP from the API server.

CoreDNS takes four minutes to build; a chart's test needs one name. Other names do not exist here, IPv6 has no answer.
Arguments: address to listen on, URL of the API server, file with the token, file with the server's certificate.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import sys
import time
from pathlib import Path

from lab.cluster.api import Api

ZONE = "svc.cluster.local"
TYPE_A, CLASS_IN = 1, 1
NO_SUCH_NAME, FAILED = 3, 2
ANSWER_FLAGS = 0x8400  # an authoritative answer
TTL_S = 5


class Names(socketserver.ThreadingUDPServer):
    daemon_threads = True

    def __init__(self, address: str, api: Api, port: int = 53) -> None:
        super().__init__((address, port), Question)
        self._api = api
        self._known: dict[str, tuple[str, float]] = {}

    def address_of(self, name: str) -> str | None:
        """
        ClusterIP of the Service that *name* means, None if there is none. What is found is true for `TTL_S`, as clients
        are told: waiting rooms ask several times a second, and each question to the API server costs both of us.
        """
        address, until = self._known.get(name, ("", 0.0))
        if time.monotonic() < until:
            return address
        found = self._ask(name)
        if found:
            self._known[name] = found, time.monotonic() + TTL_S
        return found

    def _ask(self, name: str) -> str | None:
        labels, is_service = name.removesuffix(f".{ZONE}").split("."), name.endswith(f".{ZONE}")
        if not is_service or len(labels) != 2:
            return None
        service = self._api.get(f"/api/v1/namespaces/{labels[1]}/services/{labels[0]}")
        return service["spec"].get("clusterIP") if service else None


class Question(socketserver.BaseRequestHandler):
    server: Names
    request: tuple[bytes, socket.socket]

    def handle(self) -> None:
        packet, answering = self.request
        try:
            identity, name, end, kind = read_question(packet)
        except (struct.error, IndexError, UnicodeDecodeError):
            return
        try:
            address = self.server.address_of(name)
            code = 0 if address else NO_SUCH_NAME
        except (OSError, RuntimeError):
            address, code = None, FAILED
        record = b""
        if address and address != "None" and kind == TYPE_A:
            record = struct.pack(">HHHIH", 0xC00C, TYPE_A, CLASS_IN, TTL_S, 4) + socket.inet_aton(address)
        header = struct.pack(">HHHHHH", identity, ANSWER_FLAGS | code, 1, bool(record), 0, 0)
        answering.sendto(header + packet[12:end] + record, self.client_address)


def read_question(packet: bytes) -> tuple[int, str, int, int]:
    """Identity of a DNS query, the first name it asks for in lower case, where that question ends, and its type."""
    identity = struct.unpack_from(">H", packet)[0]
    labels, position = [], 12
    while length := packet[position]:
        labels.append(packet[position + 1 : position + 1 + length].decode("ascii").lower())
        position += 1 + length
    kind = struct.unpack_from(">H", packet, position + 1)[0]
    return identity, ".".join(labels), position + 5, kind


if __name__ == "__main__":
    listen, url, token_file, certificate = sys.argv[1:]
    Names(listen, Api(url, Path(token_file).read_text(), Path(certificate))).serve_forever()
