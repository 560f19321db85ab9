"""Seconds of EgoSim's videos, and what its ground truth says of them: what probes of features ask.

A picture encoder sees the middle of a clip, one of clips the whole second; so places and contact are those of
the middle, and a direction is where a hand goes from the first picture to the last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from egorep.probing import Fold, Target
from pretrain.benchmarks.tasks import Mask
from pretrain.data.clips import LEAST_SECONDS
from pretrain.data.narrations import CSV, Narrated, read_narrations
from pretrain.sim.splits import SPLITS
from pretrain.sim.truth import Truth, read_truth

Floats = npt.NDArray[np.float64]

HANDS = ("left", "right")
_STEP = 8  # clips begin at whole eighths of a second, which floats hold exactly


@dataclass(frozen=True)
class Instants:
    """N clips, and what is true of them; hands are (left, right), the wearer's.

    Attributes:
        clips: a second each.
        splits: (N,) of EgoSim's, whose objects and combinations of verb and object differ.
        hands: (N, 2, 2) centre of a hand's box, in 0..1 of the picture's sides; NaN where the hand is not
            seen in the first, middle and last picture.
        contact: (N, 2) whether the hand touches an object.
        directions: (N, 2, 3) metres in camera coordinates: x to the right, y down, z ahead.
        objects: (N, 2) centre of the box of what is touched; NaN unless one object is, and is seen.
    """

    clips: list[Narrated]
    splits: npt.NDArray[np.str_]
    hands: Floats
    contact: Mask
    directions: Floats
    objects: Floats

    @property
    def videos(self) -> npt.NDArray[np.str_]:
        """(N,) names of the videos."""
        return np.array([clip.video_id for clip in self.clips])

    @property
    def fingerprint(self) -> str:
        """Hash of the clips and of what is true of them."""
        digest = hashlib.blake2b(digest_size=16)
        segments = [(clip.video_id, clip.start, clip.end) for clip in self.clips]
        digest.update(json.dumps([segments, self.splits.tolist()]).encode())
        for values in (self.hands, self.contact, self.directions, self.objects):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def questions(self, read: Mask) -> Iterator[Question]:
        """What to ask of each hand, and of the object, of the clips that were read.

        Raises:
            ValueError: a split has no clip that one of them could be asked of.
        """
        for side, name in enumerate(HANDS):
            rows = np.flatnonzero(read & ~np.isnan(self.hands[:, side, 0]))
            yield self._question(
                rows,
                [
                    Target(f"{name} hand", self.hands[rows, side]),
                    Target(f"{name} contact", self.contact[rows, side]),
                    Target(f"{name} direction", self.directions[rows, side]),
                ],
            )
        rows = np.flatnonzero(read & ~np.isnan(self.objects[:, 0]))
        yield self._question(rows, [Target("object", self.objects[rows])])

    def _question(self, rows: npt.NDArray[np.int64], targets: list[Target]) -> Question:
        parts = [np.flatnonzero(self.splits[rows] == split) for split in SPLITS]
        empty = [split for split, part in zip(SPLITS, parts, strict=True) if not len(part)]
        if empty:
            raise ValueError(
                f"{targets[0].name}: split {empty[0]} has no clip of which it is known: make more clips"
            )
        return Question(rows, self.videos[rows], Fold(*parts), targets)


@dataclass(frozen=True)
class Question:
    """Targets over M of the clips.

    Attributes:
        rows: (M,) which.
        videos: (M,) of them.
        fold: learn from EgoSim's split train, choose on validation, judge on test.
        targets: of the M.
    """

    rows: npt.NDArray[np.int64]
    videos: npt.NDArray[np.str_]
    fold: Fold
    targets: list[Target]


def read_instants(data: Path, per_video: int) -> Instants:
    """Clips of a data set that `pretrain.sim` wrote, an equal time apart in each video.

    Args:
        data: its folder.
        per_video: clips of each video, at least 1.

    Raises:
        FileNotFoundError: the narrations or the ground truth of a video are missing.
        ValueError: a file is damaged or not EgoSim's, or a video is shorter than a clip.
    """
    videos = {row.video_id: row for row in read_narrations(data, data / CSV, column="text")}
    clips: list[Narrated] = []
    facts = []
    for name, row in videos.items():
        truth = read_truth(data / "truth" / f"{name}.npz")
        starts = _starts(name, truth, per_video)
        clips += [Narrated(name, row.path, start, start + LEAST_SECONDS, ("",), row.row) for start in starts]
        facts += [_facts(truth, start) for start in starts]
    if not facts:
        raise ValueError(f"{data / CSV} has no usable row")
    hands, contact, directions, objects = (np.stack(part) for part in zip(*facts, strict=True))
    splits = np.array([videos[clip.video_id].more.get("split", "") for clip in clips])
    return Instants(clips, splits, hands, contact, directions, objects)


def _starts(name: str, truth: Truth, count: int) -> list[float]:
    spare = len(truth.hand_boxes) / truth.fps - LEAST_SECONDS
    if spare < 0:
        raise ValueError(f"{name} is shorter than a clip of {LEAST_SECONDS:g} s")
    places = (np.arange(count) + 0.5) / count * spare
    starts: list[float] = (np.floor(places * _STEP) / _STEP).tolist()
    return sorted(set(starts))


def _facts(truth: Truth, start: float) -> tuple[Floats, Mask, Floats, Floats]:
    """What is true of the clip that begins at `start`, see `Instants`."""
    last_frame = len(truth.hand_boxes) - 1
    first, middle, last = (
        min(int((start + share * LEAST_SECONDS) * truth.fps), last_frame) for share in (0.0, 0.5, 1.0)
    )
    seen = truth.hand_visible[[first, middle, last]].all(axis=0)
    hands = np.where(seen[:, None], _centres(truth.hand_boxes[middle]) / truth.size, np.nan)
    palms = truth.keypoints_camera.astype(np.float64)[[first, last]].mean(axis=2)
    return hands, truth.contact[middle].any(axis=1), palms[1] - palms[0], _touched(truth, middle)


def _touched(truth: Truth, frame: int) -> Floats:
    """(2,) centre of the one object in contact, in 0..1 of the picture's sides, or NaN."""
    centres = _centres(truth.object_boxes[frame])[truth.object_ids[frame] >= 0] / truth.size
    return centres[0] if len(centres) == 1 else np.full(2, np.nan)


def _centres(boxes: npt.NDArray[np.float32]) -> Floats:
    return (boxes[..., :2].astype(np.float64) + boxes[..., 2:]) / 2
