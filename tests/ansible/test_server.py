"""The whole playbook on a booted host: Kubernetes, Helm, chart and engine are real; k3s and the card stand in."""

from __future__ import annotations

import base64
import json
import re

import pytest

from tests.ansible.conftest import Server
from tests.ansible.play import play
from tests.waiting import wait_until

pytestmark = pytest.mark.host

OWN = {"serve_own_values": {"service": {"port": 8080}}, "serve_api_key": "of-the-vault"}


def _key(server: Server) -> str:
    encoded = server.machine.run("k3s kubectl -n qwen get secret qwen-api-key -o jsonpath={.data.api-key}").stdout
    return base64.b64decode(encoded).decode()


def _pods(server: Server) -> list[str]:
    return server.machine.run("k3s kubectl -n qwen get pods -o name").stdout.split()


def test_the_play_ends_with_a_chat_that_the_model_answered(server: Server) -> None:
    said = re.search(r"qwen3-0.6b answers at http://\S+/v1/chat/completions, (\d+) tokens: ", server.first.message)
    assert said, server.first.output[-3000:]
    assert int(said[1]) > 0


def test_the_key_was_made_on_the_host_and_is_in_no_log(server: Server) -> None:
    key = _key(server)
    assert re.fullmatch("[0-9a-f]{48}", key)
    journal = server.machine.run("journalctl --no-pager").stdout
    for text in (server.first.output, journal):
        assert key not in text
        assert base64.b64encode(key.encode()).decode() not in text


def test_the_node_offers_its_gpu_and_only_root_reads_the_administrators_kubeconfig(server: Server) -> None:
    node = json.loads(server.machine.run("k3s kubectl get node home-server -o json").stdout)
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"
    assert server.machine.run("stat -c '%a %U' /etc/rancher/k3s/k3s.yaml").stdout == "600 root\n"


def test_the_namespace_enforces_restricted_pods(server: Server) -> None:
    shown = server.machine.run("k3s kubectl get namespace qwen -o json").stdout
    assert json.loads(shown)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_after_a_reboot_the_whole_play_changes_nothing_and_the_same_pods_answer_again(server: Server) -> None:
    before = _pods(server)
    server.machine.reboot()
    again = play(server.inventory).succeeded()
    assert (again.changed, again.failed) == (0, 0)
    assert "qwen3-0.6b answers at " in again.message
    assert _pods(server) == before


def test_changed_values_and_a_key_of_the_vault_are_one_upgrade(server: Server) -> None:
    upgraded = play(server.inventory, "--tags", "serve", variables=OWN).succeeded()
    assert upgraded.changed == 3  # the host's values, the key, the release
    assert re.search(r"answers at http://\S+:8080/v1/chat/completions", upgraded.message)
    assert _key(server) == OWN["serve_api_key"]


def test_a_release_whose_upgrade_was_cut_off_is_brought_back(server: Server) -> None:
    chart = "/var/lib/qwenkit/qwen/chart-*"
    kubeconfig = "KUBECONFIG=/etc/rancher/k3s/k3s.yaml"
    status = f"{kubeconfig} helm -n qwen status qwen --output json"
    upgrade = f"helm -n qwen upgrade qwen {chart} --reuse-values --set drain.seconds=45 --wait --timeout 300s"
    server.machine.run(f"systemd-run --unit cut-off --setenv HOME=/root --setenv {kubeconfig} sh -c '{upgrade}'")
    wait_until(lambda: '"pending-upgrade"' in server.machine.run(status).stdout, 60, "the upgrade has begun")
    server.machine.run("systemctl kill --signal KILL cut-off")
    assert '"pending-upgrade"' in server.machine.run(status).stdout
    mended = play(server.inventory, "--tags", "serve", variables=OWN).succeeded()
    assert mended.changed == 2  # undone, installed again; the values and the key are there
    assert '"deployed"' in server.machine.run(status).stdout


def test_a_dry_run_of_kubernetes_and_chart_is_clean(server: Server) -> None:
    # Driver and toolkit have theirs in test_driver.py.
    dry = play(server.inventory, "--check", "--tags", "k3s,serve", variables=OWN).succeeded()
    assert (dry.changed, dry.failed) == (0, 0)
