"""
The engine's scheduler played out over the step model, first come first served.

A step computes one token for every running sequence and, within the token budget, chunks of waiting prompts; vLLM puts
both into one step, SGLang runs prompts first and alone. A prompt is admitted while a place (``max_num_seqs``) and the
KV cache for it are free; when the cache runs full the youngest sequence is preempted and computed again. Between two
events nothing changes but the context, in which a step is affine: whole runs of decode steps are one multiplication.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from sizing.engine.setup import Setup
from sizing.errors import BadRequest
from sizing.request.traffic import Traffic
from sizing.speed.step import StepModel

_GOLDEN = (5**0.5 - 1) / 2
_MOST_STEPS = 50_000  # some tenths of a second to play out; loads that people serve take hundreds
_MANY = 16  # requests at once from which published runs let SGLang look for new ones less often


class _Request:
    __slots__ = ("admitted", "arrived", "context", "finish", "first", "left", "order", "resumed", "todo", "tokens")

    def __init__(self, arrived: float, context: int, todo: int, left: int) -> None:
        self.arrived = arrived
        self.order = 0  # of admission; 0 while it holds nothing
        self.tokens = left  # steps of its answer
        self.context = context  # tokens in the KV cache
        self.todo = todo  # tokens to compute before the next token comes out
        self.left = left  # tokens still to be generated
        self.first = -1.0  # when the first token came out
        self.finish = 0  # decode step at whose end it is answered
        self.admitted = False
        self.resumed = False


@dataclass(slots=True)
class Run:
    """What a simulation saw. ``ttft_s`` and ``tpot_s`` in order of completion of first token and answer."""

    ttft_s: list[float]
    tpot_s: list[float]
    finished: int
    wall_s: float
    queue_at_last_arrival: int
    decode_step_s: float  # time per token, averaged over all decoded tokens


class Scheduler:
    """One engine with its queue. ``play`` advances it until *wanted* requests are answered."""

    def __init__(self, setup: Setup, step: StepModel, traffic: Traffic, kv_cache_tokens: int, max_running: int) -> None:
        self.step = step
        self.mixed = step.constants.mixed
        self.budget = max(setup.max_num_batched_tokens, 1)
        self.places = max(1, min(setup.max_num_seqs, max_running))
        self.kv = kv_cache_tokens
        hit_rate = traffic.prefix_hit_rate if setup.prefix_caching else 0.0
        per_step = step.tokens_per_step
        self.lengths = [  # hit, input, and steps of the answer, of requests in turn
            (min(int(tokens_in * hit_rate), tokens_in - 1), tokens_in, max(1, round(tokens_out / per_step)))
            for tokens_in, tokens_out in traffic.lengths or ((traffic.input_tokens, traffic.output_tokens),)
        ]
        self.output = sum(steps for _, _, steps in self.lengths) / len(self.lengths)
        self.tower_s = step.tower_s(traffic.tower_flop)
        self.gap_s = step.constants["request_s"]
        clients = traffic.concurrency or self.places
        self.poll = step.constants["poll_steps" if clients >= _MANY else "poll_steps_few"]

    def request(self, arrived: float, number: int) -> _Request:
        """The request that is sent as the *number*-th."""
        hit, tokens_in, steps = self.lengths[number % len(self.lengths)]
        return _Request(arrived, hit, tokens_in - hit, steps)

    def capacity(self) -> int:
        """Sequences that run together for long: each holds its prompt and, over its life, half its answer."""
        lived = sum(steps for _, _, steps in self.lengths)
        held = sum(steps * (tokens_in + steps / 2) for _, tokens_in, steps in self.lengths) / lived
        return max(1, min(self.places, int(self.kv / held)))

    def chunks(self) -> float:
        """Steps that a prompt takes on average, to the token: less than one where several fit."""
        return sum(tokens_in - hit for hit, tokens_in, _ in self.lengths) / len(self.lengths) / self.budget

    def fastest_s(self) -> float:
        """A TTFT below which no load gets: the shortest prompt alone, in one step."""
        hit, tokens_in, _ = min(self.lengths, key=lambda request: request[1] - request[0])
        todo = tokens_in - hit
        return self.gap_s + self.step.step_s(0, 0, todo, hit + todo // 2)

    def spread(self, count: int) -> list[_Request]:
        """
        *count* running sequences at evenly spread, slightly shaken points of their life, next to finish first.

        Who is met running has a long answer more often than not: in proportion to it.
        """
        lived = list(accumulate(steps for _, _, steps in self.lengths))
        running = []
        for index in range(count):
            shaken = (index + (index * _GOLDEN) % 1) / count
            at = (index + 0.5) * _GOLDEN % 1 * lived[-1]
            _, tokens_in, steps = self.lengths[min(bisect_right(lived, at), len(lived) - 1)]
            left = 1 + int(shaken * (steps - 1))
            request = _Request(0.0, tokens_in + steps - left, 0, left)
            request.admitted = request.resumed = True
            request.finish = left
            running.append(request)
        running.sort(key=lambda request: request.finish)
        return running

    def play(
        self,
        arrivals: Sequence[float],
        wanted: int,
        *,
        closed: int = 0,
        running: list[_Request] | None = None,
        until_first: bool = False,
    ) -> Run:
        """
        Simulate until *wanted* requests that were sent here are answered (or have a first token).

        Args:
            arrivals: times at which requests are sent, ascending; the engine sees them ``request_s`` later.
            closed: how many more requests follow, each sent when another is answered.
            running: sequences already decoding at time 0.

        Raises:
            BadRequest: the load takes more than 50,000 turns of the scheduler.
        """
        step_s, budget, places, kv, mixed = self.step.step_s, self.budget, self.places, self.kv, self.mixed
        heap: list[tuple[int, int, _Request]] = []  # next to finish first; stale where the order is no longer its own
        youngest: list[tuple[int, _Request]] = []  # last to start last, and as stale
        live = 0

        def start(request: _Request) -> None:
            nonlocal live
            heapq.heappush(heap, (request.finish, request.order, request))
            youngest.append((request.order, request))
            live += 1

        waiting: deque[_Request] = deque()
        ttft: list[float] = []
        tpot: list[float] = []
        coming = deque(arrivals)
        sent = 0
        now, decoded, finished, partial, held = 0.0, 0, 0, 0, 0
        token_time = tokens = 0.0
        queue_at_last, due, look, prefilled, admissions = 0, False, 0, 0, 0
        gap, poll_every = self.gap_s, self.poll
        turns, chunks = 0, wanted * self.chunks()  # as many turns at least, known before the first

        for number, request in enumerate(running or []):
            request.order = number - len(running or [])
            held += request.context
            start(request)

        def answer(at: float) -> None:
            """Take what has its last token out of the running sequences."""
            nonlocal finished, held, closed, live
            while heap and (heap[0][0] <= decoded or heap[0][1] != heap[0][2].order):
                _, order, request = heapq.heappop(heap)
                if order != request.order:
                    continue
                request.order = 0
                live -= 1
                held -= request.context + request.left
                if request.first >= 0:
                    finished += 1
                    if request.tokens > 1:
                        tpot.append((at - request.first) / (request.tokens - 1))
                if closed > 0:
                    closed -= 1
                    coming.append(at)

        while (len(ttft) if until_first else finished) < wanted:
            turns += 1
            if max(turns, chunks) > _MOST_STEPS:
                raise BadRequest(
                    f"this load takes more than {_MOST_STEPS} engine steps to play out: {wanted} requests with "
                    f"{self.chunks() * budget:.0f} tokens to compute and {self.output:.0f} to generate, {budget} "
                    f"tokens a step, {kv} in the KV cache; ask for fewer or shorter requests, or raise "
                    f"max_num_batched_tokens"
                )
            if coming and coming[0] + gap <= now:
                if not due:
                    due, look = True, prefilled + math.ceil(math.ceil((decoded - prefilled) / poll_every) * poll_every)
                if decoded >= look or not live:
                    due = False
                    while coming and coming[0] + gap <= now:
                        waiting.append(self.request(coming.popleft(), sent))
                        sent += 1
                    queue_at_last = len(waiting)
            chunk = pairs = admitted = 0
            ready: list[_Request] = []
            if waiting:
                room = budget - live if mixed else budget
                while waiting and chunk < room:
                    request = waiting[0]
                    if not request.admitted:
                        crowded = live + len(ready) + partial >= places
                        full = held + request.context + request.todo + live >= kv
                        if (crowded or full) and (live or ready or partial):
                            break
                        request.admitted = True
                        request.order = admissions = admissions + 1
                        admitted += not request.resumed
                        held += request.context + request.todo
                        partial += 1
                    tokens_now = min(request.todo, room - chunk)
                    pairs += tokens_now * (request.context + tokens_now // 2)
                    request.context += tokens_now
                    request.todo -= tokens_now
                    chunk += tokens_now
                    if request.todo:
                        break
                    waiting.popleft()
                    partial -= 1
                    ready.append(request)
            if chunk:
                decoding = live if mixed else 0
                took = step_s(decoding, held if decoding else 0, chunk, pairs / chunk) + admitted * self.tower_s
                now += took
                token_time += took * live
                if decoding:
                    decoded += 1
                    held += decoding
                    tokens += decoding
                for request in ready:
                    if not request.resumed:
                        request.first = now
                        ttft.append(now - request.arrived)
                        request.left -= 1
                    request.resumed = True
                    request.finish = decoded + request.left
                    start(request)
                answer(now)
                prefilled = decoded  # after a prompt the engine looks for new ones at once
                continue
            if not live:
                if not coming:
                    break
                now = max(now, coming[0] + gap)
                continue
            count = live
            steps = heap[0][0] - decoded
            if due:
                steps = max(1, min(steps, look - decoded))
            if held + count > kv and count > 1:
                order, victim = youngest.pop()
                while order != victim.order:
                    order, victim = youngest.pop()
                victim.order = 0  # it is computed again
                live -= 1
                left = victim.finish - decoded
                done = victim.context + victim.left - left
                held -= done
                victim.todo, victim.context, victim.left, victim.admitted = done, 0, left, False
                waiting.appendleft(victim)
                answer(now)  # drops its stale entry
                continue
            if count > 1:
                steps = max(1, min(steps, (kv - held) // count))
            took = step_s(count, held + count * (steps - 1) / 2, 0, 0)
            if coming and not due and now + took * steps > coming[0] + gap:
                steps = max(1, min(steps, math.ceil((coming[0] + gap - now) / took)))
                took = step_s(count, held + count * (steps - 1) / 2, 0, 0)
            now += took * steps
            token_time += took * steps * count
            tokens += steps * count
            decoded += steps
            held += steps * count
            answer(now)
        return Run(ttft, tpot, finished, now, queue_at_last, token_time / tokens if tokens else 0.0)
