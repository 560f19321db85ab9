"""Objects in contact with hands, found without any detector: what moves through the scene with a hand.

The camera's motion is taken out (`camera.py`) and the scene without anything that moves is the median of the
clip's pictures, hands left out. What differs from it and is not skin moved. Such a region that touches a hand
and stays inside the picture is an object in that hand; one that reaches the picture's edge is the arm. A hand
that itself moves through the scene with no such region holds nothing. All else stays unknown: a hand that
rests may rest on something.

What this cannot see: things that do not move when touched, or only a part of which does (its box is of what
moved), and anything in a clip too short to show the scene without it.

Measured on EgoSim, hands of `mediapipe` (`python benchmarks/hod_detection.py 6 test 0`; few clips, so rough):
21 of 30 contacts claimed are true (0.70), 21 of 80 true ones are claimed (0.26); 83 of 107 hands said to hold
nothing do (0.78); 40 % of hands get an answer. Of the objects in true contacts 8 of 21 overlap by more than
0.3 (mean 0.32). On `4 validation 9000` it was 21 of 50, 21 of 26, 62 of 66, 50 % and 4 of 21. This is a weak
judge: where contact decides something, use `precomputed` detections of a model trained for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pretrain.hod.camera import moved, scene_motion
from pretrain.hod.detectors import Detections, Floats, Hand, Thing, intersection
from pretrain.hod.detectors._skin import Mask, SkinColour, bones_mask

_SIDE = 256  # pixels that the longer side is brought down to: enough for regions, and fast
_IN_BOX = 1.5  # times likelier skin than scene that colours want in a hand's box, where skin is expected
_SKIN_EDGE = 0.005  # of the picture's sides: pixels that mix the colours of skin and scene
_CORE = 0.3  # of a hand's box, cut off all around, what is left is mostly skin
_EDGE = 0.04  # of the picture's sides: what ends there goes on outside
_LEAST_FRAMES = 3  # of which a median leaves out what moves

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ContactOptions:
    """Settings of `find_contact`.

    Attributes:
        difference: distance in CIELAB (8 bits a channel) from the still scene beyond which a pixel moved.
        least_area: share of the picture that a region must cover.
        most_area: and that it may cover at most: beyond it something else than an object changed.
        reach: sides of the picture between a hand's skin and a region that touches it.
        still: sides of the picture up to which a hand counts as resting: nothing is said of it.
        travel: sides of the picture that a hand goes through the scene between two frames to count as moving.
        object_share: of a region, inside the box of a detected object, for the region to be that object.

    Raises:
        ValueError: a value that cannot be.
    """

    difference: float = 18.0
    least_area: float = 0.0015
    most_area: float = 0.15
    reach: float = 0.03
    still: float = 0.015
    travel: float = 0.04
    object_share: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} of contact wants a number above 0; got {value}")


_DEFAULTS = ContactOptions()


def find_contact(frames: Pictures, detections: Detections, options: ContactOptions = _DEFAULTS) -> Detections:
    """Judge what each hand holds.

    Args:
        frames: (F, H, W, 3) uint8 RGB.
        detections: hands of the F frames; objects, if a detector found some, lend their boxes and names to
            the regions that move inside them. Hands whose contact is known already keep it, and objects that
            have holders stay as they are; where all hands are known nothing is looked for.
        options: settings.

    Returns:
        The same hands in the same order, with contact 1, 0 or NaN, and objects with their holders. Of a
        region, the score of an object is the share of its outline's box that it fills.

    Raises:
        ValueError: another number of frames.
    """
    if len(frames) != len(detections):
        raise ValueError(f"contact wants the {len(detections)} frames of the detections; got {len(frames)}")
    unknown = any(math.isnan(hand.contact) for hands in detections.hands for hand in hands)
    if len(frames) < _LEAST_FRAMES or not unknown:
        return detections
    scene = _Scene(_small(frames), detections.hands, options)
    regions = [scene.regions(frame) for frame in range(len(frames))]
    held = scene.held(regions)
    hands = tuple(
        tuple(
            replace(hand, contact=_contact(hand, bool(held[frame][i]), scene.way(frame, i) > options.travel))
            for i, hand in enumerate(row)
        )
        for frame, row in enumerate(detections.hands)
    )
    things = tuple(
        _things(seen, touched, given, options)
        for seen, touched, given in zip(regions, held, detections.things, strict=True)
    )
    return Detections(hands, things)


def _small(frames: Pictures) -> Pictures:
    height, width = frames.shape[1:3]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def _contact(hand: Hand, touched: bool, moves: bool) -> float:
    if not math.isnan(hand.contact):
        return hand.contact
    if touched:
        return 1.0
    return 0.0 if moves else math.nan


class _Scene:
    """A clip's pictures, what is still in them, and what is skin."""

    def __init__(self, frames: Pictures, hands: Sequence[Sequence[Hand]], options: ContactOptions) -> None:
        self._options = options
        self._hands = hands
        self._transforms = scene_motion(frames)
        self._boxes = [_filled([hand.box for hand in row], frames.shape[1:3]) for row in hands]
        cores = [(i, _core(hand, frames.shape[1:3])) for i, row in enumerate(hands) for hand in row]
        skin = SkinColour(frames, cores, [~boxes for boxes in self._boxes])
        self._skin = [
            skin.mask(frame, _IN_BOX) & boxes for frame, boxes in zip(frames, self._boxes, strict=True)
        ]
        self._lab = [cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.float32) for frame in frames]
        self._still = self._still_scene()
        loose = [
            (_least_distance(picture, still) > options.difference) & ~_grown(covered, _SKIN_EDGE)
            for picture, still, covered in zip(self._lab, self._still, self._skin, strict=True)
        ]
        self._loose = self._without_arms(frames, loose)

    def _still_scene(self) -> list[Floats]:
        """Per frame (H, W, 3) CIELAB what it would show if nothing had moved; NaN where nothing is known."""
        stacked = []
        for picture, boxes, transform in zip(self._lab, self._boxes, self._transforms, strict=True):
            hidden = picture.copy()
            hidden[_grown(boxes, self._options.reach)] = np.nan
            stacked.append(_warped(hidden, transform))
        still = _median(np.stack(stacked))
        return [_warped(still, cv2.invertAffineTransform(transform)) for transform in self._transforms]

    def regions(self, frame: int) -> list[Mask]:
        """Regions (H, W) of one frame that moved there, are no skin, and lie inside the picture."""
        least, most = self._options.least_area, self._options.most_area
        return [
            part
            for part in _parts(self._loose[frame])
            if least <= part.mean() <= most
            and not _at_edge(part)
            and _outlined(part, self._lab[frame]) > _outlined(part, self._still[frame])
        ]

    def held(self, regions: Sequence[Sequence[Mask]]) -> list[list[list[int]]]:
        """Of each frame and hand the numbers of the regions that it touches, there and in a frame beside."""
        touched = [
            [
                _touching(self._own_skin(frame, hand), regions[frame], self._options)
                if self.way(frame, i) > self._options.still
                else []
                for i, hand in enumerate(row)
            ]
            for frame, row in enumerate(self._hands)
        ]
        return [
            [
                numbers if any(touched[other][j] for other, j, _ in self._beside(frame, i)) else []
                for i, numbers in enumerate(row)
            ]
            for frame, row in enumerate(touched)
        ]

    def way(self, frame: int, index: int) -> float:
        """How far a hand goes from or to a frame beside, the greater of both, in sides of the picture."""
        return max((way for _, _, way in self._beside(frame, index)), default=0.0)

    def _beside(self, frame: int, index: int) -> Iterator[tuple[int, int, float]]:
        """Frame and number of the nearest hand in the frames before and after, and how far off it is."""
        here = self._place(frame, self._hands[frame][index])
        for other in (frame - 1, frame + 1):
            if 0 <= other < len(self._hands) and self._hands[other]:
                ways = [float(np.linalg.norm(self._place(other, hand) - here)) for hand in self._hands[other]]
                nearest = int(np.argmin(ways))
                yield other, nearest, ways[nearest]

    def _place(self, frame: int, hand: Hand) -> npt.NDArray[np.float64]:
        """The middle of a hand in the scene, sides of the picture."""
        height, width = self._skin[frame].shape
        size = np.array([width, height], np.float64)
        middle = (hand.box[:2].astype(np.float64) + hand.box[2:]) / 2
        return moved(middle * size, self._transforms[frame]) / size

    def _without_arms(self, frames: Pictures, loose: list[Mask]) -> list[Mask]:
        """What moved, without what has the colours of what comes in over the edge beside a hand: sleeves."""
        arms = []
        for number, mask in enumerate(loose):
            near = _grown(self._skin[number], self._options.reach)
            arms += [(number, part) for part in _parts(mask) if _at_edge(part) and (part & near).any()]
        if not arms:
            return loose
        colour = SkinColour(frames, arms, [~mask for mask in loose])
        return [mask & ~colour.mask(frame) for mask, frame in zip(loose, frames, strict=True)]

    def _own_skin(self, frame: int, hand: Hand) -> Mask:
        """(H, W) the skin of one hand; all of its box where no colour tells."""
        box = _filled([hand.box], self._skin[frame].shape)
        own = self._skin[frame] & box
        return own if own.any() else box


