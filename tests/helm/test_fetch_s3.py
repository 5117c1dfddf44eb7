"""Requests to a bucket are signed as AWS's own examples are (Amazon S3 API Reference, "Signature Calculations")."""

from __future__ import annotations

import importlib
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.helm.chart import CHART

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SIGNED = {
    "lifecycle=": "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    "max-keys=2&prefix=J": "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
}


@pytest.fixture
def fetch_s3(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(CHART / "files"))
    return importlib.import_module("fetch_s3")


@pytest.mark.parametrize("words", SIGNED)
def test_a_question_about_a_bucket_has_the_signature_that_aws_prints(words: str, fetch_s3: Any) -> None:
    request = urllib.request.Request(f"https://examplebucket.s3.amazonaws.com/?{words}")
    credentials = fetch_s3.Credentials(KEY, SECRET, "", 0.0)
    fetch_s3.sign(request, words, credentials, "us-east-1", datetime(2013, 5, 24, tzinfo=UTC))
    assert str(request.get_header("Authorization")).endswith(f"Signature={SIGNED[words]}")
    assert SECRET not in str(request.header_items())


def test_the_empty_objects_that_stand_for_folders_are_no_files(
    fetch_s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [("qwen/", 0, '"a"'), ("qwen/sub/", 0, '"b"'), ("qwen/config.json", 2, '"c"')]
    monkeypatch.setattr(fetch_s3, "_objects", lambda *_: iter(listed))
    _, files = fetch_s3.listing("http://127.0.0.1:1", "s3://weights/qwen", "", tmp_path)
    assert [file.path for file in files] == ["config.json"]
