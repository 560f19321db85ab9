"""What the hands of the wearer and the objects in them do in a clip, as detection and tracking find it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pretrain.data.flip import TRACKS

HAND_KEYPOINTS = 21  # of MediaPipe's hand, in its order
_HANDS = 2  # left, right: the wearer's


@dataclass(frozen=True)
class Tracks:
    """Boxes of K = 5 tracks (`TRACKS`) at F instants of a clip. Missing is NaN, never zero.

    An object counts as in the left hand, in the right hand or in both; one in both is in `both_object` only.

    Attributes:
        seconds: (F,) float64 since the video's start, rising.
        boxes: (F, K, 4) float32 corners x1, y1, x2, y2 in 0..1 of the picture's sides; NaN where not visible.
        scores: (F, K) float32 the detector's confidence in 0..1; NaN where there is no box.
        interpolated: (F, K) bool: the box was not detected but filled in between two that were.
        keypoints: (F, 2, 21, 2) float32 of the hands in 0..1, MediaPipe's order; NaN where unknown.
        contact: (F, 2) float32: 1 the hand touches an object, 0 it does not, NaN unknown.
    """

    seconds: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    interpolated: npt.NDArray[np.bool_]
    keypoints: npt.NDArray[np.float32]
    contact: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        count, kinds = len(self.seconds), len(TRACKS)
        wanted = {
            "boxes": (count, kinds, 4),
            "scores": (count, kinds),
            "interpolated": (count, kinds),
            "keypoints": (count, _HANDS, HAND_KEYPOINTS, 2),
            "contact": (count, _HANDS),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} of {count} instants want {shape}; got {getattr(self, name).shape}")

    @property
    def visible(self) -> npt.NDArray[np.bool_]:
        """(F, K) whether there is a box."""
        return ~np.isnan(self.boxes[..., 0])

    @classmethod
    def empty(cls, seconds: npt.NDArray[np.float64]) -> Tracks:
        """Tracks in which nothing is seen at these instants."""
        count, kinds = len(seconds), len(TRACKS)
        return cls(
            np.asarray(seconds, np.float64),
            np.full((count, kinds, 4), np.nan, np.float32),
            np.full((count, kinds), np.nan, np.float32),
            np.zeros((count, kinds), np.bool_),
            np.full((count, _HANDS, HAND_KEYPOINTS, 2), np.nan, np.float32),
            np.full((count, _HANDS), np.nan, np.float32),
        )
