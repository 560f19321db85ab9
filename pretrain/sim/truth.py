"""Ground truth of a clip: what no real data set knows about its frames, and the file that holds it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from egorep.files import replacing

Floats = npt.NDArray[np.float32]

_NEAREST = 0.005  # metres before the eye


@dataclass(frozen=True)
class Truth:
    """What is true of T frames with N objects; hands are (left, right), the wearer's.

    Camera coordinates: x to the right, y down, z ahead, metres. Pixels: the centre of the top left one is
    (0.5, 0.5). Boxes are (left, top, right, bottom) in pixels of what is seen, from MuJoCo's segmentation,
    NaN where there is nothing to see. A hand's box is that of its skin, without the sleeve.

    Attributes:
        fps: frames per second.
        size: side of the square pictures, pixels.
        hand_boxes: (T, 2, 4).
        object_boxes: (T, 3, 4) of the object in contact with the left hand only, the right only, both.
        object_ids: (T, 3) index into `objects` of those, -1 for none.
        keypoints_camera: (T, 2, 21, 3) of `hand.KEYPOINTS`, MediaPipe's order, in camera coordinates.
        wrists: (T, 2, 7) place and quaternion (w, x, y, z) of the hand frame in the world.
        contact: (T, 2, N) whether the hand touches the object.
        camera: (T, 7) place and quaternion of the eye in the world, MuJoCo's: it looks along -z, y is up.
        intrinsics: (3, 3) from camera coordinates to pixels.
        objects: names of the N objects, in the order of `kinds` and `colours`.
        kinds, colours: of the objects.
    """

    fps: int
    size: int
    hand_boxes: Floats
    object_boxes: Floats
    object_ids: npt.NDArray[np.int16]
    keypoints_camera: Floats
    wrists: Floats
    contact: npt.NDArray[np.bool_]
    camera: Floats
    intrinsics: Floats
    objects: tuple[str, ...]
    kinds: tuple[str, ...]
    colours: tuple[str, ...]

    @property
    def hand_visible(self) -> npt.NDArray[np.bool_]:
        """(T, 2) whether enough of the hand's skin is seen for a box."""
        return ~np.isnan(self.hand_boxes[..., 0])

    @property
    def keypoints(self) -> Floats:
        """(T, 2, 21, 2) pixels; outside the picture they lie outside 0..size, behind the eye they are NaN."""
        points = self.keypoints_camera.astype(np.float64)
        depth = np.where(points[..., 2:] > _NEAREST, points[..., 2:], np.nan)
        focal, centre = self.intrinsics[0, 0], self.intrinsics[:2, 2]
        return (points[..., :2] / depth * focal + centre).astype(np.float32)


_ARRAYS = [field.name for field in fields(Truth) if field.name not in ("fps", "size")]
_NAMES = ("objects", "kinds", "colours")


def write_truth(path: Path, truth: Truth, rows: Sequence[dict[str, Any]]) -> None:
    """Write ground truth and the narrated rows of a clip, whole or not at all."""
    values = {name: getattr(truth, name) for name in _ARRAYS if name not in _NAMES}
    about = {"fps": truth.fps, "size": truth.size, **{name: getattr(truth, name) for name in _NAMES}}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=json.dumps(about), rows=json.dumps(list(rows)), **values)


def read_truth(path: Path) -> Truth:
    """The ground truth that `python -m pretrain.sim` wrote as `truth/<video_id>.npz`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged or not of EgoSim.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: only videos of EgoSim have ground truth")
    try:
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            values: dict[str, Any] = {name: file[name] for name in _ARRAYS if name not in _NAMES}
        values |= {name: tuple(about[name]) for name in _NAMES}
        return Truth(fps=about["fps"], size=about["size"], **values)
    except Exception as error:  # zip, JSON and NumPy each raise their own
        raise ValueError(f"{path} is no ground truth of EgoSim, or damaged: {error}") from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The narrated rows in a file of `write_truth`, without its arrays; same errors as `read_truth`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: only videos of EgoSim have ground truth")
    try:
        with np.load(path) as file:
            rows: list[dict[str, Any]] = json.loads(str(file["rows"]))
    except Exception as error:  # zip, JSON and NumPy each raise their own
        raise ValueError(f"{path} is no ground truth of EgoSim, or damaged: {error}") from error
    return rows
