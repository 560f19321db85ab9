"""Detections of single frames linked to tracks of a clip: whose hand is which, gaps, noise.

Sides are solved over the whole clip at once. A hypothesis says where the left and the right hand were last
seen; every frame extends it by each choice of a detection, or none, for either. The cost of a choice adds up
what speaks against it (the side that the detector gave, the way from where the hand was last, the appearance
of a hand out of nothing) and takes off the detection's score. The cheapest sequence is found exactly, by
dynamic programming, as in multiple-hypothesis tracking (Reid 1979) with two targets. Each object track is
solved the same way. Then boxes and keypoints are smoothed (`smoothing.py`), and short gaps are filled.

Nothing here prefers left or right: the tracks of a mirrored clip are the mirrored tracks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pretrain.hod.detectors import SIDES, Detections, Floats, Hand, Side, Thing, overlap
from pretrain.hod.smoothing import smooth
from pretrain.hod.tracks import Tracks

_Found = TypeVar("_Found", Hand, Thing)

_LEFT_OBJECT = 2  # in `TRACKS`; right and both follow
_CERTAIN = 0.98  # no side is taken for surer: a detector's 1.0 is not
_NEAR = 0.08  # sides of the picture that a hand's centre goes between two looks, however short the time


@dataclass(frozen=True)
class TrackingOptions:
    """Settings of `track`; costs are in units of a detection's score.

    Attributes:
        appearance_cost: of a hand or object that was not there before. At 1 a find that no other one confirms
            is dropped, however sure; two that fit together are kept if their scores sum up to more than it.
        side_weight: times the logarithm of the odds against the side; the likelier side costs nothing. At
            0.25 a side that is 98 % sure can still be wrong at the cost of one find.
        speed: sides of the picture per second that a centre goes: the scale of the way's cost.
        jump_cost: the most that a way can cost.
        eclipse_cost: of a hand that is not found while the other one is where it was: one hand of unsure side
            is likelier than two that show themselves in turn.
        duplicate_overlap: intersection over union beyond which two finds are one and the better one stays.
        max_gap_frames: most frames in a row that are filled in.
        max_gap_seconds: longest time between two detections that is filled in.
        noise: standard deviation of a detected coordinate, in sides of the picture.
        acceleration: of a coordinate, sides of the picture per second squared: how quickly hands really turn;
            0 smooths to straight lines.

    Raises:
        ValueError: a value that cannot be.
    """

    appearance_cost: float = 1.0
    side_weight: float = 0.25
    speed: float = 1.0
    jump_cost: float = 4.0
    eclipse_cost: float = 0.3
    duplicate_overlap: float = 0.5
    max_gap_frames: int = 3
    max_gap_seconds: float = 1.0
    noise: float = 0.012
    acceleration: float = 3.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} of tracking wants a number of at least 0; got {value}")
        for name in ("speed", "noise"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name} of tracking wants more than 0")


_DEFAULTS = TrackingOptions()


def track(
    detections: Detections, seconds: npt.NDArray[np.float64], options: TrackingOptions = _DEFAULTS
) -> Tracks:
    """Link the detections of a clip.

    Objects follow their hands: in a frame where a hand's side is corrected, its object changes with it. One
    that both hands touch is in `both_object` only. In clips of one or two frames nothing can confirm a find,
    and `appearance_cost` is not asked.

    Args:
        detections: of F frames.
        seconds: (F,) since the video's start, rising.
        options: settings.

    Returns:
        Tracks at `seconds`. Filled-in boxes are marked, with scores in between those of the detected ones;
        keypoints too are filled in, where both ends have them, and contact where both ends agree on it.
        Everything else that was not found is NaN.

    Raises:
        ValueError: another number of seconds, or seconds that do not rise.
    """
    seconds = np.asarray(seconds, np.float64)
    if seconds.shape != (len(detections),):
        raise ValueError(f"detections of {len(detections)} frames want as many seconds; got {seconds.shape}")
    if (np.diff(seconds) <= 0).any():
        raise ValueError(f"the seconds of a clip rise; got {seconds.tolist()}")
    hands = [_distinct(row, options.duplicate_overlap) for row in detections.hands]
    chosen = _Linking(seconds, options).hands(hands)
    tracks = Tracks.empty(seconds)
    for frame, pair in enumerate(chosen):
        for side, hand in enumerate(pair):
            if hand is not None:
                _enter(tracks, frame, side, hand)
                tracks.keypoints[frame, side] = hand.keypoints
                tracks.contact[frame, side] = hand.contact
    _add_objects(tracks, detections, chosen, options)
    return _finished(tracks, options)


def _enter(tracks: Tracks, frame: int, number: int, found: Hand | Thing) -> None:
    tracks.boxes[frame, number] = found.box
    tracks.scores[frame, number] = found.score


def _distinct(hands: Sequence[Hand], most: float) -> list[Hand]:
    kept: list[Hand] = []
    for hand in sorted(hands, key=lambda hand: -hand.score):
        if all(overlap(hand.box, other.box) <= most for other in kept):
            kept.append(hand)
    return kept


# Linking

_Place = tuple[int, int] | None  # frame and number there of the detection where something was last seen
_Pair = tuple[Hand | None, Hand | None]


class _Linking:
    """The cheapest sequence of detections, for two hands or for one object."""

    def __init__(self, seconds: npt.NDArray[np.float64], options: TrackingOptions) -> None:
        self._seconds = seconds
        self._options = options
        self._appearance = options.appearance_cost if len(seconds) > 2 else 0.0

    def hands(self, found: list[list[Hand]]) -> list[_Pair]:
        """The left and the right hand of every frame."""
        choices = [
            [
                (left, right)
                for left in (None, *range(len(row)))
                for right in (None, *range(len(row)))
                if left is None or left != right
            ]
            for row in found
        ]
        path = self._cheapest(found, choices)
        return [(_at(row, left), _at(row, right)) for row, (left, right) in zip(found, path, strict=True)]

    def things(self, found: list[list[Thing]]) -> list[Thing | None]:
        """The object of every frame."""
        choices = [[(None,), *((number,) for number in range(len(row)))] for row in found]
        path = self._cheapest(found, choices)
        return [_at(row, number) for row, (number,) in zip(found, path, strict=True)]

    def _cheapest(
        self,
        found: Sequence[Sequence[Hand | Thing]],
        choices: Sequence[Sequence[tuple[int | None, ...]]],
    ) -> list[tuple[int | None, ...]]:
        """Per frame the choices of the cheapest path, one number or None for each target."""
        targets = len(choices[0][0]) if choices else 0
        # Of each state, where the targets were last seen, the cheapest way to it: two ways that lead to the
        # same state have the same future.
        ways: dict[tuple[_Place, ...], tuple[float, _Way]] = {(None,) * targets: (0.0, None)}
        for frame, possible in enumerate(choices):
            extended: dict[tuple[_Place, ...], tuple[float, _Way]] = {}
            for state, (cost, way) in ways.items():
                remembered = tuple(self._remembered(place, frame) for place in state)
                for choice in possible:
                    new, total = self._step(found, frame, remembered, choice)
                    total += cost
                    if new not in extended or total < extended[new][0]:
                        extended[new] = (total, (way, choice))
            ways = extended
        return list(_unrolled(min(ways.values(), key=lambda value: value[0])[1]))[::-1]

    def _remembered(self, place: _Place, frame: int) -> _Place:
        """Where it was, unless that is too long ago to be the same thing."""
        if place is None or self._seconds[frame] - self._seconds[place[0]] > self._options.max_gap_seconds:
            return None
        return place

    def _step(
        self,
        found: Sequence[Sequence[Hand | Thing]],
        frame: int,
        state: tuple[_Place, ...],
        choice: tuple[int | None, ...],
    ) -> tuple[tuple[_Place, ...], float]:
        new, total = list(state), 0.0
        for target, number in enumerate(choice):
            if number is None:
                total += self._eclipse_cost(found, frame, state[target], choice)
                continue
            one, before = found[frame][number], state[target]
            total -= one.score
            if isinstance(one, Hand):
                total += self._side_cost(one, target)
            total += self._appearance if before is None else self._way_cost(found, before, (frame, number))
            new[target] = (frame, number)
        return tuple(new), total

    def _eclipse_cost(
        self,
        found: Sequence[Sequence[Hand | Thing]],
        frame: int,
        before: _Place,
        choice: tuple[int | None, ...],
    ) -> float:
        """Of a target that was at `before` and is not found, where another's find could be it as well."""
        if before is None:
            return 0.0
        ways = [self._way_cost(found, before, (frame, number)) for number in choice if number is not None]
        return max(0.0, self._options.eclipse_cost - min(ways, default=math.inf))

    def _side_cost(self, hand: Hand, side: int) -> float:
        likely = hand.right if side == 1 else 1 - hand.right
        likely = min(max(likely, 1 - _CERTAIN), _CERTAIN)
        return self._options.side_weight * max(0.0, math.log((1 - likely) / likely))

    def _way_cost(
        self, found: Sequence[Sequence[Hand | Thing]], start: tuple[int, int], end: tuple[int, int]
    ) -> float:
        """Half the squared way in units of what is usual in that time, as in a normal distribution."""
        one, other = found[start[0]][start[1]].box, found[end[0]][end[1]].box
        across, down = (one[:2] + one[2:] - other[:2] - other[2:]).tolist()
        usual = _NEAR + self._options.speed * (self._seconds[end[0]] - self._seconds[start[0]])
        return min(self._options.jump_cost, (across**2 + down**2) / 4 / usual**2 / 2)


