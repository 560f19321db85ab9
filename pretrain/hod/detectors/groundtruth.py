"""EgoSim's truth as a detector: what the others are measured against, and perfect tracks to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pretrain.hod.detectors import SIDES, ClipFrames, Detections, Floats, Hand, Side, Thing
from pretrain.sim.truth import Truth, read_truth

_ROUNDING = 1e-3  # seconds, as in `pretrain.data.video`
_REMEMBERED = 8  # videos: clips come one video after the other
# Of the columns of `object_boxes`: in the left hand only, in the right only, in both.
_HOLDERS: tuple[tuple[Side, ...], ...] = (("left",), ("right",), SIDES)


@dataclass(frozen=True)
class Options:
    """Settings of the detector `groundtruth`.

    Attributes:
        data: folder of the data set that EgoSim wrote, with `truth/<video_id>.npz`.
    """

    data: str | Path


def load(options: Options) -> GroundTruth:
    """The detector for one data set.

    Raises:
        ValueError: the data set has no `truth` folder.
    """
    folder = Path(options.data) / "truth"
    if not folder.is_dir():
        raise ValueError(
            f"detector 'groundtruth' wants {folder}, which EgoSim writes (python -m pretrain.sim); "
            "for other videos choose another detector"
        )
    return GroundTruth(folder)


class GroundTruth:
    """Reads boxes, keypoints and contact; all scores and sides are certain."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._truth = lru_cache(_REMEMBERED)(self._read)

    def detect(self, clip: ClipFrames) -> Detections:
        """What is truly seen in the frames shown at the clip's seconds.

        Raises:
            ValueError: the video has no truth, or ends before the clip does.
        """
        truth = self._truth(clip.video_id)
        # The frame that is shown then: the last one that is not after it, to a millisecond of rounding.
        numbers = np.floor((clip.seconds + _ROUNDING) * truth.fps).astype(int)
        count = len(truth.hand_boxes)
        # A last frame may be asked for up to its end.
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() <= count):
            raise ValueError(
                f"the truth of video {clip.video_id!r} has {count / truth.fps:.2f} s; "
                f"asked for {clip.seconds.min():.2f} to {clip.seconds.max():.2f} s"
            )
        frames = [min(int(number), count - 1) for number in numbers]
        return Detections(
            tuple(_hands(truth, frame) for frame in frames), tuple(_things(truth, frame) for frame in frames)
        )

    def _read(self, video_id: str) -> Truth:
        path = self._folder / f"{video_id}.npz"
        if not path.is_file():
            raise ValueError(f"video {video_id!r} has no truth: {path} is missing")
        return read_truth(path)


def _hands(truth: Truth, frame: int) -> tuple[Hand, ...]:
    return tuple(
        Hand(
            _box(truth.hand_boxes[frame, side], truth.size),
            1.0,
            float(side),
            (truth.keypoints[frame, side] / truth.size).astype(np.float32),
            float(truth.contact[frame, side].any()),
        )
        for side in range(len(SIDES))
        if not np.isnan(truth.hand_boxes[frame, side, 0])
    )


def _things(truth: Truth, frame: int) -> tuple[Thing, ...]:
    found = []
    for box, number, holders in zip(
        truth.object_boxes[frame], truth.object_ids[frame], _HOLDERS, strict=True
    ):
        if not np.isnan(box[0]):
            found.append(Thing(_box(box, truth.size), 1.0, str(truth.objects[number]), holders))
    return tuple(found)


def _box(pixels: Floats, size: int) -> Floats:
    return np.clip(pixels / size, 0, 1).astype(np.float32)
