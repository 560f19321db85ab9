"""MediaPipe's hands, whose weights come inside the package: no network, about 20 ms a look on one CPU core.

MediaPipe looks for palms and misses many hands of a wearer: those that grasp, turn away or leave the picture.
So a clip is looked at twice. First every frame as a whole, with a low threshold: what is kept are the hands
whose colours agree with one another over the clip (a wrong find seldom has the colour of the next one). Then,
wherever a frame shows more of that colour, again, closer. Where the second look finds no joints either, the
patch of skin itself is a hand without keypoints, if `colour_only` allows it. Patches that stay in one place
of the scene all along, but for its lower edge where hands rest, are things of the skin's colour: left out.

Sides come from MediaPipe, exchanged, for it expects the mirrored pictures of a selfie camera. Where it is
unsure, and for hands known by colour only, the place in the picture decides (`_places.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from mediapipe.python.solution_base import SolutionBase

from pretrain.hod.camera import moved, scene_motion
from pretrain.hod.detectors import ClipFrames, Detections, Floats, Hand, area, intersection, overlap
from pretrain.hod.detectors._places import right_by_place
from pretrain.hod.detectors._skin import Mask, SkinColour, blobs, bones_mask, colour_along

_GRAPH = "mediapipe/modules/hand_landmark/hand_landmark_tracking_cpu.binarypb"
_MOST_HANDS = 4  # asked for in a look: the wearer's, and what may turn out to be none
_BRIGHTNESS = 130.0  # mean grey that pictures are brought to: dark ones hide dark hands
_GROW = 1.25  # a box around the joints ends inside the fingers and the heel of the hand
_SAME = 0.5  # overlap beyond which two finds are one hand
_ALIKE = 18.0  # distance in CIELAB, lightness at half weight, within which two colours are one skin's
_SURE = 0.3  # palm score from which a hand needs no other hand of its colour
_AGREED = 0.3  # palm scores that hands of one colour need together before that colour is believed
_LEAST_BLOB = 0.002  # share of the picture: 100 pixels of 224 x 224
_MOST_SKIN = 0.25  # share of the picture beyond which the skin's colour is the scene's as well
_LARGEST_BLOB = 3.0  # times the largest hand with joints: beyond it is more than a hand
_SMALLEST_BLOB = 0.04  # likewise: below it is a splinter
_STILL = 0.25  # overlap with itself, in the scene, of a patch that does not move
_ALWAYS = 0.6  # share of the frames in which a thing that belongs to the scene is seen in its place
_EXPLAINED = 0.3  # share of a blob's box inside a hand found already
_CLOSER = 3.0  # side of the second look's picture, in sides of the blob
_LEAST_CLOSER = 0.35  # and at least so much of the picture
_CLOSER_PIXELS = 256
# Score of a hand known by its colour, with joints or without: so many of them are hands, measured on EgoSim.
_BY_COLOUR = 0.6
_UNSURE_SIDE = 0.9  # certainty of MediaPipe's side below which the place has a say

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Options:
    """Settings of the detector `mediapipe`.

    Attributes:
        palm_threshold: least score of a palm in the first look, 0..1.
        joints_threshold: least score of its joints, 0..1.
        second_look: whether to look again where a frame shows the skin's colour.
        colour_only: whether a patch of skin in which no joints are found is a hand.
    """

    palm_threshold: float = 0.05
    joints_threshold: float = 0.05
    second_look: bool = True
    colour_only: bool = True

    def __post_init__(self) -> None:
        for name in ("palm_threshold", "joints_threshold"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} of detector 'mediapipe' wants 0..1; got {getattr(self, name)}")


def load(options: Options) -> MediaPipe:
    """The detector with its models loaded."""
    return MediaPipe(options)


class MediaPipe:
    """Finds hands; see the module."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._graph = SolutionBase(
            binary_graph_path=_GRAPH,
            side_inputs={"model_complexity": 1, "num_hands": _MOST_HANDS, "use_prev_landmarks": False},
            calculator_params={
                "palmdetectioncpu__TensorsToDetectionsCalculator.min_score_thresh": options.palm_threshold,
                "handlandmarkcpu__ThresholdingCalculator.threshold": options.joints_threshold,
            },
            outputs=["multi_hand_landmarks", "multi_handedness", "palm_detections"],
        )

    def detect(self, clip: ClipFrames) -> Detections:
        """Hands of every frame; no objects, no contact."""
        frames = [_brightened(frame) for frame in clip.frames]
        found = [_distinct(self._look(frame)) for frame in frames]
        skin_hands = _of_one_colour(frames, found)
        if skin_hands and self.options.second_look:
            found = self._again(np.stack(frames), found, skin_hands)
        else:
            found = [[hand for hand in hands if hand.score >= _SURE] for hands in found]
        return Detections(tuple(map(tuple, found)), ((),) * len(found))

    def _look(self, picture: Picture) -> list[Hand]:
        """All hands that MediaPipe finds in a picture (H, W, 3), twice if found twice."""
        answer: Any = self._graph.process({"image": np.ascontiguousarray(picture)})
        palms = [_palm(palm) for palm in answer.palm_detections or []]
        hands = []
        for marks, sides in zip(
            answer.multi_hand_landmarks or [], answer.multi_handedness or [], strict=True
        ):
            joints = np.array([(mark.x, mark.y) for mark in marks.landmark], np.float32)
            box = _around(joints)
            if area(box) > 0:
                hands.append(Hand(box, _score(joints, palms), _right(sides.classification[0], box), joints))
        return hands

    def _again(
        self, frames: npt.NDArray[np.uint8], found: list[list[Hand]], skin_hands: list[tuple[int, Mask]]
    ) -> list[list[Hand]]:
        """Hands that look like skin, and those that the second look adds."""
        skin = SkinColour(frames, skin_hands, [_away(hands, frames.shape[1:3]) for hands in found])
        masks = [_sparse(skin.mask(frame)) for frame in frames]
        found = [
            [hand for hand in hands if hand.score >= _SURE or _is_skin(hand, mask)]
            for hands, mask in zip(found, masks, strict=True)
        ]
        hand = max((area(hand.box) for hands in found for hand in hands), default=0.0)
        least, most = _SMALLEST_BLOB * hand, _LARGEST_BLOB * hand
        parts = [[box for box in blobs(mask, _LEAST_BLOB) if least <= area(box) <= most] for mask in masks]
        moving = _without_scene(parts, scene_motion(frames), frames.shape[1:3])
        better = []
        for frame, hands, patches, mask in zip(frames, found, moving, masks, strict=True):
            kept = [_tightened(_confirmed(hand, mask), patches) for hand in hands]
            for patch in patches:
                if len(kept) < _MOST_HANDS and not _explained(patch, kept):
                    kept += self._closer(frame, patch)
            better.append(_distinct(kept))
        return better

    def _closer(self, frame: Picture, patch: Floats) -> list[Hand]:
        """The hand at a patch of skin (4,), found in a closer look or by its colour only; or none."""
        height, width = frame.shape[:2]
        size, shorter = np.array([width, height], np.float32), min(width, height)
        middle, longest = (patch[:2] + patch[2:]) / 2 * size, float(((patch[2:] - patch[:2]) * size).max())
        side = int(np.clip(longest * _CLOSER, _LEAST_CLOSER * shorter, shorter))
        start = np.clip(middle - side / 2, 0, size - side).astype(int)
        crop = frame[start[1] : start[1] + side, start[0] : start[0] + side]
        enlarged = cv2.resize(crop, (_CLOSER_PIXELS, _CLOSER_PIXELS), interpolation=cv2.INTER_CUBIC)
        for hand in self._look(enlarged.astype(np.uint8)):
            joints = ((hand.keypoints * side + start) / size).astype(np.float32)
            box = _around(joints)
            if intersection(box, patch) > _EXPLAINED * area(patch) and area(box) > 0:
                return [_tightened(Hand(box, max(hand.score, _BY_COLOUR), hand.right, joints), [patch])]
        return [Hand(patch, _BY_COLOUR, right_by_place(patch))] if self.options.colour_only else []


