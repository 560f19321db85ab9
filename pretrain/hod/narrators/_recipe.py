"""What decides a taught narrator's weights; imports nothing heavy, for settings are checked with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Recipe:
    """What decides the tuned weights, beside the model and the pairs.

    Attributes:
        layers: blocks at the end that learn; the others, the embedding and the head stay.
        steps: of the optimiser; every step sees new pairs.
        batch: pairs a step.
        rate: of AdamW at its peak, from which it falls to 0 along a line.
        seed: of the pairs.
    """

    layers: int = 8
    steps: int = 60
    batch: int = 8
    rate: float = 5e-4
    seed: int = 0
