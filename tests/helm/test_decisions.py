"""What the rendered objects decide. Every case, both helm lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helm.chart import (
    CASES,
    CHART,
    Objects,
    case,
    changed,
    engine_of,
    environment_of,
    pod_of,
    rendered,
    settings_of,
)

EKS, HOME, LAPTOP = "eks-vllm-two-replicas", "home-sglang", "laptop-vllm-cpu"


@pytest.fixture(params=sorted(path.stem for path in CASES.glob("*.yaml")))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def objects(helm: Path, name: str) -> Objects:
    return rendered(helm, case(name))


def test_the_pods_identity_is_the_one_that_pod_identity_binds(objects: Objects) -> None:
    account = objects["ServiceAccount"][0]
    assert account["metadata"]["name"] == pod_of(objects)["serviceAccountName"] == "qwen"
    assert account["automountServiceAccountToken"] is False


def test_a_read_only_root_leaves_home_tmp_and_shm_writable(objects: Objects) -> None:
    mounts = {mount["mountPath"]: mount for mount in engine_of(objects)["volumeMounts"]}
    writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
    assert writable == {"/home/qwen", "/tmp", "/dev/shm"}
    assert environment_of(objects)["HOME"] == "/home/qwen"


def test_shared_memory_is_bounded_and_in_memory(objects: Objects, name: str) -> None:
    [shm] = [volume for volume in pod_of(objects)["volumes"] if volume["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": case(name).get("shmSize", "2Gi")}


def test_the_keys_reach_the_engine_as_a_file_only(objects: Objects, name: str) -> None:
    secret, key = ("team-key", "token") if name == EKS else ("qwen-key", "api-key")
    [keys] = [volume["secret"] for volume in pod_of(objects)["volumes"] if volume["name"] == "keys"]
    assert keys == {"secretName": secret, "items": [{"key": key, "path": key}]}
    assert {"name": "keys", "mountPath": "/etc/qwen", "readOnly": True} in engine_of(objects)["volumeMounts"]
    assert settings_of(objects)["keysFile"] == f"/etc/qwen/{key}"
    assert "KEY" not in str(environment_of(objects))
    assert not any("key" in argument for argument in engine_of(objects)["args"])


def test_the_guard_is_between_the_network_and_the_engine(objects: Objects, name: str) -> None:
    variables, engine = environment_of(objects), engine_of(objects)
    assert (variables["PYTHONPATH"], variables["QWENKIT_GUARD"]) == ("/opt/qwen", "/opt/qwen/guard.json")
    assert {"name": "files", "mountPath": "/opt/qwen", "readOnly": True} in engine["volumeMounts"]
    if name == HOME:
        assert engine["command"] == ["python3", "/opt/qwen/serve_sglang.py"]
    else:
        at = engine["args"].index("--middleware")
        assert engine["args"][at : at + 4] == ["--middleware", "guard.Guard", "--api-server-count", "1"]
    mounted = objects["ConfigMap"][0]["data"]
    assert {path.name for path in (CHART / "files").glob("guard*.py")} < set(mounted)


def test_a_change_of_the_guard_replaces_the_pod(helm: Path) -> None:
    def files(**changes: Any) -> str:
        [deployment] = rendered(helm, changed(case(LAPTOP), **changes))["Deployment"]
        digest: str = deployment["spec"]["template"]["metadata"]["annotations"]["qwenkit.dev/files"]
        return digest

    assert files() == files(replicas=2)
    assert files() != files(queue__maxInFlight=8)


def test_the_guard_knows_the_served_api(objects: Objects) -> None:
    settings = settings_of(objects)
    assert "POST /v1/chat/completions" in settings["routes"]
    assert not [route for route in settings["routes"] if not route.startswith(("GET /v1/", "POST /v1/"))]
    assert settings["model"] in engine_of(objects)["args"]
    assert settings["maxInFlight"] == 0


@pytest.mark.parametrize(("api", "path"), [("embeddings", "/v1/embeddings"), ("rerank", "/v1/rerank")])
def test_a_model_that_does_not_chat_is_warmed_up_by_what_it_does(helm: Path, api: str, path: str) -> None:
    settings = settings_of(rendered(helm, changed(case(LAPTOP), api=api)))
    assert f"POST {path}" in settings["routes"]
    assert [request["path"] for request in settings["warmUp"].values()] == [path] == [settings["heartbeat"]["path"]]


def test_a_tool_call_is_asked_only_where_the_arguments_have_a_parser(helm: Path) -> None:
    plain = rendered(helm, case(EKS))
    tools = rendered(helm, changed(case(EKS), extraArgs=["--tool-call-parser", "hermes"]))
    assert set(settings_of(plain)["warmUp"]) == {"chat", "sampled", "structured"}
    assert set(settings_of(tools)["warmUp"]) == {"chat", "sampled", "structured", "tool"}


def test_a_key_is_generated_only_where_none_is_named(helm: Path) -> None:
    assert "Secret" not in rendered(helm, case(EKS))
    first, second = (rendered(helm, changed(case(LAPTOP), replicas=n))["Secret"][0]["data"]["api-key"] for n in (0, 1))
    assert first != second
    assert len(first) >= 40


def test_the_image_is_pinned_by_tag_and_digest(helm: Path) -> None:
    pinned = f"docker.io/vllm/vllm-openai:v0.32.0-cu129@sha256:{'a' * 64}"
    assert engine_of(rendered(helm, case(EKS)))["image"] == pinned
    assert engine_of(rendered(helm, case(LAPTOP)))["image"] == "docker.io/local/vllm-cpu:0.32.0"


def test_the_engine_is_started_without_a_shell(objects: Objects, name: str) -> None:
    engine = engine_of(objects)
    assert engine.get("command") == (["python3", "/opt/qwen/serve_sglang.py"] if name == HOME else None)
    assert all(isinstance(argument, str) for argument in engine["args"])


def test_arguments_arrive_unchanged_and_in_order(objects: Objects, name: str) -> None:
    planned = case(name)["args"]
    assert engine_of(objects)["args"][: len(planned)] == planned


def test_extra_arguments_follow_the_planned_ones(helm: Path) -> None:
    values = changed(case(LAPTOP), extraArgs=["--max-model-len", "4096"])
    arguments = engine_of(rendered(helm, values))["args"]
    planned = len(case(LAPTOP)["args"])
    assert arguments[planned : planned + 3] == ["--max-model-len", "4096", "--middleware"]


def test_the_grace_period_is_the_sum_of_what_a_leaving_pod_does(helm: Path) -> None:
    objects = rendered(helm, changed(case(EKS), drain__preStopSeconds=20, drain__seconds=240))
    engine = engine_of(objects)
    said = "touch /tmp/leaving; sleep 15; touch /tmp/left; sleep 5"
    assert engine["lifecycle"] == {"preStop": {"exec": {"command": ["sh", "-c", said]}}}
    assert settings_of(objects)["stateFolder"] == "/tmp"
    assert engine["args"][-2:] == ["--shutdown-timeout", "240"]
    assert pod_of(objects)["terminationGracePeriodSeconds"] == 20 + 240 + 15


def test_sglang_drains_by_itself_within_the_same_grace_period(helm: Path) -> None:
    objects = rendered(helm, case(HOME))
    assert engine_of(objects)["args"] == [*case(HOME)["args"], "--skip-server-warmup"]
    assert pod_of(objects)["terminationGracePeriodSeconds"] == 10 + 120 + 15


def test_a_start_has_its_whole_budget_before_the_probe_gives_up(objects: Objects, name: str) -> None:
    budget = case(name).get("startup", {}).get("budgetSeconds", 900)
    probe = engine_of(objects)["startupProbe"]
    assert budget <= probe["periodSeconds"] * probe["failureThreshold"] < budget + probe["periodSeconds"]


def test_vllm_itself_waits_as_long_as_the_probe(helm: Path) -> None:
    assert environment_of(rendered(helm, case(EKS)))["VLLM_ENGINE_READY_TIMEOUT_S"] == "303"


def test_the_rollout_is_given_more_time_than_leaving_and_starting_take(objects: Objects, name: str) -> None:
    startup = {"fetchSeconds": 900, "budgetSeconds": 900, **case(name).get("startup", {})}
    [deployment] = objects["Deployment"]
    grace = pod_of(objects)["terminationGracePeriodSeconds"]
    fetch = startup["fetchSeconds"] if case(name)["model"]["source"] == "hub" else 0
    assert deployment["spec"]["progressDeadlineSeconds"] == grace + 900 + fetch + startup["budgetSeconds"]


def test_health_is_cheap_on_sglang_so_that_probes_of_five_seconds_hold(helm: Path) -> None:
    assert environment_of(rendered(helm, case(HOME)))["SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"] == "false"


def test_a_variable_of_the_plan_wins_over_the_engines_and_the_charts(helm: Path) -> None:
    own = {"SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "true", "HF_HUB_OFFLINE": "0"}
    variables = environment_of(rendered(helm, changed(case(HOME), env=own)))
    assert {name: variables[name] for name in own} == own


def test_a_busy_engine_has_a_minute_before_it_is_restarted(objects: Objects) -> None:
    probe = engine_of(objects)["livenessProbe"]
    assert probe["httpGet"] == {"path": "/health", "port": "ops"}
    assert probe["timeoutSeconds"] >= 10
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_a_pod_is_ready_when_it_is_warm(objects: Objects) -> None:
    engine = engine_of(objects)
    assert engine["startupProbe"]["httpGet"] == engine["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "ops"}
    assert {"name": "ops", "containerPort": settings_of(objects)["opsPort"]} in engine["ports"]


def test_a_rollout_without_spare_gpu_stops_one_pod_first(helm: Path) -> None:
    strategy = rendered(helm, case(HOME))["Deployment"][0]["spec"]["strategy"]
    assert strategy == {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}


def test_a_rollout_with_a_spare_gpu_starts_one_pod_first(helm: Path) -> None:
    strategy = rendered(helm, case(EKS))["Deployment"][0]["spec"]["strategy"]
    assert strategy == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_gpus_are_requested_and_limited_alike(helm: Path) -> None:
    resources = engine_of(rendered(helm, case(EKS)))["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 2
    assert resources["requests"]["memory"] == "24Gi"


def test_a_cpu_engine_asks_for_no_gpu(helm: Path) -> None:
    resources = engine_of(rendered(helm, case(LAPTOP)))["resources"]
    assert set(resources["limits"]) == {"cpu", "memory"}


def test_the_service_sends_to_the_port_that_the_arguments_name(objects: Objects, name: str) -> None:
    arguments = case(name)["args"]
    port = int(arguments[arguments.index("--port") + 1])
    assert {"name": "http", "containerPort": port} in engine_of(objects)["ports"]
    service, _ = objects["Service"]
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    labels = objects["Deployment"][0]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_the_services_selector_leaves_the_test_pod_out(objects: Objects) -> None:
    for service in objects["Service"]:
        assert not service["spec"]["selector"].items() <= objects["Pod"][0]["metadata"]["labels"].items()


def test_metrics_are_on_a_service_of_their_own_that_the_releases_test_reaches(objects: Objects) -> None:
    _, metrics = objects["Service"]
    assert metrics["spec"]["ports"] == [{"name": "ops", "port": settings_of(objects)["opsPort"], "targetPort": "ops"}]
    [rule] = [rule for rule in objects["NetworkPolicy"][0]["spec"]["ingress"] if rule["ports"] == [{"port": "ops"}]]
    assert rule["from"][0]["podSelector"]["matchLabels"].items() <= objects["Pod"][0]["metadata"]["labels"].items()
    assert {variable["name"]: variable.get("value") for variable in objects["Pod"][0]["spec"]["containers"][0]["env"]}[
        "METRICS_URL"
    ] == f"http://{metrics['metadata']['name']}:{settings_of(objects)['opsPort']}"


def test_clients_are_the_pods_of_the_namespace_unless_others_are_named(objects: Objects) -> None:
    [rule] = [rule for rule in objects["NetworkPolicy"][0]["spec"]["ingress"] if rule["ports"] == [{"port": "http"}]]
    named = {"app.kubernetes.io/name": "qwen", "app.kubernetes.io/instance": "qwen"}
    assert rule["from"] == [{"podSelector": {}}, {"podSelector": {"matchLabels": named}}]


def test_the_test_pod_asks_what_the_engine_was_told(helm: Path) -> None:
    pod = rendered(helm, changed(case(LAPTOP), extraArgs=["--max-model-len", "4096"]))["Pod"][0]["spec"]
    variables = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
    assert json.loads(variables["ARGS"]) == [*case(LAPTOP)["args"], "--max-model-len", "4096"]
    assert variables["KEY_FILE"] == "/etc/qwen/api-key"


def test_the_policy_lets_clients_to_the_api_and_monitoring_to_the_metrics(objects: Objects) -> None:
    api, metrics = objects["NetworkPolicy"][0]["spec"]["ingress"]
    own = {"app.kubernetes.io/name": "qwen", "app.kubernetes.io/instance": "qwen"}
    assert api == {"from": [{"podSelector": {}}, {"podSelector": {"matchLabels": own}}], "ports": [{"port": "http"}]}
    own_test = {"app.kubernetes.io/instance": "qwen", "app.kubernetes.io/component": "test"}
    named = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["monitoring"]}
    assert metrics == {
        "from": [
            {"podSelector": {"matchLabels": own_test}},
            {"namespaceSelector": {"matchExpressions": [named]}},
        ],
        "ports": [{"port": "ops"}],
    }


def test_the_test_pod_reaches_the_releases_pods_and_names_and_nobody_reaches_it(objects: Objects) -> None:
    [policy] = [one["spec"] for one in objects["NetworkPolicy"] if one["metadata"]["name"] == "qwen-smoke"]
    assert policy["podSelector"]["matchLabels"].items() <= objects["Pod"][0]["metadata"]["labels"].items()
    assert (policy["policyTypes"], "ingress" in policy) == (["Ingress", "Egress"], False)
    pods, names = policy["egress"]
    [to] = pods["to"]
    assert (
        to["podSelector"]["matchLabels"].items()
        <= objects["Deployment"][0]["spec"]["template"]["metadata"]["labels"].items()
    )
    ports = {port["name"]: port["containerPort"] for port in engine_of(objects)["ports"]}
    assert [port["port"] for port in pods["ports"]] == [ports["http"], ports["ops"]]
    assert {port["port"] for port in names["ports"]} == {53}


def test_other_clients_do_not_lock_out_the_releases_own_pods(helm: Path) -> None:
    office = {"ipBlock": {"cidr": "192.0.2.0/24"}}
    objects = rendered(helm, changed(case(HOME), networkPolicy={"from": [office], "monitoring": []}))
    api, metrics = objects["NetworkPolicy"][0]["spec"]["ingress"]
    labels = objects["Pod"][0]["metadata"]["labels"]
    assert api["from"][0] == office
    assert api["from"][1]["podSelector"]["matchLabels"].items() <= labels.items()
    [asking] = metrics["from"]
    assert asking["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_cache_is_a_claim_only_where_asked(helm: Path) -> None:
    claims = rendered(helm, case(HOME))["PersistentVolumeClaim"]
    assert [claim["metadata"]["name"] for claim in claims] == ["qwen-cache"]
    assert "PersistentVolumeClaim" not in rendered(helm, case(LAPTOP))
    own = changed(case(HOME), cache__existingClaim="mine")
    assert "PersistentVolumeClaim" not in rendered(helm, own)
    [cache] = [volume for volume in pod_of(rendered(helm, own))["volumes"] if volume["name"] == "cache"]
    assert cache["persistentVolumeClaim"] == {"claimName": "mine"}


def test_two_replicas_have_a_disruption_budget_and_one_has_none(helm: Path) -> None:
    objects = rendered(helm, case(EKS))
    [budget], [engines] = objects["PodDisruptionBudget"], objects["Deployment"]
    assert budget["spec"] == {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": engines["spec"]["selector"],
    }
    assert "PodDisruptionBudget" not in rendered(helm, case(HOME))


def test_gpu_pods_tolerate_the_taint_of_the_pool(objects: Objects) -> None:
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod_of(objects)["tolerations"]


def test_the_runtime_class_is_set_only_where_the_cluster_needs_it(helm: Path) -> None:
    assert pod_of(rendered(helm, case(HOME)))["runtimeClassName"] == "nvidia"
    assert "runtimeClassName" not in pod_of(rendered(helm, case(EKS)))


def test_every_object_carries_the_release_and_none_is_kept_after_it(objects: Objects) -> None:
    for kind in objects.values():
        for item in kind:
            assert item["metadata"]["labels"]["app.kubernetes.io/instance"] == "qwen"
            assert "helm.sh/resource-policy" not in item["metadata"].get("annotations", {})


def test_escape_hatches_arrive_as_they_are(helm: Path) -> None:
    volume = {"name": "site", "persistentVolumeClaim": {"claimName": "site", "readOnly": True}}
    mount = {"name": "site", "mountPath": "/site", "readOnly": True}
    variable = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    objects = rendered(
        helm,
        changed(
            case(LAPTOP),
            extraVolumes=[volume],
            extraVolumeMounts=[mount],
            extraEnv=[variable],
            podAnnotations={"team": "yes"},
        ),
    )
    assert volume in pod_of(objects)["volumes"]
    assert mount in engine_of(objects)["volumeMounts"]
    assert variable in engine_of(objects)["env"]
    assert objects["Deployment"][0]["spec"]["template"]["metadata"]["annotations"]["team"] == "yes"


def test_the_helm_test_leaves_nothing_behind(objects: Objects) -> None:
    annotations = objects["Pod"][0]["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "test"
    assert set(annotations["helm.sh/hook-delete-policy"].split(",")) == {
        "before-hook-creation",
        "hook-succeeded",
        "hook-failed",
    }
