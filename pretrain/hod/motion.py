"""What tracks say, in words: which way hands and objects move, how far, how fast, and what they touch.

Everything is measured in the picture: a distance is a share of its sides, "up" is towards its upper edge. The
wearer's head moves little while the hands work, so motion of the camera is not taken out. What was not seen
is not said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pretrain.data.flip import TRACKS
from pretrain.hod.tracks import Tracks

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")

DIRECTIONS = (
    "to the right",
    "up and to the right",
    "up",
    "up and to the left",
    "to the left",
    "down and to the left",
    "down",
    "down and to the right",
)
"""Eight ways, counterclockwise in steps of 45 degrees from the right; each is the middle of its sector."""

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MotionSettings:
    """Thresholds; shares are of the picture's sides.

    Attributes:
        still: farthest from its first place, a share, that a track may be and still count as still. The
            boxes of EgoSim's hands that rest while the other acts move by less in 9 of 10 segments, for the
            head sways.
        back: share of its farthest distance by which a track must have come back to be said to return.
        seen: smallest share of the instants at which a track must be visible to be spoken of.
        instants: and their smallest number.
        near, far: displacements, shares, below and from which a way is "a little" and "a long way".
        slow, fast: speeds, shares per second, below and from which a way is slow or quick.
        closer: change of a distance between two tracks, a share, that is said (approach, withdraw, apart).
        together: largest angle, degrees, between the ways of two hands that move together.
        acts: how many times farther than the other hand the one that acts must travel, where neither hand,
            or both, take or leave an object.
    """

    still: float = 0.06
    back: float = 0.5
    seen: float = 0.25
    instants: int = 3
    near: float = 0.12
    far: float = 0.35
    slow: float = 0.1
    fast: float = 0.35
    closer: float = 0.06
    together: float = 45.0
    acts: float = 1.5


@dataclass(frozen=True)
class Leg:
    """A straight way between two places of a track.

    Attributes:
        angle: degrees in [-180, 180], 0 to the right, 90 up.
        distance: share of the picture's sides.
        seconds: how long it takes.
    """

    angle: float
    distance: float
    seconds: float

    @property
    def direction(self) -> str:
        """The nearest of `DIRECTIONS`."""
        return DIRECTIONS[round(self.angle / 45) % 8]

    @property
    def speed(self) -> float:
        """Shares of the picture per second."""
        return self.distance / max(self.seconds, 1e-6)


@dataclass(frozen=True)
class Path:
    """The way of one track.

    Attributes:
        seen: share of the instants at which it is visible.
        known: whether it is seen often enough to be spoken of.
        legs: none if it stays where it is, one way, or one there and one back.
        net: from its first to its last place; None where that is still or not known.
        travel: sum of the legs' distances.
    """

    seen: float
    known: bool
    legs: tuple[Leg, ...] = ()
    net: Leg | None = None

    @property
    def still(self) -> bool:
        """Whether it is known to stay where it is."""
        return self.known and not self.legs

    @property
    def travel(self) -> float:
        """Sum of the legs' distances, shares of the picture."""
        return sum(leg.distance for leg in self.legs)


@dataclass(frozen=True)
class Contact:
    """Whether a hand touches an object.

    Attributes:
        known: whether any instant tells.
        share: of the known instants with contact, 0..1.
        begins: seconds since the clip's start when it first touches; None if never, or from the start.
        ends: when it last lets go; None if never, or not before the end.
    """

    known: bool
    share: float = 0.0
    begins: float | None = None
    ends: float | None = None

    @property
    def touches(self) -> bool:
        """Whether it is known to touch something at some time."""
        return self.share > 0

    @property
    def throughout(self) -> bool:
        """Whether it touches from the start to the end."""
        return self.touches and self.begins is None and self.ends is None


@dataclass(frozen=True)
class Hand:
    """One hand.

    Attributes:
        path: its way.
        contact: with any object.
        approaches: it comes nearer to an object before it touches it.
        withdraws: it leaves an object after it let go.
    """

    path: Path
    contact: Contact
    approaches: bool = False
    withdraws: bool = False


Together = Literal["together", "come closer", "move apart", "keep their distance", ""]