def _things(
    regions: Sequence[Mask], held: Sequence[Sequence[int]], given: Sequence[Thing], options: ContactOptions
) -> tuple[Thing, ...]:
    """The given objects, those that a touched region lies in with its holders, and regions in none."""
    things = list(given)
    for number in sorted({region for touched in held for region in touched}):
        holders = tuple(hand for hand, touched in enumerate(held) if number in touched)
        box, filled = _outline(regions[number])
        size = float(np.prod(box[2:] - box[:2]))
        inside = [intersection(box, thing.box) / size if not thing.holders else 0.0 for thing in given]
        best = int(np.argmax(inside)) if inside else -1
        if best >= 0 and inside[best] >= options.object_share:
            things[best] = replace(things[best], holders=tuple({*things[best].holders, *holders}))
        else:
            things.append(Thing(box, filled, "", holders))
    return tuple(things)


def _parts(mask: Mask) -> list[Mask]:
    """The connected parts (H, W) of a mask, threads cut off."""
    whole: Any = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(whole, connectivity=8)
    return [labels == label for label in range(1, count)]


def _outlined(part: Mask, picture: Floats) -> float:
    """How sharply a part stands out in a picture (H, W, 3): the mean change of colour along its outline.

    What is there has its outline in the frame; a place that something left has it in the still scene.
    """
    known: Any = np.nan_to_num(picture)
    across, down = (cv2.Sobel(known, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    line = _grown(part, _SKIN_EDGE) & ~cv2.erode(part.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(
        np.bool_
    )
    return float(np.sqrt((across**2 + down**2).sum(-1))[line].mean())


def _at_edge(part: Mask) -> bool:
    height, width = part.shape
    down, across = max(1, round(_EDGE * height)), max(1, round(_EDGE * width))
    return bool(part.sum() > part[down : height - down, across : width - across].sum())


def _touching(skin: Mask, regions: Sequence[Mask], options: ContactOptions) -> list[int]:
    """Numbers of the regions within reach of a hand."""
    near = _grown(skin, options.reach)
    return [number for number, region in enumerate(regions) if (region & near).any()]


def _outline(region: Mask) -> tuple[Floats, float]:
    """The box (4,) of a region in 0..1, and the share of it that the region fills."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    height, width = region.shape
    corners = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
    filled = region.sum() / np.prod(corners[2:] - corners[:2])
    return (corners / [width, height, width, height]).astype(np.float32), float(filled)


def _core(hand: Hand, shape: tuple[int, ...]) -> Mask:
    """(H, W) where a hand is skin for sure: along its bones, or in the middle of its box."""
    if not np.isnan(hand.keypoints).any():
        return bones_mask(hand.keypoints, shape)
    cut = (hand.box[2:] - hand.box[:2]) * _CORE
    return _filled([np.concatenate([hand.box[:2] + cut, hand.box[2:] - cut])], shape)


def _filled(boxes: Sequence[Floats], shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape[:2], np.bool_)
    for box in boxes:
        left, top, right, bottom = (box * np.array([shape[1], shape[0]] * 2)).round().astype(int)
        mask[top:bottom, left:right] = True
    return mask


def _grown(mask: Mask, share: float) -> Mask:
    """The mask grown by a share of the picture's longer side."""
    radius = max(1, round(share * max(mask.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(np.bool_)


def _warped(picture: Any, transform: Any) -> Any:
    """A picture (H, W, 3) float moved by an affine map; NaN where nothing is known."""
    size = (picture.shape[1], picture.shape[0])
    unknown = (np.nan,) * 3
    return cv2.warpAffine(picture, transform, size, flags=cv2.INTER_NEAREST, borderValue=unknown)


def _median(stack: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(H, W, 3) over (F, H, W, 3), of what is known; NaN where nothing ever is."""
    known = np.sort(stack, axis=0)  # NaN last
    count = (~np.isnan(known[..., :1])).sum(0)
    middle = np.maximum(count - 1, 0) // 2
    return np.take_along_axis(known, np.broadcast_to(middle, known.shape[1:])[None], axis=0)[0]


def _least_distance(picture: npt.NDArray[np.float32], scene: npt.NDArray[np.float32]) -> Floats:
    """(H, W) distance in colour to the most alike of the scene's nine pixels around; 0 if none is known."""
    padded = np.pad(scene, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = picture.shape[:2]
    apart = [
        np.linalg.norm(picture - padded[down : down + height, across : across + width], axis=-1)
        for down in range(3)
        for across in range(3)
    ]
    least: Floats = np.nan_to_num(np.fmin.reduce(apart), nan=0.0)
    return least
