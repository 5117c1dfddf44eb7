"""A replica's share of the load that a request brings."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sizing.units import rate


@dataclass(frozen=True, slots=True)
class Share:
    """A replica's part of the load: requests in flight, or requests per second."""

    concurrency: int | None
    request_rate: float | None

    def of(self, replicas: int) -> Share:
        """What the fullest of *replicas* gets of it."""
        if self.concurrency is not None:
            return Share(math.ceil(self.concurrency / replicas), None)
        return Share(None, (self.request_rate or 0.0) / replicas)

    def peak(self, spare_share: float) -> Share:
        """The load at which the share of capacity that is to stay free is used up."""
        busy = 1 - spare_share
        if self.concurrency is not None:
            return Share(math.ceil(round(self.concurrency / busy, 6)), None)  # 1 - 0.9 is a little under 0.1
        return Share(None, (self.request_rate or 0.0) / busy)

    def times(self, replicas: int) -> float:
        """What all of *replicas* answer over what the fullest does: some have a request less in flight, or none."""
        if self.concurrency is not None:
            return self.concurrency / math.ceil(self.concurrency / replicas)
        return float(replicas)

    def __str__(self) -> str:
        if self.concurrency is not None:
            return f"{self.concurrency} request{'' if self.concurrency == 1 else 's'} in flight"
        return f"{rate(self.request_rate or 0.0)} requests/s"
