from __future__ import annotations

import pytest

from sizing.errors import BadRequest
from sizing.facts.versions import release_of


def test_versions_compare_as_releases() -> None:
    ordered = ["0.4.6", "0.4.6.post5", "0.6.6.post1", "0.9.0", "0.10.2", "0.32.0-cu129", "0.33.0", "1.0"]
    assert sorted(ordered, key=release_of) == ordered
    assert release_of("v0.32.0-cu129") == release_of("0.32.0")


@pytest.mark.parametrize("text", ["", "latest", "x.y", "zero.32"])
def test_text_that_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="is not an engine version"):
        release_of(text)
