"""What the cluster promises beside an engine in a pod, which test_on_a_cluster has: its sockets and its refusals."""

from pathlib import Path

import pytest

from lab.cluster.cluster import Cluster
from lab.cluster.errors import LocalError
from lab.cluster.supervisor import FIXED_PATHS

pytestmark = pytest.mark.cluster


def test_it_listens_on_no_socket_that_is_the_whole_machines(cluster: Cluster) -> None:
    bound = [line.split()[7:] for line in (cluster.network_namespace.parents[1] / "net/unix").read_text().splitlines()]
    paths = [path for found in bound for path in found if path.startswith("/")]
    assert str(cluster.setup.socket) in paths
    assert [path for path in paths if not path.startswith((str(cluster.setup.folder), *FIXED_PATHS))] == []


def test_what_its_programs_leave_when_they_are_ended_goes_with_its_folder(cluster: Cluster) -> None:
    environment = (cluster.network_namespace.parents[1] / "environ").read_bytes().split(b"\0")
    assert f"TMPDIR={cluster.setup.folder}/tmp".encode() in environment


def test_a_restricted_namespace_refuses_a_pod_that_may_be_root(cluster: Cluster) -> None:
    namespace = cluster.namespace("local-strict")
    with pytest.raises(LocalError, match='violates PodSecurity "restricted'):
        cluster.kubectl("-n", namespace, "run", "any", f"--image={cluster.engine_image}")


def test_a_model_that_only_root_can_read_is_refused_with_the_remedy(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "weights").touch(mode=0o600)
    tmp_path.chmod(0o755)
    with pytest.raises(LocalError, match=r"weights is not readable for other users: chmod -R a\+rX"):
        cluster.add_model("default", "secret", tmp_path)
