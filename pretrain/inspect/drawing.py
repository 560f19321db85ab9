"""A clip with its boxes and tracks drawn in, as a short video."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from egorep.video_files import write_mp4
from pretrain.data.clips import clip_bounds, sample_instants
from pretrain.data.flip import TRACKS
from pretrain.data.motion import Motion
from pretrain.data.narrations import Narrated
from pretrain.data.video import Pictures, read_frames
from pretrain.hod.tracks import Tracks
from pretrain.inspect.agreement import true_boxes
from pretrain.sim.truth import Truth

COLOURS = {
    "left_hand": "#D62828",
    "right_hand": "#1F6FD6",
    "left_object": "#F2B705",
    "right_object": "#2E9E4F",
    "both_object": "#9CCB19",
}
"""Of each track, on clips and in plots: hands red and blue, objects from yellow to green."""

TAGS = dict(zip(TRACKS, ("L", "R", "obj L", "obj R", "obj LR"), strict=True))
"""What is written at each track's box."""

_PER_SECOND = 10.0  # pictures a second, at most
_MOST = 80  # pictures of a clip: longer ones are shown at a lower rate, in their own time
_AT_ONCE = 16  # pictures that are held at the video's own size
_TRAIL = 1.0  # seconds for which a centre's way stays to be seen
_CRF, _PRESET = 27, "veryfast"  # about 15 kB a second at 320 pixels
_TRUE = (255, 255, 255)
_DASH = 5  # pixels
_BRIGHT = 360  # sum of the channels from which black is read better than white

_Colour = tuple[int, int, int]
_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Overlay:
    """What is drawn into S pictures.

    Attributes:
        boxes: (S, 5, 4) of `TRACKS`, 0..1 of the picture's sides, NaN where there is none.
        dashed: (S, 5) bool: boxes that are not detected but filled in.
        touching: (S, 2) bool: the hand is said to touch something.
        truth: (S, 5, 4) true boxes, drawn thin and white; None for none.
    """

    boxes: _Floats
    dashed: npt.NDArray[np.bool_]
    touching: npt.NDArray[np.bool_]
    truth: _Floats | None


def shown_instants(narrated: Narrated) -> tuple[npt.NDArray[np.float64], float]:
    """Seconds (S,) at which a clip is shown, and pictures a second.

    Raises:
        UnreadableVideoError: see `pretrain.data.clips.clip_bounds`.
    """
    start, end = clip_bounds(narrated)
    count = max(1, min(_MOST, round((end - start) * _PER_SECOND)))
    return sample_instants(start, end, count), count / (end - start)


def clip_video(narrated: Narrated, tracks: Tracks | None, truth: Truth | None, size: int) -> bytes:
    """The clip of a row as MP4 (H.264), played in its own time, with everything that is known drawn in.

    Args:
        narrated: the row.
        tracks: drawn with their trails; between two instants that have boxes they go in a straight line.
        truth: drawn thin and white; None for none.
        size: longer side of the pictures, pixels.

    Raises:
        UnreadableVideoError: see `pretrain.data.video.read_frames`.
        ValueError: the truth ends before the clip does.
    """
    seconds, rate = shown_instants(narrated)
    pictures = _read(narrated.path, seconds, size)
    if tracks is not None and len(tracks.seconds):
        pictures = draw(pictures, overlay(tracks, truth, seconds), round(_TRAIL * rate))
    with tempfile.TemporaryDirectory() as folder:
        return write_mp4(Path(folder) / "clip.mp4", pictures, rate, preset=_PRESET, crf=_CRF).read_bytes()


def overlay(tracks: Tracks, truth: Truth | None, seconds: npt.NDArray[np.float64]) -> Overlay:
    """Tracks and truth at the instants (S,) of pictures.

    Raises:
        ValueError: the truth ends before.
    """
    motion = Motion(tracks.seconds, tracks.boxes, tracks.contact, tracks.keypoints)
    near = np.abs(tracks.seconds[None] - seconds[:, None]).argmin(1)
    return Overlay(
        motion.boxes_at(seconds),
        tracks.interpolated[near],
        tracks.contact[near] > 0.5,
        None if truth is None else true_boxes(truth, seconds),
    )


