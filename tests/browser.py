"""
A real headless Chromium, spoken to over a pipe (the DevTools protocol): open a file, look at it, take a picture.

The network is off. Pixels are counted in the browser itself, from the very screenshot that the test got.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.children import exit_code
from tests.waiting import wait_for_input

PROGRAM = "chromium-headless-shell"
FLAGS = ("--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--remote-debugging-pipe")
ANSWER_LIMIT_S = 60
COUNT_COLOURS = """(async (png) => {
  const image = new Image();
  image.src = "data:image/png;base64," + png;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const drawing = canvas.getContext("2d");
  drawing.drawImage(image, 0, 0);
  const counts = new Map();
  const pixels = new Uint32Array(drawing.getImageData(0, 0, image.width, image.height).data.buffer);
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const byte = (value) => (value & 255).toString(16).padStart(2, "0");
  const hex = (pixel) => "#" + byte(pixel) + byte(pixel >> 8) + byte(pixel >> 16);
  return Object.fromEntries([...counts].map(([pixel, count]) => [hex(pixel), count]));
})"""


class Browser:
    """One page of a browser that ends with the ``with`` block."""

    def __init__(self, profile: Path) -> None:
        (own_in, its_out), (its_in, own_out) = os.pipe(), os.pipe()
        passed = [fcntl.fcntl(number, fcntl.F_DUPFD, 10) for number in (its_in, its_out)]
        command = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{passed[0]} 4>&{passed[1]}', *command],
            pass_fds=passed,
            stderr=subprocess.DEVNULL,
        )
        for number in (its_in, its_out, *passed):
            os.close(number)
        self.commands, self.answers = os.fdopen(own_out, "wb", buffering=0), os.fdopen(own_in, "rb", buffering=0)
        self.pending = b""
        self.number, self.session = 0, ""
        self.events: list[dict[str, Any]] = []
        self.counting, self.session = (
            self._page(),
            self._page(),
        )  # a page of its own: what is looked at may allow no images
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def _page(self) -> str:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session: str = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return session

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session = ""
        try:
            self.call("Browser.close")
        finally:
            self.commands.close()
            self.answers.close()
            try:
                exit_code(self.process, 20, f"{PROGRAM} closes")
            finally:
                self.process.kill()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a DevTools command; what happened meanwhile goes to ``events``."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.commands.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.pending:
            wait_for_input(self.answers.fileno(), ANSWER_LIMIT_S, f"{PROGRAM} answers")
            more = self.answers.read(65536)
            assert more, f"{PROGRAM} ended: {self.process.poll()}"
            self.pending += more
        text, _, self.pending = self.pending.partition(b"\0")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def open(self, file: Path, *, width: int, dark: bool = False, scripts: bool = True) -> None:
        """Load *file* from disk in a window of *width*, as someone with a light or dark desktop sees it."""
        self.events.clear()
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=file.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, file: Path) -> dict[str, int]:
        """A screenshot of the whole page in *file* (PNG); the pixels of each colour, as ``#rrggbb``."""
        png = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")["data"]
        file.write_bytes(base64.b64decode(png))
        self.session, looked_at = self.counting, self.session
        counts: dict[str, int] = self.ask(f"{COUNT_COLOURS}({json.dumps(png)})")
        self.session = looked_at
        return counts
