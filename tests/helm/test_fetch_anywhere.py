"""
The program that brings weights, run by this Python from a bucket that is open to anybody: what a source says and does
that rclone's server in test_fetch_from_a_bucket.py never would.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from tests.helm.cache_volume import LIMIT_S, Place
from tests.servers import Quiet, serving

SHARD = bytes(range(256)) * 12_000
MODEL = {"config.json": b"{}", "model.safetensors": SHARD}
ASK = {"source": "s3", "model": {"uri": "s3://weights/qwen"}}


class Bucket(ThreadingHTTPServer):
    """
    The bucket "weights": key -> content. Without ``ranges`` every answer is the whole object; ``cuts`` are the bytes
    after which the next answers for a shard break off; ``replaced`` are the objects that are so once they are listed;
    ``busy`` are the statuses of the next answers for an object.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Giving)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.objects = {f"qwen/{name}": content for name, content in MODEL.items()}
        self.ranges = True
        self.cuts: list[int] = []
        self.replaced: dict[str, bytes] = {}
        self.busy: list[int] = []
        self.asked: list[str] = []  # ranges of shards


class Giving(Quiet):
    server: Bucket

    def do_GET(self) -> None:
        there = urlsplit(self.path)
        if "list-type=2" in there.query:
            listed = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size><ETag>{tag(content)}</ETag></Contents>"
                for key, content in self.server.objects.items()
            )
            self.server.objects |= self.server.replaced
            return self.give(200, f"<ListBucketResult>{listed}</ListBucketResult>".encode())
        key = unquote(there.path).removeprefix("/weights/")
        content = self.server.objects[key]
        if self.headers.get("If-Match", tag(content)) != tag(content):
            return self.give(412, b"")
        if self.server.busy:
            return self.give(self.server.busy.pop(0), b"")
        at = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])  # type: ignore[index]
        most = None
        if key.endswith(".safetensors"):
            self.server.asked.append(self.headers["Range"])
            most = self.server.cuts.pop(0) if self.server.cuts else None
        return self.give(206, content[at:], most) if self.server.ranges else self.give(200, content, most)

    def give(self, status: int, content: bytes, most: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:most])


def tag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with serving(Bucket()) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "pod").mkdir()
    return Place(tmp_path / "pod", sys.executable)


@pytest.mark.parametrize("name", ["../outside", "sub/../../../outside", "sub/..", "{folder}/outside"])
def test_a_file_that_would_lie_outside_of_its_folder_is_refused_and_nothing_is_written(
    place: Place, bucket: Bucket, name: str
) -> None:
    name = name.format(folder=place.folder)
    bucket.objects[f"qwen/{name}"] = b"evil"
    status, said = place.run(bucket, **ASK)
    assert (status, place.message) == (
        1,
        f"s3://weights/qwen names a file outside of its folder, {name!r}: do not trust it.",
    ), said
    assert [path for path in place.folder.rglob("*") if path.is_file() and b"evil" in path.read_bytes()] == []
    assert place.files() == set()


def test_dots_in_a_name_are_no_way_out(place: Place, bucket: Bucket) -> None:
    names = ["a..b.json", "...json", "sub/..json", "..sub/config.json"]
    bucket.objects |= {f"qwen/{name}": b"kept" for name in names}
    status, said = place.run(bucket, **ASK)
    assert status == 0, said
    assert place.files() == {*MODEL, *names}


def test_an_object_that_is_replaced_while_it_is_fetched_is_told(place: Place, bucket: Bucket) -> None:
    bucket.replaced = {"qwen/model.safetensors": SHARD[::-1]}
    status, _ = place.run(bucket, **ASK)
    assert (status, place.message) == (
        1,
        "s3://weights/qwen/model.safetensors was replaced while it was fetched; give each version its own prefix.",
    )


@pytest.mark.parametrize("ranges", [True, False])
def test_a_shard_that_broke_off_arrives_whole_from_a_server_with_and_without_ranges(
    place: Place, bucket: Bucket, ranges: bool
) -> None:
    bucket.ranges, bucket.cuts = ranges, [2_000_000]
    status, said = place.run(bucket, **ASK)
    assert status == 0, said
    assert bucket.asked == ["bytes=0-", "bytes=2000000-"]
    assert (place.weights / "model.safetensors").read_bytes() == SHARD


def test_a_source_that_wants_fewer_questions_is_asked_again(place: Place, bucket: Bucket) -> None:
    bucket.busy = [429]
    status, said = place.run(bucket, **ASK)
    assert status == 0, said
    assert "answers 429; trying again in 1 s" in said
    assert place.files() == set(MODEL)


def test_half_a_shard_of_another_version_is_not_gone_on_with(place: Place, bucket: Bucket) -> None:
    bucket.cuts = [2_000_000]
    with place.started(bucket, **ASK) as process:
        process.wait_to_say("trying again", LIMIT_S)
    bucket.objects["qwen/model.safetensors"] = SHARD[::-1]
    bucket.asked.clear()
    status, said = place.run(bucket, **ASK)
    assert status == 0, said
    assert bucket.asked == ["bytes=0-"]
    assert (place.weights / "model.safetensors").read_bytes() == SHARD[::-1]
    assert place.files() == set(MODEL)
