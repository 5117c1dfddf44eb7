"""
The objects below a prefix of an S3 bucket, on AWS or another server, with requests signed as AWS asks (SigV4).

The images of both engines have no AWS library for certain, and two kinds of GET need none. Credentials: a Secret's, or
those that EKS Pod Identity hands out; without either the bucket has to be public.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree

from fetch_file import Passing, Remote, Trouble, answer_to

SUMS = "SHA256SUMS"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SOON_S = 300  # credentials that end so soon are asked for anew
NO_BODY = hashlib.sha256(b"").hexdigest()
REMEDIES = {
    "InvalidAccessKeyId": "correct its AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "correct its AWS_SECRET_ACCESS_KEY",
    "InvalidToken": "correct its AWS_SESSION_TOKEN",
    "ExpiredToken": "renew them",
    "AccessDenied": "allow s3:ListBucket and s3:GetObject there",
}


@dataclass(frozen=True)
class Credentials:
    key: str
    secret: str
    session: str
    until: float


class Bucket:
    """One bucket: how it is addressed, in which region it is, and by whom it is asked."""

    def __init__(self, endpoint: str, name: str, secret: str, secret_folder: Path) -> None:
        self.name = name
        self._secret = secret
        self._secret_folder = secret_folder
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        if endpoint:
            self._base = f"{endpoint.rstrip('/')}/{name}"
            self._region = os.environ.get("AWS_REGION", "us-east-1")
        else:
            self._region = _region_of(name)
            # A name with dots does not match the certificate's wildcard.
            host = f"s3.{self._region}.amazonaws.com"
            self._base = f"https://{host}/{name}" if "." in name else f"https://{name}.{host}"

    def get(self, key: str = "", query: dict[str, str] | None = None) -> urllib.request.Request:
        """A signed request for an object, or with *query* a question about the bucket."""
        asked = urllib.parse.quote(key, safe="/~")
        words = "&".join(f"{_word(name)}={_word(value)}" for name, value in sorted((query or {}).items()))
        request = urllib.request.Request(f"{self._base}/{asked}{'?' if words else ''}{words}")
        if credentials := self._current():
            now = datetime.now(timezone.utc)  # noqa: UP017 (Python 3.10)
            sign(request, words, credentials, self._region, now)
        return request

    def _current(self) -> Credentials | None:
        with self._lock:
            if self._credentials is None or self._credentials.until - time.time() < SOON_S:
                self._credentials = _from_secret(self._secret_folder) if self._secret else _from_pod_identity()
            return self._credentials

    def refusal(self, what: str, code: str) -> str:
        """What was refused to whom, and the remedy."""
        if not self._secret and self._current() is None:
            who = "model.secret is empty and the service account has no role"
            return f"{what} answers {code} without credentials: {who}."
        who = f"to the credentials of Secret {self._secret}" if self._secret else "to the pods' role"
        return f"{what} answers {code} {who}{'; ' if code in REMEDIES else ''}{REMEDIES.get(code, '')}."


def listing(endpoint: str, uri: str, secret: str, secret_folder: Path) -> tuple[str, list[Remote]]:
    """
    The prefix that stands for a commit, and the files below it, with the checksums of its SHA256SUMS, if any.

    *secret* is the name of the Secret whose files lie in *secret_folder*, or "".
    """
    name, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
    bucket = Bucket(endpoint, name, secret, secret_folder)
    objects = ((key.removeprefix(prefix), size, tag) for key, size, tag in _objects(bucket, prefix))
    # AWS's console makes an empty object for each folder, the prefix itself among them.
    found = {path: (size, tag) for path, size, tag in objects if path and not path.endswith("/")}
    if not found:
        raise Trouble(f"s3://{name}/{prefix} holds nothing; correct model.uri or fill the bucket.")
    sums = _sums(bucket, prefix) if SUMS in found else None

    def remote(path: str, size: int, tag: str) -> Remote:
        def refused(status: int) -> str:
            if status == 412:
                return (
                    f"s3://{name}/{prefix}{path} was replaced while it was fetched; give each version its own prefix."
                )
            return bucket.refusal(f"s3://{name}/{prefix}{path}", "AccessDenied" if status == 403 else str(status))

        def request() -> urllib.request.Request:
            asked = bucket.get(prefix + path)
            asked.add_header("If-Match", tag)
            return asked

        if sums is not None and path not in sums:
            raise Trouble(
                f"s3://{name}/{prefix}{SUMS} does not name {path}; add it there or remove it from the bucket."
            )
        return Remote(path, size, tag, ("sha256", sums[path]) if sums else None, request, refused)

    if sums and (missing := sorted(set(sums) - set(found))):
        raise Trouble(f"s3://{name}/{prefix}{SUMS} names {missing[0]}, which is not there; finish filling the bucket.")
    files = [remote(path, *what) for path, what in found.items() if path != SUMS]
    return prefix, files


def _objects(bucket: Bucket, prefix: str) -> Iterator[tuple[str, int, str]]:
    """Key, size and entity tag of every object below *prefix*."""
    query = {"list-type": "2", "prefix": prefix}
    while True:
        page = ElementTree.fromstring(_text(bucket, bucket.get(query=query), prefix))
        space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
        for entry in page.iter(f"{space}Contents"):
            said = {child.tag.removeprefix(space): child.text or "" for child in entry}
            yield said["Key"], int(said["Size"]), said["ETag"]
        token = page.findtext(f"{space}NextContinuationToken")
        if not token:
            return
        query["continuation-token"] = token


def _sums(bucket: Bucket, prefix: str) -> dict[str, str]:
    """What ``sha256sum`` wrote: path -> digits."""
    text = _text(bucket, bucket.get(prefix + SUMS), prefix).decode()
    lines = (re.fullmatch(r"([0-9a-f]{64}) [ *](?:\./)?(.+)", line) for line in text.splitlines())
    return {found[2]: found[1] for found in lines if found}


def _text(bucket: Bucket, request: urllib.request.Request, prefix: str) -> bytes:
    try:
        with answer_to(request) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as refusal:
        code = re.search(r"<Code>(\w+)</Code>", refusal.read().decode(errors="replace"))
        said = code[1] if code else str(refusal.code)
        if said == "NoSuchBucket":
            raise Trouble(f"there is no bucket {bucket.name}; correct model.uri.") from None
        raise Trouble(bucket.refusal(f"s3://{bucket.name}/{prefix}", said)) from None


def _region_of(bucket: str) -> str:
    """AWS tells anybody the region of a bucket, also those whom it refuses."""
    try:
        with answer_to(urllib.request.Request(f"https://s3.amazonaws.com/{bucket}", method="HEAD")) as answer:
            region = answer.headers.get("x-amz-bucket-region")
    except urllib.error.HTTPError as refusal:
        region = refusal.headers.get("x-amz-bucket-region")
        if refusal.code == 404:
            raise Trouble(f"there is no bucket {bucket}; correct model.uri.") from None
    return region or os.environ.get("AWS_REGION", "us-east-1")


def _from_secret(folder: Path) -> Credentials | None:
    def word(name: str) -> str:
        file = folder / name
        return file.read_text().strip() if file.exists() else ""

    key, secret = map(word, KEYS)
    # Read anew now and then, as a Secret may change.
    return Credentials(key, secret, word("AWS_SESSION_TOKEN"), time.time() + 2 * SOON_S) if key and secret else None


def _from_pod_identity() -> Credentials | None:
    url, file = (
        os.environ.get(f"AWS_CONTAINER_{name}") for name in ("CREDENTIALS_FULL_URI", "AUTHORIZATION_TOKEN_FILE")
    )
    if not url or not file:
        return None
    request = urllib.request.Request(url, headers={"Authorization": Path(file).read_text().strip()})
    try:
        with answer_to(request) as answer:
            said = json.load(answer)
    except urllib.error.HTTPError as refusal:
        raise Passing(f"EKS Pod Identity answers {refusal.code}") from None
    until = datetime.fromisoformat(said["Expiration"].replace("Z", "+00:00"))
    return Credentials(said["AccessKeyId"], said["SecretAccessKey"], said["Token"], until.timestamp())


def _word(text: str) -> str:
    return urllib.parse.quote(text, safe="~")


def sign(request: urllib.request.Request, words: str, credentials: Credentials, region: str, now: datetime) -> None:
    """Source: AWS, "Create a signed AWS API request" (Signature Version 4)."""
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": request.host, "x-amz-content-sha256": NO_BODY, "x-amz-date": stamp}
    if credentials.session:
        headers["x-amz-security-token"] = credentials.session
    names = ";".join(headers)
    path = urllib.parse.urlsplit(request.full_url).path
    lines = [f"{name}:{value}" for name, value in headers.items()]
    canonical = "\n".join([request.get_method(), path, words, *lines, "", names, NO_BODY])
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    for name, value in headers.items():
        if name != "host":
            request.add_unredirected_header(name, value)
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    request.add_unredirected_header("Authorization", authorization)
