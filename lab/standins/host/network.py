"""A network namespace joined to this machine by one veth pair: two addresses, no route beyond them."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NETWORK = "10.213.{}.{}"  # a /24 per host; the third number is the first that no interface here has


@dataclass(frozen=True)
class Link:
    namespace: Path
    outer: str
    inner: str


@contextlib.contextmanager
def linked() -> Iterator[Link]:
    """A namespace with address *inner*, reached from this machine's address *outer*; both are gone at the end."""
    number, claim = _claimed_number()
    with claim:
        name, near, far = f"qwenkit-host-{os.getpid()}-{number}", f"qkh{number}", f"qkh{number}-in"
        outer, inner = NETWORK.format(number, 1), NETWORK.format(number, 2)
        _ip("netns", "add", name)
        try:
            _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
            _ip("address", "add", f"{outer}/24", "dev", near)
            _ip("link", "set", near, "up")
            _ip("-netns", name, "link", "set", "lo", "up")
            _ip("-netns", name, "address", "add", f"{inner}/24", "dev", far)
            _ip("-netns", name, "link", "set", far, "up")
            # A default route, so that the pods' node has an address of its own; nothing here forwards what it carries.
            _ip("-netns", name, "route", "add", "default", "via", outer)
            yield Link(Path("/run/netns") / name, outer, inner)
        finally:
            _ip("netns", "delete", name)
            subprocess.run(["ip", "link", "delete", near], capture_output=True, check=False)  # goes with the namespace


def _claimed_number() -> tuple[int, socket.socket]:
    """The first number that no interface here has, and what keeps hosts that start beside this one from taking it."""
    taken = _ip("-oneline", "address")
    for number in itertools.count(1):
        if NETWORK.format(number, 1) not in taken:
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                claim.bind(f"\0qwenkit-host-{number}")  # the kernel frees it however this process ends
            except OSError:
                claim.close()
            else:
                return number, claim
    raise AssertionError("numbers do not end")


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
