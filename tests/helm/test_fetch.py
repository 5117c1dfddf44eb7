"""
The program that brings weights, run by the engine's own Python with its real huggingface_hub.

A stand-in hub refuses, lies and breaks off; what counts is what lies on the disk and what a person reads.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helm.cache_volume import LIMIT_S, Place
from tests.helm.hub import COMMIT, Hub, serving
from tests.waiting import wait_until

pytestmark = pytest.mark.engine

SHARD = bytes(range(256)) * 12_000  # 3 MB
FILES = {
    "config.json": b'{"model_type": "qwen3"}',
    "model-00001-of-00002.safetensors": SHARD,
    "model-00002-of-00002.safetensors": SHARD[::-1],
    "original/consolidated.00.pth": SHARD,
    "pytorch_model.bin": SHARD,
    "README.md": b"# Qwen",
    "tokenizer.json": b"{}",
}
NEEDED = {name for name in FILES if not name.endswith((".pth", ".bin", ".md"))}
TOKEN = "hf_secret"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub({"Qwen/tiny": dict(FILES)}, tokens={TOKEN, f"{TOKEN}-stranger"})) as served:
        yield served


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_an_engine_reads_arrives_whole_and_nothing_else_does(place: Place, hub: Hub) -> None:
    status, said = place.run(hub)
    assert status == 0, said
    assert place.files() == NEEDED
    assert all((place.weights / name).read_bytes() == FILES[name] for name in NEEDED)
    assert f"the commit {COMMIT}" in said
    assert "model: complete, 0.01 GiB" in said


def test_what_is_complete_is_never_asked_for_again(place: Place, hub: Hub) -> None:
    assert place.run(hub)[0] == 0
    before = len(hub.asked)
    status, said = place.run(hub)
    assert (status, len(hub.asked)) == (0, before)
    assert "nothing to fetch" in said


def test_a_lost_file_is_fetched_again_and_only_that(place: Place, hub: Hub) -> None:
    place.run(hub)
    (place.weights / "tokenizer.json").unlink()
    hub.asked.clear()
    assert place.run(hub)[0] == 0
    assert hub.fetched() == ["tokenizer.json"]


def test_a_connection_cut_halfway_goes_on_where_it_broke_off(place: Place, hub: Hub) -> None:
    hub.repositories["Qwen/tiny"] = {"config.json": b"{}", "model.safetensors": SHARD}
    hub.cut_after_bytes = 2_000_000
    status, said = place.run(hub)
    assert status == 0, said
    assert [one.range for one in hub.asked if "/storage/" in one.path] == ["bytes=0-", "bytes=2000000-"]
    assert "trying again in 1 s" in said
    assert (place.weights / "model.safetensors").read_bytes() == SHARD


def test_killed_halfway_it_goes_on_and_finished_files_are_not_fetched_again(place: Place, hub: Hub) -> None:
    hub.repositories["Qwen/tiny"] = {"config.json": b"{}", "model.safetensors": SHARD}
    hub.cut_after_bytes = 2_000_000
    with place.started(hub) as process:
        process.wait_to_say("trying again", LIMIT_S)
        wait_until(lambda: place.files() >= {"config.json"}, LIMIT_S, "the other file has come")
    hub.asked.clear()
    assert place.run(hub)[0] == 0
    assert hub.fetched() == ["model.safetensors"]
    assert [one.range for one in hub.asked if "/storage/" in one.path] == ["bytes=2000000-"]
    assert (place.weights / "model.safetensors").read_bytes() == SHARD


def test_a_file_that_was_altered_is_not_served(place: Place, hub: Hub) -> None:
    hub.altered = {"model-00001-of-00002.safetensors"}
    status, said = place.run(hub)
    assert status == 1
    assert "model-00001-of-00002.safetensors has the sha256 checksum" in place.message
    assert "model-00001-of-00002.safetensors" not in place.files()
    assert f"error: {place.message}" in said


def test_the_token_goes_to_the_hub_and_neither_to_its_storage_nor_to_a_log(place: Place, hub: Hub) -> None:
    hub.gated = {"Qwen/tiny"}
    place.secret(token=TOKEN)
    status, said = place.run(hub, secret="hub-token")
    assert status == 0, said
    assert TOKEN not in said
    assert {one.authorization for one in hub.asked if "/storage/" in one.path} == {""}
    assert {one.authorization for one in hub.asked if "/storage/" not in one.path} == {f"Bearer {TOKEN}"}


TROUBLE: dict[str, tuple[dict[str, object], str | None, tuple[str, ...]]] = {
    "a gated model without a token": ({}, None, ("Qwen/tiny is gated or private", "model.secret")),
    "a gated model, not yet allowed": ({"secret": "s"}, f"{TOKEN}-stranger", ("Secret s has no access", "/Qwen/tiny")),
    "an invalid token": ({"secret": "s"}, "hf_mistyped", ("token of Secret s", "invalid")),
    "a missing Secret": ({"secret": "s"}, None, ("no Secret s with a key token",)),
    "an unknown repository": ({"model": {"uri": "Qwen/tinny"}}, None, ("no public repository Qwen/tinny", "model.uri")),
    "an unknown revision": ({"model": {"revision": "v9"}}, None, ("Qwen/tiny has no revision 'v9'", "model.revision")),
    "a volume that is too small": ({"limit": 1_000_000}, None, ("is 0.01 GiB but cache.size allows 0.00 GiB",)),
}


@pytest.mark.parametrize("what", TROUBLE)
def test_trouble_is_one_sentence_where_a_person_looks(what: str, place: Place, hub: Hub) -> None:
    ask, token, words = TROUBLE[what]
    hub.gated = {"Qwen/tiny"}
    if token:
        place.secret(token=token)
    status, said = place.run(hub, **ask)
    assert status == 1
    assert all(word in place.message for word in words), place.message
    assert said.splitlines()[-1] == f"error: {place.message}"
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    assert not token or token not in said


def test_the_same_trouble_again_is_no_crash_loop_and_what_is_mended_is_found(place: Place, hub: Hub) -> None:
    hub.gated = {"Qwen/tiny"}
    assert place.run(hub, secret="s")[0] == 1
    with place.started(hub, secret="s") as process:  # as the kubelet does
        process.wait_to_say("looking again", LIMIT_S)
        place.secret(token=TOKEN)
        assert process.exit_code(LIMIT_S) == 0, process.said


def test_a_full_disk_is_told_before_the_first_byte_with_both_numbers(place: Place, hub: Hub) -> None:
    place.folder.joinpath("cache").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", place.folder / "cache"], check=True)
    try:
        status, _ = place.run(hub)
        assert status == 1
        assert "needs 0.01 GiB more but the cache volume has 0.00 GiB free" in place.message
        assert not hub.fetched()
    finally:
        subprocess.run(["umount", place.folder / "cache"], check=True)


def test_earlier_weights_of_the_release_make_room_and_others_stay(place: Place, hub: Hub) -> None:
    place.folder.joinpath("cache").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16M", "none", place.folder / "cache"], check=True)
    try:
        other, earlier = "qwen-b-0123456789ab", "qwen-0123456789ab"  # releases qwen-b and qwen
        assert place.run(hub, owner="qwen-b", model={"folder": other})[0] == 0
        assert place.run(hub, model={"folder": earlier})[0] == 0
        status, said = place.run(hub)
        assert status == 0, said
        assert f"removing {earlier}" in said
        assert not (place.weights.parent / earlier).exists()
        assert (place.weights.parent / other).exists()
    finally:
        subprocess.run(["umount", place.folder / "cache"], check=True)


def test_who_waits_says_what_the_job_says_and_ends_with_it(place: Place, hub: Hub) -> None:
    with place.started(hub, "--wait") as waiting:
        hub.gated = {"Qwen/tiny"}
        assert place.run(hub)[0] == 1
        waiting.wait_to_say("Qwen/tiny is gated", LIMIT_S)
        hub.gated = set()
        (place.folder / "trouble").unlink()
        assert place.run(hub)[0] == 0
        assert waiting.exit_code(LIMIT_S) == 0, waiting.said


def test_it_ends_at_once_when_it_is_told_to(place: Place, hub: Hub) -> None:
    with place.started(hub, "--wait") as waiting:
        assert "the Job has not begun" in waiting.line(LIMIT_S)
        waiting.process.terminate()
        assert waiting.exit_code(LIMIT_S / 2) == 143