@dataclass(frozen=True)
class Motion:
    """What a clip's tracks say.

    Attributes:
        seconds: from the first instant to the last.
        hands: left, right.
        objects: in the left hand, in the right hand, in both.
        together: what the two hands do to each other; "" where not both are known.
        acts: sides of the hands that act; empty if that is not clear. Both, if they share an object; else the
            one that takes or leaves an object; else the one that travels much farther; else the one in
            contact.
    """

    seconds: float
    hands: tuple[Hand, Hand]
    objects: tuple[Path, Path, Path]
    together: Together
    acts: tuple[Side, ...]

    def hand(self, side: Side) -> Hand:
        """The hand of that side."""
        return self.hands[SIDES.index(side)]

    def paths_of(self, side: Side) -> tuple[Path, ...]:
        """The ways of that hand and of what it holds, alone or with the other."""
        return self.hand(side).path, self.objects[SIDES.index(side)], self.objects[2]


def describe(tracks: Tracks, settings: MotionSettings | None = None) -> Motion:
    """Measure tracks.

    A track returns if it comes back by at least `back` of its farthest distance from its first place, and
    by more than `still`: then it has two legs, to the farthest place and from there. Contact is taken as held
    over a single instant without it between two with it.
    """
    limits = settings or MotionSettings()
    seconds = tracks.seconds - (tracks.seconds[0] if len(tracks.seconds) else 0.0)
    centres = (tracks.boxes[..., :2] + tracks.boxes[..., 2:]).astype(np.float64) / 2
    paths = [_path(seconds, centres[:, k], limits) for k in range(len(TRACKS))]
    hands = tuple(
        _hand(paths[k], seconds, centres[:, k], centres[:, [k + 2, 4]], tracks.contact[:, k], limits)
        for k in range(2)
    )
    left, right = hands
    return Motion(
        float(seconds[-1]) if len(seconds) else 0.0,
        (left, right),
        (paths[2], paths[3], paths[4]),
        _together(centres, (paths[0], paths[1]), limits),
        _acts((left, right), paths[4], limits),
    )


def _path(seconds: _Floats, places: _Floats, limits: MotionSettings) -> Path:
    there = np.flatnonzero(~np.isnan(places).any(1))
    seen = len(there) / max(len(seconds), 1)
    if len(there) < limits.instants or seen < limits.seen:
        return Path(seen, known=False)
    far = there[np.linalg.norm(places[there] - places[there[0]], axis=1).argmax()]
    first, last = there[0], there[-1]
    out, back, net = (_leg(seconds, places, *ends) for ends in ((first, far), (far, last), (first, last)))
    if out.distance < limits.still:
        return Path(seen, known=True)
    moved = net if net.distance >= limits.still else None
    returned = out.distance - net.distance
    if returned >= limits.back * out.distance and returned > limits.still:
        return Path(seen, known=True, legs=(out, back), net=moved)
    return Path(seen, known=True, legs=(moved or out,), net=moved)


def _leg(seconds: _Floats, places: _Floats, start: int, end: int) -> Leg:
    across, down = places[end] - places[start]
    return Leg(
        float(np.degrees(np.arctan2(-down, across))),
        float(np.hypot(across, down)),
        float(seconds[end] - seconds[start]),
    )


def _hand(
    path: Path,
    seconds: _Floats,
    places: _Floats,
    objects: _Floats,
    touching: npt.NDArray[np.float32],
    limits: MotionSettings,
) -> Hand:
    contact, first, last = _contact(seconds, touching)
    held = np.where(np.isnan(objects[:, :1]), objects[:, 1:], objects[:, :1])[:, 0]
    seen = np.flatnonzero(~np.isnan(places).any(1))
    if not contact.touches or not len(seen):
        return Hand(path, contact)
    # How far away the hand was or got, from where the object was when the contact began or ended.
    before = _farther(places, held[first], int(seen[0]), first)
    after = _farther(places, held[last], int(seen[-1]), last)
    return Hand(
        path,
        contact,
        contact.begins is not None and before > limits.closer,
        contact.ends is not None and after > limits.closer,
    )


def _farther(places: _Floats, spot: _Floats, other: int, touching: int) -> float:
    """How much farther from `spot` the hand is at `other` than when touching; NaN where not known."""
    return float(np.linalg.norm(places[other] - spot) - np.linalg.norm(places[touching] - spot))


def _contact(seconds: _Floats, touching: npt.NDArray[np.float32]) -> tuple[Contact, int, int]:
    """The contact, and the first and last instant of it."""
    known = np.flatnonzero(~np.isnan(touching))
    if not len(known):
        return Contact(known=False), 0, 0
    on = touching[known] > 0.5
    on[1:-1] |= on[:-2] & on[2:]
    if not on.any():
        return Contact(known=True), 0, 0
    where = known[np.flatnonzero(on)]
    first, last = int(where[0]), int(where[-1])
    begins = float(seconds[first]) if not on[0] else None
    ends = float(seconds[last]) if not on[-1] else None
    return Contact(True, float(on.mean()), begins, ends), first, last


