"""The command line as a user meets it: a process, its output, its exit code, and what it leaves behind."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sizing.facts.catalogue import load_facts
from sizing.views.catalogue import gpu_rows
from sizing.views.tables import print_rows

ROOT = Path(__file__).parents[3]


def qwenkit(*args: str, cwd: Path = ROOT, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sizing", *args]
    return subprocess.run(command, cwd=cwd, input=stdin, text=True, capture_output=True, check=False, timeout=120)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "deployments", tmp_path / "deployments")
    return tmp_path


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in ROOT.glob("deployments/*/plan.json")), ids=lambda path: path.name
)
def test_a_plan_carries_the_name_of_its_folder(folder: Path) -> None:
    assert json.loads((folder / "plan.json").read_text())["name"] == folder.name


def test_committed_files_are_fresh() -> None:
    done = qwenkit("check")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "fresh" in done.stdout


def test_write_after_a_changed_request_changes_the_files_and_check_says_stale_before(workplace: Path) -> None:
    request = workplace / "deployments" / "prod-qwen3-8b" / "request.toml"
    request.write_text(request.read_text().replace("concurrency = 16", "concurrency = 64"))
    stale = qwenkit("check", "prod-qwen3-8b", cwd=workplace)
    assert stale.returncode == 1
    assert "plan.json is stale" in stale.stdout
    assert "qwenkit write prod-qwen3-8b" in stale.stdout
    assert qwenkit("write", "prod-qwen3-8b", cwd=workplace).returncode == 0
    assert qwenkit("check", "prod-qwen3-8b", cwd=workplace).returncode == 0


def test_an_edited_generated_file_is_stale_and_a_missing_one_is_said(workplace: Path) -> None:
    folder = workplace / "deployments" / "laptop"
    (folder / "values.yaml").write_text("engine: vllm\n")
    (folder / "plan.json").unlink()
    done = qwenkit("check", "laptop", cwd=workplace)
    assert done.returncode == 1
    assert "values.yaml is stale" in done.stdout
    assert "plan.json is missing" in done.stdout


def test_a_plan_whose_request_is_gone_is_told(workplace: Path) -> None:
    for folder in (workplace / "deployments").iterdir():
        if folder.name == "prod-qwen3-32b":
            (folder / "request.toml").unlink()
        elif folder.name != "laptop":
            shutil.rmtree(folder)
    done = qwenkit("check", cwd=workplace)
    assert done.returncode == 1
    assert "prod-qwen3-32b cannot be planned any more: " in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_bad_request_exits_2_with_sentences_and_writes_nothing(workplace: Path) -> None:
    folder = workplace / "deployments" / "prod-qwen3-8b"
    (folder / "request.toml").write_text('model = "qwen3-8b"\n[load]\nconcurrency = -1\n')
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = qwenkit("write", "prod-qwen3-8b", cwd=workplace)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "load.concurrency" in done.stderr
    assert "place" in done.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_unknown_deployment_names_the_known_ones() -> None:
    done = qwenkit("plan", "prod-qwen3-9b")
    assert done.returncode == 2
    assert "prod-qwen3-8b" in done.stderr


def test_write_with_a_folder_of_weights_plans_that_model(workplace: Path) -> None:
    weights = workplace / "my-tune"
    weights.mkdir()
    config = {
        "model_type": "qwen3",
        "num_hidden_layers": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": 384,
        "tie_word_embeddings": True,
        "max_position_embeddings": 40_960,
    }
    (weights / "config.json").write_text(json.dumps(config))
    done = qwenkit("write", "laptop", "--model", str(weights), "--into", str(workplace / "out"), cwd=workplace)
    assert done.returncode == 0, done.stderr
    plan = json.loads((workplace / "out" / "plan.json").read_text())
    assert plan["model"]["key"] == "my-tune"
    # 1 GiB / (2 layers x 2 x 2 heads x 32 x 2 B x 128 tokens) = 16,384 blocks of 128 tokens
    assert plan["memory"]["kv_cache_tokens"] == 16_384 * 128


@pytest.mark.parametrize("table", ["models", "gpus", "hosts"])
def test_a_table_filters_and_speaks_json(table: str) -> None:
    everything = json.loads(qwenkit(table, "--json").stdout)
    some = json.loads(qwenkit(table, "4090" if table != "models" else "coder", "--json").stdout)
    assert 0 < len(some) < len(everything)
    assert qwenkit(table).stdout.count("\n") >= len(everything)


def test_a_piped_table_cuts_no_text_and_a_narrow_terminal_gets_fewer_columns() -> None:
    ids = " ".join(json.loads(qwenkit("models", "qwen3-8b", "--json").stdout)[0]["hub_ids"].split())
    assert ids in qwenkit("models", "qwen3-8b").stdout
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None, legacy_windows=False)
    print_rows(terminal, gpu_rows(load_facts()))
    assert isinstance(terminal.file, io.StringIO)
    text = terminal.file.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for said in ("RTX PRO 6000 Blackwell Server", "bandwidth", "not shown for want of width", "interconnect"):
        assert said in text


def test_check_says_what_cannot_be_written_and_goes_on(workplace: Path) -> None:
    rented = workplace / "deployments" / "a-rented-card"
    rented.mkdir()
    (rented / "request.toml").write_text(
        'model = "qwen3-8b"\n[load]\nconcurrency = 4\ninput_tokens = 512\noutput_tokens = 128\n'
        '[place]\nkind = "rented"\n'
    )
    (workplace / "deployments" / "laptop" / "plan.json").unlink()
    done = qwenkit("check", "a-rented-card", "laptop", cwd=workplace)
    assert done.returncode == 1
    assert "a-rented-card is answered but not placed" in done.stdout
    assert "laptop/plan.json is missing" in done.stdout


def test_estimate_reads_lines_and_prints_lines_in_order(tmp_path: Path) -> None:
    lines = '{"id": "a", "model": "qwen3-8b", "gpu": "L4"}\n{"id": "b", "model": "nope", "gpu": "L4"}\n'
    done = qwenkit("estimate", stdin=lines)
    assert done.returncode == 0
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["a", "b"]
    (tmp_path / "questions.jsonl").write_text(lines)
    assert qwenkit("estimate", str(tmp_path / "questions.jsonl")).stdout == done.stdout


@pytest.mark.parametrize("stdin", ["nonsense\n", '{"model": 1}\n'])
def test_estimate_refuses_what_is_no_question_with_the_line_and_no_output(stdin: str) -> None:
    done = qwenkit("estimate", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert "line 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_that_is_no_text_is_refused_in_a_sentence() -> None:
    done = qwenkit("plan", "prod-\udcff\u202e")
    assert done.returncode == 2
    assert "is no deployment" in done.stderr
    assert "Traceback" not in done.stderr


def test_estimate_names_a_file_it_cannot_read() -> None:
    done = qwenkit("estimate", "no-such-file.jsonl")
    assert done.returncode == 2
    assert "no-such-file.jsonl cannot be read" in done.stderr


def test_the_core_imports_no_cloud_library() -> None:
    code = (
        "import sys, sizing.cli.main, sizing.planning.planning, sizing.whatif.estimate, sizing.planning.freshness\n"
        "print([m for m in ('pulumi', 'pulumi_aws', 'kubernetes', 'ansible', 'boto3', 'requests', 'httpx')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
