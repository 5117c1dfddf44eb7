"""What arrives at one replica: how many requests at once or per second, and how long they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sizing.errors import BadRequest

Pattern = Literal["closed", "burst", "poisson"]

_MOST_REQUESTS = 20_000  # a third of a second to simulate


@dataclass(frozen=True, slots=True)
class Traffic:
    """
    What arrives at one replica. Exactly one of ``concurrency`` and ``request_rate`` (requests/s) is given.

    ``lengths`` are the (input, output) tokens of requests in turn, from the first again after the last; empty: all have
    ``input_tokens`` and ``output_tokens``, which are the means otherwise. ``gaps`` are relative times between arrivals,
    in turn; empty: exponential ones. ``tower_flop`` is what images and sound of a request cost before its prompt.
    """

    concurrency: int | None
    request_rate: float | None
    input_tokens: int
    output_tokens: int
    pattern: Pattern = "closed"
    requests: int | None = None
    prefix_hit_rate: float = 0.0
    lengths: tuple[tuple[int, int], ...] = ()
    gaps: tuple[float, ...] = ()
    tower_flop: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if (self.concurrency is None) == (self.request_rate is None):
            problems.append("a load has either a concurrency or a request rate, not both and not neither")
        if self.concurrency is not None and self.concurrency < 1:
            problems.append(f"concurrency {self.concurrency} is below 1")
        if self.request_rate is not None and not 0 < self.request_rate < math.inf:
            problems.append(f"request rate {self.request_rate} is not a positive number of requests per second")
        if self.input_tokens < 1 or self.output_tokens < 0:
            problems.append(f"{self.input_tokens} input and {self.output_tokens} output tokens are no request")
        if not 0 <= self.prefix_hit_rate <= 1:
            problems.append(f"prefix hit rate {self.prefix_hit_rate} is not between 0 and 1")
        if self.requests is not None and self.requests < 1:
            problems.append(f"{self.requests} requests are none")
        played = self.requests or (self.concurrency if self.pattern == "burst" else 0) or 0
        if played > _MOST_REQUESTS:
            problems.append(f"{played} requests are too many to play out; at most {_MOST_REQUESTS} are")
        if problems:
            raise BadRequest(*problems)
