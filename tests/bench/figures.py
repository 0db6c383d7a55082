"""The arithmetic of a benchmark: percentiles, medians and ratios. Pure.

What must stay true: a median is of counted runs only, and says so where there are none.
"""

import math
import statistics
from collections.abc import Sequence


class NotMeasured(Exception):
    """A figure that this run can't give, and why."""


class Missing(NotMeasured):
    """A program that is not here: trying again is no use."""


def percentile(in_order: Sequence[float], share: float) -> float:
    """The value that this share of all did not exceed; 0 without any. They come sorted."""
    if not in_order:
        return 0.0
    return float(in_order[max(0, math.ceil(len(in_order) * share) - 1)])


def median(values: Sequence[float], least: int = 1) -> float:
    """The middle of at least so many. Raises NotMeasured."""
    if len(values) < max(1, least):
        raise NotMeasured(f"{len(values)} of {least} rounds counted")
    return float(statistics.median(values))


def ratio(ours: float, theirs: float) -> float:
    """How many times theirs ours is. Raises NotMeasured where theirs is nothing."""
    if theirs <= 0:
        raise NotMeasured("there is nothing to compare with")
    return ours / theirs


def spread(values: Sequence[float]) -> float:
    """How far the largest is above the smallest, as a share of the smallest: 0.15 for 100 and 115."""
    return ratio(max(values), min(values)) - 1
