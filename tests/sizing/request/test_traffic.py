"""What may arrive at a replica."""

from __future__ import annotations

import pytest

from sizing.errors import BadRequest
from sizing.request.traffic import Traffic


def test_a_contradictory_load_is_refused_with_every_problem() -> None:
    with pytest.raises(BadRequest) as refused:
        Traffic(4, 2.0, 0, 10, prefix_hit_rate=2.0)
    assert len(refused.value.problems) == 3
