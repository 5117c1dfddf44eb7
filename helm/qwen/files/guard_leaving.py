"""Whether the pod is on its way out, by the files that its preStop hook makes, and by SIGTERM."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType


class Leaving:
    """``leaving`` in *folder*: endpoints are being withdrawn. ``left``, or SIGTERM: no client is sent here any more."""

    def __init__(self, folder: str) -> None:
        self._begun, self._over = Path(folder) / "leaving", Path(folder) / "left"
        self._terminated = False

    @property
    def begun(self) -> bool:
        return self.over or self._begun.exists()

    @property
    def over(self) -> bool:
        return self._terminated or self._over.exists()

    def forget(self) -> None:
        """Start anew: the files are older than this process when a container restarts in its pod."""
        self._begun.unlink(missing_ok=True)
        self._over.unlink(missing_ok=True)

    def hear_sigterm(self) -> None:
        """Note SIGTERM from now on, and pass it to whoever handles it now."""
        handler = signal.getsignal(signal.SIGTERM)

        def heard(number: int, frame: FrameType | None) -> None:
            self._terminated = True
            if callable(handler):
                handler(number, frame)

        signal.signal(signal.SIGTERM, heard)
