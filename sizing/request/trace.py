"""
A trace of real requests, reduced to what a plan keeps of it.

One request a line, as CSV with a header or as JSON Lines, in the columns of a public format or of the kit's own:

    kit         arrival_s, input_tokens, output_tokens
    Mooncake    timestamp (milliseconds), input_length, output_length
    BurstGPT    Timestamp (seconds), Request tokens, Response tokens
    Azure       TIMESTAMP (date and time), ContextTokens, GeneratedTokens

Further columns are ignored. The arrival may be left out of every line: the trace then says how long requests are, not
when they come. Sources of the formats: kvcache-ai/Mooncake FAST25-release/traces, HPMLL/BurstGPT README,
Azure/AzurePublicDataset AzureLLMInferenceDataset2023.md.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from sizing.errors import BadRequest

KEPT_ROWS = 256  # what a plan keeps: enough for a 99th percentile, a few KB of plan.json
MOST_SENTENCES = 20
LONGEST_REQUEST = 10_000_000


class TraceRow(NamedTuple):
    """One request: seconds since the one before it (None: not known), its tokens in and out."""

    gap_s: float | None
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Trace:
    """What is kept: rows in order of arrival, and the rate of the whole trace (None: it has no arrivals)."""

    rows: tuple[TraceRow, ...]
    requests_per_s: float | None


class _Format(NamedTuple):
    arrival: str
    input: str
    output: str
    arrivals_per_s: float  # 0: dates


_FORMATS = (
    _Format("arrival_s", "input_tokens", "output_tokens", 1),
    _Format("timestamp", "input_length", "output_length", 1000),
    _Format("Timestamp", "Request tokens", "Response tokens", 1),
    _Format("TIMESTAMP", "ContextTokens", "GeneratedTokens", 0),
)


def read_trace(path: Path) -> Trace:
    """The trace in *path*. Raises ``BadRequest`` with a sentence for each bad line, the first twenty of them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            requests, problems = _requests(path, _records(path, file))
    except OSError as failed:
        raise BadRequest(f"{path} cannot be read: {failed.strerror}; load.trace is relative to the request") from None
    except UnicodeDecodeError as broken:
        raise BadRequest(f"{path} is not UTF-8 text: {broken}") from None
    except ValueError:  # a NUL character
        raise BadRequest(f"load.trace is {str(path)!r}, which names no file") from None
    if len(requests) < 2 and not problems:
        problems.append(f"{path} has {len(requests)} requests; a trace needs at least 2")
    if problems:
        more = len(problems) - MOST_SENTENCES
        raise BadRequest(*problems[:MOST_SENTENCES], *([f"{path}: {more} more lines are bad"] if more > 0 else []))
    return _reduced(requests)


def _records(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, object] | str]]:
    """(line number, columns) of each request, or what is wrong with the line."""
    if path.suffix == ".csv":
        rows = csv.DictReader(lines)
        try:
            for row in rows:
                yield rows.line_num, {str(key): value for key, value in row.items()}
        except csv.Error as broken:
            yield rows.line_num, f"is not CSV: {broken}"
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            yield number, "is not JSON"
            continue
        yield number, record if isinstance(record, dict) else "is not a JSON object"


def _requests(
    path: Path, records: Iterable[tuple[int, dict[str, object] | str]]
) -> tuple[list[tuple[float | None, int, int]], list[str]]:
    found: list[tuple[float | None, int, int]] = []
    problems: list[str] = []
    columns: _Format | None = None
    dated: bool | None = None
    for number, record in records:
        if isinstance(record, str):
            problems.append(f"{path} line {number} {record}")
            continue
        if columns is None:
            columns = next((known for known in _FORMATS if known.input in record and known.output in record), None)
            if columns is None:
                known = "; ".join(f"{form.arrival}, {form.input}, {form.output}" for form in _FORMATS)
                return [], [f"{path} line {number} has the columns {', '.join(record)}; a trace has one of: {known}"]
            dated = columns.arrival in record
        try:
            if (columns.arrival in record) != dated:
                raise ValueError(f"{'lacks' if dated else 'has'} {columns.arrival}, unlike the first line")
            arrival = _arrival(record[columns.arrival], columns) if dated else None
            found.append((arrival, _tokens(record, columns.input), _tokens(record, columns.output)))
        except ValueError as wrong:
            problems.append(f"{path} line {number} {wrong}")
    return found, problems


def _arrival(value: object, columns: _Format) -> float:
    try:
        if not columns.arrivals_per_s:
            return _seconds(datetime.fromisoformat(str(value)))
        seconds = float(str(value)) / columns.arrivals_per_s
    except (ValueError, OverflowError, OSError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        kind = "time" if columns.arrivals_per_s else "date and time"
        raise ValueError(f"has {columns.arrival} {value!r}, which is no {kind}")
    return seconds


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()  # no time zone of this machine


def _tokens(record: dict[str, object], column: str) -> int:
    value = record.get(column)
    try:
        tokens = int(str(value)) if not isinstance(value, bool) else 0
    except ValueError:
        tokens = 0
    if not 0 < tokens <= LONGEST_REQUEST:
        raise ValueError(f"has {column} {value!r}; a request has 1 to {LONGEST_REQUEST} tokens (leave failed ones out)")
    return tokens


def _reduced(requests: list[tuple[float | None, int, int]]) -> Trace:
    """
    At most ``KEPT_ROWS`` requests that stand for all: of every equal share of them, sorted by length, the middle one.

    So the distribution of lengths is kept to a part in 256; each kept request keeps the gap before it, and the rate is
    the whole trace's.
    """
    if requests[0][0] is None:
        rows = [TraceRow(None, tokens_in, tokens_out) for _, tokens_in, tokens_out in requests]
        rate = None
    else:
        requests = sorted(requests, key=lambda request: request[0] or 0.0)
        times = [request[0] or 0.0 for request in requests]
        span = times[-1] - times[0]
        rate = (len(times) - 1) / span if span > 0 else None
        gaps = [span / (len(times) - 1), *(after - before for before, after in pairwise(times))]
        rows = [TraceRow(round(gap, 6), request[1], request[2]) for gap, request in zip(gaps, requests, strict=True)]
    if len(rows) > KEPT_ROWS:
        by_length = sorted(range(len(rows)), key=lambda index: (sum(rows[index][1:]), index))
        share = len(rows) / KEPT_ROWS
        rows = [rows[index] for index in sorted(by_length[int((kept + 0.5) * share)] for kept in range(KEPT_ROWS))]
    return Trace(tuple(rows), rate)
