"""How the chart brings the weights of every source to /models, and what it refuses to try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.helm.chart import (
    Objects,
    Values,
    case,
    changed,
    engine_of,
    environment_of,
    pod_of,
    refusal,
    rendered,
    template,
)

EKS, HOME, LAPTOP = "eks-vllm-two-replicas", "home-sglang", "laptop-vllm-cpu"
IMAGE = f"registry.example/qwen3-8b@sha256:{'b' * 64}"
ADAPTERS = [{"name": "law", "uri": "acme/law", "revision": "v2"}, {"name": "acme/sales", "uri": "acme/sales"}]
HELD: dict[str, tuple[Values, Values]] = {
    "pvc": ({"uri": "weights"}, {"persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}),
    "hostPath": ({"uri": "/srv/qwen3"}, {"hostPath": {"path": "/srv/qwen3", "type": "Directory"}}),
    "image": ({"uri": IMAGE}, {"image": {"reference": IMAGE, "pullPolicy": "IfNotPresent"}}),
}
FETCHED: dict[str, Values] = {
    "hub": {"source": "hub", "uri": "Qwen/Qwen3-8B"},
    "s3": {"source": "s3", "uri": "s3://weights/qwen3-8b"},
}


def with_source(source: str, **model: Any) -> Values:
    return changed(case(LAPTOP), model={"source": source, **model})


def fetch_of(objects: Objects) -> Values:
    [container] = pod_of(objects)["initContainers"]
    result: Values = container
    return result


def asked_of(container: Values) -> Values:
    [asked] = [variable["value"] for variable in container["env"] if variable["name"] == "FETCH"]
    result: Values = json.loads(asked)
    return result


def mount_of(container: Values, path: str) -> Values:
    [mount] = [mount for mount in container["volumeMounts"] if mount["mountPath"] == path]
    result: Values = mount
    return result


def egress_of(objects: Objects, name: str = "qwen") -> list[Values]:
    [policy] = [policy for policy in objects["NetworkPolicy"] if policy["metadata"]["name"] == name]
    result: list[Values] = policy["spec"]["egress"]
    return result


def ports(rule: Values) -> list[tuple[int, str]]:
    return sorted((port["port"], port["protocol"]) for port in rule["ports"])


@pytest.mark.parametrize("source", HELD)
def test_a_volume_of_weights_is_mounted_read_only_and_needs_no_network(helm: Path, source: str) -> None:
    model, volume = HELD[source]
    objects = rendered(helm, with_source(source, **model))
    assert {"name": "model", **volume} in pod_of(objects)["volumes"]
    assert mount_of(engine_of(objects), "/models") == {"name": "model", "mountPath": "/models", "readOnly": True}
    assert "initContainers" not in pod_of(objects)
    assert egress_of(objects) == []


@pytest.mark.parametrize("source", FETCHED)
def test_fetched_weights_come_before_the_engine_and_it_cannot_change_them(helm: Path, source: str) -> None:
    objects = rendered(helm, changed(case(HOME), model=FETCHED[source]))
    fetch = fetch_of(objects)
    assert fetch["image"] == engine_of(objects)["image"]
    assert fetch["command"] == ["python3", "/opt/qwen/fetch.py"]
    [wanted] = asked_of(fetch)["wanted"]
    assert asked_of(fetch)["source"] == source
    assert wanted["uri"] == FETCHED[source]["uri"]
    assert mount_of(fetch, "/cache") == {"name": "cache", "mountPath": "/cache"}
    models = {"mountPath": "/models", "name": "cache", "readOnly": True, "subPath": f"weights/{wanted['folder']}"}
    assert mount_of(engine_of(objects), "/models") == models
    assert mount_of(engine_of(objects), "/home/qwen")["subPath"] == "home"


def test_another_revision_is_another_folder_of_the_cache(helm: Path) -> None:
    folders = {
        asked_of(fetch_of(rendered(helm, changed(case(HOME), **change))))["wanted"][0]["folder"]
        for change in ({}, {"model__revision": "v1"}, {"model__uri": "Qwen/Qwen3-4B"}, {"model__endpoint": "https://m"})
    }
    assert len(folders) == 4
    assert all(folder.startswith("qwen-") for folder in folders)


def test_the_token_reaches_the_container_that_fetches_and_no_other(helm: Path) -> None:
    objects = rendered(helm, case(EKS))
    secret = {"secretName": "hub-token", "optional": True, "defaultMode": 0o440}
    assert {"name": "secret", "secret": secret} in pod_of(objects)["volumes"]
    assert mount_of(fetch_of(objects), "/run/secrets/model")["readOnly"] is True
    engine = engine_of(objects)
    assert not [mount for mount in engine["volumeMounts"] if mount["name"] == "secret"]
    assert "hub-token" not in json.dumps(engine)
    assert environment_of(objects)["HF_HUB_OFFLINE"] == "1"


def test_the_engine_is_left_out_of_the_pods_role(helm: Path) -> None:
    annotations = rendered(helm, case(EKS))["Deployment"][0]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/skip-containers"] == "engine"


def test_a_pod_that_fetches_from_the_hub_reaches_names_and_https_only(helm: Path) -> None:
    [rule] = egress_of(rendered(helm, case(EKS)))
    assert ports(rule) == [(53, "TCP"), (53, "UDP"), (443, "TCP")]


def test_a_mirror_is_reached_at_its_own_port(helm: Path) -> None:
    for endpoint, port in (("http://mirror:8080", 8080), ("http://mirror/hub", 80), ("https://mirror", 443)):
        [rule] = egress_of(rendered(helm, changed(case(HOME), model__endpoint=endpoint)))
        assert (port, "TCP") in ports(rule)


def test_a_bucket_is_read_with_the_pods_role_or_a_secret(helm: Path) -> None:
    rule, identity = egress_of(rendered(helm, with_source(**FETCHED["s3"])))
    assert (443, "TCP") in ports(rule)
    assert {"ipBlock": {"cidr": "169.254.170.23/32"}} in identity["to"]
    assert ports(identity) == [(80, "TCP")]
    objects = rendered(helm, with_source(**FETCHED["s3"], secret="minio", endpoint="http://minio:9000"))
    [rule] = egress_of(objects)
    assert (9000, "TCP") in ports(rule)
    assert mount_of(fetch_of(objects), "/run/secrets/model")


def test_an_emptydirs_limit_is_told_since_its_file_system_does_not_say_it(helm: Path) -> None:
    assert asked_of(fetch_of(rendered(helm, case(EKS))))["limit"] == 90 * 1024**3
    assert asked_of(fetch_of(rendered(helm, case(HOME))))["limit"] is None


def test_adapters_are_fetched_beside_the_model(helm: Path) -> None:
    objects = rendered(helm, changed(case(HOME), adapters=ADAPTERS))
    _, law, sales = asked_of(fetch_of(objects))["wanted"]
    assert (law["uri"], law["revision"], sales["revision"]) == ("acme/law", "v2", "main")
    assert mount_of(engine_of(objects), "/adapters/law")["subPath"] == f"weights/{law['folder']}"
    assert mount_of(engine_of(objects), "/adapters/acme/sales")["subPath"] == f"weights/{sales['folder']}"


def test_adapters_of_a_claim_are_folders_of_claims(helm: Path) -> None:
    adapters = [{"name": "law", "uri": "shared/lora/law"}]
    objects = rendered(helm, changed(with_source("pvc", uri="shared/qwen3"), adapters=adapters))
    claim = {"persistentVolumeClaim": {"claimName": "shared", "readOnly": True}}
    assert {"name": "adapter-1", **claim} in pod_of(objects)["volumes"]
    assert mount_of(engine_of(objects), "/models")["subPath"] == "qwen3"
    assert mount_of(engine_of(objects), "/adapters/law")["subPath"] == "lora/law"


@pytest.fixture
def predownload(helm: Path) -> Objects:
    return rendered(helm, changed(case(HOME), model__predownload=True, model__secret="hub-token", offline=True))


def test_with_a_job_the_engines_pods_wait_and_need_no_network_and_no_token(predownload: Objects) -> None:
    [job] = predownload["Job"]
    [fetch] = job["spec"]["template"]["spec"]["containers"]
    waiting = fetch_of(predownload)
    assert waiting["command"] == [*fetch["command"], "--wait"]
    assert asked_of(waiting) == asked_of(fetch)
    assert mount_of(fetch, "/run/secrets/model")
    assert "hub-token" not in {volume.get("secret", {}).get("secretName") for volume in pod_of(predownload)["volumes"]}
    assert egress_of(predownload) == []
    [rule] = egress_of(predownload, "qwen-fetch")
    assert (443, "TCP") in ports(rule)


def test_the_job_runs_under_pod_security_restricted_as_the_engine_does(predownload: Objects) -> None:
    job = predownload["Job"][0]["spec"]["template"]["spec"]
    assert job["securityContext"] == pod_of(predownload)["securityContext"]
    assert job["containers"][0]["securityContext"] == engine_of(predownload)["securityContext"]
    assert job["automountServiceAccountToken"] is False


def test_the_services_and_policies_of_the_engine_leave_the_job_out(predownload: Objects) -> None:
    labels = predownload["Job"][0]["spec"]["template"]["metadata"]["labels"]
    assert not predownload["Service"][0]["spec"]["selector"].items() <= labels.items()


@pytest.mark.parametrize("change", [{"cache__accessMode": "ReadWriteMany"}, {"replicas": 0}])
def test_the_job_keeps_to_the_node_of_the_pod_that_waits_where_the_claim_is_on_one_node(
    predownload: Objects, change: Values, helm: Path
) -> None:
    [near] = predownload["Job"][0]["spec"]["template"]["spec"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert near["topologyKey"] == "kubernetes.io/hostname"
    assert near["labelSelector"] == predownload["Deployment"][0]["spec"]["selector"]
    free = rendered(helm, changed(case(HOME), model__predownload=True, **change))
    assert "affinity" not in free["Job"][0]["spec"]["template"]["spec"]


def test_a_claim_for_one_pod_alone_is_refused_where_a_job_fills_it(helm: Path) -> None:
    said = refusal(helm, changed(case(HOME), model__predownload=True, cache__accessMode="ReadWriteOncePod"))
    assert "model.predownload is true but cache.accessMode is ReadWriteOncePod" in said


def test_a_changed_job_has_another_name_and_an_unchanged_one_the_same(helm: Path) -> None:
    def name(**change: Any) -> str:
        objects = rendered(helm, changed(case(HOME), model__predownload=True, **change))
        return str(objects["Job"][0]["metadata"]["name"])

    assert name() == name(drain__seconds=60)
    assert len({name(), name(model__revision="v1"), name(image__tag="v0.5.20"), name(nodeSelector={"a": "b"})}) == 4


@pytest.mark.parametrize("kube", ["1.35", "1.36", "1.37"])
def test_an_image_volume_is_valid_where_the_cluster_has_it(helm: Path, kube: str) -> None:
    values = with_source("image", uri=IMAGE)
    done = template(helm, values, kube=f"{kube}.0")
    assert done.returncode == 0, done.stderr
    for document in filter(None, yaml.safe_load_all(done.stdout)):
        kubernetes_validate.validate(document, kube, strict=True)


def test_a_roll_out_waits_for_weights_that_come_over_the_network_and_for_no_others(helm: Path) -> None:
    def deadline(source: str, **model: Any) -> int:
        [deployment] = rendered(helm, with_source(source, **model))["Deployment"]
        return int(deployment["spec"]["progressDeadlineSeconds"])

    mounted = deadline("pvc", uri="weights")
    assert deadline("hub", uri="Qwen/Qwen3-8B") == deadline("image", uri=IMAGE) == mounted + 900


@pytest.mark.parametrize("kube", ["1.30", "1.34"])
def test_an_image_volume_is_refused_where_the_cluster_has_it_not(helm: Path, kube: str) -> None:
    done = template(helm, with_source("image", uri=IMAGE), kube=f"{kube}.0")
    assert done.returncode != 0
    assert f"Kubernetes v{kube}" in done.stderr
    assert "from 1.35" in done.stderr


@pytest.mark.parametrize("kube", ["1.30", "1.37"])
@pytest.mark.parametrize("model", [*FETCHED.values(), {"source": "hostPath", "uri": "/srv/m"}], ids=str)
def test_every_source_is_valid_kubernetes(helm: Path, model: Values, kube: str) -> None:
    values = changed(case(HOME), model={**model}, model__predownload=model["source"] != "hostPath")
    done = template(helm, values, kube=f"{kube}.0")
    assert done.returncode == 0, done.stderr
    for document in filter(None, yaml.safe_load_all(done.stdout)):
        kubernetes_validate.validate(document, kube, strict=True)
