from pathlib import Path

import pytest

from lab.cluster import place
from lab.cluster.errors import LocalError
from lab.cluster.place import Place


@pytest.fixture
def number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """A place that no real cluster has."""
    monkeypatch.setattr(place, "FOLDERS", tmp_path)
    return 1000


def test_a_number_is_claimed_once_until_it_is_let_go(number: int) -> None:
    first = Place(number).claim()
    assert first is not None
    assert Place(number).claim() is None
    assert Place(number).is_claimed()
    first.close()
    assert not Place(number).is_claimed()


def test_a_claimed_number_is_refused_with_the_command_that_frees_it(number: int) -> None:
    _, held = place.claim(number)
    with held, pytest.raises(LocalError, match=f"python -m lab.cluster down --index {number}"):
        place.claim(number)


def test_every_place_has_names_of_its_own() -> None:
    assert len({(found.folder, found.link, found.marker) for found in place.places()}) == place.MOST_CLUSTERS


def test_an_interface_name_is_short_enough_for_the_kernel() -> None:
    assert max(len(found.link) for found in place.places()) < 16
