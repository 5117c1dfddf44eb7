"""What each component of the cluster is started with: its arguments, and the settings files that it reads."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from lab.cluster.network import Network

BINARIES = (
    "etcd", "kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubelet", "kube-proxy", "kubectl",
    "containerd", "containerd-shim-runc-v2", "ctr",
)  # fmt: skip
DEBIAN_COMMANDS = ("runc", "iptables", "conntrack", "openssl", "ip", "nsenter", "unshare", "mount")
DEBIAN_PACKAGES = ("runc", "iptables", "conntrack", "openssl", "iproute2", "containernetworking-plugins")
CNI_PLUGINS = Path("/usr/lib/cni")  # Debian's containernetworking-plugins
API_PORT = 6443
PAUSE_IMAGE = "docker.io/local/pause:1"


@dataclass(frozen=True)
class Setup:
    """One cluster's choices, all that its components differ by."""

    folder: Path
    network: Network
    node: str
    bridge: str  # of the pods
    group: str
    find: Callable[[str], Path]
    mounts: tuple[tuple[Path, str], ...]  # folders of this machine that every container sees, read-only, and where
    images: tuple[str, ...]  # that pods may name, pinned

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def registries(self) -> Path:
        """What containerd is told of single registries; read at every pull."""
        return self.folder / "registries"

    @property
    def certificate(self) -> Path:
        """The API server's certificate; it signs itself, so it is the authority too."""
        return self.folder / "pki/apiserver.crt"

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    @property
    def api_url(self) -> str:
        return f"https://{self.network.node}:{API_PORT}"


def prepare(setup: Setup) -> None:
    """Make the folders, keys and settings files; what a kept folder has already stays."""
    for name in ("logs", "pki", "cni", "registries"):
        (setup.folder / name).mkdir(exist_ok=True)
    if not setup.token_file.exists():
        _write_secret(setup.token_file, secrets.token_hex(16))
        _key_pair(setup.folder / "pki/accounts", "accounts")
        # Shown by the API server to the kubelet, which lets nobody else in.
        _key_pair(setup.folder / "pki/client", "kube-apiserver")
    token = setup.token_file.read_text()
    _write_secret(setup.folder / "tokens.csv", f"{token},admin,admin,system:masters\n")
    (setup.folder / "cni/10-bridge.conflist").write_text(json.dumps(_bridge(setup)))
    (setup.folder / "container.json").write_text(json.dumps(_container(setup)))
    (setup.folder / "containerd.toml").write_text(_containerd(setup))
    (setup.folder / "resolv.conf").write_text("")
    (setup.folder / "kubelet.json").write_text(json.dumps(_kubelet(setup)))
    (setup.folder / "proxy.json").write_text(json.dumps(_proxy(setup)))


def write_kubeconfig(setup: Setup) -> None:
    """The administrator's file, complete in itself; the API server must have made its certificate."""
    authority = base64.b64encode(setup.certificate.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": setup.api_url, "certificate-authority-data": authority}}],
        "users": [{"name": "admin", "user": {"token": setup.token_file.read_text()}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "admin"}}],
        "current-context": "local",
    }
    _write_secret(setup.kubeconfig, json.dumps(config))


def first(setup: Setup) -> dict[str, list[str]]:
    """The components that wait for nobody: name to command line."""
    folder = setup.folder
    # No fsync: what is written outlives these processes, not this machine.
    etcd = ["--data-dir", f"{folder}/etcd", "--unsafe-no-fsync", "--log-level", "warn"]
    api_server = {
        "etcd-servers": "http://127.0.0.1:2379",
        "bind-address": setup.network.node,
        "advertise-address": setup.network.node,
        "secure-port": API_PORT,
        "cert-dir": folder / "pki",
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
        "service-cluster-ip-range": setup.network.services,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": folder / "pki/accounts.crt",
        "service-account-signing-key-file": folder / "pki/accounts.key",
        "kubelet-client-certificate": folder / "pki/client.crt",
        "kubelet-client-key": folder / "pki/client.key",
        "kubelet-preferred-address-types": "InternalIP",
    }
    return {
        "etcd": [str(setup.find("etcd")), *etcd],
        "containerd": [str(setup.find("containerd")), "--config", f"{folder}/containerd.toml"],
        "kube-apiserver": _command(setup, "kube-apiserver", api_server),
    }