def _brightened(frame: Picture) -> Picture:
    """The picture with its mean brought to `_BRIGHTNESS` by a power of each value."""
    mean = np.clip(frame.mean(), 1, 254) / 255
    power = np.log(_BRIGHTNESS / 255) / np.log(mean)
    table = (255 * (np.arange(256) / 255) ** power).astype(np.uint8)
    return table[frame]


def _palm(detection: Any) -> tuple[float, Floats]:
    box = detection.location_data.relative_bounding_box
    middle = np.array([box.xmin + box.width / 2, box.ymin + box.height / 2], np.float32)
    return float(detection.score[0]), middle


def _score(joints: Floats, palms: Sequence[tuple[float, Floats]]) -> float:
    """Score of the palm nearest to a hand's own, which MediaPipe does not name."""
    middle = joints[[0, 5, 9, 13, 17]].mean(0)
    return min(palms, key=lambda palm: float(np.linalg.norm(palm[1] - middle)))[0]


def _right(side: Any, box: Floats) -> float:
    """Probability that a hand is the right one: MediaPipe's "Left", for it expects mirrored pictures."""
    certain = float(side.score)
    right = certain if side.label == "Left" else 1 - certain
    return right if certain >= _UNSURE_SIDE else (right + right_by_place(box)) / 2


