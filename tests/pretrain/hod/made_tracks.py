"""Tracks made by hand for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pretrain.data.flip import TRACKS
from pretrain.hod.tracks import Tracks

INSTANTS = 16
SECONDS = np.linspace(0.1, 3.1, INSTANTS)  # 0.2 s apart

Place = tuple[float, float]


def way(*corners: Place) -> np.ndarray:
    """(F, 2) centres along straight ways between corners, equal times for each."""
    at = np.linspace(0, len(corners) - 1, INSTANTS)
    x, y = np.array(corners, float).T
    steps = np.arange(len(corners))
    return np.stack([np.interp(at, steps, x), np.interp(at, steps, y)], 1)


def made(
    touching: tuple[Sequence[int] | None, Sequence[int] | None] = ((), ()), **ways: np.ndarray
) -> Tracks:
    """Tracks that go these ways; boxes are 0.2 wide.

    Args:
        touching: instants at which the left and the right hand touch something; None: not known.
        **ways: centres (F, 2) by name of `TRACKS`, NaN where not seen.
    """
    tracks = Tracks.empty(SECONDS)
    for name, centres in ways.items():
        k = TRACKS.index(name)
        tracks.boxes[:, k] = np.hstack([centres - 0.1, centres + 0.1])
        tracks.scores[:, k] = np.where(np.isnan(centres[:, 0]), np.nan, 0.8)
    for side, instants in enumerate(touching):
        if instants is not None:
            tracks.contact[:, side] = 0
            tracks.contact[list(instants), side] = 1
    return tracks
