"""How hands and objects move over time: a `Stage` on which movements are played, frame by frame.

Nothing is simulated. A movement sets wrists, fingers and what they hold in every frame; MuJoCo then says
where everything is and what touches what, and a frame in which things interpenetrate ends the movement with
`Infeasible`, so that whoever planned it can take it back (`Stage.mark`, `Stage.rewind`) and plan another.

Wrists follow minimum-jerk paths (Flash and Hogan, 1985): speed and acceleration are zero at both ends.
Metres, seconds, radians; quaternions are (w, x, y, z); the world frame is that of `room`, the hand frame that
of `hand`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import numpy.typing as npt

from pretrain.sim.design import Grasp
from pretrain.sim.hand import (
    CONTACT_GAP,
    FINGERS,
    SHAPES,
    SIDES,
    Finger,
    Hand,
    Side,
    blend,
    close_until_contact,
)
from pretrain.sim.scene import Scene
from pretrain.sim.shapes import UPRIGHT, Array, Vec, Z, product, quat_of, rotation, turned, vec

FPS = 30  # frames per second
DEEPEST = 0.005  # metres that a hand may sink into a thing, and a moved thing into another
TOUCH = 0.0015  # metres: nearer than this a hand touches a thing; fingers close up to `hand.CONTACT_GAP`

_REST = np.array([0.20, -0.11, 0.105])  # wrist of the right hand that does nothing
_ELBOW = np.array([0.34, -0.26, 0.17])  # where the right forearm comes from
_SWAY = 0.003  # metres: a resting hand moves by about so much
_MOST_BEND = np.deg2rad(65.0)  # between hand and forearm in a comfortable grasp
_PITCHES = np.deg2rad([0.0, -15.0, 15.0, -30.0, 30.0, 45.0, 60.0])
_SWINGS = 16  # turns tried of a grasp that may be anywhere round a thing
_CANDIDATES = 10  # hand poses tried for a grasp
_ROLLS = np.deg2rad([0.0, -20.0, 20.0, -40.0, 40.0, -60.0, 60.0])
_BENT = np.deg2rad(80.0)  # between hand and forearm, at most, in any movement
# Metres short of the ideal place, and above it, that a wide thing or the table may need; the smallest first.
_BACK_OFF = sorted(itertools.product((0.0, 0.01, 0.02, 0.03), (0.0, 0.015, 0.03, 0.045)), key=sum)
_HOOK_ANCHOR = np.array([0.113, 0.0, 0.031])  # where a hooked bar lies, hand frame
_HOOK_READY = np.deg2rad([0, 5, 0, 0, *(12, 0, 62, 40) * 4])


class Infeasible(Exception):  # noqa: N818 - a normal outcome of a draw, not a fault
    """A movement cannot be made in this scene: out of reach, in the way, or nothing to hold on to."""


@dataclass(frozen=True)
class Pose:
    """A place (3,) in metres and a rotation (4,) as a unit quaternion, of one frame in another."""

    at: Array
    turn: Array

    def __matmul__(self, other: Pose) -> Pose:
        """The pose in the outer frame of what has pose `other` in this one."""
        return Pose(self.point(other.at), np.array(product(_quat(self.turn), _quat(other.turn))))

    def point(self, local: npt.ArrayLike) -> Array:
        """(3,) a local point in the outer frame."""
        return self.at + rotation(_quat(self.turn)) @ np.asarray(local)

    def inverse(self) -> Pose:
        """The outer frame's pose in this one."""
        back = self.turn * [1.0, -1.0, -1.0, -1.0]
        return Pose(-rotation(_quat(back)) @ self.at, back)

    def moved(self, by: npt.ArrayLike) -> Pose:
        """The same rotation, (3,) metres further in the outer frame."""
        return Pose(self.at + np.asarray(by), self.turn)

    def turned(self, axis: npt.ArrayLike, angle: float, about: npt.ArrayLike) -> Pose:
        """Turned round the point `about` (3,) of the outer frame by `angle` about `axis` (3,)."""
        turn = turned(vec(np.asarray(axis, np.float64)), angle)
        at = np.asarray(about) + rotation(turn) @ (self.at - np.asarray(about))
        return Pose(at, np.array(product(turn, _quat(self.turn))))