def _around(joints: Floats) -> Floats:
    """The part within the picture of the box (4,) around joints (21, 2), widened to the hand's outline."""
    low, high = joints.min(0), joints.max(0)
    middle, half = (low + high) / 2, (high - low) / 2 * _GROW
    return np.clip(np.concatenate([middle - half, middle + half]), 0, 1).astype(np.float32)


def _distinct(hands: list[Hand]) -> list[Hand]:
    """Of finds that overlap only the best: with joints before without, then by score."""
    kept: list[Hand] = []
    for hand in sorted(hands, key=lambda hand: (np.isnan(hand.keypoints).any(), -hand.score)):
        if all(overlap(hand.box, other.box) < _SAME for other in kept):
            kept.append(hand)
    return kept


def _of_one_colour(frames: list[Picture], found: list[list[Hand]]) -> list[tuple[int, Mask]]:
    """Frame and fingers (H, W) of the hands whose colours agree best; none if no colour is sure enough."""
    hands = [(number, hand) for number, row in enumerate(found) for hand in row]
    if not hands:
        return []
    colours = np.array([colour_along(frames[number], hand.keypoints) for number, hand in hands])
    scores = np.array([hand.score for _, hand in hands])
    apart = np.linalg.norm((colours[:, None] - colours[None]) * [0.5, 1, 1], axis=-1)
    alike = apart < _ALIKE
    weights = alike @ scores
    best = int(weights.argmax())
    if weights[best] < _AGREED:
        return []
    chosen = [hands[i] for i in np.flatnonzero(alike[best])]
    return [(frame, bones_mask(hand.keypoints, frames[frame].shape)) for frame, hand in chosen]


def _without_scene(
    parts: list[list[Floats]], transforms: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> list[list[Floats]]:
    """The patches of every frame but those that stay where they are in the scene, inside the picture."""
    size = np.array([shape[1], shape[0]], np.float64)
    placed = [
        [moved(box.reshape(2, 2) * size, transform).astype(np.float32).ravel() for box in row]
        for row, transform in zip(parts, transforms, strict=True)
    ]

    def stays(box: Floats) -> bool:
        seen = sum(any(overlap(box, other) > _STILL for other in row) for row in placed)
        return len(parts) > 2 and seen >= _ALWAYS * len(parts)

    return [
        [box for box, place in zip(row, places, strict=True) if _may_rest(box) or not stays(place)]
        for row, places in zip(parts, placed, strict=True)
    ]


def _may_rest(box: Floats) -> bool:
    """Whether it comes in over the lower edge, or a side's lower half, where the wearer's arms come from."""
    return bool(box[3] >= 0.99 or ((box[0] <= 0.01 or box[2] >= 0.99) and box[1] + box[3] > 1))


def _away(hands: list[Hand], shape: tuple[int, ...]) -> Mask:
    """(H, W) where no hand was found."""
    mask = np.ones(shape, np.bool_)
    for hand in hands:
        mask[_cells(hand.box, shape)] = False
    return mask


def _cells(box: Floats, shape: tuple[int, ...]) -> tuple[slice, slice]:
    left, top, right, bottom = (box * np.array([shape[1], shape[0]] * 2)).astype(int)
    return slice(top, bottom + 1), slice(left, right + 1)


def _is_skin(hand: Hand, mask: Mask) -> bool:
    on_hand = mask[bones_mask(hand.keypoints, mask.shape)]
    return bool(len(on_hand)) and bool(on_hand.mean() > 0.5)


def _sparse(mask: Mask) -> Mask:
    """The mask, or nothing if it is all over the picture: then colour does not tell skin from scene."""
    return mask if mask.mean() <= _MOST_SKIN else np.zeros_like(mask)


def _confirmed(hand: Hand, mask: Mask) -> Hand:
    """The hand with the score of its colour, if that is higher."""
    return replace(hand, score=max(hand.score, _BY_COLOUR)) if _is_skin(hand, mask) else hand


def _tightened(hand: Hand, patches: Sequence[Floats]) -> Hand:
    """The hand with the box of its patch of skin, where that is about as large: it shows what is seen."""
    for patch in patches:
        if overlap(hand.box, patch) > _SAME:
            return replace(hand, box=patch)
    return hand


def _explained(patch: Floats, hands: Sequence[Hand]) -> bool:
    return any(intersection(patch, hand.box) > _EXPLAINED * area(patch) for hand in hands)
