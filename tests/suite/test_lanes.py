from __future__ import annotations

from pathlib import Path

import pytest

from tests.suite.lanes import Lane, durations, load, remember

ROOT = Path(__file__).parents[2]
TABLE = load()


@pytest.mark.parametrize("lane", TABLE.lanes, ids=lambda lane: lane.name)
def test_a_lane_says_what_it_starts_and_its_files_are_there(lane: Lane) -> None:
    assert lane.starts
    assert [path for path in lane.paths if not (ROOT / path).exists()] == []


def test_every_test_has_a_lane() -> None:
    assert TABLE.lane_of("tests/new/test_anything.py", ()) == TABLE.lanes[-1]
    assert (TABLE.lanes[-1].paths, TABLE.lanes[-1].mark) == ((), "")


def test_the_first_lane_that_takes_a_test_has_it() -> None:
    assert TABLE.lane_of("tests/helm/test_leaving.py", ("cluster",)).name == "helm-leaving"
    assert TABLE.lane_of("tests/infra/test_settings.py", ()).name == "fast"
    assert TABLE.lane_of("tests/infra/test_up.py", ("pulumi",)).name == "pulumi"


def test_a_lane_reads_only_files_that_may_have_a_test_of_it() -> None:
    assert [lane.name for lane in TABLE.lanes if TABLE.may_have(lane.name, "tests/infra/test_up.py")] == [
        "pulumi",
        "fast",
    ]
    assert [lane.name for lane in TABLE.lanes if TABLE.may_have(lane.name, "tests/lab/cluster/test_leaving.py")] == [
        "local"
    ]
    assert TABLE.lane_of("tests/helm_of_another/test_it.py", ()).name == "fast"


def test_a_name_means_a_lane_or_all_that_begin_so() -> None:
    assert {lane.name for lane in TABLE.named(["helm"])} == {"helm-leaving", "helm-policies", "helm-cluster"}
    assert [lane.name for lane in TABLE.named(["lint", "lint"])] == ["lint"]
    with pytest.raises(KeyError, match=r"no lane 'hel'; there are helm-leaving, "):
        TABLE.named(["hel"])


@pytest.mark.parametrize("holds", ['"moon"', '"host", "host"'])
def test_a_lane_that_holds_more_than_there_are_places_for_is_refused(holds: str, tmp_path: Path) -> None:
    table = tmp_path / "lanes.toml"
    table.write_text(f'[places]\nhost = 1\n[lane.x]\nabout_s = 1\nstarts = "nothing"\nholds = [{holds}]\n')
    with pytest.raises(ValueError, match=r"lane x holds (moon|host); \[places\] has {'host': 1}"):
        load(table)


def test_a_recorded_duration_counts_more_than_the_tables(tmp_path: Path) -> None:
    assert durations(TABLE, tmp_path)["lint"] == next(one.about_s for one in TABLE.lanes if one.name == "lint")
    remember(tmp_path, {"lint": 7.04})
    remember(tmp_path, {"fast": 8.0})
    assert (durations(TABLE, tmp_path)["lint"], durations(TABLE, tmp_path)["fast"]) == (7.0, 8.0)