def _quat(turn: Array) -> tuple[float, float, float, float]:
    w, x, y, z = turn.tolist()
    return w, x, y, z


def pose(at: npt.ArrayLike, x: npt.ArrayLike, z: npt.ArrayLike) -> Pose:
    """A frame at `at` with its x axis along `x` and its z axis as near `z` as that allows; (3,) each."""
    first = _unit(np.asarray(x, np.float64))
    third = np.asarray(z, np.float64)
    third = _unit(third - first * (first @ third))
    return Pose(
        np.asarray(at, np.float64),
        np.array(quat_of(np.column_stack([first, np.cross(third, first), third]))),
    )


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


def minimum_jerk(u: float) -> float:
    """Share of the way made at share `u` of the time, both 0..1; speed and acceleration end at zero."""
    u = min(max(u, 0.0), 1.0)
    return u**3 * (10.0 + u * (6.0 * u - 15.0))


def between(first: Array, second: Array, t: float) -> Array:
    """The rotation (4,) at share `t` of the shorter way from `first` to `second`, at even speed."""
    cosine = float(first @ second)
    if cosine < 0:
        second, cosine = -second, -cosine
    if cosine > 0.9995:
        return _unit((1 - t) * first + t * second)
    angle = np.arccos(cosine)
    return (np.sin((1 - t) * angle) * first + np.sin(t * angle) * second) / np.sin(angle)


Path = Callable[[float], Pose]
"""Where a wrist is at share 0..1 of a movement's time."""


def curve(
    start: Pose, end: Pose, leave: npt.ArrayLike = (0, 0, 0), arrive: npt.ArrayLike = (0, 0, 0)
) -> Path:
    """A minimum-jerk movement along a cubic Bezier curve.

    Args:
        start: at 0.
        end: at 1.
        leave: (3,) metres from the start to the curve's second control point.
        arrive: (3,) metres from the end back to its third: from where it comes.
    """
    points = np.array([start.at, start.at + np.asarray(leave), end.at + np.asarray(arrive), end.at])

    def at(u: float) -> Pose:
        s = minimum_jerk(u)
        weights = np.array([(1 - s) ** 3, 3 * s * (1 - s) ** 2, 3 * s**2 * (1 - s), s**3])
        return Pose(weights @ points, between(start.turn, end.turn, min(1.0, 1.15 * s)))

    return at


def straight(start: Pose, end: Pose) -> Path:
    """A minimum-jerk movement along a straight line."""

    def at(u: float) -> Pose:
        s = minimum_jerk(u)
        return Pose((1 - s) * start.at + s * end.at, between(start.turn, end.turn, s))

    return at


def swung(start: Pose, axis: npt.ArrayLike, about: npt.ArrayLike, angle: Callable[[float], float]) -> Path:
    """A turn about a fixed line: at time u by `angle(u)` about `axis` (3,) through `about` (3,)."""
    return lambda u: start.turned(axis, angle(u), about)


def eased(angle: float) -> Callable[[float], float]:
    """For `swung`: to `angle`, minimum-jerk."""
    return lambda u: angle * minimum_jerk(u)


def waves(size: float, times: float) -> Callable[[float], float]:
    """To and fro `times` times by up to `size`, fading in and out."""
    return lambda u: float(
        size * np.sin(2 * np.pi * times * u) * np.sin(np.pi * min(max(u, 0.0), 1.0)) ** 0.5
    )


@dataclass(frozen=True)
class Move:
    """What one hand does during a movement.

    Attributes:
        path: of its wrist.
        shape: angles (20,) that its fingers reach; None keeps them.
        by: share of the time when they have reached them.
    """

    path: Path
    shape: Array | None = None
    by: float = 1.0


@dataclass(frozen=True)
class Hold:
    """A body that goes where the hand goes: object and part by name, and its pose in the hand frame."""

    name: str
    part: str
    offset: Pose


