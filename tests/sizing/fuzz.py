"""
Questions and requests nobody would ask, the same ones every time, and what an answer to any of them must be.

Most are nearly right: one that is wrong in every field is refused at the first. ``Wild`` draws from facts, extremes and
nonsense; ``judge`` says what is wrong with an answer, whatever the question was.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sizing.errors import BadRequest
from sizing.facts.catalogue import Facts, load_facts
from sizing.whatif.estimate import answers, read_questions

TEXTS = (
    "", " ", "\n", "qwen", "Qwen/", "Qwen/Qwen3-8B\u202e", "q\u0000", "\uff31\uff37\uff25\uff2e3", "\U0001f4a5" * 50,
    "\u00df", "\u0130", "x" * 5000, "../../etc/passwd", "\ud800", "'; drop table", "{{ 7 * 7 }}", "%s%n", "-1", "nan",
    "null", "0.32", "0.0.0", "999999.0", "v", "1.2.3.4.5",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 16, 255, 256, 1024, 4096, 40_960, 131_072, 10_000_000, 10_000_001, 2**31, 2**63,
    2**64, 10**30, 10**400, 0.0, -0.0, 1e-320, 1e-9, 0.001, 0.1, 0.5, 0.92, 1.0, 1.0000001, 1.5, 22.06, 79.18,
    1e6, 1e18, 1e308, -1e308,
    math.nan, math.inf, -math.inf,
)  # fmt: skip
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [1], {"a": 1}, [[[[[]]]]], "1", "true")


class Wild:
    """Draws values. Of a third of the questions one value in ``one_in`` is nonsense for its place, else nearly none."""

    def __init__(self, facts: Facts, seed: int) -> None:
        self.draw = random.Random(seed)
        self.models = [
            name for model in facts.models.values() for name in (model.key, *model.hub_ids, *model.quantised)
        ]
        self.gpus = [name for gpu in facts.gpus.values() for name in (gpu.id, *gpu.aliases)]
        self.precisions = sorted(facts.precisions)
        self.hosts = sorted(facts.hosts)
        self.versions = [
            "0.6.0", "0.6.6", "0.8.5", "0.9.2", "0.11.0", "0.16.0", "0.19.1", "0.24.0", "0.27.1", "0.32.0",
            "0.32.0-cu129", "0.40.0", "0.4.6", "0.4.6.post5", "0.5.2", "0.5.19", "0.5.23", "0.6.1", "1.0",
        ]  # fmt: skip
        self.one_in = 1

    def _trust(self) -> None:
        self.one_in = self.draw.choice((6, 300, 300))

    def value(self, usual: Callable[[], Any]) -> Any:
        """What *usual* gives or, now and then, anything."""
        if self.draw.randrange(self.one_in):
            return usual()
        return self.draw.choice(self.draw.choice((TEXTS, NUMBERS, OTHERS)))

    def some(self, fields: dict[str, Callable[[], Any]], share: float) -> dict[str, Any]:
        """A *share* of *fields*, in any order."""
        names = [name for name in fields if self.draw.random() < share]
        self.draw.shuffle(names)
        return {name: self.value(fields[name]) for name in names}

    def of(self, *values: Any) -> Callable[[], Any]:
        return lambda: self.draw.choice(values)

    def about(self, low: int, high: int) -> Callable[[], int]:
        """Whole numbers from *low* to *high*, as often small as large."""
        return lambda: round(math.exp(self.draw.uniform(math.log(low), math.log(high))))

    def between(self, low: float, high: float) -> Callable[[], float]:
        return lambda: math.exp(self.draw.uniform(math.log(low), math.log(high)))

    def load(self) -> dict[str, Any]:
        by_rate = not self.draw.randrange(4)
        share: dict[str, Callable[[], Any]] = (
            {"request_rate": self.between(1e-3, 1e3)} if by_rate else {"concurrency": self.about(1, 3000)}
        )
        if not self.draw.randrange(30):
            share["concurrency"] = self.about(1, 100_000)
        needed = {"input_tokens": self.about(1, 60_000), "output_tokens": self.about(1, 20_000)}
        patterns = self.of("poisson") if by_rate else self.of("closed", "burst")
        optional = {"pattern": patterns, "requests": self.about(1, 1000), "prefix_hit_rate": self.draw.random}
        return {**self.some({**share, **needed}, 0.995), **self.some(optional, 0.25)}

    def question(self) -> dict[str, Any]:
        """Fields of one line of ``estimate``."""
        self._trust()
        flags = self.of(True, False)
        optional: dict[str, Callable[[], Any]] = {
            "id": self.of("a", "β", "", "\u2028"),
            "precision": self.of(*self.precisions),
            "device_memory_gib": self.between(2, 2000),
            "tp": self.of(1, 2, 3, 4, 5, 8, 16, 64),
            "pp": self.of(1, 2, 3, 7, 24),
            "expert_parallel": flags,
            "engine": self.of("vllm", "sglang"),
            "engine_version": self.of(*self.versions),
            "max_model_len": self.about(1, 2_000_000),
            "max_num_seqs": self.about(1, 4096),
            "max_num_batched_tokens": self.about(1, 65_536),
            "gpu_memory_utilization": self.between(0.01, 1),
            "kv_cache_dtype": self.of("auto", "fp8"),
            "enforce_eager": flags,
            "block_size": self.about(1, 4096),
            "prefix_caching": flags,
            "text_only": flags,
            "speculative_tokens": self.of(0, 1, 2, 5, 64),
            "kv_cache_gib": self.between(0.01, 1000),
            "load": self.load,
            self.draw.choice(TEXTS[3:9]): self.of(1),
        }
        needed = {"model": self.of(*self.models), "gpu": self.of(*self.gpus)}
        share = self.draw.choice((0.05, 0.2, 0.5))
        found = {**self.some(needed, 0.995), **self.some(optional, share)}
        if "load" not in found and self.draw.randrange(2):
            found["load"] = self.load()
        if self.draw.randrange(20):
            found = {name: value for name, value in found.items() if name not in TEXTS}
        return found

    def line(self) -> str:
        """One line: a question, and now and then what only looks like one."""
        text = json.dumps(self.question(), ensure_ascii=bool(self.draw.randrange(2)))
        if self.draw.randrange(8):
            return text
        cut = self.draw.randrange(len(text) + 1)
        return self.draw.choice(
            (
                lambda: text[:cut],
                lambda: text[:cut] + self.draw.choice(TEXTS) + text[cut:],
                lambda: text + text,
                lambda: "\ufeff" + text,
                lambda: text + "\r",
                lambda: text.replace(":", ": ", 3) + " \t",
                lambda: text.replace("{", '{"model": "qwen3-8b", ', 1),
                lambda: text.replace("}", "," + "}", 1),
                lambda: '{"model": ' * 3000,
                lambda: "[" * 100_000,
                lambda: text.replace('"', "'"),
                lambda: "".join(chr(self.draw.randrange(1, 0xD7FF)) for _ in range(20)).replace("\n", ""),
                lambda: self.draw.choice(("null", "NaN", "[]", "0", '""', "{}", "//", "\x00", "1e999999", "-")),
            )
        )()

    def request(self) -> dict[str, Any]:
        """Tables of a request.toml; places that search a few host types, so that thousands can be planned."""
        self._trust()
        kind = self.draw.choice(("home", "home", "home", "local", "aws-eks", "aws-ec2"))
        place: dict[str, Callable[[], Any]] = {"kind": self.of(kind)}
        limits: dict[str, Callable[[], Any]] = {
            "usd_per_hour": self.between(0.01, 100),
            "precision": self.of(*self.precisions),
            "kv_cache_dtype": self.of("auto", "fp8"),
            "engine": self.of("vllm", "sglang"),
            "engine_version": self.of(*self.versions),
            "max_model_len": self.about(1, 2_000_000),
            "gpu_memory_utilization": self.between(0.01, 1),
            "min_replicas": self.about(1, 256),
        }
        always: dict[str, Callable[[], Any]] = {}
        if kind == "home":
            place["host"] = self.of(*self.hosts)
        elif kind == "local":
            always["engine"] = self.of("vllm-cpu")
        else:
            always["gpus"] = lambda: [self.draw.choice(("A10G", "L4", "T4", "H200"))]
        targets: dict[str, Callable[[], Any]] = {
            "ttft_ms": self.between(0.01, 1e5),
            "tpot_ms": self.between(0.01, 1e4),
            "statistic": self.of("mean", "p50", "p95", "p99"),
        }
        serving: dict[str, Callable[[], Any]] = {
            "name": self.of("me", "ü", "", "a b", "x" * 300),
            "thinking": self.of(True, False),
            "tools": self.of(True, False),
        }
        load = self.load()
        for name in ("pattern", "requests"):
            load.pop(name, None)
        share = self.draw.choice((0.05, 0.3))
        found: dict[str, Any] = {
            "model": self.value(self.of(*self.models)),
            "load": load,
            "targets": self.some(targets, 0.4),
            "place": self.some(place, 0.99),
            "limits": {**self.some(always, 0.97), **self.some(limits, share)},
            "serving": self.some(serving, share),
        }
        if not self.draw.randrange(40):
            found[self.draw.choice(list(found))] = self.draw.choice(OTHERS)
        if not self.draw.randrange(40):
            del found[self.draw.choice(list(found))]
        return found

    def toml(self) -> str:
        """The text of a request.toml, now and then broken."""
        text = _toml(self.request())
        if self.draw.randrange(12):
            return text
        cut = self.draw.randrange(len(text) + 1)
        return self.draw.choice(
            (
                text[:cut],
                text[:cut] + self.draw.choice(TEXTS) + text[cut:],
                text + text,
                "\ufeff" + text,
                text.replace("\n", "\r\n"),
                "a = " + "[" * 5000,
                "model = " + "9" * 5000,
                "[load." + "a." * 3000 + "b]",
            )
        )

    def arguments(self, commands: Sequence[str]) -> list[str]:
        """A command line: mostly a command, names and options that exist."""
        words = ("laptop", "lines.jsonl", "--json", "--model", "--into", "out", "--help", ".", "/", "4090", "qwen3-8b")
        count = self.draw.randrange(4)
        drawn = [self.draw.choice(words if self.draw.randrange(3) else TEXTS) for _ in range(count)]
        first = self.draw.choice(commands) if self.draw.randrange(12) else self.draw.choice(TEXTS)
        return [word.replace("\0", "").replace("\ud800", "") for word in (first, *drawn)]  # no process is given these


def _toml(table: dict[str, Any]) -> str:
    """*table* as TOML: scalars first, then a header for each table."""
    flat = {name: value for name, value in table.items() if not isinstance(value, dict)}
    text = "".join(f"{json.dumps(name)} = {_value(value)}\n" for name, value in flat.items() if value is not None)
    for name, value in table.items():
        if isinstance(value, dict):
            text += f"\n[{json.dumps(name)}]\n" + "".join(
                f"{json.dumps(key)} = {_value(part)}\n" for key, part in value.items() if part is not None
            )
    return text


def _value(value: Any) -> str:
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) or "." in repr(value) else repr(value).replace("e", ".0e")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(part) for part in value) + "]"
    return json.dumps(value)


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def judge_sentence(text: str) -> list[str]:
    """What keeps *text* from being a sentence for a person."""
    problems = []
    if not text.strip() or "\n" in text or "Traceback" in text:
        problems.append(f"no sentence: {text!r}")
    if len(text) > 1000:
        problems.append(f"a sentence of {len(text)} characters: {text[:200]!r}...")
    if any(word in text.split() for word in ("nan", "inf", "None")):
        problems.append(f"a sentence with a nonsense word: {text!r}")
    return problems


def judge_estimate(name: str, estimate: dict[str, Any]) -> list[str]:
    """What is wrong with a mean, its band and its percentiles."""
    problems = []
    if not estimate["low"] <= estimate["mean"] <= estimate["high"]:
        problems.append(f"{name}: the mean lies outside its band: {estimate}")
    quantiles = [estimate[key] for key in ("p50", "p95", "p99") if estimate.get(key) is not None]
    if quantiles != sorted(quantiles):
        problems.append(f"{name}: percentiles fall: {estimate}")
    return problems


def judge(answer: dict[str, Any]) -> list[str]:
    """What is wrong with *answer*, a line of ``estimate``, whatever was asked."""
    if "error" in answer:
        return judge_sentence(answer["reason"])
    problems = [] if answer["reason"] is None else judge_sentence(answer["reason"])
    if answer["fits"] != (answer["reason"] is None):
        problems.append(f"fits is {answer['fits']} and the reason {answer['reason']!r}")
    ledger = [line["bytes"] for line in answer["memory"]]
    if not all(map(math.isfinite, numbers(answer))):
        problems.append("a number is not finite")
    if any(number < 0 for number in numbers({key: part for key, part in answer.items() if key != "memory"})):
        problems.append("a number is negative")
    shared = answer["memory"][-1]["name"] == "graphs where activations were"
    if answer["fits"] and min(ledger[:-1] if shared else ledger) < 0:
        problems.append(f"a ledger line is negative although it fits: {answer['memory']}")
    if answer["fits"] and answer["kv_cache_tokens"] < 1:
        problems.append("it fits without a KV cache")
    if not answer["kv_cache_tokens_low"] <= answer["kv_cache_tokens"] <= answer["kv_cache_tokens_high"]:
        problems.append("kv_cache_tokens lie outside their band")
    for name in ("ttft_ms", "tpot_ms", "output_tokens_per_s", "requests_per_s"):
        if answer.get(name) is not None:  # an answer of one token has no TPOT
            problems += judge_estimate(name, answer[name])
    return problems


def judge_line(line: str, facts: Facts) -> list[str]:
    """What is wrong with what ``estimate`` makes of *line*: its sentences, or its answer."""
    try:
        questions = read_questions([line])
    except BadRequest as refusal:
        return [problem for sentence in refusal.problems for problem in judge_sentence(sentence)]
    return [problem for text in answers(questions, facts) for problem in judge(json.loads(text.encode()))]


if __name__ == "__main__":
    known, found = load_facts(), Counter[str]()
    wild = Wild(known, seed=int(sys.argv[2]))
    for _ in range(int(sys.argv[1])):
        asked = wild.line()
        try:
            problems = judge_line(asked, known)
        except Exception as failed:  # a campaign goes on after a find
            problems = [f"{type(failed).__name__}: {failed}"]
        for problem in problems:
            found[problem[:40]] += 1
            if found[problem[:40]] < 3:
                print(problem, asked[:2000], sep="\n    ")
    print(f"{sum(found.values())} problems: {dict(found)}")
