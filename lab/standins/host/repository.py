"""
Signed APT repositories made on the spot: NVIDIA's two, with stand-in packages of their names, and a slice of Debian's.

``packages/<name>/`` is the tree of one package; ``@VERSION@`` and ``@UPSTREAM@`` in its files and names become a
version. Each of NVIDIA's repositories also offers something newer than the kit wants, as the real ones do, and the
distribution has a newer driver of the wanted branch, as Ubuntu has.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.standins.host.cache import digest, kept, tree_digest

PACKAGES = Path(__file__).parent / "packages"
DRIVER = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced")
TOOLKIT = (
    "nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container-tools", "libnvidia-container1",
)  # fmt: skip
CONTENT: dict[str, dict[str, tuple[str, ...]]] = {
    "cuda": {"580.159.03-1": DRIVER, "595.71.05-1": DRIVER},
    "libnvidia-container": {"1.19.1-1": TOOLKIT, "1.20.0-1": TOOLKIT},
    "debian": {"580.200.00-1": DRIVER},
}
ORIGIN = {"cuda": "stand-in NVIDIA", "libnvidia-container": "stand-in NVIDIA", "debian": "Debian"}


@dataclass(frozen=True)
class Repositories:
    """Folder with one flat repository per name, and the fingerprint of the key (``key.asc``) that signed them."""

    folder: Path
    fingerprint: str


def repositories(debian_debs: Path) -> Repositories:
    """The repositories ``cuda``, ``libnvidia-container`` and ``debian`` (with *debian_debs*), made once."""
    key = digest(tree_digest(PACKAGES), str(debian_debs), repr((CONTENT, ORIGIN)))
    folder = kept("repositories", key, lambda scratch: _build(scratch, debian_debs))
    return Repositories(folder, (folder / "fingerprint").read_text())


def _build(folder: Path, debian_debs: Path) -> None:
    with tempfile.TemporaryDirectory() as gpg_home:
        gpg = ("gpg", "--homedir", gpg_home, "--batch", "--quiet", "--pinentry-mode=loopback", "--passphrase", "")
        _run(*gpg, "--quick-generate-key", "qwenkit stand-in repositories", "ed25519", "sign", "never")
        listing = _run(*gpg, "--with-colons", "--list-keys")
        fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
        (folder / "fingerprint").write_text(fingerprint)
        (folder / "key.asc").write_text(_run(*gpg, "--armor", "--export"))

        shutil.copytree(debian_debs, folder / "debian")
        for name, versions in CONTENT.items():
            (folder / name).mkdir(exist_ok=True)
            for version, packages in versions.items():
                for package in packages:
                    _pack(PACKAGES / package, version, folder / name)
            _index(folder / name)
            _run(*gpg, "--clearsign", "--output", str(folder / name / "InRelease"), str(folder / name / "Release"))
        _run("gpgconf", "--homedir", gpg_home, "--kill", "all")


def _pack(tree: Path, version: str, into: Path) -> None:
    upstream = version.rpartition("-")[0]

    def filled(text: str) -> str:
        return text.replace("@VERSION@", version).replace("@UPSTREAM@", upstream)

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        for source in sorted(tree.rglob("*")):
            target = root / filled(str(source.relative_to(tree)))
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                target.symlink_to(source.readlink())
            elif source.is_file():
                target.write_text(filled(source.read_text()))
                target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())):
            folder.chmod(0o755)
        _run("dpkg-deb", "--root-owner-group", "--build", str(root), str(into))


def _index(repository: Path) -> None:
    packages = _run("dpkg-scanpackages", "--multiversion", ".", cwd=repository).encode()
    indices = {"Packages": packages, "Packages.gz": gzip.compress(packages, mtime=0)}
    sums = [f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}" for name, data in indices.items()]
    for name, data in indices.items():
        (repository / name).write_bytes(data)
    header = [f"Origin: {ORIGIN[repository.name]}", "Date: Tue, 01 Jan 2026 00:00:00 UTC", "SHA256:"]
    (repository / "Release").write_text("\n".join(header + sums) + "\n")


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed ({done.returncode}): {done.stderr.strip()[-800:]}")
    return done.stdout