_Way = tuple["_Way", tuple[int | None, ...]] | None  # the choices so far, the newest first


def _unrolled(way: _Way) -> Iterator[tuple[int | None, ...]]:
    while way is not None:
        way, choice = way
        yield choice


# Objects


def _add_objects(
    tracks: Tracks, detections: Detections, chosen: list[_Pair], options: TrackingOptions
) -> None:
    held: list[list[list[Thing]]] = [[], [], []]
    same = options.duplicate_overlap
    for hands, things, pair in zip(detections.hands, detections.things, chosen, strict=True):
        sides = _sides(hands, pair, same)
        of_frame = _joined([(thing, _holders(thing, sides)) for thing in things], same)
        for number, wanted in enumerate(({0}, {1}, {0, 1})):
            held[number].append([thing for thing, holders in of_frame if holders == wanted])
    linking = _Linking(tracks.seconds, options)
    for number, found in enumerate(held):
        for frame, thing in enumerate(linking.things(found)):
            if thing is not None:
                _enter(tracks, frame, _LEFT_OBJECT + number, thing)


def _sides(hands: Sequence[Hand], pair: _Pair, same: float) -> dict[int | Side, int | None]:
    """Of each hand of a frame, by its number, and of each name of a side, the side in the tracks."""
    sides: dict[int | Side, int | None] = {name: side for side, name in enumerate(SIDES)}
    for number, hand in enumerate(hands):
        tracked = (
            side
            for side, other in enumerate(pair)
            if other is hand or (other is not None and overlap(other.box, hand.box) > same)
        )
        sides[number] = next(tracked, None)
    return sides


