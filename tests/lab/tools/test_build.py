from __future__ import annotations

import shutil
import signal
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from lab.tools import build
from lab.tools.table import HERE, ToolError, load
from tests.children import child
from tests.lab.tools.conftest import Program
from tests.waiting import wait_until

ETCD = load().tool("etcd").build
# The folder to write into is what follows -o.
COMPILES = 'while [ "$1" != -o ]; do shift; done; echo compiled > "$2/etcd"'


def left(cache: Path) -> set[str]:
    return {path.name for path in (cache / "tools").iterdir()}


def test_a_build_appears_under_its_name_when_it_is_whole(program: Program, own_cache: Path) -> None:
    go = program("go", COMPILES)
    folder = build.make(ETCD, lambda: go)
    assert (folder / "etcd").read_text() == "compiled\n"
    assert left(own_cache) == {ETCD.folder, "etcd.lock", "etcd.log", "etcd.seconds"}


def test_a_broken_build_leaves_no_tool_and_says_why(program: Program, own_cache: Path) -> None:
    go = program("go", f'{COMPILES}; echo "dial tcp: no such host" >&2; exit 1')
    with pytest.raises(ToolError, match=r"etcd 3\.7\.3 could not be made: .*go ended with 'dial tcp: no such host'"):
        build.make(ETCD, lambda: go)
    assert left(own_cache) == {"etcd.lock", "etcd.log"}


def test_what_a_killed_build_left_is_not_built_upon(program: Program, own_cache: Path) -> None:
    stale = own_cache / "tools" / ".etcd.partial" / "stale"
    stale.parent.mkdir(parents=True)
    stale.touch()
    go = program("go", COMPILES)
    folder = build.make(ETCD, lambda: go)
    assert [path.name for path in folder.iterdir()] == ["etcd"]


def test_too_little_disk_is_said_before_anything_is_made(
    program: Program, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10 * build.GIB, 9.75 * build.GIB, 0.25 * build.GIB))
    go = program("go", "exit 1")
    with pytest.raises(ToolError, match=rf"wants {ETCD.disk_gib:.1f} GiB .* and 0\.2 GiB are free.*QWENKIT_CACHE"):
        build.make(ETCD, lambda: go)
    assert left(own_cache) == {"etcd.lock"}


@pytest.mark.usefixtures("own_cache")
def test_two_who_want_the_same_build_make_it_once(program: Program, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    go = program("go", f"echo run >> {runs}; sleep 0.5; {COMPILES}")
    made: list[Path] = []
    both = [threading.Thread(target=lambda: made.append(build.make(ETCD, lambda: go))) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(made) == 2
    assert runs.read_text() == "run\n"


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_ends_its_compiler_and_leaves_nothing(
    sign: signal.Signals, program: Program, own_cache: Path, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    program(
        "go", f'test "$1" = version && echo go1.26.8 && exit; echo $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 600'
    )
    with child([sys.executable, "-m", "lab.tools.get", "etcd"], cwd=HERE.parents[1]) as getting:
        wait_until(pid.exists, 20, lambda: f"the compiler runs: {getting.said}")
        getting.process.send_signal(sign)
        assert getting.exit_code(20) == 130, getting.said
    wait_until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists(), 20, "the compiler has ended")
    assert left(own_cache) == {"etcd.lock", "etcd.log"}


def test_scripts_name_the_folder_that_the_environment_is_renamed_to(tmp_path: Path) -> None:
    venv, final = tmp_path / ".partial", tmp_path / "final"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"command = python3 -m venv {venv}\n")
    (venv / "bin" / "vllm").write_text(f"#!{venv}/bin/python\n")
    build._move_scripts(venv, final)
    assert (venv / "bin" / "vllm").read_text() == f"#!{final}/bin/python\n"
    assert str(venv) not in (venv / "pyvenv.cfg").read_text()
