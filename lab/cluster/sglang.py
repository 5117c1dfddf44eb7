"""
The image of SGLang without a GPU: the CPU engine's Debian, and its own packages in front of vLLM's.

SGLang of a release and what it wants in another version than vLLM, and Triton, which its modules import wherever they
run, are no layers either: see ``local.engine``. A chart may set PYTHONPATH, so the image's own Python knows the way.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import engine
from lab.cluster.cache import kept
from lab.cluster.errors import LocalError
from lab.cluster.image import Image, add_directory, add_file, image, layer

PACKAGES_IN_CONTAINER = "/opt/sglang/packages"
TRITON_IN_CONTAINER = "/opt/sglang/triton"
WAY = f"import sys; sys.path[:0] = {[PACKAGES_IN_CONTAINER, TRITON_IN_CONTAINER]}\n"


@dataclass(frozen=True)
class Release:
    """An SGLang release for the Python of vLLM's environment: the folder of its *packages*, and *triton*'s."""

    packages: Path
    triton: Path

    @property
    def version(self) -> str:
        """By the package's own word."""
        return engine.release_of(self.packages, "sglang")

    @property
    def mounts(self) -> dict[Path, str]:
        """What its containers see beside vLLM's packages: folder of this machine -> where."""
        return {self.packages: PACKAGES_IN_CONTAINER, self.triton: TRITON_IN_CONTAINER}

    def image(self) -> Image:
        """``docker.io/local/sglang:<version>``: root's, as SGLang's own images are, and without a command."""
        config: dict[str, object] = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]}
        layers = layer(engine.base_layer()), layer(_way_layer())
        return image(f"docker.io/local/sglang:{self.version}", config, layers)


def release(packages: Path, triton: Path) -> Release:
    """The release whose packages the folder *packages* holds."""
    for folder, name in ((packages, "sglang"), (triton, "triton")):
        if not (folder / name).is_dir():
            raise LocalError(f"{folder} has no package {name}")
    return Release(packages.resolve(), triton.resolve())


def _way_layer() -> Path:
    """What lies over the base: the way to the packages."""

    def make(folder: Path) -> None:
        with tarfile.open(folder / "way.tar", "w") as archive:
            for mounted in (engine.PACKAGES_IN_CONTAINER, PACKAGES_IN_CONTAINER, TRITON_IN_CONTAINER):
                add_directory(archive, mounted.lstrip("/"), 0)
            add_file(archive, "usr/lib/python3/dist-packages/sglang.pth", WAY, 0o644)

    return kept("sglang", WAY, make) / "way.tar"
