"""A stand-in host is a host while it is there, and nothing once it is not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.standins.host.cache import cache_dir
from lab.standins.host.leftovers import sweep
from tests.ansible.conftest import Host
from tests.children import child
from tests.waiting import wait_until

pytestmark = pytest.mark.host

CHECKOUT = Path(__file__).resolve().parents[2]
BOOT_LIMIT_S = 300
BOOT_AND_WAIT = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits "ignore"
from lab.standins.host.machine import booted
with booted("interrupted") as machine:
    print(machine.root.parent, flush=True)
    time.sleep(600)
"""


def _traces(name: str) -> dict[str, list[str]]:
    """What a host called *name* could leave on this machine."""
    processes = subprocess.run(["ps", "-e", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return {
        "processes": [line for line in processes.splitlines() if f"--machine={name}" in line],
        "namespaces": subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout.splitlines(),
        "links": [path.name for path in Path("/sys/class/net").glob("qkh*")],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if f"{cache_dir()}/run-" in line],
    }


def test_it_is_a_running_system_with_no_failed_unit(virgin: Host) -> None:
    assert virgin.machine.run("systemctl is-system-running --wait").stdout == "running\n"


def test_it_reaches_nothing_but_its_mirror(virgin: Host) -> None:
    assert virgin.machine.run(f"curl -sfo /dev/null {virgin.machine.mirror_url}/key.asc").returncode == 0
    assert virgin.machine.run("ping -c1 -W1 192.0.2.1 || curl -s --max-time 2 http://192.0.2.1", check=False).returncode


def _interrupted_by(number: signal.Signals) -> Path:
    """Boot a host in a process of its own and send it *number*; the folder that the host lived in."""
    with child([sys.executable, "-c", BOOT_AND_WAIT], cwd=CHECKOUT, stderr=subprocess.DEVNULL) as owner:
        folder = Path(owner.line(BOOT_LIMIT_S))
        assert _traces("interrupted")["processes"]
        owner.process.send_signal(number)
        owner.exit_code(60)
    return folder


def test_ctrl_c_leaves_nothing_of_it() -> None:
    before = _traces("interrupted")
    folder = _interrupted_by(signal.SIGINT)
    assert _traces("interrupted") == before
    assert not folder.exists()


def test_a_killed_owner_takes_it_along_and_the_next_host_clears_up_behind_it() -> None:
    before = _traces("interrupted")
    folder = _interrupted_by(signal.SIGKILL)
    wait_until(lambda: not _traces("interrupted")["processes"], 60, "the host has ended with its owner")
    sweep()
    assert _traces("interrupted") == before
    assert not folder.exists()
