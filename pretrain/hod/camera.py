"""How the wearer's head moves the scene through a clip's pictures: what is left is what really moves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_CORNERS = 300  # looked for in a picture
_QUALITY, _DISTANCE = 0.01, 5  # of the weakest corner to the best; pixels between two
_LEAST = 12  # corners that must agree on a motion
_TOLERANCE = 2.0  # pixels
_WINDOW, _LEVELS = (21, 21), 4

Pictures = npt.NDArray[np.uint8]
Transforms = npt.NDArray[np.float64]


def scene_motion(frames: Pictures) -> Transforms:
    """Where the still scene of every frame lies in the first one.

    Corners are followed from frame to frame (pyramidal Lucas-Kanade); the motion that most of them share
    (RANSAC: rotation, scale and shift) is the camera's.

    Args:
        frames: (F, H, W, 3) uint8 RGB.

    Returns:
        (F, 2, 3) affine maps of pixels (x, y, 1) of frame f to pixels of frame 0; the first is the identity.
        Where too few corners agree, the frame counts as unmoved since the one before.
    """
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    total = np.eye(3)
    found = [total[:2].copy()]
    for before, after in pairwise(grey):
        total = total @ _step(before, after)
        found.append(total[:2].copy())
    return np.stack(found)


def moved(points: npt.NDArray[np.float64], transform: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points (..., 2) under an affine map (2, 3)."""
    return points @ transform[:, :2].T + transform[:, 2]


def _step(before: Any, after: Any) -> npt.NDArray[np.float64]:
    """(3, 3) affine map of pixels of `after` to pixels of `before`, both (H, W) grey."""
    corners = cv2.goodFeaturesToTrack(after, _CORNERS, _QUALITY, _DISTANCE)
    if corners is None or len(corners) < _LEAST:
        return np.eye(3)
    follow: Any = cv2.calcOpticalFlowPyrLK  # typed without the None that it documents
    followed, seen, _ = follow(after, before, corners, None, winSize=_WINDOW, maxLevel=_LEVELS)
    good = seen[:, 0] == 1
    if good.sum() < _LEAST:
        return np.eye(3)
    cv2.setRNGSeed(0)  # RANSAC draws: the same clip gives the same motion
    matrix, agreed = cv2.estimateAffinePartial2D(
        corners[good], followed[good], ransacReprojThreshold=_TOLERANCE
    )
    if matrix is None or agreed.sum() < _LEAST:
        return np.eye(3)
    return np.vstack([matrix, [0.0, 0.0, 1.0]])