def _together(centres: _Floats, paths: tuple[Path, Path], limits: MotionSettings) -> Together:
    both = np.flatnonzero(~np.isnan(centres[:, :2]).any((1, 2)))
    if len(both) < limits.instants or not all(path.known for path in paths):
        return ""
    left, right = paths
    if left.net and right.net and _between(left.net.angle, right.net.angle) <= limits.together:
        return "together"
    gaps = np.linalg.norm(centres[both, 0] - centres[both, 1], axis=1)
    if abs(gaps[-1] - gaps[0]) <= limits.closer:
        return "keep their distance"
    return "come closer" if gaps[-1] < gaps[0] else "move apart"


def _between(one: float, other: float) -> float:
    """Degrees between two angles, 0..180."""
    return abs((one - other + 180) % 360 - 180)


def _acts(hands: tuple[Hand, Hand], both: Path, limits: MotionSettings) -> tuple[Side, ...]:
    touching = [hand.contact.touches for hand in hands]
    if all(touching) and both.known:
        return SIDES
    # A hand that takes or leaves an object acts; one may keep what it has while the other acts.
    changing = [
        touches and not hand.contact.throughout for touches, hand in zip(touching, hands, strict=True)
    ]
    if any(changing) and not all(changing):
        return ("left",) if changing[0] else ("right",)
    travels = [hand.path.travel if hand.path.known else 0.0 for hand in hands]
    for side, own, other in zip(SIDES, travels, travels[::-1], strict=True):
        if own > limits.acts * other:
            return (side,)
    if any(touching) and not all(touching):
        return ("left",) if touching[0] else ("right",)
    return ()


# Words


def way(leg: Leg, limits: MotionSettings) -> str:
    """One leg, as "slowly moves up and to the right a little"; ordinary speed and distance are not said."""
    far = " a little" if leg.distance < limits.near else " a long way" if leg.distance >= limits.far else ""
    fast = "slowly " if leg.speed < limits.slow else "quickly " if leg.speed >= limits.fast else ""
    return f"{fast}moves {leg.direction}{far}"


def path_words(path: Path, limits: MotionSettings) -> str:
    """A track's way as a phrase, as "moves up, then back down"; "not seen" or "hardly seen" if not known."""
    if not path.known:
        return "not seen" if path.seen == 0 else "hardly seen"
    if not path.legs:
        return "stays still"
    there, *back = path.legs
    first = way(there, limits)
    return f"{first}, then back {back[0].direction}" if back else first


def contact_words(hand: Hand) -> Iterator[str]:
    """What a hand touches and when, in seconds since the clip's start; nothing where it is not known."""
    contact = hand.contact
    if not contact.known:
        return
    if not contact.touches:
        yield "no contact"
        return
    reaches = "reaches for an object, " if hand.approaches else ""
    yield f"{reaches}in contact {when(contact)}{_seconds(contact)}"
    if hand.withdraws:
        yield "withdraws"


def when(contact: Contact) -> str:
    """The time of a contact, as "at the end"; "" where there is none."""
    if not contact.touches:
        return ""
    if contact.throughout:
        return "throughout"
    if contact.begins is None:
        return "at first"
    return "at the end" if contact.ends is None else "in between"


def _seconds(contact: Contact) -> str:
    parts = []
    if contact.begins is not None:
        parts.append(f"from {contact.begins:.1f} s")
    if contact.ends is not None:
        parts.append(f"until {contact.ends:.1f} s")
    return f" ({' '.join(parts)})" if parts else ""


def lines(motion: Motion, settings: MotionSettings | None = None) -> tuple[str, ...]:
    """Five phrases, in the order of `TRACKS`: what each hand does, and what is in them."""
    limits = settings or MotionSettings()
    hands = ["; ".join([path_words(h.path, limits), *contact_words(h)]) for h in motion.hands]
    return (*hands, *(_object_words(path, limits) for path in motion.objects))


def _object_words(path: Path, limits: MotionSettings) -> str:
    return "none" if path.seen == 0 else path_words(path, limits)


def hands_words(motion: Motion) -> str:
    """What the hands do to each other, as a sentence without a stop; "" if nothing is known."""
    words: dict[str, str] = {
        "together": "both hands move the same way",
        "come closer": "the hands come closer to each other",
        "move apart": "the hands move apart",
    }
    return words.get(motion.together, "")