@dataclass(frozen=True)
class Frame:
    """Everything that moves, at one time.

    Attributes:
        qpos, mocap_pos, mocap_quat: of `mjData`.
        touched: (2, N) bool: does the left (0), right (1) hand touch object i.
        depth: how deep a hand is in anything, metres; 0 if in nothing.
        sunk: how deep a thing that was moved is in another or the table, metres.
    """

    qpos: Array
    mocap_pos: Array
    mocap_quat: Array
    touched: npt.NDArray[np.bool_]
    depth: float
    sunk: float


@dataclass(frozen=True)
class Mark:
    """A moment to which `Stage.rewind` goes back."""

    frames: int
    qpos: Array
    wrists: Mapping[Side, Pose]
    shapes: Mapping[Side, Array]
    holds: Mapping[Side, Hold | None]
    shares: Mapping[tuple[str, str], float]
    moved: frozenset[str]
    rested: Mapping[Side, int]


def elbow(side: Side) -> Array:
    """(3,) where the forearm comes from."""
    return _ELBOW * _mirror(side)


def bend(side: Side, wrist: Pose) -> float:
    """The angle between a hand whose wrist is there and its forearm, radians."""
    along = rotation(_quat(wrist.turn))[:, 0]
    return float(np.arccos(np.clip(along @ _unit(wrist.at - elbow(side)), -1.0, 1.0)))


def rest(side: Side) -> Pose:
    """The wrist of a hand that does nothing: palm down, at the table's near edge."""
    inwards = -0.25 if side == "right" else 0.25
    return pose(_REST * _mirror(side), (inwards, 1.0, -0.12), (0, 0, -1))


def _mirror(side: Side) -> Array:
    return np.array([1.0 if side == "right" else -1.0, 1.0, 1.0])


