"""The wearer's arms: where hands rest, where forearms come from, how far wrists bend and how awkward it is.

World frame of `room`, hand frame of `hand`; metres and radians.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pretrain.sim.hand import Side
from pretrain.sim.poses import Pose, pose
from pretrain.sim.shapes import Array

BENT = math.radians(80.0)
"""Between hand and forearm, at most, in any movement."""

_REST = np.array([0.20, -0.11, 0.105])  # wrist of the right hand that does nothing
_ELBOW = np.array([0.34, -0.26, 0.17])  # where the right forearm comes from
_MOST_BEND = math.radians(65.0)  # between hand and forearm in a comfortable grasp
_LOWEST = 0.03  # metres of a wrist above the table
_SIDES = {"right": np.array([1.0, 1.0, 1.0]), "left": np.array([-1.0, 1.0, 1.0])}
_ELBOWS = {side: _ELBOW * mirror for side, mirror in _SIDES.items()}


def elbow(side: Side) -> Array:
    """(3,) where the forearm comes from."""
    return _ELBOWS[side]


def inwards(side: Side) -> float:
    """The sign of x towards the other hand."""
    return -1.0 if side == "right" else 1.0


def bend(side: Side, wrist: Pose) -> float:
    """The angle between a hand whose wrist is there and its forearm."""
    forearm = wrist.at - _ELBOWS[side]
    cosine = float(wrist.axes[:, 0] @ forearm) / math.sqrt(forearm @ forearm)
    return math.acos(min(max(cosine, -1.0), 1.0))


def rest(side: Side) -> Pose:
    """The wrist of a hand that does nothing: palm down, at the table's near edge."""
    return pose(_REST * _SIDES[side], (0.25 * inwards(side), 1.0, -0.12), (0, 0, -1))


def discomfort(side: Side, at: Array, along: Array, palm: Array) -> npt.NDArray[np.float64]:
    """How awkward wrist poses are, (...,) radians; infinite if no arm can do it.

    Args:
        side: of the hand.
        at: (..., 3) the wrists.
        along: (..., 3) the hand frames' x axes.
        palm: (..., 3) their z axes, out of the palm.
    """
    forearm = at - _ELBOWS[side]
    cosine = (along * forearm).sum(-1) / np.linalg.norm(forearm, axis=-1)
    bent = np.arccos(np.clip(cosine, -1.0, 1.0))
    outwards, up = -inwards(side) * palm[..., 0], palm[..., 2]
    cost = bent + 0.8 * np.maximum(outwards, 0.0) + 0.5 * np.maximum(up, 0.0)
    impossible = (bent > _MOST_BEND) | (at[..., 2] < _LOWEST) | (outwards > 0.6) | (up > 0.75)
    return np.where(impossible, np.inf, cost)
