"""The colour of the wearer's skin in one clip, learnt from the hands that a detector found in it.

A detector of hands misses many that grasp, turn away or leave the picture, but finds some in most clips.
Their colour then shows where the others are (as in Li and Kitani 2013, "Pixel-level hand detection in
ego-centric videos", who learn such colours from labels).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from pretrain.hod.detectors import Floats

# MediaPipe's `HAND_CONNECTIONS`: each finger, and the palm.
_FINGERS = (1, 5, 9, 13, 17)
BONES = [
    *((start, end) for first in _FINGERS for start, end in pairwise((0, *range(first, first + 4)))),
    *pairwise(_FINGERS[1:]),
]

_BINS = (16, 32, 32)  # of lightness and of the two colour axes of CIELAB: shading changes lightness most
_SPREAD = 1.0  # bins that the histograms are blurred by
_LIKELIER = 6.0  # times under skin than in the scene
_THICKNESS = 0.12  # of a drawn bone, of the hand's longer side

Mask = npt.NDArray[np.bool_]


def bones_mask(keypoints: Floats, shape: tuple[int, ...]) -> Mask:
    """(H, W) pixels within the fingers and palm of keypoints (21, 2) in sides of the picture."""
    height, width = shape[:2]
    pixels = keypoints * np.array([width, height])
    longer = float(np.ptp(pixels, axis=0).max())
    canvas: Any = np.zeros((height, width), np.uint8)
    for start, end in BONES:
        line: Any = pixels[[start, end]].astype(int).tolist()
        cv2.line(canvas, line[0], line[1], (1,), max(1, round(_THICKNESS * longer)))
    return canvas.astype(np.bool_)


def colour_along(frame: npt.NDArray[np.uint8], keypoints: Floats) -> npt.NDArray[np.float64]:
    """(3,) median CIELAB colour, 8 bits each, along the bones of a hand; NaN if none lies in the picture."""
    pixels = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)[bones_mask(keypoints, frame.shape)]
    return np.median(pixels, axis=0) if len(pixels) else np.full(3, np.nan)


class SkinColour:
    """Tells skin from scene by colour alone."""

    def __init__(
        self, frames: npt.NDArray[np.uint8], hands: Sequence[tuple[int, Mask]], others: Iterable[Mask]
    ) -> None:
        """Learn from hands.

        Args:
            frames: (F, H, W, 3) uint8 RGB of the clip.
            hands: of each its frame, and where (H, W) it is skin for sure.
            others: for every frame (H, W), where the scene is for sure.
        """
        skin, scene = np.zeros(_BINS), np.zeros(_BINS)
        bins = [_binned(frame) for frame in frames]
        for frame, mask in hands:
            np.add.at(skin, tuple(bins[frame][mask].T), 1)
        for binned, mask in zip(bins, others, strict=True):
            np.add.at(scene, tuple(binned[mask].T), 1)
        self._ratio = _density(skin) / (_density(scene) + 1e-6)

    def mask(self, frame: npt.NDArray[np.uint8], likelier: float = _LIKELIER) -> Mask:
        """(H, W) where a frame shows a colour so many times likelier under skin."""
        seen = (self._ratio[tuple(np.moveaxis(_binned(frame), -1, 0))] > likelier).astype(np.uint8)
        return cv2.medianBlur(seen, 3).astype(np.bool_)


def blobs(mask: Mask, least: float) -> list[Floats]:
    """Boxes (4,) in 0..1 of the connected parts of a mask (H, W), the largest part first.

    Args:
        mask: where to look.
        least: share of the picture that a part must cover.
    """
    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    parts = sorted((row for row in stats[1:] if row[4] >= least * mask.size), key=lambda row: -row[4])
    corners = [np.array([left, top, left + wide, top + high]) for left, top, wide, high, _ in parts]
    return [(box / [width, height, width, height]).astype(np.float32) for box in corners]


def _binned(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.int64)
    return lab * np.array(_BINS) // 256


def _density(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    smooth: npt.NDArray[np.float64] = gaussian_filter(counts, _SPREAD)
    return smooth / max(smooth.sum(), 1e-9)
