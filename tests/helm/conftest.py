from __future__ import annotations

from pathlib import Path

import pytest

from tools.get import tool


@pytest.fixture(scope="session", params=["helm", "helm3"])
def helm(request: pytest.FixtureRequest) -> Path:
    """Both helm lines that the chart supports, one after the other."""
    return Path(tool(request.param))
