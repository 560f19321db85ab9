"""How a hand takes hold of a body: wrist poses for its grasps, tried without being played.

Candidates are all poses that bring the hand to one of the body's grasps, the most comfortable first. A
`Trial` tries them on a copy of a stage's state: the hand must be in nothing where it opens, and hold the body
once its fingers have closed. Units and frames are those of `motion`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from pretrain.sim.arms import discomfort
from pretrain.sim.design import Grasp
from pretrain.sim.hand import (
    CONTACT_GAP,
    FINGERS,
    SHAPES,
    Finger,
    Gaps,
    Hand,
    Side,
    blend,
    close_until_contact,
)
from pretrain.sim.poses import Pose
from pretrain.sim.scene import Scene
from pretrain.sim.shapes import Array, Z, quat_of, rotation, turned

DEEPEST = 0.005  # metres that a hand may sink into a thing, and a moved thing into another
HOOK_ANCHOR = np.array([0.105, 0.0, 0.048])
"""Where a hooked bar lies, hand frame."""

_SWINGS = 16  # turns tried of a grasp that may be anywhere round a thing
_PITCHES = np.deg2rad([0.0, -15.0, 15.0, -30.0, 30.0, 45.0, 60.0])
_ROLLS = np.deg2rad([0.0, -20.0, 20.0, -40.0, 40.0, -60.0, 60.0])
_CANDIDATES = 10  # hand poses tried for a grasp
# Metres short of the ideal place, and above it, that a wide thing or the table may need; the smallest first.
_BACK_OFF = sorted(itertools.product((0.0, 0.01, 0.02, 0.03), (0.0, 0.015, 0.03, 0.045)), key=sum)
_HOOK_READY = np.deg2rad([0, 5, 0, 0, *(12, 0, 62, 40) * 3, 12, 0, 35, 20])  # the little finger is shorter
_REACH = 0.13  # metres from the middle of a hand to what it may touch

Suits = Callable[[Pose], bool]
"""Says whether a wrist pose will do for what comes next."""


@dataclass(frozen=True)
class Candidate:
    """One way to put a hand to a grasp: the wrist's pose, the way it comes (3,), and how awkward it is."""

    grasp: Grasp
    wrist: Pose
    approach: Array
    cost: float

    @property
    def hooked(self) -> bool:
        """Whether the fingers go round a bar."""
        return self.grasp.kind == "hook"

    @property
    def ready(self) -> Array:
        """(20,) how the fingers open before they close, radians."""
        if self.hooked:
            return _HOOK_READY
        if self.grasp.kind == "pinch" and self.grasp.width < 0.03:
            return blend("reach", "pinch", 0.25)
        return SHAPES["reach"].copy()

    @property
    def goal(self) -> Array:
        """(20,) towards which they close, radians."""
        if self.hooked:
            return SHAPES["hook"]
        return SHAPES["power" if self.grasp.kind == "power" or self.grasp.width > 0.045 else "pinch"]


@dataclass(frozen=True)
class Grip:
    """A candidate whose fingers hold: the wrist's pose and the fingers' angles (20,)."""

    candidate: Candidate
    wrist: Pose
    angles: Array

    @property
    def back(self) -> Array:
        """(3,) metres from the wrist to where it comes from."""
        way = self.wrist.axes[:, 2] if self.candidate.hooked else self.candidate.approach
        return -0.09 * way + [0, 0, 0.02]


def candidates(side: Side, where: Pose, grasps: Sequence[Grasp], pinch: Array) -> Iterator[Candidate]:
    """Hand poses for grasps of a body at `where`, the most comfortable first; `pinch` (3,) is in the hand."""
    found: list[tuple[float, int, int]] = []
    poses = [_Poses(side, where, grasp, pinch) for grasp in grasps]
    for number, made in enumerate(poses):
        found += [(cost, number, i) for i, cost in enumerate(made.costs.tolist()) if cost < np.inf]
    for _, number, i in sorted(found):
        yield poses[number].candidate(i)


