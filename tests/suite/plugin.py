"""What the suite adds to pytest: lanes, and modules whose tests are steps."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.suite.lanes import Table, load

# What a test with such a mark starts or installs, its lane must hold.
HELD = {"engine": "engine", "cluster": "cluster", "host": "host", "browser": "packages", "prometheus": "packages"}
FAILED_STEP = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lane", help="only the tests of this lane of tests/lanes.toml")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "steps: the module's tests need each other in their order; one fails, all end")


def pytest_sessionstart(session: pytest.Session) -> None:
    def stop(*_: object) -> None:
        # A fixture that fails to clean up puts its own exception in the place of this one: the tests end all the same.
        session.shouldstop = "stopped by SIGINT"
        raise KeyboardInterrupt

    if session.config.getoption("--lane"):
        signal.signal(signal.SIGINT, stop)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Read no module that is another lane's."""
    lane = config.getoption("--lane")
    if lane is None or collection_path.suffix != ".py":
        return None
    path = collection_path.relative_to(config.rootpath).as_posix()
    return None if load().may_have(lane, path) else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    table, wanted = load(), config.getoption("--lane")
    homes = [(item, _lane_name(table, item, config.rootpath)) for item in items]
    if wanted is None:
        return
    config.hook.pytest_deselected(items=[item for item, home in homes if home != wanted])
    items[:] = [item for item, home in homes if home == wanted]


def _lane_name(table: Table, item: pytest.Item, root: Path) -> str:
    marks = {mark.name for mark in item.iter_markers()}
    lane = table.lane_of(item.path.relative_to(root).as_posix(), marks)
    if unmet := [mark for mark, place in HELD.items() if mark in marks and place not in lane.holds]:
        raise pytest.UsageError(
            f"{item.nodeid} is marked {unmet[0]} and falls into the lane {lane.name}, which holds no "
            f"{HELD[unmet[0]]}: give its module a lane in tests/lanes.toml"
        )
    return lane.name


def pytest_runtest_setup(item: pytest.Item) -> None:
    if earlier := _module(item).stash.get(FAILED_STEP, None):
        pytest.skip(f"the step before it failed: {earlier}")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    failed = call.excinfo is not None and not call.excinfo.errisinstance((pytest.skip.Exception, KeyboardInterrupt))
    if failed and item.get_closest_marker("steps"):
        _module(item).stash.setdefault(FAILED_STEP, item.name)


def _module(item: pytest.Item) -> pytest.Module:
    module = item.getparent(pytest.Module)
    assert module is not None
    return module
