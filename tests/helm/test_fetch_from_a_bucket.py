"""The program that brings weights, run by the engine's own Python against an S3 server that checks signatures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helm.bucket import KEY, SECRET, Buckets, serving
from tests.helm.cache_volume import Place

pytestmark = pytest.mark.engine

FILES = {
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 8_000,
    "chat templates/a+b (1)~ü=&.jinja": b"{{ messages }}",
    "README.md": b"# Qwen",
}
NEEDED = {name for name in FILES if not name.endswith(".md")}
MANY = 1001  # a listing has a thousand
WEIGHTS: dict[str, object] = {"source": "s3", "secret": "bucket", "model": {"uri": "s3://weights/tiny"}}


def sums(files: dict[str, bytes]) -> bytes:
    """As ``sha256sum`` writes them in the README's lines."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  ./{name}\n" for name, content in files.items()).encode()


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buckets]:
    altered = {**FILES, "model.safetensors": b"another"}
    prefixes = {
        "weights/tiny": FILES,
        "weights/tiny-2": {"config.json": b"a prefix that begins alike"},
        "weights/summed": {**FILES, "SHA256SUMS": sums(FILES)},
        "weights/altered": {**FILES, "SHA256SUMS": sums(altered)},
        "weights/unfinished": {"config.json": b"{}", "SHA256SUMS": sums(FILES)},
        "weights/unnamed": {**FILES, "SHA256SUMS": sums({"config.json": b"{}"})},
        "weights/many": {"config.json": b"{}"} | {f"{number:04}.bin": b"x" for number in range(MANY)},
    }
    folder = tmp_path_factory.mktemp("buckets")
    for prefix, files in prefixes.items():
        for name, content in files.items():
            path = folder / prefix / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    with serving(folder) as served:
        yield served


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.secret(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)
    return made


def uri(prefix: str) -> dict[str, object]:
    return {"model": {"uri": f"s3://weights/{prefix}"}}


@pytest.mark.parametrize("prefix", ["tiny", "tiny/", "summed"])
def test_what_an_engine_reads_arrives_whole_whatever_its_name(place: Place, buckets: Buckets, prefix: str) -> None:
    status, said = place.run(buckets, **WEIGHTS | uri(prefix))
    assert status == 0, said
    assert place.files() == NEEDED
    assert all((place.weights / name).read_bytes() == FILES[name] for name in NEEDED)
    assert SECRET not in said


def test_a_prefix_of_more_objects_than_one_listing_arrives_whole(place: Place, buckets: Buckets) -> None:
    status, said = place.run(buckets, **WEIGHTS | uri("many"))
    assert status == 0, said
    assert len(place.files()) == MANY + 1


TROUBLE: dict[str, tuple[dict[str, object], dict[str, str], str]] = {
    "a wrong secret": (
        {},
        {"AWS_SECRET_ACCESS_KEY": "guessed"},
        "s3://weights/tiny/ answers SignatureDoesNotMatch to the credentials of Secret bucket; "
        "correct its AWS_SECRET_ACCESS_KEY.",
    ),
    "an unknown key": (
        {},
        {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"},
        "s3://weights/tiny/ answers InvalidAccessKeyId to the credentials of Secret bucket; "
        "correct its AWS_ACCESS_KEY_ID.",
    ),
    "an empty key": (
        {},
        {"AWS_ACCESS_KEY_ID": ""},
        "there is no Secret bucket with a key AWS_ACCESS_KEY_ID and a key AWS_SECRET_ACCESS_KEY in this namespace; "
        "create it or clear model.secret.",
    ),
    "nobody's credentials": (
        {"secret": ""},
        {},
        "s3://weights/tiny/ answers AccessDenied without credentials: model.secret is empty and the service account "
        "has no role.",
    ),
    "an unknown bucket": (
        {"model": {"uri": "s3://wieghts/tiny"}},
        {},
        "there is no bucket wieghts; correct model.uri.",
    ),
    "an empty prefix": (
        uri("tyni"),
        {},
        "s3://weights/tyni/ holds nothing; correct model.uri or fill the bucket.",
    ),
    "an unfinished copy": (
        uri("unfinished"),
        {},
        "s3://weights/unfinished/SHA256SUMS names README.md, which is not there; finish filling the bucket.",
    ),
    "a file without a checksum": (
        uri("unnamed"),
        {},
        "s3://weights/unnamed/SHA256SUMS does not name README.md; add it there or remove it from the bucket.",
    ),
    "an altered file": (
        uri("altered"),
        {},
        f"model.safetensors has the sha256 checksum {hashlib.sha256(FILES['model.safetensors']).hexdigest()}, but its "
        f"source states {hashlib.sha256(b'another').hexdigest()}: fetched twice, it was altered there or on the way "
        f"(a proxy?).",
    ),
}


@pytest.mark.parametrize("what", TROUBLE)
def test_trouble_is_one_sentence_where_a_person_looks(what: str, place: Place, buckets: Buckets) -> None:
    ask, secret, sentence = TROUBLE[what]
    place.secret(**secret)
    status, said = place.run(buckets, **WEIGHTS | ask)
    assert status == 1
    assert place.message == sentence
    assert said.splitlines()[-1] == f"error: {sentence}"
    assert SECRET not in said
