"""Tracks of hands against EgoSim's ground truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pretrain.data.flip import TRACKS
from pretrain.hod.detectors import overlap
from pretrain.hod.tracks import HAND_KEYPOINTS, Tracks
from pretrain.sim.truth import Truth

Floats = npt.NDArray[np.float32]

FOUND = 0.3
"""Intersection over union from which a hand counts as found, as in benchmarks/hod_detection.py."""

_HANDS = 2
_ROUNDING = 1e-3  # seconds: an instant this close before a frame means the frame, as in data/video.py


@dataclass(frozen=True)
class Mean:
    """A mean that can be added to others.

    Attributes:
        total: of the values.
        count: of the values.
    """

    total: float = 0.0
    count: int = 0

    @property
    def value(self) -> float:
        """NaN of no values."""
        return self.total / self.count if self.count else float("nan")

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)

    @classmethod
    def of(cls, values: Iterable[float]) -> Mean:
        """Of these values."""
        kept = list(values)
        return cls(float(sum(kept)), len(kept))


@dataclass(frozen=True)
class Agreement:
    """How tracks of hands agree with the truth, over the instants of a clip or of many.

    Attributes:
        found: share of the truly visible hands whose own track overlaps them by `FOUND`.
        overlap: intersection over union of a hand's tracked and true box, where both are there.
        side: share of the tracked boxes that lie on a hand which lie on the hand of their side.
        contact: share of the visible hands, of which the tracks tell whether they touch an object, that are
            told right.
    """

    found: Mean = field(default_factory=Mean)
    overlap: Mean = field(default_factory=Mean)
    side: Mean = field(default_factory=Mean)
    contact: Mean = field(default_factory=Mean)

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.found + other.found,
            self.overlap + other.overlap,
            self.side + other.side,
            self.contact + other.contact,
        )


MEASURES = {
    "found": "hands found",
    "overlap": "IoU of hand boxes",
    "side": "side right",
    "contact": "contact right",
}
"""The fields of `Agreement`, each in words."""


def agree(tracks: Tracks, truth: Truth) -> Agreement:
    """Compare the tracks of a clip with the truth of its video.

    Raises:
        ValueError: the truth ends before the clip does.
    """
    frames = _frames(truth, tracks.seconds)
    real = true_boxes(truth, tracks.seconds)[:, :_HANDS]
    found, there = tracks.boxes[:, :_HANDS], ~np.isnan(real[..., 0])
    visible = tracks.visible[:, :_HANDS]
    overlaps = np.array(
        [
            [[overlap(box, hand) for hand in hands] for box in boxes]
            for boxes, hands in zip(found, real, strict=True)
        ]
    ).reshape(len(frames), _HANDS, _HANDS)
    own = overlaps[:, range(_HANDS), range(_HANDS)]
    on_a_hand = overlaps.max(-1) >= FOUND
    told = ~np.isnan(tracks.contact) & there
    right = (tracks.contact > 0.5) == truth.contact[frames].any(-1)
    return Agreement(
        Mean.of((own >= FOUND)[there]),
        Mean.of(own[there & visible]),
        Mean.of((overlaps.argmax(-1) == np.arange(_HANDS))[on_a_hand]),
        Mean.of(right[told]),
    )


def true_boxes(truth: Truth, seconds: npt.NDArray[np.float64]) -> Floats:
    """(F, 5, 4) boxes of `TRACKS` at instants, 0..1 of the picture's sides; NaN where nothing is seen.

    Raises:
        ValueError: an instant is after the end.
    """
    frames = _frames(truth, seconds)
    pixels = np.concatenate([truth.hand_boxes[frames], truth.object_boxes[frames]], axis=1)
    return np.clip(pixels / truth.size, 0, 1).astype(np.float32)


def true_tracks(truth: Truth, seconds: npt.NDArray[np.float64]) -> Tracks:
    """The truth as tracks at instants, without keypoints; errors as of `true_boxes`."""
    boxes = true_boxes(truth, seconds)
    seen = ~np.isnan(boxes[..., 0])
    touching = truth.contact[_frames(truth, seconds)].any(-1).astype(np.float32)
    return Tracks(
        np.asarray(seconds, np.float64),
        boxes,
        np.where(seen, 1, np.nan).astype(np.float32),
        np.zeros((len(seconds), len(TRACKS)), np.bool_),
        np.full((len(seconds), _HANDS, HAND_KEYPOINTS, 2), np.nan, np.float32),
        np.where(seen[:, :_HANDS], touching, np.nan).astype(np.float32),
    )


def _frames(truth: Truth, seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Numbers of the frames that are shown at instants; a last one is shown up to its end."""
    count = len(truth.hand_boxes)
    frames = np.floor((np.asarray(seconds, np.float64) + _ROUNDING) * truth.fps).astype(np.int64)
    if len(frames) and frames.max() > count:
        raise ValueError(
            f"the truth of this video has {count / truth.fps:.2f} s; the clip asks for {seconds.max():.2f} s"
        )
    return np.minimum(frames, count - 1)
