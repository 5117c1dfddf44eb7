"""
A program named ``pulumi-language-python``, through which the real engine runs ``infra/``.

Stands in for: the Python language plugin that comes with the official Pulumi CLI. Used only where that is missing.
Cannot show: ``pulumi install``, ``pulumi new``, or the ``virtualenv`` and ``toolchain`` options of ``Pulumi.yaml``:
the program runs in the Python that started this.

Prints its port, as the engine expects, and ends with the engine: on its interrupt, or when it is no longer the parent.
"""

# ruff: noqa: N802, ARG002 (the methods are those of a gRPC service)
from __future__ import annotations

import os
import runpy
import signal
import threading
from concurrent import futures
from typing import Any

import grpc
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2, language_pb2_grpc


class LanguageHost(LanguageServer):
    """The SDK's own server for in-process programs, given a program on disk."""

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def Run(self, request: Any, context: Any) -> Any:
        folder = request.info.program_directory

        def program() -> None:
            runpy.run_path(folder, run_name="__main__")

        self.program = program
        return super().Run(request, context)  # type: ignore[no-untyped-call]

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:
        return language_pb2.GetProgramDependenciesResponse()

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:
        return language_pb2.RuntimeOptionsResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Any:
        return iter(())


def main() -> None:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    engine = os.getppid()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageHost(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    while not ended.wait(timeout=0.5) and os.getppid() == engine:
        pass
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