def second(setup: Setup, names_command: list[str]) -> dict[str, list[str]]:
    """The components that need the API server: name to command line."""
    folder = setup.folder
    # A busy engine on a small machine starves leases; there is nobody to lead but these.
    alone = {"kubeconfig": setup.kubeconfig, "leader-elect": "false", "bind-address": "127.0.0.1"}
    controllers = {"service-account-private-key-file": folder / "pki/accounts.key", "root-ca-file": setup.certificate}
    kubelet = {
        "config": folder / "kubelet.json",
        "kubeconfig": setup.kubeconfig,
        "root-dir": folder / "kubelet",
        "cert-dir": folder / "pki/kubelet",
        "hostname-override": setup.node,
        "node-ip": setup.network.node,
    }
    return {
        "kube-scheduler": _command(setup, "kube-scheduler", alone),
        "kube-controller-manager": _command(setup, "kube-controller-manager", alone | controllers),
        "kubelet": _command(setup, "kubelet", kubelet),
        "kube-proxy": _command(setup, "kube-proxy", {"config": folder / "proxy.json"}),
        "names": names_command,
    }


def dns_address(setup: Setup) -> str:
    """Where pods ask for names: the node itself."""
    return setup.network.node


def _command(setup: Setup, name: str, flags: dict[str, object]) -> list[str]:
    return [str(setup.find(name)), *(f"--{flag}={value}" for flag, value in flags.items())]


def _key_pair(stem: Path, name: str) -> None:
    """An EC key *stem*.key with a certificate *stem*.crt that signs itself."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365",
         "-subj", f"/CN={name}", "-keyout", f"{stem}.key", "-out", f"{stem}.crt"],
        capture_output=True, check=True,
    )  # fmt: skip


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _bridge(setup: Setup) -> dict[str, object]:
    ipam = {
        "type": "host-local",
        "dataDir": f"{setup.folder}/cni-addresses",
        "ranges": [[{"subnet": setup.network.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": setup.bridge, "ipam": ipam}
    routing = {"isGateway": True, "ipMasq": True, "hairpinMode": True}
    return {"cniVersion": "0.4.0", "name": "local", "plugins": [bridge | routing]}


def _container(setup: Setup) -> dict[str, object]:
    """What every container starts from: containerd's own defaults, and the shared folders."""
    command = [str(setup.find("ctr")), "oci", "spec"]
    specification = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    specification["process"].pop("rlimits")  # 1024 files; the engine asks for more
    for source, target in setup.mounts:
        bind = {"type": "bind", "options": ["rbind", "ro", "nosuid", "nodev"]}
        specification["mounts"].append(bind | {"source": str(source), "destination": target})
    return dict(specification)


def _containerd(setup: Setup) -> str:
    folder = setup.folder
    return f"""
version = 3
root = "{folder}/containerd"
state = "{folder}/containerd-state"
[grpc]
  address = "{setup.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
# Its socket lies at one place of the whole machine, and whoever starts takes it.
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{setup.registries}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{CNI_PLUGINS}"]
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    runtime_path = "{setup.find("containerd-shim-runc-v2")}"
    base_runtime_spec = "{folder}/container.json"
"""


def _kubelet(setup: Setup) -> dict[str, object]:
    runtime = f"unix://{setup.socket}"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": setup.network.node,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": f"{setup.folder}/pki/client.crt"},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": runtime,
        "imageServiceEndpoint": runtime,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{setup.group}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "featureGates": {"KubeletInUserNamespace": True},  # kernel settings may be read-only here
        "clusterDomain": "cluster.local",
        "clusterDNS": [dns_address(setup)],
        "resolvConf": f"{setup.folder}/resolv.conf",
        "podLogsDir": f"{setup.folder}/logs/pods",
        "volumePluginDir": f"{setup.folder}/volume-plugins",
        # This machine's disk may well be fuller than a node's should be: neither pods nor images go for it.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def _proxy(setup: Setup) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(setup.kubeconfig)},
        "clusterCIDR": str(ip_network(setup.network.pods)),
        "hostnameOverride": setup.node,
        "healthzBindAddress": "127.0.0.1:10256",
        # Pods of one bridge would otherwise answer each other past the translation.
        "iptables": {"masqueradeAll": True},
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