def _holders(thing: Thing, sides: dict[int | Side, int | None]) -> set[int]:
    found = (sides[holder] for holder in thing.holders)
    return {side for side in found if side is not None}


def _joined(things: list[tuple[Thing, set[int]]], same: float) -> list[tuple[Thing, set[int]]]:
    """One object per place: what was found twice, once for each hand, is in both."""
    kept: list[tuple[Thing, set[int]]] = []
    for thing, holders in sorted(things, key=lambda item: -item[0].score):
        twin = next((item for item in kept if overlap(item[0].box, thing.box) > same), None)
        if twin is None:
            kept.append((thing, set(holders)))
        else:
            twin[1].update(holders)
    return kept


# Gaps and noise


def _finished(tracks: Tracks, options: TrackingOptions) -> Tracks:
    for number in range(tracks.boxes.shape[1]):
        seen = tracks.visible[:, number]
        for piece in _pieces(seen, tracks.seconds, options):
            _finish_boxes(tracks, number, piece, options)
    detected = tracks.visible & ~tracks.interpolated
    for side in range(tracks.keypoints.shape[1]):
        keypoints = tracks.keypoints[:, side].reshape(len(detected), -1)
        for piece in _pieces(~np.isnan(keypoints).any(1), tracks.seconds, options):
            _finish_values(keypoints, tracks.seconds, piece, options)
        for piece in _pieces(detected[:, side], tracks.seconds, options):
            _fill_contact(tracks.contact[:, side], piece)
    return tracks


def _pieces(
    seen: npt.NDArray[np.bool_], seconds: npt.NDArray[np.float64], options: TrackingOptions
) -> list[npt.NDArray[np.int64]]:
    """Frames where something was seen, in groups with gaps between them that may be filled."""
    frames = np.flatnonzero(seen)
    if not len(frames):
        return []
    apart = (np.diff(frames) - 1 > options.max_gap_frames) | (
        (np.diff(frames) > 1) & (np.diff(seconds[frames]) > options.max_gap_seconds)
    )
    return np.split(frames, np.flatnonzero(apart) + 1)


def _finish_boxes(
    tracks: Tracks, number: int, piece: npt.NDArray[np.int64], options: TrackingOptions
) -> None:
    inside = np.arange(piece[0], piece[-1] + 1)
    boxes = tracks.boxes[:, number]
    _finish_values(boxes, tracks.seconds, piece, options)
    # Corners are smoothed one by one: those of a box of next to no width may change places.
    corners = np.clip(boxes[inside], 0, 1).reshape(-1, 2, 2)
    boxes[inside] = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    at, known = tracks.seconds[inside], tracks.seconds[piece]
    tracks.scores[inside, number] = np.interp(at, known, tracks.scores[piece, number])
    tracks.interpolated[np.setdiff1d(inside, piece), number] = True


def _finish_values(
    values: Floats, seconds: npt.NDArray[np.float64], piece: npt.NDArray[np.int64], options: TrackingOptions
) -> None:
    """Smooth values (F, D) at the frames of `piece`, and fill the gaps between them, in place."""
    known = seconds[piece]
    smoothed = smooth(values[piece].astype(np.float64), known, options.noise, options.acceleration)
    inside = np.arange(piece[0], piece[-1] + 1)
    for column in range(values.shape[1]):
        values[inside, column] = np.interp(seconds[inside], known, smoothed[:, column])


def _fill_contact(contact: Floats, piece: npt.NDArray[np.int64]) -> None:
    for start, end in pairwise(piece):
        if contact[start] == contact[end]:
            contact[start + 1 : end] = contact[start]


def _at(row: Sequence[_Found], number: int | None) -> _Found | None:
    return None if number is None else row[number]
