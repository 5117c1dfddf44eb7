"""How long nobody was answered while one engine left and another one came: events of the kubelet, logs of the pods."""

from __future__ import annotations

import json
from datetime import datetime

from tests.helm.bench import DRAIN_S, PRE_STOP_S, Bench
from tests.helm.chart import Values
from tests.helm.traffic import OK, WHOLE, Traffic
from tests.waiting import wait_until

ANSWERS = 13  # at least five seconds of a fresh client's


def wait_for_answers(seen: Traffic) -> None:
    """What comes late is seen too: kube-proxy hands the Service over in up to two syncs, in which both may be asked."""
    wanted = {client: seen.ended(client)[OK] + ANSWERS for client in ("fresh", "kept")}
    wait_until(lambda: all(seen.ended(client)[OK] >= wanted[client] for client in wanted), 60, "clients are answered")


def ready(bench: Bench, count: int) -> bool:
    """Whether there are *count* pods, each Ready and none on its way out."""
    conditions = [
        "deletionTimestamp" not in pod["metadata"]
        and {"type": "Ready", "status": "True"}.items()
        <= next((c for c in pod["status"].get("conditions", []) if c["type"] == "Ready"), {}).items()
        for pod in bench.pods()
    ]
    return conditions == [True] * count


def the_gap_is_no_longer_than_it_must_be(bench: Bench, seen: Traffic, old: Values, new: Values) -> None:
    """
    Nobody lingers: it is the old engine's last streams and exit, and the new one's start until it is warm. The measure
    is that start, on this machine as busy as it was: half of one more would be somebody who lingers.
    """
    [engine] = old["spec"]["containers"]
    # What the chart gives a pod that has left to say so, and its process to exit.
    handover_s = int(engine["lifecycle"]["preStop"]["exec"]["command"][-1].rpartition("sleep ")[2])
    exit_s = old["spec"]["terminationGracePeriodSeconds"] - PRE_STOP_S - DRAIN_S
    left = stopped_at(bench, old) + PRE_STOP_S - handover_s
    placed, warm = condition_at(new, "PodScheduled"), warm_at(bench, new)
    refused = seen.refusals_s()
    assert refused is not None
    first, last = (seen.began_at + moment for moment in refused)
    longest_stream = max(record.seconds for record in seen.records if record.ended == WHOLE)
    print(
        f"from left: first refusal {first - left:.1f} s, place free {placed - left:.0f} s, warm {warm - left:.1f} s, "
        f"last refusal {last - left:.1f} s; longest stream {longest_stream:.1f} s"
    )
    assert first >= left
    assert placed - left <= handover_s + longest_stream + exit_s + (warm - placed) / 2
    assert last - warm <= (warm - left) / 2


def condition_at(pod: Values, kind: str) -> float:
    """When the condition became what it is."""
    [found] = [condition for condition in pod["status"]["conditions"] if condition["type"] == kind]
    return seconds(found["lastTransitionTime"])


def stopped_at(bench: Bench, pod: Values) -> float:
    """When the kubelet began to end *pod*, its preStop hook first."""
    of_pod = f"reason=Killing,involvedObject.name={pod['metadata']['name']}"
    [event] = json.loads(bench.kubectl("get", "events", f"--field-selector={of_pod}", "--output=json"))["items"]
    return seconds(event["lastTimestamp"])


def warm_at(bench: Bench, pod: Values) -> float:
    log = bench.kubectl("logs", pod["metadata"]["name"], "--timestamps").splitlines()
    [line] = [line for line in log if "guard: warm after" in line]
    return seconds(line.split()[0])


def seconds(stamp: str) -> float:
    """Seconds since the epoch; of a log's nanoseconds six digits are kept."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00").timestamp()
