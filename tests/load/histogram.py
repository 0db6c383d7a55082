"""How long answers took: a histogram that processes can add up, with percentiles to within one per cent.

What must stay true: adding histograms gives what one histogram of all the times would have been.
"""

import math
from dataclasses import dataclass, field
from typing import Any

LEAST_S = 1e-5
GROWTH = 1.02  # from one bucket to the next; its middle is within one per cent of all that it holds
_LOG_GROWTH = math.log(GROWTH)


@dataclass(slots=True)
class Histogram:
    """Times in seconds."""

    counts: dict[int, int] = field(default_factory=dict)
    most_s: float = 0.0

    def add(self, seconds: float) -> None:
        """One more time; less than 10 microseconds count as that."""
        bucket = int(math.log(max(seconds, LEAST_S) / LEAST_S) / _LOG_GROWTH)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.most_s = max(self.most_s, seconds)

    def merge(self, other: "Histogram") -> None:
        """All times of the other one too."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.most_s = max(self.most_s, other.most_s)

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def percentile_s(self, share: float) -> float | None:
        """The time that this share of all (0.99, say) did not exceed; None without any."""
        rank = math.ceil(self.count * share)
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                return min(LEAST_S * math.exp(_LOG_GROWTH * (bucket + 0.5)), self.most_s)
        return None

    def to_json(self) -> dict[str, Any]:
        return {"counts": list(self.counts.items()), "most_s": self.most_s}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Histogram":
        return cls({int(bucket): int(count) for bucket, count in told["counts"]}, float(told["most_s"]))
