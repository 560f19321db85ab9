"""Detectors of hands and objects behind one interface: one file per detector, named as in a config."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from egorep.names import unknown
from pretrain.hod.tracks import HAND_KEYPOINTS

Floats = npt.NDArray[np.float32]
Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")


@dataclass(frozen=True)
class ClipFrames:
    """What a detector looks at.

    Attributes:
        frames: (F, H, W, 3) uint8 RGB.
        seconds: (F,) float64 since the video's start, rising: when the frames are shown.
        video_id: names the video, for detectors that read what is stored about it.

    Raises:
        ValueError: parts of wrong shapes.
        TypeError: frames are not uint8.
    """

    frames: npt.NDArray[np.uint8]
    seconds: npt.NDArray[np.float64]
    video_id: str

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            raise ValueError(f"a clip wants frames (F, H, W, 3); got {self.frames.shape}")
        if self.frames.dtype != np.uint8:
            raise TypeError(f"a clip wants uint8 frames; got {self.frames.dtype}")
        if self.seconds.shape != (len(self.frames),):
            raise ValueError(f"{len(self.frames)} frames want as many seconds; got {self.seconds.shape}")


def no_keypoints() -> Floats:
    """(21, 2) NaN: the keypoints of a hand of which only the box is known."""
    return np.full((HAND_KEYPOINTS, 2), np.nan, np.float32)


@dataclass(frozen=True)
class Hand:
    """One hand in one frame.

    Attributes:
        box: (4,) corners x1, y1, x2, y2 in 0..1 of the picture's sides.
        score: the detector's confidence, 0..1.
        right: probability that it is the wearer's right hand, 0..1; 0.5 where the detector has no idea.
        keypoints: (21, 2) in sides of the picture, MediaPipe's order; NaN where unknown.
        contact: 1 it touches an object, 0 it does not, NaN unknown.
    """

    box: Floats
    score: float
    right: float
    keypoints: Floats = field(default_factory=no_keypoints)
    contact: float = float("nan")

    @property
    def side(self) -> Side:
        """The likelier side."""
        return SIDES[int(self.right >= 0.5)]


@dataclass(frozen=True)
class Thing:
    """One object in one frame.

    Attributes:
        box: (4,) corners x1, y1, x2, y2 in 0..1 of the picture's sides.
        score: the detector's confidence, 0..1.
        name: its class; "" where unknown.
        holders: which hands touch it: indices into the frame's hands, or a side where that hand is not seen;
            empty where nobody does or it is unknown.
    """

    box: Floats
    score: float
    name: str = ""
    holders: tuple[int | Side, ...] = ()


@dataclass(frozen=True)
class Detections:
    """Hands and objects of the F frames of a clip, in no order.

    Attributes:
        hands: of every frame.
        things: of every frame.

    Raises:
        ValueError: the two speak of different numbers of frames, boxes are not ordered corners in 0..1, or a
            holder is none of the frame's hands.
    """

    hands: tuple[tuple[Hand, ...], ...]
    things: tuple[tuple[Thing, ...], ...]

    def __post_init__(self) -> None:
        if len(self.hands) != len(self.things):
            raise ValueError(f"hands of {len(self.hands)} frames but objects of {len(self.things)}")
        for hands, things in zip(self.hands, self.things, strict=True):
            for box in [*(hand.box for hand in hands), *(thing.box for thing in things)]:
                _check_box(box)
            for thing in things:
                _check_holders(thing.holders, len(hands))

    def __len__(self) -> int:
        return len(self.hands)

    def mirrored(self) -> Detections:
        """What would be found in the clip's mirror image: left is right, for places and for sides."""
        hands = tuple(tuple(_mirrored_hand(hand) for hand in row) for row in self.hands)
        return Detections(hands, tuple(tuple(_mirrored_thing(thing) for thing in row) for row in self.things))


class Detector(Protocol):
    """Finds hands and objects in the frames of a clip; the same clip gives the same answer."""

    def detect(self, clip: ClipFrames) -> Detections:
        """Hands and objects of every frame of `clip`.

        Raises:
            ValueError: the clip cannot be answered, as where nothing is stored about its video.
        """
        ...


def list_detectors() -> list[str]:
    """Names of the detectors, one per public file of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")


def load_detector(name: str, **options: Any) -> Detector:
    """The detector called `name`, with its weights or files loaded.

    Args:
        name: one of `list_detectors()`.
        **options: fields of the `Options` in the detector's file.

    Raises:
        ValueError: no such detector or option, with the nearest names; or a value that cannot be.
        ImportError: a package that it needs is not installed; the message says how to install it.
    """
    if name not in list_detectors():
        raise unknown("detector", name, list_detectors())
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise ImportError(f"detector {name!r} needs {error.name}: pip install 'egorep[hod]'") from error
    known = module.Options.__dataclass_fields__
    for option in options:
        if option not in known:
            raise unknown(f"option of detector {name!r}", option, known)
    return cast(Detector, module.load(module.Options(**options)))


def overlap(one: Floats, other: Floats) -> float:
    """Intersection over union of two boxes (4,), 0..1; 0 for boxes without area."""
    both = intersection(one, other)
    union = area(one) + area(other) - both
    return both / union if union > 0 else 0.0


def intersection(one: Floats, other: Floats) -> float:
    """The area that two boxes (4,) share."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0)))


def area(box: Floats) -> float:
    """The area of a box (4,)."""
    return float(np.prod(box[2:] - box[:2]))


def _check_box(box: Floats) -> None:
    if box.shape != (4,) or not ((box >= 0) & (box <= 1)).all() or (box[:2] > box[2:]).any():
        raise ValueError(f"a detected box wants x1 <= x2 and y1 <= y2 in 0..1; got {box.tolist()}")


def _check_holders(holders: tuple[int | Side, ...], hands: int) -> None:
    for holder in holders:
        if holder not in SIDES and holder not in range(hands):
            raise ValueError(f"the holder of an object is a side or one of the {hands} hands; got {holder!r}")


def _mirrored_box(box: Floats) -> Floats:
    return np.array([1 - box[2], box[1], 1 - box[0], box[3]], np.float32)


def _mirrored_hand(hand: Hand) -> Hand:
    keypoints = hand.keypoints.copy()
    keypoints[:, 0] = 1 - keypoints[:, 0]
    return replace(hand, box=_mirrored_box(hand.box), right=1 - hand.right, keypoints=keypoints)


def _mirrored_thing(thing: Thing) -> Thing:
    turned: dict[int | Side, Side] = {"left": "right", "right": "left"}
    holders = tuple(turned.get(holder, holder) for holder in thing.holders)
    return replace(thing, box=_mirrored_box(thing.box), holders=holders)
