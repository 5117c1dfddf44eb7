"""checkov finds nothing in what the chart renders, but for what cases/scanner.toml keeps and gives a reason for."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from lab.tools.get import tool
from tests.helm.chart import CASES, OTHERS, every_case, template

Findings = set[tuple[str, str]]
PRIVILEGED = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "bad", "labels": {"app": "bad"}},
    "spec": {"containers": [{"name": "bad", "image": "bad:1", "securityContext": {"privileged": True}}]},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Findings]:
    """(check, kind) of every failed check, for each rendered case and for one bad manifest; scanned once, offline."""
    folder = tmp_path_factory.mktemp("rendered")
    (folder / "bad.yaml").write_text(yaml.safe_dump(PRIVILEGED))
    for name, values in every_case().items():
        # A release each, so that no policy covers the pods of another case.
        done = template(Path(tool("helm")), values, release=name, apis=OTHERS)
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.yaml").write_text(done.stdout)
    command = [str(tool("checkov") / "bin" / "checkov"), "--directory", str(folder), "--framework", "kubernetes"]
    command += ["--skip-download", "--output", "json", "--quiet"]
    own = {**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("scanner"))}  # it leaves what it knows of grammars
    done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=300, check=False)
    report = json.loads(done.stdout)
    assert not report["summary"]["parsing_errors"], report["results"]["parsing_errors"]
    findings: dict[str, Findings] = {path.stem: set() for path in folder.iterdir()}
    for check in report["results"]["failed_checks"]:
        kind = check["resource"].partition(".")[0]
        findings[Path(check["file_path"]).stem].add((check["check_id"], kind))
    return findings


def test_every_finding_has_a_reason_and_every_reason_a_finding(found: dict[str, Findings]) -> None:
    listed = tomllib.loads((CASES / "scanner.toml").read_text())
    kept = {(check, kind) for check, entry in listed.items() for kind in entry["kinds"]}
    seen = set().union(*(findings for name, findings in found.items() if name != "bad"))
    assert (seen - kept, kept - seen) == (set(), set())
    assert all(entry["reason"] for entry in listed.values())


def test_a_bad_manifest_would_be_found(found: dict[str, Findings]) -> None:
    assert {("CKV_K8S_16", "Pod"), ("CKV_K8S_20", "Pod"), ("CKV2_K8S_6", "Pod")} <= found["bad"]
