"""The files of a Hugging Face repository at one commit, as its hub or a mirror lists them."""

from __future__ import annotations

import urllib.parse
import urllib.request

from fetch_file import MAY_PASS, Passing, Remote, Trouble

PUBLIC = "https://huggingface.co"
ANSWER_LIMIT_S = 30


def listing(endpoint: str, repository: str, revision: str, token: str, secret: str) -> tuple[str, list[Remote]]:
    """
    The commit that *revision* is now, and the repository's files there.

    *token* may be ""; *secret* is the name of the Secret that it comes from, for what a refusal says.
    """
    # The library knows the hub's own words for what is wrong.
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    endpoint = endpoint or PUBLIC
    at = f"{repository}@{revision}"
    try:
        info = HfApi(endpoint=endpoint, token=token or False).model_info(
            repository, revision=revision, files_metadata=True, timeout=ANSWER_LIMIT_S
        )
    except GatedRepoError:
        raise Trouble(_gated(endpoint, repository, token, secret)) from None
    except RevisionNotFoundError:
        raise Trouble(
            f"{repository} has no revision {revision!r}; set model.revision to a commit or tag of it."
        ) from None
    except RepositoryNotFoundError:
        raise Trouble(_unknown(endpoint, repository, token, secret)) from None
    except HfHubHTTPError as refusal:
        status = refusal.response.status_code if refusal.response is not None else 0
        if status == 401:
            raise Trouble(_unknown(endpoint, repository, token, secret)) from None
        if status in MAY_PASS or not status:
            raise Passing(f"{endpoint} answers {status} for {at}") from None
        raise Trouble(f"{endpoint} answers {status} for {at}.") from None
    except ValueError as wrong:  # a name that can be no repository
        raise Trouble(f"model.uri {repository!r} is no repository of a hub: {wrong}") from None
    except Exception as failed:  # of the HTTP library, whichever this version of huggingface_hub has
        raise Passing(f"{endpoint} cannot be reached: {failed}") from None
    commit = info.sha or revision

    def remote(path: str, size: int, oid: str, sha256: str | None) -> Remote:
        url = f"{endpoint}/{repository}/resolve/{commit}/{urllib.parse.quote(path)}"

        def request() -> urllib.request.Request:
            asked = urllib.request.Request(url)
            if token:
                # Not for the storage that the hub redirects to.
                asked.add_unredirected_header("Authorization", f"Bearer {token}")
            return asked

        def refused(status: int) -> str:
            if status in (401, 403):
                return _gated(endpoint, repository, token, secret)
            return f"{endpoint} answers {status} for {path} of {repository}@{commit}."

        # What is not in large file storage is a git blob, whose name is its checksum.
        checksum = ("sha256", sha256) if sha256 else ("git-sha1", oid) if oid else None
        return Remote(path, size, sha256 or oid, checksum, request, refused)

    files = [
        remote(found.rfilename, found.size or 0, found.blob_id or "", found.lfs.sha256 if found.lfs else None)
        for found in info.siblings or []
    ]
    return commit, files


def _gated(endpoint: str, repository: str, token: str, secret: str) -> str:
    if not token:
        return (
            f"{repository} is gated or private and no token was given; put one into a Secret under the key token and "
            f"name it in model.secret."
        )
    return (
        f"{repository} is gated and the token of Secret {secret} has no access; accept the terms at "
        f"{endpoint}/{repository} with that token's account."
    )


def _unknown(endpoint: str, repository: str, token: str, secret: str) -> str:
    if token:
        return (
            f"{endpoint} shows no repository {repository} to the token of Secret {secret}: the name is wrong, or the "
            f"token is invalid, expired or lacks read access to it."
        )
    return (
        f"{endpoint} has no public repository {repository}; correct model.uri, or, if it is private or gated, put a "
        f"token into a Secret under the key token and name it in model.secret."
    )
