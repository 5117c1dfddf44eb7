"""Container images from layers that are tar files, written as an OCI archive: no container engine is needed."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

BLOCK_BYTES = 1 << 22
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Blob:
    """One content-addressed piece of an archive, in memory or in a file."""

    kind: str
    digest: str
    size_bytes: int
    content: bytes | Path

    def descriptor(self) -> dict[str, object]:
        return {"mediaType": self.kind, "digest": self.digest, "size": self.size_bytes}


@dataclass(frozen=True)
class Image:
    """An image under every one of its *names*; its content, and so its digest, follows from its layers and config."""

    names: tuple[str, ...]
    manifest: Blob
    parts: tuple[Blob, ...]

    @property
    def pinned(self) -> str:
        """Name, tag and digest in one, as a pod may ask for it."""
        return f"{self.names[0]}@{self.manifest.digest}"


def layer(path: Path) -> Blob:
    """The tar file *path* as a layer."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            total.update(block)
    kind = "application/vnd.oci.image.layer.v1.tar"
    return Blob(kind, f"sha256:{total.hexdigest()}", path.stat().st_size, path)


def image(name: str, config: dict[str, object], layers: tuple[Blob, ...]) -> Image:
    """The image *name* (registry/path:tag), also found as registry/path@sha256:..."""
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in layers]},
    }
    settings = _json_blob("application/vnd.oci.image.config.v1+json", described)
    manifest = _json_blob(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": settings.descriptor(),
            "layers": [blob.descriptor() for blob in layers],
        },
    )
    repository = name.rpartition(":")[0]
    return Image((name, f"{repository}@{manifest.digest}"), manifest, (settings, *layers))


def write_archive(images: tuple[Image, ...], target: IO[bytes]) -> None:
    """Write *images* to *target* as one OCI archive; shared layers once."""
    index = {
        "schemaVersion": 2,
        "manifests": [
            made.manifest.descriptor() | {"annotations": {"io.containerd.image.name": name}}
            for made in images
            for name in made.names
        ],
    }
    blobs = {blob.digest: blob for made in images for blob in (made.manifest, *made.parts)}
    with tarfile.open(fileobj=target, mode="w|") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps(index).encode())
        for blob in blobs.values():
            _add(archive, f"blobs/{blob.digest.replace(':', '/')}", blob.content)


def add_directory(archive: tarfile.TarFile, name: str, user: int) -> None:
    """Add the folder *name* of *user* to the layer *archive*."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid = tarfile.DIRTYPE, 0o755, user
    archive.addfile(entry)


def add_file(archive: tarfile.TarFile, name: str, text: str, mode: int) -> None:
    """Add root's file *name* to the layer *archive*."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text.encode()), mode
    archive.addfile(entry, io.BytesIO(text.encode()))


def _json_blob(kind: str, value: object) -> Blob:
    content = json.dumps(value, sort_keys=True).encode()
    return Blob(kind, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), content)


def _add(archive: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    entry = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        return
    entry.size = content.stat().st_size
    with content.open("rb") as file:
        archive.addfile(entry, file)
