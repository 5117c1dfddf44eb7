"""
Brings the model and its adapters from a hub or a bucket to the cache volume, in an init container or a Job.

``python3 fetch.py`` with the environment variable FETCH, a JSON object:
  source, endpoint   hub or s3; a URL, or "" for the public one
  secret             name of the Secret whose files lie in SECRET_FOLDER, or ""
  owner              the release: when room is short, its own earlier weights go, nobody else's
  limit              bytes that the volume may hold, where its file system does not say so; or null
  wanted             a list of {name, uri, revision, folder}: folder is a name below the volume's weights/
``python3 fetch.py --wait`` waits until another has brought them and shows what that one says.

Beside each folder lie ``.json`` (what it holds, and whether it is complete), ``.lock``, and ``.said`` (the last word).
A folder that is complete is never asked for again: a restart needs no network and loads what was loaded before.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fetch_hub
import fetch_s3
from fetch_file import Remote, Trouble, fetch, part_of, patiently

CACHE = Path(os.environ.get("CACHE_FOLDER", "/cache"))
SECRET_FOLDER = Path(os.environ.get("SECRET_FOLDER", "/run/secrets/model"))
TOLD = Path(os.environ.get("TOLD_FILE", "/tmp/trouble"))  # of this pod: it outlives the container
TERMINATION_LOG = Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log"))
LOOK_AGAIN_S = float(os.environ.get("LOOK_AGAIN_S", "180"))
PROGRESS_S = float(os.environ.get("PROGRESS_S", "5"))
AT_ONCE = 4
DESCRIBED_BY = ("config.json", "adapter_config.json")
GIB = 1024**3
# The same weights for other programs, what only training reads, and pictures.
NOT_NEEDED = (
    *("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.onnx", "*.onnx_data", "*.gguf"),
    *("original/*", "consolidated*", "onnx/*", "openvino/*", "checkpoint-*/*", "optimizer*", "training_args*"),
    *("*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.mp4", "*.pdf", ".gitattributes", "*.md"),
)


def needed(files: list[Remote]) -> list[Remote]:
    """What an engine reads; everything where there are no safetensors."""
    if not any(file.path.endswith(".safetensors") for file in files):
        return files
    return [file for file in files if not any(fnmatch.fnmatch(file.path, pattern) for pattern in NOT_NEEDED)]


class Weights:
    """One wanted thing: its folder, and what lies beside it."""

    def __init__(self, wanted: dict[str, str]) -> None:
        self.name, self.uri, self.revision = wanted["name"], wanted["uri"], wanted["revision"]
        self.folder = CACHE / "weights" / wanted["folder"]

    def beside(self, kind: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}.{kind}")

    def state(self) -> dict[str, Any]:
        """What ``.json`` says; nothing if it was half written."""
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(self.beside("json").read_text())
            return found
        return {}

    def keep(self, state: dict[str, Any]) -> None:
        _write(self.beside("json"), json.dumps(state, indent=1))

    def is_complete(self) -> bool:
        state = self.state()
        return bool(state.get("complete")) and all(
            _size(self.folder / path) == file["size"] for path, file in state["files"].items()
        )

    def say(self, text: str) -> None:
        """To the log, and to whoever waits."""
        print(f"{self.name}: {text}", flush=True)
        with contextlib.suppress(OSError):  # a full disk has a sentence of its own
            _write(self.beside("said"), text)


def bring(weights: Weights, ask: dict[str, Any]) -> None:
    """Everything of *weights* that is not there yet. Raises ``Trouble``."""
    state = weights.state()
    # What was begun is finished at the same commit, though a branch may have moved on.
    asked = state.get("commit") or weights.revision
    commit, listed = patiently(lambda: _listing(weights, ask, asked), weights.say)
    files = needed(listed)
    if outside := [file.path for file in files if not _is_inside(file.path)]:
        raise Trouble(f"{weights.uri} names a file outside of its folder, {outside[0]!r}: do not trust it.")
    if not any(file.path in DESCRIBED_BY for file in files):
        raise Trouble(f"{weights.uri} has none of {', '.join(DESCRIBED_BY)}, so it is no model; correct its uri.")
    before = state.get("files", {})
    missing = [
        file
        for file in files
        if _size(weights.folder / file.path) != file.size or before.get(file.path, {}).get("version") != file.version
    ]
    if commit != weights.revision and ask["source"] == "hub":
        weights.say(f"{weights.revision} of {weights.uri} is the commit {commit}; model.revision can name it")
    _make_room(weights, files, missing, ask)
    weights.folder.mkdir(parents=True, exist_ok=True)
    state = {"uri": weights.uri, "revision": weights.revision, "commit": commit, "complete": False}
    state["files"] = {file.path: {"size": file.size, "version": file.version} for file in files}
    for file in missing:  # of another version, or half a file
        (weights.folder / file.path).unlink(missing_ok=True)
    weights.keep(state)
    with _progress(weights, files, missing) as count, ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(fetch, file, weights.folder, weights.say, count) for file in missing]
        try:
            for one in running:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # what runs is finished and kept
            raise
    for part in weights.folder.rglob(".*.part"):
        part.unlink()
    weights.keep({**state, "complete": True})
    fetched = sum(file.size for file in missing)
    weights.say(f"complete, {_gib(sum(file.size for file in files))}, of which {_gib(fetched)} came now")


def _listing(weights: Weights, ask: dict[str, Any], revision: str) -> tuple[str, list[Remote]]:
    is_bucket, secret = ask["source"] == "s3", ask["secret"]
    keys = fetch_s3.KEYS if is_bucket else ("token",)
    if secret and not all(_text(SECRET_FOLDER / key).strip() for key in keys):
        named = f"a key {' and a key '.join(keys)}"
        raise Trouble(f"there is no Secret {secret} with {named} in this namespace; create it or clear model.secret.")
    if is_bucket:
        return fetch_s3.listing(ask["endpoint"], weights.uri, secret, SECRET_FOLDER)
    token = (SECRET_FOLDER / "token").read_text().strip() if secret else ""
    return fetch_hub.listing(ask["endpoint"], weights.uri, revision, token, secret)


def _make_room(weights: Weights, files: list[Remote], missing: list[Remote], ask: dict[str, Any]) -> None:
    """Before the first byte: refuse what would not fit, after giving up what this release held before."""
    total = sum(file.size for file in files)
    if ask["limit"] and total > ask["limit"]:
        raise Trouble(f"{weights.uri} is {_gib(total)} but cache.size allows {_gib(ask['limit'])}; raise cache.size.")
    wanted = sum(file.size - _size(part_of(file, weights.folder)) for file in missing)
    CACHE.mkdir(parents=True, exist_ok=True)
    kept = {each["folder"] for each in ask["wanted"]}
    own = f"weights/{ask['owner']}-{'[0-9a-f]' * 12}.json"  # not those of a release whose name begins alike
    for state in sorted(CACHE.glob(own), key=lambda path: path.stat().st_mtime):
        if wanted <= shutil.disk_usage(CACHE).free or state.stem in kept:
            continue
        weights.say(f"removing {state.stem}, which this release does not serve any more, to make room")
        shutil.rmtree(state.with_suffix(""), ignore_errors=True)
        state.unlink()
    free = shutil.disk_usage(CACHE).free
    if wanted > free:
        raise Trouble(
            f"{weights.uri} needs {_gib(wanted)} more but the cache volume has {_gib(free)} free; "
            f"raise cache.size, or give a larger claim."
        )


@contextlib.contextmanager
def _progress(weights: Weights, files: list[Remote], missing: list[Remote]) -> Iterator[Any]:
    """A line every few seconds while the block runs; it gives the function that counts bytes."""
    total = sum(file.size for file in files)
    there = total - sum(file.size - _size(part_of(file, weights.folder)) for file in missing)
    lock, over, started, came = threading.Lock(), threading.Event(), time.monotonic(), [0]

    def count(size: int) -> None:
        with lock:
            came[0] += size

    def line() -> None:
        rate = came[0] / (time.monotonic() - started)
        left = f"{(total - there - came[0]) / rate:.0f} s left" if rate > 0 else "no byte yet"
        share = 100 * (there + came[0]) / total if total else 100
        weights.say(f"{_gib(there + came[0])} of {_gib(total)} ({share:.0f} %), {rate / 1e6:.1f} MB/s, {left}")

    def lines() -> None:
        while not over.wait(PROGRESS_S):
            line()

    thread = threading.Thread(target=lines, daemon=True)
    thread.start()
    try:
        yield count
    finally:
        over.set()
        thread.join()


def _is_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)


def all_of(ask: dict[str, Any]) -> None:
    """Everything that is wanted, one pod at a time. Raises ``Trouble``."""
    for weights in map(Weights, ask["wanted"]):
        if weights.is_complete():
            weights.say(f"{weights.uri}@{weights.revision} is complete, nothing to fetch")
            continue
        weights.beside("lock").parent.mkdir(parents=True, exist_ok=True)
        with weights.beside("lock").open("w") as lock:
            _hold(lock.fileno(), weights)
            if not weights.is_complete():
                try:
                    bring(weights, ask)
                except OSError as failed:
                    if failed.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    free = _gib(shutil.disk_usage(CACHE).free)
                    raise Trouble(
                        f"the cache volume is full ({free} free); raise cache.size, or give a larger claim."
                    ) from None


def _hold(lock: int, weights: Weights) -> None:
    """The lock of a claim that several pods share, once the pod that fetches gives it up."""
    said = False
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not said:
                print(f"{weights.name}: another pod is fetching it into the same claim; waiting", flush=True)
            said = True
            time.sleep(1)


def wait_for(ask: dict[str, Any]) -> None:
    """Until the Job has brought everything; what it says last is said here too."""
    for weights in map(Weights, ask["wanted"]):
        heard = None
        while not weights.is_complete():
            said = _text(weights.beside("said")) or "the Job has not begun"
            if said != heard:
                print(f"{weights.name}: waiting for the Job that fetches it; it says: {said}", flush=True)
            heard = said
            time.sleep(PROGRESS_S)
        print(f"{weights.name}: complete", flush=True)


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def main() -> int:
    """
    0 once everything is there.

    Trouble is said in the log, and by ending once with it as the termination message, where ``kubectl describe`` shows
    it. Started again by the kubelet with the same trouble, it stays and looks again every few minutes: no crash loop,
    and what a person mends is found without a restart.
    """
    # As process 1 it would not hear SIGTERM, and half a file may stay as it is.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    ask: dict[str, Any] = json.loads(os.environ["FETCH"])
    if "--wait" in sys.argv[1:]:
        wait_for(ask)
        return 0
    while True:
        try:
            all_of(ask)
        except Trouble as trouble:
            sentence = str(trouble)
        else:
            return 0
        print(f"error: {sentence}", flush=True)
        for wanted in ask["wanted"]:
            with contextlib.suppress(OSError):
                _write(Weights(wanted).beside("said"), sentence)
        if _text(TOLD) != sentence:
            _write(TOLD, sentence)
            TERMINATION_LOG.write_text(sentence)
            return 1
        print(f"looking again in {LOOK_AGAIN_S:.0f} s", flush=True)
        time.sleep(LOOK_AGAIN_S)


if __name__ == "__main__":
    sys.exit(main())