class _Poses:
    """Every way to put a hand to one grasp: all its swings, both senses, tilts.

    Attributes:
        costs: (N,) how awkward each is; infinite if it is impossible.
    """

    def __init__(self, side: Side, where: Pose, grasp: Grasp, pinch: Array) -> None:
        swings = 2 * np.pi * np.arange(_SWINGS) / _SWINGS - np.pi if grasp.swing > 0 else np.zeros(1)
        rolls = np.zeros(1) if grasp.swing > 0 else _ROLLS
        grid = np.meshgrid(swings, [-1.0, 1.0], _PITCHES, rolls, indexing="ij")
        swing, sign, pitch, roll = (axis.reshape(-1, 1) for axis in grid)
        turns = np.stack([where.axes @ rotation(turned(Z, float(angle))) for angle in swings])
        turns = np.repeat(turns, len(swing) // len(swings), axis=0)
        approach, closing = turns @ np.array(grasp.approach), sign * (turns @ np.array(grasp.closing))
        closing = np.cos(roll) * closing + np.sin(roll) * np.cross(approach, closing)
        anchor, x, z = pinch, closing, approach
        if grasp.kind == "hook":
            anchor, x, z = HOOK_ANCHOR, approach, closing
        along, palm = np.cos(pitch) * x + np.sin(pitch) * z, np.cos(pitch) * z - np.sin(pitch) * x
        self._axes = np.stack([along, np.cross(palm, along), palm], axis=-1)
        self._at = where.at + turns @ np.array(grasp.position) - self._axes @ anchor
        self._approach, self._grasp = approach, grasp
        tilt = 0.4 * np.abs(pitch[:, 0]) + 0.6 * np.abs(roll[:, 0])
        self.costs = discomfort(side, self._at, along, palm) + tilt

    def candidate(self, i: int) -> Candidate:
        wrist = Pose(self._at[i], np.array(quat_of(self._axes[i])))
        return Candidate(self._grasp, wrist, self._approach[i], float(self.costs[i]))


class Trial:
    """Tries hands on a copy of a stage's state.

    Args:
        scene: with both hands in its model.
        hands: by side.
    """

    def __init__(self, scene: Scene, hands: Mapping[Side, Hand]) -> None:
        self._scene, self._hands = scene, hands
        self._data = mujoco.MjData(scene.model)
        self._own = {
            side: np.isin(np.arange(scene.model.ngeom), hand.contacts) for side, hand in hands.items()
        }

    def reset(self, data: mujoco.MjData) -> None:
        """Start from this state."""
        self._data.qpos[:] = data.qpos
        self._data.mocap_pos[:], self._data.mocap_quat[:] = data.mocap_pos, data.mocap_quat
        mujoco.mj_kinematics(self._scene.model, self._data)

    def grips(
        self, side: Side, geoms: Sequence[int], found: Iterator[Candidate], suits: Suits | None
    ) -> Iterator[Grip]:
        """Candidates that hold `geoms`, in their order; only the first few that suit are tried."""
        suitable = (one for one in found if suits is None or suits(one.wrist))
        for candidate in itertools.islice(suitable, _CANDIDATES):
            grip = self._grip(side, geoms, candidate, suits)
            if grip is not None:
                yield grip

    def free(self, side: Side, wrist: Pose, shape: Array) -> bool:
        """Whether a hand there is in nothing."""
        self._place(side, wrist, shape)
        mujoco.mj_collision(self._scene.model, self._data)
        return self._depth(side) <= DEEPEST / 2

    def way(
        self, side: Side, near: Pose, shape: Array, direction: Array, geoms: Sequence[int], longest: float
    ) -> float | None:
        """Metres that a hand moves from `near` along `direction`, a unit (3,), until it touches a geom.

        0 if it is at or in one from the start; None if it touches none within `longest` metres.
        """
        gaps = Gaps(self._scene.model, dict.fromkeys(self._hands[side].contacts, geoms))
        made = 0.0
        while made < longest:
            self._place(side, near.moved(made * direction), shape)
            gap = float(gaps(self._data).min())
            if gap <= CONTACT_GAP:
                return made
            made += max(gap - CONTACT_GAP / 2, 1e-4)
        return None

    def _grip(
        self, side: Side, geoms: Sequence[int], candidate: Candidate, suits: Suits | None
    ) -> Grip | None:
        for back, up in _BACK_OFF:
            wrist = candidate.wrist.moved(-back * candidate.approach + np.array([0.0, 0.0, up]))
            if not self.free(side, wrist, candidate.ready) or not (suits is None or suits(wrist)):
                continue
            angles = self._closed(side, geoms, candidate, wrist)
            if angles is not None:
                return Grip(candidate, wrist, angles)
        return None

    def _closed(self, side: Side, geoms: Sequence[int], candidate: Candidate, wrist: Pose) -> Array | None:
        """The fingers' angles (20,) once closed; None if they do not hold."""
        model, hand = self._scene.model, self._hands[side]
        near = self._near(geoms, wrist)
        self._place(side, wrist, candidate.ready)
        try:
            closed = close_until_contact(model, self._data, hand, candidate.goal, [*near, self._scene.table])
        except ValueError:  # a finger would start inside
            return None
        touching = self._touching(side, near)
        holds = len(touching) >= 2 and (candidate.hooked or "thumb" in touching)
        return closed.angles.copy() if holds and self._depth(side) <= DEEPEST else None

    def _near(self, geoms: Sequence[int], wrist: Pose) -> list[int]:
        """The geoms that a hand there may touch; all if none is near."""
        apart = np.linalg.norm(self._data.geom_xpos[list(geoms)] - wrist.point((0.10, 0, 0.05)), axis=1)
        reach = apart - self._scene.model.geom_rbound[list(geoms)]
        return [geom for geom, far in zip(geoms, reach, strict=True) if far < _REACH] or list(geoms)

    def _touching(self, side: Side, geoms: Sequence[int]) -> list[Finger]:
        return touching(self._scene.model, self._data, self._hands[side], geoms)

    def _place(self, side: Side, wrist: Pose, shape: Array) -> None:
        self._hands[side].place(self._data, wrist.at, wrist.turn)
        self._hands[side].pose(self._data, shape)
        mujoco.mj_kinematics(self._scene.model, self._data)

    def _depth(self, side: Side) -> float:
        """How deep a hand is in anything, metres, once contacts are known."""
        contact = self._data.contact
        own = self._own[side][contact.geom.reshape(-1, 2)].any(axis=1)
        return float(-contact.dist.reshape(-1)[own].min(initial=0.0))


def touching(model: mujoco.MjModel, data: mujoco.MjData, hand: Hand, geoms: Sequence[int]) -> list[Finger]:
    """The fingers of a hand that touch any of these geoms."""
    links = [link for finger in FINGERS for link in hand.geoms[finger]]
    gaps = Gaps(model, dict.fromkeys(links, geoms))(data).reshape(len(FINGERS), -1).min(1)
    return [finger for finger, gap in zip(FINGERS, gaps, strict=True) if gap <= CONTACT_GAP + 1e-6]
