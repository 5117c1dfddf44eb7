import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from lab.cluster.image import Image, image, layer, write_archive


@pytest.fixture
def two_images(tmp_path: Path) -> tuple[Image, Image]:
    path = tmp_path / "layer.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("etc/hostname"))
    base = layer(path)
    return (
        image("docker.io/local/one:1.2", {"User": "2000"}, (base,)),
        image("docker.io/local/two:1", {}, (base,)),
    )


def read(images: tuple[Image, ...]) -> dict[str, bytes]:
    written = io.BytesIO()
    write_archive(images, written)
    written.seek(0)
    with tarfile.open(fileobj=written) as archive:
        names = archive.getnames()
        assert len(names) == len(set(names)), "a blob is there twice"
        return {name: archive.extractfile(name).read() for name in names}  # type: ignore[union-attr]


def test_every_blob_is_named_after_its_content(two_images: tuple[Image, Image]) -> None:
    blobs = {name: data for name, data in read(two_images).items() if name.startswith("blobs/sha256/")}
    assert len(blobs) == 5  # two manifests, two configs, the layer they share
    for name, data in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def test_an_image_is_found_by_its_tag_and_by_its_digest(two_images: tuple[Image, Image]) -> None:
    entries = json.loads(read(two_images[:1])["index.json"])["manifests"]
    digest = entries[0]["digest"]
    names = [entry["annotations"]["io.containerd.image.name"] for entry in entries]
    assert names == ["docker.io/local/one:1.2", f"docker.io/local/one@{digest}"]


def test_the_same_content_has_the_same_digest_and_another_config_has_not(tmp_path: Path) -> None:
    path = tmp_path / "layer.tar"
    tarfile.open(path, "w").close()
    first, again, other = (image("a/b:1", {"User": user}, (layer(path),)) for user in ("1", "1", "2"))
    assert first.manifest.digest == again.manifest.digest != other.manifest.digest
