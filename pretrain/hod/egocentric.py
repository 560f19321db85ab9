"""How egocentric a clip looks, by its hands: sources such as HowTo100M mix in other points of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretrain.hod.tracks import Tracks


@dataclass(frozen=True)
class EgocentricSettings:
    """What the wearer's hands look like.

    Attributes:
        smallest, largest: share of the picture that a hand's box covers.
        lowest: how far up the picture, from its lower edge in shares of its height, the lower edge of a
            hand's box may be: the wearer's arms come in from below.
    """

    smallest: float = 0.004
    largest: float = 0.35
    lowest: float = 0.6


def egocentric_score(tracks: Tracks, settings: EgocentricSettings | None = None) -> float:
    """Share of the instants, 0..1, at which a hand is seen and every hand seen could be the wearer's.

    A rule, no classifier: EgoHOD filters HowTo100M with a trained one (arXiv 2503.00986), which did not
    come out. Hands of people seen from outside are smaller, and often higher in the picture.
    """
    limits = settings or EgocentricSettings()
    boxes = tracks.boxes[:, :2].astype(np.float64)
    seen = tracks.visible[:, :2]
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    with np.errstate(invalid="ignore"):
        own = (area >= limits.smallest) & (area <= limits.largest) & (boxes[..., 3] >= 1 - limits.lowest)
    return float((seen.any(1) & (own | ~seen).all(1)).mean())
