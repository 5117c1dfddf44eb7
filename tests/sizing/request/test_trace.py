"""A trace becomes few rows that stand for all of it, whichever public format it has; its bad lines become sentences."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from sizing.errors import BadRequest
from sizing.request.request import Request, read_request
from sizing.request.trace import KEPT_ROWS, TraceRow, read_trace

SAME = [TraceRow(1.5, 100, 20), TraceRow(1.0, 300, 40), TraceRow(2.0, 50, 10)]
FORMATS = {
    "kit.csv": "arrival_s,input_tokens,output_tokens\n10,100,20\n11,300,40\n13,50,10\n",
    "mooncake.jsonl": '{"timestamp": 10000, "input_length": 100, "output_length": 20, "hash_ids": [0, 1]}\n'
    '{"timestamp": 11000, "input_length": 300, "output_length": 40, "hash_ids": [0]}\n\n'
    '{"timestamp": 13000, "input_length": 50, "output_length": 10, "hash_ids": []}\n',
    "burstgpt.csv": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "10,ChatGPT,100,20,120,Conversation log\n11,GPT-4,300,40,340,API log\n13,ChatGPT,50,10,60,API log\n",
    "azure.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,100,20\n"
    "2023-11-16 18:17:04.9799600,300,40\n2023-11-16 18:17:06.9799600,50,10\n",
    "azure-2024.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,100,20\n"
    "2024-05-10 00:00:01.009930+00:00,300,40\n2024-05-10 00:00:03.009930+00:00,50,10\n",
    "out of order.csv": "arrival_s,input_tokens,output_tokens\n13,50,10\n11,300,40\n10,100,20\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMATS[name])
    trace = read_trace(tmp_path / name)
    assert list(trace.rows) == SAME
    assert trace.requests_per_s == pytest.approx(2 / 3)


def test_dates_mean_the_same_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of New York the second of these is two hours after the first: summer time ends between them."""
    (tmp_path / "t.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-05 01:30:00,100,20\n2023-11-05 02:30:00,300,40\n"
    )
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
        time.tzset()
        trace = read_trace(tmp_path / "t.csv")
    time.tzset()
    assert trace.rows[1].gap_s == 3600


def test_a_trace_without_arrivals_gives_lengths_only(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"input_tokens": 5, "output_tokens": 6}\n{"input_tokens": 7, "output_tokens": 8}\n'
    )
    trace = read_trace(tmp_path / "t.jsonl")
    assert trace.rows == (TraceRow(None, 5, 6), TraceRow(None, 7, 8))
    assert trace.requests_per_s is None


def test_a_long_trace_keeps_its_rate_and_its_lengths_in_few_rows(tmp_path: Path) -> None:
    seeded, at, lines = random.Random(2), 0.0, ["arrival_s,input_tokens,output_tokens"]
    lengths = []
    for _ in range(20_000):
        at += seeded.expovariate(5)
        lengths.append(int(seeded.lognormvariate(6, 1)) + 1)
        lines.append(f"{at:.4f},{lengths[-1]},{seeded.randint(1, 400)}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    trace = read_trace(tmp_path / "t.csv")
    assert len(trace.rows) == KEPT_ROWS
    assert trace.requests_per_s == pytest.approx(5, rel=0.02)
    kept = sorted(row.input_tokens for row in trace.rows)
    lengths.sort()
    assert sum(kept) / len(kept) == pytest.approx(sum(lengths) / len(lengths), rel=0.02)
    for share in (0.1, 0.5, 0.9):
        assert kept[int(share * len(kept))] == pytest.approx(lengths[int(share * len(lengths))], rel=0.1)


def write_request(folder: Path, load: str) -> Path:
    path = folder / "request.toml"
    path.write_text(f'model = "qwen3-8b"\n[load]\n{load}\n[place]\nkind = "aws-eks"\n')
    return path


def test_a_request_takes_means_and_rate_from_its_trace_and_comes_back_from_json(tmp_path: Path) -> None:
    (tmp_path / "burstgpt.csv").write_text(FORMATS["burstgpt.csv"])
    request = read_request(write_request(tmp_path, 'trace = "burstgpt.csv"'))
    assert (request.load.input_tokens, request.load.output_tokens) == (150, 23)
    assert request.load.request_rate == pytest.approx(2 / 3, abs=1e-6)
    assert Request.model_validate_json(request.model_dump_json()) == request
    assert '"rows":["1.5 100 20","1 300 40","2 50 10"]' in request.model_dump_json()


def test_an_asked_rate_or_concurrency_replaces_the_traces_own(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(FORMATS["kit.csv"])
    faster = read_request(write_request(tmp_path, 'trace = "t.csv"\nrequest_rate = 3.0'))
    assert faster.load.request_rate == 3.0
    closed = read_request(write_request(tmp_path, 'trace = "t.csv"\nconcurrency = 8'))
    assert (closed.load.concurrency, closed.load.request_rate) == (8, None)


BAD = {
    "arrival_s,input_tokens,output_tokens\n1,5,5\nx,5,5\n3,0,5\n4,5,1e9\n": [
        "line 3 has arrival_s 'x', which is no time",
        "line 4 has input_tokens '0'",
        "line 5 has output_tokens '1e9'",
    ],
    "arrival_s,input_tokens,output_tokens\n1,5,5\n1,5,5\n": ["no arrivals at different times"],
    "arrival_s,input_tokens,output_tokens\n1,5,5\n": ["has 1 requests; a trace needs at least 2"],
    "": ["has 0 requests"],
    "when,in,out\n1,2,3\n": ["line 2 has the columns when, in, out; a trace has one of"],
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023,5,5\nsoon,5,5\n": ["line 3 has TIMESTAMP 'soon', which is no date"],
    "arrival_s,input_tokens,output_tokens\n" + "-1,5,5\n" * 50: ["line 2 has arrival_s '-1'", "30 more lines are bad"],
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_a_bad_trace_is_refused_by_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BadRequest) as refused:
        read_request(write_request(tmp_path, 'trace = "t.csv"'))
    said = "\n".join(refused.value.problems)
    assert [words for words in BAD[text] if words not in said] == [], said


@pytest.mark.parametrize("name", ["absent.csv", ".", "nul\\u0000.csv"])
def test_a_trace_that_cannot_be_read_is_refused_beside_everything_else(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as refused:
        read_request(write_request(tmp_path, f'trace = "{name}"\nprefix_hit_rate = 0.5\n[targets]\nttft_ms = -1'))
    assert len(refused.value.problems) == 2


def test_what_a_trace_says_is_not_said_again(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(FORMATS["kit.csv"])
    load = 'trace = "t.csv"\ninput_tokens = 5\noutput_tokens_stddev = 3\naudio_s = 2.0\nrows = ["1 2 3"]'
    with pytest.raises(BadRequest) as refused:
        read_request(write_request(tmp_path, load))
    assert len(refused.value.problems) == 4


def test_binary_is_no_trace(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadRequest, match="not UTF-8"):
        read_trace(tmp_path / "t.jsonl")


def test_a_gap_comes_back_from_json_to_the_microsecond(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n0,10,10\n1234.567891,10,10\n1300,10,10\n")
    request = read_request(write_request(tmp_path, 'trace = "t.csv"'))
    assert Request.model_validate_json(request.model_dump_json()) == request
