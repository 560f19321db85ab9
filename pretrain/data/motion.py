"""Tracks of hands and objects beside the clips of a HOD data set, kept true while pictures are changed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from pretrain.data.flip import TRACKS, flip_boxes, flip_hands
from pretrain.hod.tracks import HAND_KEYPOINTS

Floats = npt.NDArray[np.float32]

_HANDS = 2
_IN_MEMORY = 2**28  # bytes, of tracks that are read as a whole
MOTION_SIZE = 1 + len(TRACKS) * 5 + _HANDS * (3 + 2 * HAND_KEYPOINTS)
"""Numbers that `Motion.features` gives for an instant."""

# A box counts as seen in a crop while this share of its area is in it.
_SEEN = 0.25


@dataclass(frozen=True)
class Window:
    """A part of a picture: its left and upper edge, width and height, in 0..1 of the picture's sides."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Motion:
    """What hands and objects do in a clip at F instants; missing is NaN.

    Attributes:
        seconds: (F,) since the video's start, rising; NaN where there is no instant.
        boxes: (F, K, 4) corners x1, y1, x2, y2 in 0..1 of the picture's sides, K as in `TRACKS`.
        contact: (F, 2), of the left and the right hand: 1 touches an object, 0 does not.
        keypoints: (F, 2, 21, 2) of the hands, in the picture's sides; in a crop also beyond 0..1.
    """

    seconds: npt.NDArray[np.float64]
    boxes: Floats
    contact: Floats
    keypoints: Floats

    @classmethod
    def unknown(cls) -> Motion:
        """Of a clip without tracks: one instant, of which nothing is known."""
        return cls(
            np.full(1, np.nan),
            np.full((1, len(TRACKS), 4), np.nan, np.float32),
            np.full((1, _HANDS), np.nan, np.float32),
            np.full((1, _HANDS, HAND_KEYPOINTS, 2), np.nan, np.float32),
        )

    @property
    def known(self) -> bool:
        """Whether there is any box."""
        return not np.isnan(self.boxes).all()

    def cropped(self, window: Window) -> Motion:
        """As seen in a part of the picture: boxes are cut at its edges, and missing where little is left."""
        corner = np.array([window.left, window.top], np.float32)
        sides = np.array([window.width, window.height], np.float32)
        whole = (self.boxes - np.tile(corner, 2)) / np.tile(sides, 2)
        cut = whole.clip(0, 1)
        hidden: npt.NDArray[np.bool_] = _areas(cut) < _SEEN * _areas(whole)
        boxes = np.where(hidden[..., None], np.float32(np.nan), cut)
        return dataclasses.replace(self, boxes=boxes, keypoints=(self.keypoints - corner) / sides)

    def mirrored(self) -> Motion:
        """As in a mirror: left and right change places, in the picture and as names of hands."""
        keypoints = self.keypoints * np.array([-1, 1], np.float32) + np.array([1, 0], np.float32)
        return dataclasses.replace(
            self,
            boxes=flip_hands(flip_boxes(self.boxes)),
            contact=self.contact[:, ::-1],
            keypoints=keypoints[:, ::-1],
        )

    def boxes_at(self, seconds: npt.NDArray[np.float64]) -> Floats:
        """Boxes at other instants, in between by linear interpolation.

        Args:
            seconds: (N,) since the video's start; before the first and after the last known instant, theirs
                holds.

        Returns:
            (N, K, 4); NaN where either of the two neighbours in time is.
        """
        known = np.isfinite(self.seconds)
        if not known.any():
            return np.full((len(seconds), *self.boxes.shape[1:]), np.nan, np.float32)
        boxes = self.boxes[known]
        place = np.interp(seconds, self.seconds[known], np.arange(len(boxes)))
        before, after = np.floor(place).astype(int), np.ceil(place).astype(int)
        share = (place - before).astype(np.float32)[:, None, None]
        # At an instant itself `before` is `after`, so a neighbour that is missing does not count.
        between: Floats = boxes[before] * (1 - share) + boxes[after] * share
        return between

    def features(self, start: float, end: float) -> Floats:
        """(F, MOTION_SIZE) numbers for a network: every value, 0 where missing, and whether it is known.

        Args:
            start: of the clip, seconds; time is given as the share of the clip that has passed.
            end: of the clip, seconds.
        """
        time = (self.seconds - start) / (end - start)
        keypoints = self.keypoints.reshape(len(time), _HANDS, -1)
        values = [
            time[:, None],
            self.boxes.reshape(len(time), -1),
            ~np.isnan(self.boxes[..., 0]),
            self.contact,
            ~np.isnan(self.contact),
            keypoints.reshape(len(time), -1),
            ~np.isnan(keypoints[..., 0]),
        ]
        return np.nan_to_num(np.concatenate(values, axis=1).astype(np.float32), nan=0.0)


class TrackStore:
    """`tracks.zarr` of a HOD data set, row by row; it opens the file where it is used, so it pickles cheaply.

    Of up to 256 MiB (some 30,000 rows) all is read at once: zarr takes 10 ms to read a row, a third of what reading and
    changing a clip of 4 small pictures takes.

    Args:
        path: a group with arrays "seconds" (N, F), "boxes" (N, F, 5, 4), "contact" (N, F, 2) and "keypoints"
            (N, F, 2, 21, 2), aligned with the rows of the CSV beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        arrays = dict(zarr.open_group(self.path, mode="r").arrays())
        if sum(array.nbytes for array in arrays.values()) > _IN_MEMORY:
            return arrays
        return {name: array[:] for name, array in arrays.items()}

    def check(self, rows: int) -> None:
        """Check that it can be read and belongs to a CSV of so many rows.

        Raises:
            ValueError: an array is missing, of another shape, or of another length.
        """
        kinds, points = len(TRACKS), HAND_KEYPOINTS
        wanted = {"seconds": (), "boxes": (kinds, 4), "contact": (2,), "keypoints": (2, points, 2)}
        for name, shape in wanted.items():
            if name not in self._arrays:
                raise ValueError(f"{self.path} has no array {name!r}: pretrain.hod writes it")
            found = self._arrays[name].shape
            if found[0] != rows or found[2:] != shape:
                says = f"({rows}, F{''.join(f', {side}' for side in shape)})"
                raise ValueError(
                    f"{self.path}: {name!r} wants {says} for the {rows} rows of the CSV; got {found}: "
                    "the two files are not of one run of pretrain.hod"
                )

    def __getitem__(self, row: int) -> Motion:
        """The motion in the clip of a row."""
        arrays = self._arrays
        return Motion(
            np.asarray(arrays["seconds"][row], np.float64),
            np.asarray(arrays["boxes"][row], np.float32),
            np.asarray(arrays["contact"][row], np.float32),
            np.asarray(arrays["keypoints"][row], np.float32),
        )


def _areas(boxes: Floats) -> Floats:
    areas: Floats = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
    return areas