class Stage:
    """A scene with two hands, and the frames played on it so far.

    Args:
        scene: with both hands in its model.
        pace: by which all durations are multiplied.

    Attributes:
        scene: the scene.
        data: its state after the last frame.
        hands: by side.
        wrists, shapes: wrist pose and finger angles (20,) of each hand.
        holds: what each hand holds.
        shares: of each object's part with a slide or hinge, its joint's place 0..1.
        frames: played so far.
        pace: by which all durations are multiplied.
    """

    def __init__(self, scene: Scene, pace: float = 1.0) -> None:
        self.scene = scene
        self.pace = pace
        self.data = mujoco.MjData(scene.model)
        self.hands: dict[Side, Hand] = {side: Hand(scene.model, side) for side in SIDES}
        self.wrists: dict[Side, Pose] = {side: rest(side) for side in SIDES}
        self.shapes: dict[Side, Array] = {side: SHAPES["relaxed"].copy() for side in SIDES}
        self.holds: dict[Side, Hold | None] = dict.fromkeys(SIDES)
        self.shares: dict[tuple[str, str], float] = {}
        self.frames: list[Frame] = []
        self.names = tuple(scene.objects)
        self._moved: set[str] = set()
        self._rested: dict[Side, int] = dict.fromkeys(SIDES, 0)
        self._owner = self._owners()
        margin = [geom for hand in self.hands.values() for geom in _geoms(hand)]
        scene.model.geom_margin[margin] = TOUCH  # so that collision detection reports touch before contact
        self._write()
        scene.update(self.data, 0.0)

    # What is where

    @property
    def time(self) -> float:
        """Seconds played."""
        return len(self.frames) / FPS

    def body_pose(self, name: str, part: str = "") -> Pose:
        """Where the body `part` of object `name` is now."""
        body = self.scene.objects[name].parts[part].body
        return Pose(self.data.xpos[body].copy(), self.data.xquat[body].copy())

    def pose_at(self, name: str, part: str, share: float) -> Pose:
        """Where a part with a slide or hinge is when its joint stands at `share`."""
        design = self.scene.objects[name].design.body(part)
        base = self.body_pose(name) @ Pose(np.array(design.at), np.array(UPRIGHT))
        position = design.limits[0] + share * (design.limits[1] - design.limits[0])
        if design.joint == "slide":
            return base @ Pose(position * np.array(design.axis), np.array(UPRIGHT))
        return base @ Pose(np.zeros(3), np.array(turned(design.axis, position)))

    def held(self, side: Side) -> str | None:
        """Name of the object that this hand holds."""
        hold = self.holds[side]
        return hold.name if hold else None

    def geoms(self, name: str, part: str | None = None) -> list[int]:
        """Ids of what can be touched of an object, or of one part of it."""
        parts = self.scene.objects[name].parts
        return [geom for key, item in parts.items() if part in (None, key) for geom in item.geoms]

    # Taking back

    def mark(self) -> Mark:
        """This moment, for `rewind`."""
        return Mark(
            len(self.frames),
            self.data.qpos.copy(),
            dict(self.wrists),
            dict(self.shapes),
            dict(self.holds),
            dict(self.shares),
            frozenset(self._moved),
            dict(self._rested),
        )

    def rewind(self, mark: Mark) -> None:
        """Forget everything played since `mark`."""
        del self.frames[mark.frames :]
        self.data.qpos[:] = mark.qpos
        self.wrists, self.shapes, self.holds = dict(mark.wrists), dict(mark.shapes), dict(mark.holds)
        self.shares, self._moved, self._rested = dict(mark.shares), set(mark.moved), dict(mark.rested)
        self._write()
        self.scene.update(self.data, self.time)

    # Playing

    def play(
        self,
        seconds: float,
        moves: Mapping[Side, Move],
        effect: Callable[[float], None] | None = None,
    ) -> None:
        """Play one movement; hands without a `Move` stay, and sway a little where they rest.

        Args:
            seconds: that it takes at normal pace.
            moves: of each hand that moves.
            effect: called with the share of the time, 0..1, to move other things (`set_share`, `put`).

        Raises:
            Infeasible: a hand or a moved thing sinks into something.
        """
        count = max(2, round(seconds * self.pace * FPS))
        before = dict(self.shapes)
        swayed = {side: self._sway(side) for side in moves}
        for side in moves:
            self._rested[side] = len(self.frames) + count
        for i in range(1, count + 1):
            u = i / count
            for side, move in moves.items():
                self.wrists[side] = move.path(u).moved((1 - minimum_jerk(2 * u)) * swayed[side])
                if move.shape is not None:
                    done = minimum_jerk(u / move.by)
                    self.shapes[side] = (1 - done) * before[side] + done * move.shape
            if effect is not None:
                effect(u)
            self._step()

    def settle(self) -> None:
        """What was set so far is how the take begins; nothing counts as moved."""
        self._moved.clear()
        self.scene.update(self.data, self.time)

    def wait(self, seconds: float) -> None:
        """Nothing happens for a while; resting hands sway."""
        self.play(seconds, {})

    def set_share(self, name: str, part: str, share: float) -> None:
        """Move a part's joint to `share` (0..1) of its range, from the next frame on."""
        self.scene.set_joint(self.data, name, part, share)
        self.shares[name, part] = share
        self._moved.add(name)

    def put(self, name: str, part: str, where: Pose) -> None:
        """Put a free body somewhere, from the next frame on."""
        self.scene.set_pose(self.data, name, vec(where.at), _quat(where.turn), part)
        self._moved.add(name)

    def take(self, side: Side, name: str, part: str = "") -> None:
        """From now on the body goes with the hand."""
        for other in SIDES:  # a thing that is handed over leaves the first hand
            hold = self.holds[other]
            if hold and (hold.name, hold.part) == (name, part):
                self.holds[other] = None
        offset = self.wrists[side].inverse() @ self.body_pose(name, part)
        self.holds[side] = Hold(name, part, offset)

    def drop(self, side: Side) -> None:
        """From now on the hand holds nothing."""
        self.holds[side] = None

    def _write(self) -> None:
        for side, hand in self.hands.items():
            where = self.wrists[side]
            hand.place(self.data, where.at + self._sway(side), where.turn)
            hand.pose(self.data, self.shapes[side])
            hand.aim_forearm(self.data, elbow(side))
            hold = self.holds[side]
            if hold:
                self.put(hold.name, hold.part, Pose(where.at + self._sway(side), where.turn) @ hold.offset)

    def _sway(self, side: Side) -> Array:
        since = (len(self.frames) - self._rested[side]) / FPS
        if since <= 0:
            return np.zeros(3)
        phase = 0.7 if side == "left" else 2.1
        swing = np.sin(2 * np.pi * np.array([0.23, 0.31, 0.17]) * since) * min(1.0, since / 2)
        return _SWAY * swing * np.cos(phase + np.arange(3.0))

    def _step(self) -> None:
        self._write()
        self.scene.update(self.data, self.time)
        frame = self._frame()
        if frame.depth > DEEPEST:
            raise Infeasible(f"a hand is {1000 * frame.depth:.1f} mm inside something")
        if frame.sunk > DEEPEST:
            raise Infeasible(f"a moved thing is {1000 * frame.sunk:.1f} mm inside another")
        if any(bend(side, self.wrists[side]) > _BENT for side in SIDES):
            raise Infeasible("no wrist bends so far")
        self.frames.append(frame)

    def _owners(self) -> npt.NDArray[np.int64]:
        """(G,) of each geom: 0 a thing of the room, 1 left hand, 2 right hand, 3 + i object i."""
        owner = np.zeros(self.scene.model.ngeom, np.int64)
        for number, side in enumerate(SIDES, 1):
            owner[_geoms(self.hands[side])] = number
        for number, name in enumerate(self.names, 3):
            owner[self.geoms(name)] = number
        return owner

    def _frame(self) -> Frame:
        data = self.data
        pairs = np.sort(self._owner[data.contact.geom.reshape(-1, 2)], axis=1)
        gap = data.contact.dist.reshape(-1)
        touched = np.zeros((2, len(self.names)), np.bool_)
        by_hand = (pairs == 1) | (pairs == 2)
        grazed = by_hand.any(1) & (pairs[:, 1] >= 3)
        touched[pairs[grazed, 0] - 1, pairs[grazed, 1] - 3] = True
        moved = np.array([name in self._moved for name in self.names], np.bool_)
        numbers = np.concatenate([[False] * 3, moved])
        between_things = ~by_hand.any(1) & (pairs[:, 0] != pairs[:, 1]) & numbers[pairs].any(1)
        return Frame(
            data.qpos.copy(),
            data.mocap_pos.copy(),
            data.mocap_quat.copy(),
            touched,
            float(-gap[by_hand.any(1)].min(initial=0.0)),
            float(-gap[between_things].min(initial=0.0)),
        )

    # Movements of one hand

    def go(
        self,
        side: Side,
        to: Pose,
        shape: Array | None = None,
        leave: npt.ArrayLike = (0, 0, 0.05),
        arrive: npt.ArrayLike = (0, 0, 0.05),
    ) -> None:
        """Move a wrist along a raised curve, as fast as people do: longer ways take a little longer."""
        start = self.wrists[side]
        seconds = 0.5 + 1.3 * float(np.linalg.norm(to.at - start.at))
        self.play(seconds, {side: Move(curve(start, to, leave, arrive), shape, 0.75)})

    def glide(self, side: Side, to: Pose, seconds: float, shape: Array | None = None) -> None:
        """Move a wrist along a straight line."""
        self.play(seconds, {side: Move(straight(self.wrists[side], to), shape)})

    def fingers(self, side: Side, shape: Array, seconds: float = 0.35) -> None:
        """Bend the fingers while the wrist stays."""
        stays = self.wrists[side]
        self.play(seconds, {side: Move(lambda _: stays, shape)})

    def go_to_rest(self, side: Side, shape: str = "relaxed") -> None:
        """Back to the table's edge."""
        self.go(side, rest(side), SHAPES[shape], (0, 0, 0.06), (0, 0.04, 0.05))

    def grasp(
        self,
        side: Side,
        name: str,
        part: str = "",
        names: Sequence[str] = (),
        suits: Callable[[Pose], bool] | None = None,
    ) -> Grasp:
        """Reach for a body and close the fingers on it; `take` or `follow` come next.

        Args:
            side: that reaches.
            name: of the object.
            part: body of it.
            names: grasps to choose from; all but flat ones if empty.
            suits: says which wrist poses will do for what comes next; None: all.

        Raises:
            Infeasible: no grasp can be reached, or none holds.
        """
        made = [g for g in self.scene.objects[name].design.body(part).grasps if g.kind != "flat"]
        made = [g for g in made if g.name in names] if names else made
        start = self.mark()
        found = self._candidates(side, self.body_pose(name, part), made)
        for candidate in [c for c in found if suits is None or suits(c.wrist)][:_CANDIDATES]:
            grip = self._grip(side, name, part, candidate)
            if grip is None:
                continue
            try:
                self._reach(side, *grip, candidate)
            except Infeasible:
                self.rewind(start)
                continue
            return candidate.grasp
        raise Infeasible(f"the {side} hand finds no hold on {name}")

    def _candidates(self, side: Side, where: Pose, grasps: Sequence[Grasp]) -> list[_Candidate]:
        """Hand poses for grasps of a body at `where`, the most comfortable first."""
        found = []
        for grasp in grasps:
            angles = (np.arange(_SWINGS) * 2 * np.pi / _SWINGS - np.pi) if grasp.swing > 0 else [0.0]
            for angle in angles:
                one = grasp.swung(float(angle)) if grasp.swing > 0 else grasp
                tilts = itertools.product((-1, 1), _PITCHES, [0.0] if grasp.swing > 0 else _ROLLS)
                found += [self._candidate(side, where, one, *tilt) for tilt in tilts]
        good = [candidate for candidate in found if candidate is not None]
        return sorted(good, key=lambda candidate: candidate.cost)

    def _candidate(
        self, side: Side, where: Pose, grasp: Grasp, sign: int, pitch: float, roll: float
    ) -> _Candidate | None:
        frame = rotation(_quat(where.turn))
        approach, closing = frame @ np.array(grasp.approach), sign * (frame @ np.array(grasp.closing))
        closing = np.cos(roll) * closing + np.sin(roll) * np.cross(approach, closing)
        target = where.point(grasp.position)
        if grasp.kind == "hook":
            x, z, anchor = approach, closing, _HOOK_ANCHOR
        else:
            x, z, anchor = closing, approach, self.scene.model.site(f"{side}_pinch").pos
        along = np.cos(pitch) * x + np.sin(pitch) * z
        made = pose(target, along, np.cos(pitch) * z - np.sin(pitch) * x)
        made = Pose(made.point(-anchor), made.turn)
        cost = _discomfort(side, made)
        if cost is None:
            return None
        return _Candidate(grasp, made, approach, cost + 0.4 * abs(pitch) + 0.6 * abs(roll))

    def _grip(self, side: Side, name: str, part: str, candidate: _Candidate) -> tuple[Pose, Array] | None:
        """The wrist pose in which the fingers close on a body, and their angles; None if they do not."""
        hooked = candidate.grasp.kind == "hook"
        power = candidate.grasp.kind == "power" or candidate.grasp.width > 0.045
        goal = SHAPES["hook"] if hooked else SHAPES["power" if power else "pinch"]
        for back, up in _BACK_OFF:
            where = candidate.wrist.moved(-back * candidate.approach + np.array([0.0, 0.0, up]))
            if not self._free(side, where, _ready(candidate.grasp)):
                continue
            angles = self._closed(side, name, part, where, _ready(candidate.grasp), goal, hooked)
            if angles is not None:
                return where, angles
        return None

    def _free(self, side: Side, where: Pose, shape: Array) -> bool:
        """Whether a hand there is in nothing."""
        self.hands[side].place(self.data, where.at, where.turn)
        self.hands[side].pose(self.data, shape)
        mujoco.mj_kinematics(self.scene.model, self.data)
        mujoco.mj_collision(self.scene.model, self.data)
        free = self._frame().depth <= DEEPEST / 2
        self.rewind(self.mark())
        return free

    def _closed(
        self, side: Side, name: str, part: str, where: Pose, ready: Array, goal: Array, hooked: bool
    ) -> Array | None:
        data, model, hand = self.data, self.scene.model, self.hands[side]
        hand.place(data, where.at, where.turn)
        hand.pose(data, ready)
        geoms = self._near(name, part, where)
        try:
            grip = close_until_contact(model, data, hand, goal, [*geoms, self.scene.table])
        except ValueError:  # a finger would start inside
            self.rewind(self.mark())
            return None
        touching = self.touching(side, geoms)
        depth = self._frame().depth
        self.rewind(self.mark())
        holds = len(touching) >= 2 and (hooked or "thumb" in touching)
        return grip.angles.copy() if holds and depth <= DEEPEST else None

    def _near(self, name: str, part: str, where: Pose) -> list[int]:
        """The geoms of a body that a hand there may touch; all if none is near."""
        model, middle = self.scene.model, where.point((0.10, 0, 0.05))
        geoms = self.geoms(name, part)
        reach = [float(np.linalg.norm(self.data.geom_xpos[g] - middle)) - model.geom_rbound[g] for g in geoms]
        return [g for g, far in zip(geoms, reach, strict=True) if far < 0.13] or geoms

    def touching(self, side: Side, geoms: Sequence[int]) -> list[Finger]:
        """The fingers of a hand that touch any of these geoms now."""
        ends = np.empty(6)
        return [
            finger
            for finger in FINGERS
            if any(
                mujoco.mj_geomDistance(self.scene.model, self.data, link, geom, 0.1, ends)
                <= CONTACT_GAP + 1e-6
                for link in self.hands[side].geoms[finger]
                for geom in geoms
            )
        ]

    def _reach(self, side: Side, where: Pose, angles: Array, candidate: _Candidate) -> None:
        hooked = candidate.grasp.kind == "hook"
        palm = rotation(_quat(where.turn))[:, 2]
        back = -0.09 * (palm if hooked else candidate.approach) + [0, 0, 0.02]
        self.go(side, where, _ready(candidate.grasp), (0, 0.02, 0.08), back)
        self.fingers(side, angles, 0.3)

    def retreat(self, side: Side, away: npt.ArrayLike = (0, -0.02, 0.08)) -> None:
        """Open the fingers and leave what was held."""
        self.drop(side)
        opened = _opened(self.shapes[side])
        self.fingers(side, opened, 0.25)
        self.go(side, rest(side), SHAPES["relaxed"], away, (0, 0.04, 0.06))

    def carry(self, side: Side, to: Pose, over: float = 0.06) -> None:
        """Take the hand, and with it what it holds, over things to another place."""
        self.go(side, to, None, (0, 0, over), (0, 0, over))

    def hand_for(self, side: Side, where: Pose) -> Pose:
        """The wrist pose in which what the hand holds is at `where`."""
        hold = self.holds[side]
        if hold is None:
            raise Infeasible(f"the {side} hand holds nothing")
        return where @ hold.offset.inverse()

    def follow(
        self, side: Side, name: str, part: str, share: float, seconds: float, upright: float = 0.0
    ) -> None:
        """Move a part's joint to `share` with the hand on it.

        Args:
            side: whose hand is on it.
            name: of the object.
            part: with a slide or hinge.
            share: 0..1 where the joint goes.
            seconds: that it takes at normal pace.
            upright: 0: the hand turns with the part; 1: it only goes along, as round a bar in hooked fingers.
        """
        first = self.shares.get((name, part), 0.0)
        start = self.wrists[side]
        there = self.pose_at(name, part, first)
        fixed = there.inverse() @ start
        centre = there.inverse().point(start.point(self._anchor(side)))

        def path(u: float) -> Pose:
            now = self.pose_at(name, part, first + (share - first) * minimum_jerk(u))
            whole = now @ fixed
            turn = between(whole.turn, start.turn, upright)
            at = now.point(centre) - rotation(_quat(turn)) @ self._anchor(side)
            return Pose(at, turn)

        self.play(
            seconds,
            {side: Move(path)},
            lambda u: self.set_share(name, part, first + (share - first) * minimum_jerk(u)),
        )

    def _anchor(self, side: Side) -> Array:
        return self.scene.model.site(f"{side}_pinch").pos

    def advance(
        self,
        side: Side,
        near: Pose,
        shape: Array,
        direction: npt.ArrayLike,
        name: str,
        part: str | None = None,
    ) -> Pose:
        """The wrist pose in which a hand moving from `near` along `direction` (3,) first touches an object.

        Raises:
            Infeasible: it passes the object, or is in it at once.
        """
        data, model, hand = self.data, self.scene.model, self.hands[side]
        way = _unit(np.asarray(direction, np.float64))
        ends, made = np.empty(6), 0.0
        geoms = self.geoms(name, part)
        try:
            while made < 0.25:
                hand.place(data, near.at + made * way, near.turn)
                hand.pose(data, shape)
                mujoco.mj_kinematics(model, data)
                gap = min(
                    mujoco.mj_geomDistance(model, data, own, geom, 0.3, ends)
                    for own in _geoms(hand)
                    for geom in geoms
                )
                if gap < 0 and made == 0:
                    raise Infeasible(f"the {side} hand starts inside {name}")
                if gap <= CONTACT_GAP:
                    return near.moved(made * way)
                made += max(gap - CONTACT_GAP / 2, 1e-4)
        finally:
            self.rewind(self.mark())
        raise Infeasible(f"the {side} hand passes {name}")

    def touch(
        self,
        side: Side,
        near: Pose,
        shape: Array,
        direction: npt.ArrayLike,
        name: str,
        part: str | None = None,
    ) -> None:
        """Go to `near` and on along `direction` until the hand touches the object."""
        at = self.advance(side, near, shape, direction, name, part)
        self.go(side, near, shape, (0, 0.02, 0.07), (0, 0, 0.06))
        self.glide(side, at, 0.2 + 1.2 * float(np.linalg.norm(at.at - near.at)))

    def fall(self, side: Side | None, name: str, part: str, to: Pose, lift: Move | None = None) -> None:
        """A body falls to `to`, while the hand of `side`, if any, makes the move `lift`."""
        start = self.body_pose(name, part)
        seconds = max(0.1, float(np.sqrt(2 * max(start.at[2] - to.at[2], 0.0) / 9.81)))

        def effect(u: float) -> None:
            at = (1 - u * u) * start.at + u * u * to.at
            self.put(name, part, Pose(at, between(start.turn, to.turn, u)))

        moves: dict[Side, Move] = {side: lift} if side is not None and lift is not None else {}
        pace, self.pace = self.pace, 1.0  # gravity is nobody's pace
        try:
            self.play(seconds, moves, effect)
        finally:
            self.pace = pace


