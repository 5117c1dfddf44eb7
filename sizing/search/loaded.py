"""What a replica with all its settings does under a share of the load, and how many requests it holds at once."""

from __future__ import annotations

from dataclasses import dataclass

from sizing.engine.setup import Setup
from sizing.memory.memory import MemoryAnswer
from sizing.plan.plan import Estimate
from sizing.request.demand import traffic
from sizing.request.traffic import Traffic
from sizing.search.question import Question
from sizing.search.share import Share
from sizing.speed.performance import Performance, performance
from sizing.speed.scheduler import Scheduler
from sizing.speed.step import StepModel


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica that meets every target under its share."""

    share: Share
    setup: Setup
    memory: MemoryAnswer
    performance: Performance


def loaded(
    asked: Question, setup: Setup, answer: MemoryAnswer, share: Share, full_requests_per_s: float | None = None
) -> Performance:
    """What a replica of *setup* does under *share* of the question's load; *full_requests_per_s*, where it is known."""
    arriving = _arriving(asked, share)
    running, tokens = running_requests(answer, setup, arriving), answer.kv_cache_tokens
    return performance(setup, arriving, tokens, running, full_requests_per_s=full_requests_per_s)


def _arriving(asked: Question, share: Share) -> Traffic:
    return traffic(asked.request.load, asked.model, share.concurrency, share.request_rate, asked.max_model_len)


def saturation(asked: Question, setup: Setup, answer: MemoryAnswer) -> tuple[int, Estimate]:
    """Requests in flight of one replica beyond which further ones wait, and the requests/s it answers with so many."""
    together = scheduler_of(asked, setup, answer).capacity()
    return together, loaded(asked, setup, answer, Share(together, None)).requests_per_s


def scheduler_of(asked: Question, setup: Setup, answer: MemoryAnswer) -> Scheduler:
    """The scheduler of a replica under the question's load."""
    arriving = _arriving(asked, Share(1, None))
    running = running_requests(answer, setup, arriving)
    return Scheduler(setup, StepModel.of(setup), arriving, answer.kv_cache_tokens, running)


def running_requests(answer: MemoryAnswer, setup: Setup, arriving: Traffic) -> int:
    """Requests that one replica's KV cache holds at once, half answered on average: from 1 to max_num_seqs."""
    request_tokens = arriving.input_tokens + arriving.output_tokens // 2
    full_length = max(1.0, answer.max_concurrency * setup.max_model_len / request_tokens)
    return max(1, min(setup.max_num_seqs, int(full_length)))
