"""Confidence intervals of shares and of their means, for success rates and for accuracies alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A point estimate with the two ends of its confidence interval."""

    estimate: float
    low: float
    high: float


def wilson(rate: float, size: float, level: float = 0.95) -> Interval:
    """Wilson's score interval (1927) for a `rate` in [0, 1] over `size` > 0 trials, whole or not."""
    z2 = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    centre = (rate + z2 / (2 * size)) / (1 + z2 / size)
    half = math.sqrt(z2 * (rate * (1 - rate) / size + z2 / (4 * size**2))) / (1 + z2 / size)
    # Rounding may leave an end a hair inside the estimate at 0 and 1.
    return Interval(rate, max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half)))


def mean_interval(intervals: Sequence[Interval], bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
    """The mean of independent estimates, equally weighted, with an interval built from theirs.

    MOVER (Zou & Donner 2008, Statistics in Medicine 27): each side adds up the squared distances from the
    estimates to their own ends, so skewed intervals stay skewed and the result stays in `bounds`.

    Raises:
        ValueError: nothing to average.
    """
    if not intervals:
        raise ValueError("a mean needs at least one interval, got none")
    estimate, low, high = np.array(intervals, dtype=float).T
    mean = float(estimate.mean())
    below = math.sqrt(float(((estimate - low) ** 2).sum())) / len(estimate)
    above = math.sqrt(float(((high - estimate) ** 2).sum())) / len(estimate)
    return Interval(mean, max(bounds[0], mean - below), min(bounds[1], mean + above))