def draw(pictures: Pictures, over: Overlay, trail: int) -> Pictures:
    """Draw into a copy of pictures.

    Args:
        pictures: (S, H, W, 3) uint8.
        over: what is drawn.
        trail: pictures for which the way of a box's centre stays to be seen.
    """
    drawn = pictures.copy()
    sides = np.array([pictures.shape[2], pictures.shape[1]] * 2, np.float32)
    boxes = over.boxes * sides
    for number, picture in enumerate(drawn):
        if over.truth is not None:
            for box in _there(over.truth[number] * sides):
                cv2.rectangle(picture, *_corners(box), _TRUE, 1)
        for track, name in enumerate(TRACKS):
            way = boxes[max(0, number - trail) : number + 1, track]
            _draw_trail(picture, (way[:, :2] + way[:, 2:]) / 2, _colour(name))
        for track in np.flatnonzero(~np.isnan(boxes[number, :, 0])):
            _draw_track(picture, boxes[number, track], int(track), over, number)
    return drawn


def _draw_track(picture: Pictures, box: _Floats, track: int, over: Overlay, number: int) -> None:
    name, hand = TRACKS[track], track < over.touching.shape[1]
    colour, (first, last) = _colour(name), _corners(box)
    if over.dashed[number, track]:
        for start, end in _dashes(first, last):
            cv2.line(picture, start, end, colour, 2)
    else:
        cv2.rectangle(picture, first, last, colour, 2)
    tag = f"{TAGS[name]} touch" if hand and over.touching[number, track] else TAGS[name]
    # Hands are named above their boxes and objects below, for they overlap.
    _write(picture, first if hand else (first[0], last[1]), colour, tag, hand)


def _write(picture: Pictures, at: tuple[int, int], colour: _Colour, text: str, above: bool) -> None:
    """A label above or below a place, moved into the picture."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    width, height = width + 5, height + 6
    left = max(0, min(at[0] - 1, picture.shape[1] - width))
    top = max(0, min(at[1] - height if above else at[1], picture.shape[0] - height))
    cv2.rectangle(picture, (left, top), (left + width, top + height), colour, cv2.FILLED)
    ink = (0, 0, 0) if sum(colour) > _BRIGHT else (255, 255, 255)
    place = left + 2, top + height - 3
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, ink, 1, cv2.LINE_AA)


def _read(path: Path, seconds: npt.NDArray[np.float64], size: int) -> Pictures:
    """Whole pictures, for boxes refer to them, made smaller or larger."""
    kept = []
    for first in range(0, len(seconds), _AT_ONCE):
        for picture in read_frames(path, seconds[first : first + _AT_ONCE]):
            height, width = picture.shape[:2]
            scale = size / max(height, width)
            sides = max(2, round(width * scale)), max(2, round(height * scale))
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            kept.append(cv2.resize(picture, sides, interpolation=way))
    return np.stack(kept).astype(np.uint8)


def _draw_trail(picture: Pictures, centres: _Floats, colour: _Colour) -> None:
    """The way that a centre went, the older the fainter."""
    shade = np.zeros(picture.shape[:2], np.uint8)
    for number in range(1, len(centres)):
        if not np.isnan(centres[number - 1 : number + 1]).any():
            ends = [(round(float(x)), round(float(y))) for x, y in centres[number - 1 : number + 1]]
            cv2.line(shade, ends[0], ends[1], (255 * number // len(centres),), 3, cv2.LINE_AA)
    if shade.any():
        share = shade[..., None].astype(np.float32) / 255
        picture[:] = (picture * (1 - share) + np.array(colour, np.float32) * share).astype(np.uint8)


def _dashes(
    first: tuple[int, int], last: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    (left, top), (right, bottom) = first, last
    for x in range(left, right, 2 * _DASH):
        for y in (top, bottom):
            yield (x, y), (min(x + _DASH, right), y)
    for y in range(top, bottom, 2 * _DASH):
        for x in (left, right):
            yield (x, y), (x, min(y + _DASH, bottom))


def _there(boxes: _Floats) -> _Floats:
    kept: _Floats = boxes[~np.isnan(boxes[:, 0])]
    return kept


def _corners(box: _Floats) -> tuple[tuple[int, int], tuple[int, int]]:
    left, top, right, bottom = (round(float(value)) for value in box)
    return (left, top), (right, bottom)


def _colour(name: str) -> _Colour:
    text = COLOURS[name]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
