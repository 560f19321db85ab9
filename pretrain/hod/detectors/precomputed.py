"""Detections that another program stored as JSON: those of 100DOH, Hands23 and the like.

One file per video, `<path>/<video_id>.json`, or one file for all videos. The schema of one video:

    {"width": 456, "height": 256,           pixels of the pictures that the boxes are in
     "frames": [
       {"second": 0.533,                    when the frame is shown, since the video's start
        "hand_dets": [
          {"bbox": [x1, y1, x2, y2],        pixels
           "score": 0.97,                   0..1
           "side": 0,                       0 left, 1 right: the wearer's
           "state": 3,                      0 none, 1 self, 2 another person, 3 portable, 4 fixed object
           "offset": [m, dx, dy],           optional: where the object is, see below
           "keypoints": [[x, y], ...]}],    optional: 21, pixels, MediaPipe's order; null where unknown
        "obj_dets": [
          {"bbox": [x1, y1, x2, y2], "score": 0.9,
           "name": "cup"}]}]}               optional

One file for all has `{"videos": {"<video_id>": {...}, ...}}`. Other keys are ignored. In place of objects,
`hand_dets` and `obj_dets` may hold the rows of numbers that 100DOH's demo makes: x1, y1, x2, y2, score,
state, m, dx, dy, side.

State, side and offset are those of 100DOH (Shan et al. 2020, "Understanding Human Hands in Contact at
Internet Scale"). The object of a hand is the one whose centre is nearest to the hand's centre + 10000 m (dx,
dy) pixels, as in that demo; without an offset, the one nearest to the hand. Hands of states 0 to 2 hold no
object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.hod.detectors import ClipFrames, Detections, Floats, Hand, Thing, no_keypoints
from pretrain.hod.tracks import HAND_KEYPOINTS

Doubles = npt.NDArray[np.float64]

_REMEMBERED = 8  # videos: clips come one video after the other
_OFFSET_SCALE = 10_000.0  # of 100DOH's demo
_STATES = 5
_HOLDING = 3  # the first state in which a hand holds an object
_ROW = 10  # numbers in a hand's row of 100DOH's demo; an object's row has its score in the same place
_SIDE_CERTAIN = 0.95  # of a given side: detectors err


@dataclass(frozen=True)
class Options:
    """Settings of the detector `precomputed`.

    Attributes:
        path: a folder with a JSON file per video, or one JSON file for all.
        tolerance: seconds that a stored frame may lie from the one asked for.
        threshold: least score of what is read, 0..1.
    """

    path: str | Path
    tolerance: float = 0.1
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance of detector 'precomputed' wants 0 s or more; got {self.tolerance}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold of detector 'precomputed' wants 0..1; got {self.threshold}")


def load(options: Options) -> Precomputed:
    """The detector for one folder or file.

    Raises:
        ValueError: the path is neither, or the file for all does not follow the schema.
    """
    path = Path(options.path)
    if path.is_dir():
        return Precomputed(options, None)
    if not path.is_file():
        raise ValueError(f"detector 'precomputed' wants a folder or a JSON file; there is no {path}")
    return Precomputed(options, _member(_json(path), "videos", dict, str(path)))


class Precomputed:
    """Looks detections up by video and time."""

    def __init__(self, options: Options, videos: Mapping[str, Any] | None) -> None:
        self._options = options
        self._videos = videos
        self._video = lru_cache(_REMEMBERED)(self._read)

    def detect(self, clip: ClipFrames) -> Detections:
        """What is stored about the frames nearest to the clip's seconds; nothing where none is near enough.

        Raises:
            ValueError: nothing is stored about the video, or what is does not follow the schema.
        """
        video = self._video(clip.video_id)
        frames = [video.nearest(float(second), self._options.tolerance) for second in clip.seconds]
        found = [_found(video, frame, self._options.threshold) for frame in frames]
        return Detections(tuple(hands for hands, _ in found), tuple(things for _, things in found))

    def _read(self, video_id: str) -> _Video:
        path = Path(self._options.path)
        if self._videos is None:
            path = path / f"{video_id}.json"
            if not path.is_file():
                raise ValueError(f"video {video_id!r} has no detections: {path} is missing")
            return _Video.of(_json(path), str(path))
        if video_id not in self._videos:
            raise ValueError(f"video {video_id!r} has no detections in {path}")
        return _Video.of(self._videos[video_id], f"{path}, video {video_id!r}")


@dataclass(frozen=True)
class _Video:
    """What is stored about one video, its frames in the order of time; `where` it is, for errors."""

    size: Doubles
    seconds: Doubles
    frames: Sequence[Any]
    where: str

    @classmethod
    def of(cls, stored: Any, where: str) -> _Video:
        width, height = (_number(stored, name, where) for name in ("width", "height"))
        if min(width, height) <= 0:
            raise ValueError(f"{where}: width and height want pixels, more than 0; got {width} x {height}")
        frames = _member(stored, "frames", list, where)
        seconds = [_number(frame, "second", f"{where}, frame {i}") for i, frame in enumerate(frames)]
        order = np.argsort(seconds, kind="stable")
        return cls(
            np.array([width, height], np.float64),
            np.array(seconds, np.float64)[order],
            [frames[i] for i in order],
            where,
        )

    def nearest(self, second: float, tolerance: float) -> Any:
        """The stored frame nearest to `second`; one without detections if none is near enough."""
        apart = np.abs(self.seconds - second)
        if not len(apart) or apart.min() > tolerance:
            return {"hand_dets": [], "obj_dets": []}
        return self.frames[int(apart.argmin())]


def _found(video: _Video, frame: Any, threshold: float) -> tuple[tuple[Hand, ...], tuple[Thing, ...]]:
    where = f"{video.where}, second {frame.get('second')}"
    hands = [_named(one, where) for one in _member(frame, "hand_dets", list, where)]
    things = [_named(one, where) for one in _member(frame, "obj_dets", list, where)]
    hands = [one for one in hands if _share(one, "score", where) >= threshold]
    things = [one for one in things if _share(one, "score", where) >= threshold]
    held = [_held(hand, things, where) for hand in hands]
    return (
        tuple(_hand(one, video, where) for one in hands),
        tuple(
            Thing(
                _in_picture(one, video, where),
                _share(one, "score", where),
                str(one.get("name", "")),
                tuple(number for number, thing in enumerate(held) if thing == i),
            )
            for i, one in enumerate(things)
        ),
    )


def _named(one: Any, where: str) -> Any:
    """A detection with names; rows of numbers get theirs."""
    if not isinstance(one, list):
        return one
    if len(one) != _ROW:
        raise ValueError(
            f"{where}: a row of 100DOH has {_ROW} numbers (x1, y1, x2, y2, score, state, m, dx, dy, side); "
            f"got {len(one)}"
        )
    return {"bbox": one[:4], "score": one[4], "state": one[5], "offset": one[6:9], "side": one[9]}


def _hand(one: Any, video: _Video, where: str) -> Hand:
    side, state = _choice(one, "side", 2, where), _choice(one, "state", _STATES, where)
    return Hand(
        _in_picture(one, video, where),
        _share(one, "score", where),
        _SIDE_CERTAIN if side else 1 - _SIDE_CERTAIN,
        _keypoints(one, video, where),
        float(state >= _HOLDING),
    )


def _keypoints(one: Any, video: _Video, where: str) -> Floats:
    stored = one.get("keypoints")
    if stored is None:
        return no_keypoints()
    rows = [(np.nan, np.nan) if row is None else row for row in _of_type(stored, "keypoints", list, where)]
    try:
        points = np.array(rows, np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.shape != (HAND_KEYPOINTS, 2):
        raise ValueError(f"{where}: keypoints want {HAND_KEYPOINTS} pairs of pixels; got {stored!r:.80}")
    return (points / video.size).astype(np.float32)


def _held(hand: Any, things: Sequence[Any], where: str) -> int | None:
    """The number of the object that a hand holds."""
    if _choice(hand, "state", _STATES, where) < _HOLDING or not things:
        return None
    target = _centre(hand, where)
    if hand.get("offset") is not None:
        size, across, down = _numbers(hand, "offset", 3, where)
        target = target + _OFFSET_SCALE * size * np.array([across, down])
    return int(np.argmin([np.linalg.norm(_centre(thing, where) - target) for thing in things]))


def _centre(one: Any, where: str) -> Doubles:
    box = _numbers(one, "bbox", 4, where)
    return (box[:2] + box[2:]) / 2


def _in_picture(one: Any, video: _Video, where: str) -> Floats:
    """The box in 0..1, what lies outside of the picture cut off."""
    box = _numbers(one, "bbox", 4, where)
    if (box[:2] > box[2:]).any():
        raise ValueError(f"{where}: a bbox is x1, y1, x2, y2 with x1 <= x2 and y1 <= y2; got {box.tolist()}")
    return np.clip(box / np.tile(video.size, 2), 0, 1).astype(np.float32)


# Reading with errors that say where


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error


def _member(stored: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(stored, dict) or name not in stored:
        got = ", ".join(map(str, stored)) if isinstance(stored, dict) else type(stored).__name__
        raise ValueError(f"{where}: wants an object with {name!r}; got {got:.120}")
    return _of_type(stored[name], name, kind, where)


def _of_type(value: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(value, kind):  # of a file, not of a caller: not a TypeError
        raise ValueError(  # noqa: TRY004
            f"{where}: {name!r} wants a {kind.__name__}; got {value!r:.80}"
        )
    return value


def _number(stored: Any, name: str, where: str) -> float:
    value = _member(stored, name, object, where)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ValueError(f"{where}: {name!r} wants a number; got {value!r:.80}")
    return float(value)


def _share(stored: Any, name: str, where: str) -> float:
    value = _number(stored, name, where)
    if not 0 <= value <= 1:
        raise ValueError(f"{where}: {name!r} wants 0..1; got {value}")
    return value


def _choice(stored: Any, name: str, count: int, where: str) -> int:
    value = _number(stored, name, where)
    if value not in range(count):
        raise ValueError(f"{where}: {name!r} wants one of 0 to {count - 1}; got {value:g}")
    return int(value)


def _numbers(stored: Any, name: str, count: int, where: str) -> Doubles:
    values = _member(stored, name, list, where)
    try:
        numbers = np.array(values, np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{where}: {name!r} wants {count} numbers; got {values!r:.80}")
    return numbers