@dataclass(frozen=True)
class _Candidate:
    """One way to put a hand to a grasp: the wrist's pose, the way it comes (3,), and how awkward it is."""

    grasp: Grasp
    wrist: Pose
    approach: Array
    cost: float


def _geoms(hand: Hand) -> list[int]:
    return [hand.palm_geom, *(geom for finger in FINGERS for geom in hand.geoms[finger])]


def _discomfort(side: Side, wrist: Pose) -> float | None:
    """How awkward a wrist's pose is, radians; None if no arm can do it."""
    z = rotation(_quat(wrist.turn))[:, 2]
    bent = bend(side, wrist)
    outwards = float(z[0] if side == "right" else -z[0])
    if bent > _MOST_BEND or wrist.at[2] < 0.03 or outwards > 0.6 or z[2] > 0.75:
        return None
    return bent + 0.8 * max(0.0, outwards) + 0.5 * max(0.0, float(z[2]))


def _ready(grasp: Grasp) -> Array:
    """How the fingers open before they close."""
    if grasp.kind == "hook":
        return _HOOK_READY
    if grasp.kind == "pinch" and grasp.width < 0.03:
        return blend("reach", "pinch", 0.25)
    return SHAPES["reach"].copy()


def _opened(shape: Array) -> Array:
    """A little more open than `shape`."""
    return blend(shape, "reach", 0.55)


def level(at: npt.ArrayLike, yaw: float) -> Pose:
    """A thing that stands upright at `at` (3,), turned by `yaw` about the vertical."""
    return Pose(np.asarray(at, np.float64), np.array(turned(Z, yaw)))


def with_at(where: Pose, at: Vec | Array) -> Pose:
    """The same rotation at another place."""
    return replace(where, at=np.asarray(at, np.float64))
