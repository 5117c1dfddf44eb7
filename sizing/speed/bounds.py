"""
How much of a load one replica can carry at most, without playing it out: ``most_share(question, setup, answer, ...)``.

Reading and computing of a step are joined convexly (``sizing.speed.step``), so no mix of steps is quicker than the
average one. At *n* sequences that decode, a replica answers ``n / (steps of an answer x average step)`` requests/s,
which grows with *n*; the KV cache and the TPOT target limit *n*. Who does not decode waits for the first token: by
Little's law no more than the rate x the TTFT target.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import replace

from sizing.request.request import Targets
from sizing.speed.patterns import ROUNDS
from sizing.speed.scheduler import Scheduler
from sizing.speed.step import StepModel

SURE = 1.15  # the simulation's figures are rates of finite runs, not of endless ones


def most_share(replica: Scheduler, targets: Targets, *, closed: bool) -> float:
    """
    Requests in flight (*closed*) or requests/s beyond which *replica* cannot meet *targets*; infinite if none is known.

    *replica* is to have the most places and KV cache that any settings give.
    """
    ttft_s = (targets.ttft_ms or math.inf) / 1000
    count = len(replica.lengths)
    steps = replica.output - 1  # the prompt brings the first
    todo = sum(tokens_in - hit for hit, tokens_in, _ in replica.lengths) / count
    if steps <= 0:
        rate = replica.budget / (todo * replica.step.step_s(0, 0, replica.budget, 0))
        return SURE * (rate * ttft_s if closed else rate)
    lived = sum(decodes for *_, decodes in replica.lengths)
    context = sum(decodes * (tokens_in + decodes / 2) for _, tokens_in, decodes in replica.lengths) / lived

    def step_s(decoding: int, prefill: float) -> float:
        return _least_step_s(replica.step, decoding, decoding * context, prefill)

    # Equal requests that start together have their prompts together too: none falls between their tokens.
    apart = 1 - min(1.0, 1 / ROUNDS + replica.step.constants["lock_step"]) if closed else 1.0

    def tpot_s(decoding: int) -> float:
        return (1 - apart) * step_s(decoding, 0.0) + apart * step_s(decoding, decoding * todo / steps)

    decoding = most = replica.capacity()
    if targets.tpot_ms is not None and targets.statistic == "mean":
        limit_s = targets.tpot_ms / 1000 * replica.step.tokens_per_step
        decoding = min(most, 1 + bisect_right(range(1, most + 1), limit_s, key=tpot_s))  # on average not a whole number
    rate = decoding / (steps * step_s(decoding, decoding * todo / steps))
    return SURE * (decoding + rate * ttft_s if closed else rate)


def _least_step_s(step: StepModel, decoding: int, context: float, prefill: float) -> float:
    """The average step with so many decoding and prompt tokens, if prompts read no further expert and launches hide."""
    touched = 1 - (1 - step.expert_floor) * step.expert_miss ** (
        decoding / step.stages * step.rows_per_sequence * step.expert_spread
    )
    lean = replace(
        step,
        expert_read_s=step.expert_read_s * touched,
        expert_floor=1.0,
        graph_rows=math.inf,
        engine_prefill_s=0.0,
    )
    return lean.step_s(decoding, context, prefill, 0)
