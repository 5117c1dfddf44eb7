from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.standins.aws.run import stand_in_for_aws
from lab.tools.get import tool
from tests.infra.declared import Declared, declare
from tests.infra.stack import Stack

STACK = "prod-qwen3-8b"


@pytest.fixture(scope="session")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Declared:
    """What the program declares, by case, without the engine."""
    return declare(tmp_path_factory.mktemp("declared"))


@pytest.fixture(scope="session")
def pulumi() -> Path:
    return tool("pulumi")


@pytest.fixture
def empty(tmp_path: Path, pulumi: Path) -> Iterator[Stack]:
    """A stack that has been made and never brought up."""
    with stand_in_for_aws(tmp_path / "aws", pulumi) as aws:
        stack = Stack(aws, STACK)
        stack.pulumi("stack", "init", STACK)
        yield stack


@pytest.fixture(scope="session")
def first_up(tmp_path_factory: pytest.TempPathFactory, pulumi: Path) -> Path:
    """The folder after the first ``up``."""
    folder = tmp_path_factory.mktemp("first-up") / "aws"
    with stand_in_for_aws(folder, pulumi) as aws:
        stack = Stack(aws, STACK)
        stack.pulumi("stack", "init", STACK)
        stack.up()
    return folder


@pytest.fixture
def deployed(first_up: Path, tmp_path: Path, pulumi: Path) -> Iterator[Stack]:
    """A stack as it is after the first ``up``, for one test alone."""
    folder = tmp_path / "aws"
    shutil.copytree(first_up, folder)
    with stand_in_for_aws(folder, pulumi) as aws:
        yield Stack(aws, STACK)
