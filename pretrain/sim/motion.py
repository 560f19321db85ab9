"""How hands and objects move over time: a `Stage` on which movements are played, frame by frame.

Nothing is simulated. A movement sets wrists, fingers and what they hold in every frame; MuJoCo then says
where everything is and what touches what, and a frame in which things interpenetrate ends the movement with
`Infeasible`, so that whoever planned it can take it back (`Stage.mark`, `Stage.rewind`) and plan another.

Metres, seconds, radians; quaternions are (w, x, y, z); the world frame is that of `room`, the hand frame that
of `hand`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
import numpy.typing as npt

from pretrain.sim.arms import BENT, bend, elbow, rest
from pretrain.sim.design import Grasp
from pretrain.sim.grasping import DEEPEST, Grip, Suits, Trial, candidates
from pretrain.sim.hand import SHAPES, SIDES, Hand, Side, blend
from pretrain.sim.poses import Path, Pose, between, curve, minimum_jerk, straight, unit
from pretrain.sim.scene import Scene
from pretrain.sim.shapes import UPRIGHT, Array, turned, vec

FPS = 30  # frames per second
TOUCH = 0.0015  # metres: nearer than this a hand touches a thing; fingers close up to `hand.CONTACT_GAP`

_SWAY = 0.003  # metres: a resting hand moves by about so much
_SWAY_RATES = 2 * np.pi * np.array([0.23, 0.31, 0.17])  # radians a second
_SWAY_SIZES = {"left": _SWAY * np.cos(0.7 + np.arange(3.0)), "right": _SWAY * np.cos(2.1 + np.arange(3.0))}
_STILL = np.zeros(3)
_HAND_LENGTHS = 0.42  # metres: wrists further apart than this have hands that cannot meet
_SOFT = 0.7  # of the balls' radii: hands that are nearer are in each other
_LONGEST = 0.25  # metres that a hand feels its way
_UPWARDS = np.array([0.0, -0.02, 0.08])  # metres: how a hand leaves
_TO_REST = np.array([0.0, 0.04, 0.06])  # metres before it rests


class Infeasible(Exception):  # noqa: N818 - a normal outcome of a draw, not a fault
    """A movement cannot be made in this scene: out of reach, in the way, or nothing to hold on to."""


@dataclass(frozen=True)
class Move:
    """What one hand does during a movement.

    Attributes:
        path: of its wrist.
        shape: angles (20,) that its fingers reach; None keeps them.
        by: share of the time when they have reached them.
        since: share of the time when they begin to bend.
    """

    path: Path
    shape: Array | None = None
    by: float = 1.0
    since: float = 0.0


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
    grips: Mapping[Side, Grip]


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
        self._grips: dict[Side, Grip] = {}
        self._owner = self._owners()
        self._trial = Trial(scene, self.hands)
        one, other = (scene.model.geom_size[list(hand.contacts), 0] for hand in self.hands.values())
        self._crossing = _SOFT * (one[:, None] + other)
        margin = [geom for hand in self.hands.values() for geom in hand.contacts]
        scene.model.geom_margin[margin] = TOUCH  # so that collision detection reports touch before contact
        self._write()
        scene.update(self.data, 0.0)

    # What is where

    @property
    def time(self) -> float:
        """Seconds played."""
        return len(self.frames) / FPS

    def share(self, name: str, part: str) -> float:
        """Where the joint of a part with a slide or hinge stands, 0..1."""
        return self.shares.get((name, part), 0.0)

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
            dict(self._grips),
        )

    def rewind(self, mark: Mark) -> None:
        """Forget everything played since `mark`."""
        del self.frames[mark.frames :]
        self.data.qpos[:] = mark.qpos
        self.wrists, self.shapes, self.holds = dict(mark.wrists), dict(mark.shapes), dict(mark.holds)
        self.shares, self._moved, self._rested = dict(mark.shares), set(mark.moved), dict(mark.rested)
        self._grips = dict(mark.grips)
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
        shares = [(i + 1) / count for i in range(count)]
        ways = {side: self._way(side, move, shares) for side, move in moves.items()}
        before = dict(self.shapes)
        for side in moves:
            self._rested[side] = len(self.frames) + count

        def pose(i: int) -> None:
            for side, move in moves.items():
                self.wrists[side] = ways[side][i]
                if move.shape is not None:
                    done = minimum_jerk((shares[i] - move.since) / (move.by - move.since))
                    self.shapes[side] = (1 - done) * before[side] + done * move.shape
            if effect is not None:
                effect(shares[i])

        # Most movements that fail do so at their end or half way: looking there first spares the rest.
        for i in (count - 1, count // 2):
            pose(i)
            self._look()
        for i in range(count):
            pose(i)
            self.frames.append(self._look())

    def _way(self, side: Side, move: Move, shares: Sequence[float]) -> list[Pose]:
        """Where the wrist is in each frame of a move, which begins where the hand sways."""
        sway = self._sway(side)
        way = [move.path(u) for u in shares]
        if sway.any():
            way = [at.moved((1 - minimum_jerk(2 * u)) * sway) for at, u in zip(way, shares, strict=True)]
        if any(bend(side, wrist) > BENT for wrist in way):
            raise Infeasible("no wrist bends so far")
        return way

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
        self.scene.set_pose(self.data, name, vec(where.at), where.quat, part)
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
            return _STILL
        return _SWAY_SIZES[side] * np.sin(_SWAY_RATES * since) * min(1.0, since / 2)

    def _look(self) -> Frame:
        """The frame as it stands now."""
        self._write()
        self.scene.update(self.data, self.time)
        frame = self._frame()
        if frame.depth > DEEPEST:
            raise Infeasible(f"a hand is {1000 * frame.depth:.1f} mm inside something")
        if frame.sunk > DEEPEST:
            raise Infeasible(f"a moved thing is {1000 * frame.sunk:.1f} mm inside another")
        if self._hands_cross():
            raise Infeasible("the hands are in each other")
        return frame

    def _hands_cross(self) -> bool:
        """Whether the hands, which MuJoCo lets pass through each other, do so; of balls at their links."""
        left, right = (self.wrists[side].at for side in SIDES)
        if np.abs(left - right).max() > _HAND_LENGTHS:
            return False
        one, other = (self.data.geom_xpos[list(self.hands[side].contacts)] for side in SIDES)
        apart = np.linalg.norm(one[:, None] - other, axis=-1)
        return bool((apart < self._crossing).any())

    def _owners(self) -> npt.NDArray[np.int64]:
        """(G,) of each geom: 0 a thing of the room, 1 left hand, 2 right hand, 3 + i object i."""
        owner = np.zeros(self.scene.model.ngeom, np.int64)
        for number, side in enumerate(SIDES, 1):
            owner[list(self.hands[side].contacts)] = number
        for number, name in enumerate(self.names, 3):
            owner[self.geoms(name)] = number
        return owner

    def _frame(self) -> Frame:
        data = self.data
        owners = self._owner[data.contact.geom.reshape(-1, 2)]
        first, second = owners.min(axis=1), owners.max(axis=1)
        gap = data.contact.dist.reshape(-1)
        # Hands touch no hand: the other of the two is the room (0) or an object.
        by_hand = (first == 1) | (first == 2) | ((first == 0) & ((second == 1) | (second == 2)))
        touched = np.zeros((2, len(self.names)), np.bool_)
        grazed = by_hand & (first > 0)
        touched[first[grazed] - 1, second[grazed] - 3] = True
        moved = np.array([False] * 3 + [name in self._moved for name in self.names])
        between_things = ~by_hand & (first != second) & (moved[first] | moved[second])
        return Frame(
            data.qpos.copy(),
            data.mocap_pos.copy(),
            data.mocap_quat.copy(),
            touched,
            float(-gap[by_hand].min(initial=0.0)),
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
        self.play(_seconds(start, to), {side: Move(curve(start, to, leave, arrive), shape, 0.75)})

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
        self, side: Side, name: str, part: str = "", names: Sequence[str] = (), suits: Suits | None = None
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
        found = candidates(side, self.body_pose(name, part), made, self._pinch(side))
        self._trial.reset(self.data)
        for grip in self._trial.grips(side, self.geoms(name, part), found, suits):
            try:
                self._reach(side, grip)
            except Infeasible:
                self.rewind(start)
                continue
            return grip.candidate.grasp
        raise Infeasible(f"the {side} hand finds no hold on {name}")

    def _reach(self, side: Side, grip: Grip) -> None:
        self.go(side, grip.wrist, grip.candidate.ready, (0, 0.02, 0.08), grip.back)
        self.fingers(side, grip.angles, 0.3)
        self._grips[side] = grip

    def retreat(self, side: Side) -> None:
        """Open the fingers and leave what was grasped, the way the hand came or, if that is barred, aside."""
        self.drop(side)
        grip, start, wrist = self._grips[side], self.mark(), self.wrists[side]
        back = (wrist @ grip.wrist.inverse()).axes @ grip.back
        half = blend(self.shapes[side], grip.candidate.ready, 0.5)
        aways = (back, _UPWARDS, -0.09 * wrist.axes[:, 0])
        for opened, away in itertools.product((grip.candidate.ready, half), aways):
            try:
                self.fingers(side, opened, 0.25)
                way = curve(wrist, rest(side), away, _TO_REST)
                self.play(_seconds(wrist, rest(side)), {side: Move(way, SHAPES["relaxed"], 1.0, 0.35)})
            except Infeasible:
                self.rewind(start)
                continue
            return
        raise Infeasible(f"the {side} hand does not come off")

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
        self,
        side: Side,
        name: str,
        part: str,
        share: float,
        seconds: float,
        upright: float = 0.0,
        anchor: Array | None = None,
    ) -> None:
        """Move a part's joint to `share` with the hand on it.

        Args:
            side: whose hand is on it.
            name: of the object.
            part: with a slide or hinge.
            share: 0..1 where the joint goes.
            seconds: that it takes at normal pace.
            upright: 0: the hand turns with the part; 1: it only goes along, as round a bar in hooked fingers.
            anchor: (3,) the hand's point that stays on the part, hand frame; None: where it pinches.
        """
        first = self.share(name, part)
        start = self.wrists[side]
        there = self.pose_at(name, part, first)
        anchor = self._pinch(side) if anchor is None else anchor
        fixed = there.inverse() @ start
        centre = there.inverse().point(start.point(anchor))

        def path(u: float) -> Pose:
            now = self.pose_at(name, part, first + (share - first) * minimum_jerk(u))
            turn = between((now @ fixed).turn, start.turn, upright)
            return Pose(now.point(centre) - Pose(now.at, turn).axes @ anchor, turn)

        self.play(
            seconds,
            {side: Move(path)},
            lambda u: self.set_share(name, part, first + (share - first) * minimum_jerk(u)),
        )

    def _pinch(self, side: Side) -> Array:
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
        way = unit(np.asarray(direction, np.float64))
        self._trial.reset(self.data)
        made = self._trial.way(side, near, shape, way, self.geoms(name, part), _LONGEST)
        if made is None:
            raise Infeasible(f"the {side} hand passes {name}")
        if made == 0.0:
            raise Infeasible(f"the {side} hand starts at {name}")
        return near.moved(made * way)

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


def _seconds(start: Pose, to: Pose) -> float:
    """That a hand takes from one place to another at normal pace."""
    return 0.5 + 1.3 * float(np.linalg.norm(to.at - start.at))
