"""Engine versions as numbers that compare: ``0.32.0-cu129`` and ``0.4.6.post5`` are releases, not text."""

from __future__ import annotations

import re
from functools import lru_cache

from sizing.errors import BadRequest, echo

NUMBER = r"(\d{1,6})(?!\d)"
PATTERN = rf"v?{NUMBER}\.{NUMBER}(?:\.{NUMBER})?(?:\.?post{NUMBER})?"  # what follows it (-cu129, rc1) does not order


@lru_cache(maxsize=1024)  # a search compares the same few versions thousands of times
def release_of(version: str) -> tuple[int, ...]:
    """
    The release as (major, minor, patch, post); a CUDA suffix such as ``-cu129`` and a leading ``v`` do not count.

    Raises: ``BadRequest`` for text that does not begin with two numbers.
    """
    match = re.match(PATTERN, version)
    if not match:
        raise BadRequest(
            f"{echo(version)} is not an engine version; versions look like 0.32.0, 0.32.0-cu129 or 0.4.6.post5"
        )
    return tuple(int(part or 0) for part in match.groups())
