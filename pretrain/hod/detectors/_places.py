"""Whose hand is where: what the place of a hand alone says about its side."""

from __future__ import annotations

import numpy as np

from pretrain.hod.detectors import Floats

# P(right) as a logistic curve over the centre's x. Measured on EgoSim (train, seeds 9000-9023) it is 0.05,
# 0.14, 0.44, 0.77, 1.00 and 0.96 at x of 0.05, 0.25, 0.35, 0.55, 0.75 and 0.95.
_STEEPNESS = 6.0


def right_by_place(box: Floats) -> float:
    """Probability that a hand is the wearer's right one, by how far to the right its box (4,) is."""
    return float(1 / (1 + np.exp(-_STEEPNESS * ((box[0] + box[2]) / 2 - 0.5))))
