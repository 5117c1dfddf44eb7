"""
Requests to a bucket are signed as AWS's own examples are (Amazon S3 API Reference, "Signature Calculations"), with
credentials that have not ended.
"""

from __future__ import annotations

import importlib
import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helm.chart import CHART
from tests.servers import Quiet, serving

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION = "session/token+=="
# With a session as botocore 1.44.8 signs it, which signs AWS's two examples as AWS prints them.
SIGNED = {
    ("lifecycle=", ""): "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ("max-keys=2&prefix=J", ""): "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ("lifecycle=", SESSION): "f4ed2d5de67425e924d14f00339db82b0bac22d71a2d56fa5920f101bdd419f3",
    ("max-keys=2&prefix=J", SESSION): "b64dc7b9c8555270584fbdebe07fd4f90e1b72d9c6a1fefc1a0de5278e77508b",
}


@pytest.fixture
def fetch_s3(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(CHART / "files"))
    return importlib.import_module("fetch_s3")


@pytest.mark.parametrize(("words", "session"), SIGNED)
def test_a_question_about_a_bucket_has_the_signature_that_aws_prints(words: str, session: str, fetch_s3: Any) -> None:
    request = urllib.request.Request(f"https://examplebucket.s3.amazonaws.com/?{words}")
    credentials = fetch_s3.Credentials(KEY, SECRET, session, 0.0)
    fetch_s3.sign(request, words, credentials, "us-east-1", datetime(2013, 5, 24, tzinfo=UTC))
    assert str(request.get_header("Authorization")).endswith(f"Signature={SIGNED[words, session]}")
    assert request.get_header("X-amz-security-token", "") == session
    assert SECRET not in str(request.header_items())


@pytest.mark.parametrize("session", ["", SESSION])
def test_the_session_of_a_secret_is_sent_and_signed(session: str, fetch_s3: Any, tmp_path: Path) -> None:
    for name, text in zip((*fetch_s3.KEYS, "AWS_SESSION_TOKEN"), (KEY, SECRET, session), strict=True):
        (tmp_path / name).write_text(f"{text}\n")
    request = fetch_s3.Bucket("http://127.0.0.1:1", "weights", "a-secret", tmp_path).get("config.json")
    assert request.get_header("X-amz-security-token", "") == session
    assert ("x-amz-security-token" in request.get_header("Authorization")) is bool(session)


class PodIdentity(ThreadingHTTPServer):
    """Hands out credentials for an hour, the next ones each time, to who has the pod's token; its clock is ``now``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HandingOut)
        self.now = 1_800_000_000.0
        self.given = 0


class HandingOut(Quiet):
    server: PodIdentity

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "pod-token"
        self.server.given += known
        until = datetime.fromtimestamp(self.server.now + 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        words = {"AccessKeyId": f"KEY{self.server.given}", "SecretAccessKey": SECRET, "Token": "s", "Expiration": until}
        self.send_response(200 if known else 403)
        self.end_headers()
        self.wfile.write(json.dumps(words).encode() if known else b"")


@pytest.fixture
def identity(fetch_s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PodIdentity]:
    (tmp_path / "token").write_text("pod-token\n")
    with serving(PodIdentity()) as server:
        monkeypatch.setenv(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{server.server_port}/v1/credentials"
        )
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setattr(fetch_s3, "time", SimpleNamespace(time=lambda: server.now))
        yield server


def test_a_pods_credentials_are_kept_while_they_last_and_renewed_minutes_before_they_end(
    fetch_s3: Any, identity: PodIdentity, tmp_path: Path
) -> None:
    bucket = fetch_s3.Bucket("http://127.0.0.1:1", "weights", "", tmp_path)
    began, keys = identity.now, []
    for minute in (0, 50, 56, 100, 112, 300):
        identity.now = began + 60 * minute
        keys.append(bucket.get("config.json").get_header("Authorization").partition("Credential=")[2].partition("/")[0])
    assert keys == ["KEY1", "KEY1", "KEY2", "KEY2", "KEY3", "KEY4"]


def test_the_empty_objects_that_stand_for_folders_are_no_files(
    fetch_s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [("qwen/", 0, '"a"'), ("qwen/sub/", 0, '"b"'), ("qwen/config.json", 2, '"c"')]
    monkeypatch.setattr(fetch_s3, "_objects", lambda *_: iter(listed))
    _, files = fetch_s3.listing("http://127.0.0.1:1", "s3://weights/qwen", "", tmp_path)
    assert [file.path for file in files] == ["config.json"]
