"""
The test suite: every lane of ``tests/lanes.toml``, two side by side, the longest first.

    python -m tests.suite                     all lanes
    python -m tests.suite helm-leaving lint   these alone; ``helm`` names every lane that begins with ``helm-``
    python -m tests.suite --list              what there is

Each lane is one pytest of its own: none can take another one along. Logs, junit files and durations are kept in
``$QWENKIT_CACHE/suite-<user>``. Exit status: 0, 1 if a test failed or something was left, 2 for a wrong question, 130.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from tests.suite import machine
from tests.suite.lanes import durations, load, records
from tests.suite.run import ENDING, Run, say


def main() -> int:
    table = load()
    parser = argparse.ArgumentParser(prog="python -m tests.suite", description="Lanes of tests, two side by side.")
    parser.add_argument("lanes", nargs="*", metavar="LANE", help="these lanes or groups of lanes, else all")
    parser.add_argument("--list", action="store_true", help="say what lanes there are, and what each starts")
    asked = parser.parse_args()
    try:
        lanes = table.named(asked.lanes) if asked.lanes else list(table.lanes)
    except KeyError as unknown:
        say(unknown.args[0])
        return 2
    folder = records()
    folder.mkdir(parents=True, exist_ok=True)
    expected = durations(table, folder)
    if asked.list:
        for lane in lanes:
            print(f"{lane.name:16}{expected[lane.name]:6.0f} s   {lane.starts}")
        return 0
    if any(lane.holds for lane in lanes) and os.geteuid() != 0:
        say(f"{', '.join(lane.name for lane in lanes if lane.holds)}: these start clusters, hosts or packages as root")
        return 2
    # So that an end from outside is like Ctrl-C, and Ctrl-C works also where a shell had it ignored.
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)
    try:
        # What starts nothing disturbs nobody.
        claimed = machine.claim(say) if any(lane.holds for lane in lanes) else None
    except KeyboardInterrupt:
        return 130
    return Run(lanes, table.places, expected, folder, claimed=claimed, slowest=bool(asked.lanes)).all()


if __name__ == "__main__":
    sys.exit(main())
