"""Making one build of the table, whole or not at all, into its folder of the cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.tools import stubs
from lab.tools.progress import Clock, last_words, run
from lab.tools.table import HERE, Build, ToolError

GIB = 2**30


def cache() -> Path:
    """``$QWENKIT_CACHE``, else ``~/.cache/qwenkit``."""
    return Path(os.environ.get("QWENKIT_CACHE") or Path.home() / ".cache" / "qwenkit")


def folder_of(build: Build) -> Path:
    """Where *build* lies in the cache; there, it is whole."""
    return cache() / "tools" / build.folder


class Workshop:
    """One build under way: where it goes, where its words go, and the clock on the terminal."""

    def __init__(self, build: Build, into: Path, log: Path, clock: Clock) -> None:
        self.build, self.into, self.log, self.clock = build, into, log, clock

    def run(self, doing: str, *command: str | Path, env: dict[str, str] | None = None, cwd: Path = HERE) -> None:
        """Run *command* with progress; ToolError with its last words if it fails."""
        if not run(doing, list(command), self.clock, self.log, {**os.environ, **(env or {})}, cwd):
            raise ToolError(
                f"{self.build} could not be made: while {doing}, {Path(command[0]).name} ended with "
                f"{last_words(self.log)!r}. If the network was the reason, run it again. "
                f"All it said is in {self.log}."
            )


def make(build: Build, go: Callable[[], Path]) -> Path:
    """The folder of *build*, made first if it is not there; *go* gives the compiler, asked only if needed."""
    final = folder_of(build)
    if final.is_dir():
        return final
    compiler = go() if build.kind == "go" else None
    final.parent.mkdir(parents=True, exist_ok=True)
    with _alone(final.parent / f"{build.name}.lock", build):
        if final.is_dir():
            return final
        # The lock is ours, so whatever lies here was left by a process that was killed.
        partial = final.parent / f".{build.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        _check_disk(build, final.parent)
        took = final.parent / f"{build.name}.seconds"
        log = final.parent / f"{build.name}.log"
        log.unlink(missing_ok=True)
        clock = Clock(f"making {build}", float(took.read_text()) if took.exists() else build.takes_s)
        shop = Workshop(build, partial, log, clock)
        try:
            partial.mkdir()
            if build.kind == "go":
                assert compiler is not None
                _go(shop, compiler)
            elif build.kind == "venv":
                _venv(shop, final)
            else:
                _wheels(shop)
            partial.rename(final)
        except BaseException as error:
            clock.done("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        took.write_text(f"{clock.done('ready'):.1f}\n")
    return final


@contextmanager
def _alone(lock: Path, build: Build) -> Iterator[None]:
    """Hold *lock*; the system drops it when the process ends, however it ends."""
    with lock.open("w") as file:
        waiting: Clock | None = None
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting = waiting or Clock(f"another process is making {build}", build.takes_s)
                waiting.tick("waiting for it")
                time.sleep(0.2)
        if waiting:
            waiting.done("its turn is over")
        yield


def _check_disk(build: Build, place: Path) -> None:
    free_gib = shutil.disk_usage(place).free / GIB
    if free_gib < build.disk_gib:
        raise ToolError(
            f"Making {build} wants {build.disk_gib:.1f} GiB of disk under {place} and {free_gib:.1f} GiB are free: "
            "free some, or set QWENKIT_CACHE to a folder on a larger disk."
        )


def _go(shop: Workshop, compiler: Path) -> None:
    build = shop.build
    major, minor, *_ = build.version.split(".")
    flags = " ".join(["-s -w", *build.recipe.get("ldflags", [])]).format(
        version=build.version, major=major, minor=minor
    )
    module = HERE / "go" / build.name
    # What the module's own tool lines name, or the main.go that stands for them.
    what = "." if (module / "main.go").exists() else "tool"
    env = {
        "CGO_ENABLED": "0",
        "GOCACHE": str(cache() / "go-build"),
        "GOFLAGS": "-mod=readonly -modcacherw",
        "GOMODCACHE": str(cache() / "go-mod"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    command = (compiler, "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", f"{shop.into}/", what)
    shop.run("downloading modules and compiling", *command, env=env, cwd=module)


def drop_go_caches() -> None:
    """Give back the disk of the modules and objects that only making the next Go build would want."""
    for name in ("go-build", "go-mod"):
        shutil.rmtree(cache() / name, ignore_errors=True)


def _pip_flags(build: Build) -> list[str]:
    flags = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--disable-pip-version-check"]
    return [*flags, "-r", str(build.listed)]


def _venv(shop: Workshop, final: Path) -> None:
    build = shop.build
    shop.run("making the environment", _python(build), "-m", "venv", shop.into)
    python = shop.into / "bin" / "python"
    shop.run("downloading and installing packages", python, "-m", "pip", "install", *_pip_flags(build))
    packages = shop.into / "lib" / f"python{build.recipe['python']}" / "site-packages"
    if alias := build.recipe.get("also_known_as"):
        known_as = packages / f"{alias}-{build.version}+cpu.dist-info" / "METADATA"
        known_as.parent.mkdir()
        known_as.write_text(f"Metadata-Version: 2.1\nName: {alias}\nVersion: {build.version}+cpu\n")
    if stub := build.recipe.get("stub"):
        stubs.fill_missing(packages / stub["folder"], tuple(stub["families"]))
    shop.run("importing it once", python, "-c", build.recipe["check"])
    # Pods and other users read it too.
    shop.run("opening it for reading", "chmod", "-R", "a+rX", shop.into)
    _move_scripts(shop.into, final)


def _move_scripts(venv: Path, final: Path) -> None:
    """Let the scripts of *venv* name the folder that it will be renamed to."""
    for script in [*(venv / "bin").iterdir(), venv / "pyvenv.cfg"]:
        if script.is_file() and not script.is_symlink():
            script.write_bytes(script.read_bytes().replace(bytes(venv), bytes(final)))


def _python(build: Build) -> str:
    """An interpreter of the version that *build*'s packages are for, able to make environments."""
    version = build.recipe["python"]
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [sys.executable] if own == version else []
    candidates += [found for found in [shutil.which(f"python{version}")] if found]
    for candidate in candidates:
        # A version manager's shim is on PATH without an interpreter behind it; Debian splits venv off.
        probe = subprocess.run([candidate, "-c", "import ensurepip"], capture_output=True, check=False)
        if probe.returncode == 0:
            return candidate
    raise ToolError(
        f"{build} is published for Python {version} and no python{version} with its venv module is on PATH "
        f"(this is {own}): install python{version} and python{version}-venv (Debian 12 has them)."
    )


def _wheels(shop: Workshop) -> None:
    python = _python(shop.build) if "python" in shop.build.recipe else sys.executable
    # With what Python compiles them to, which a reader of this folder may not be allowed to add.
    shop.run(
        "downloading and installing", python, "-m", "pip", "install", *_pip_flags(shop.build), "--target", shop.into
    )
