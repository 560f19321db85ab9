"""What hands do: the verbs, how each is acted on a `Stage`, and what a narrator says of it.

An `Action` is a draw of independent parameters: verb, hand, object, target, direction, speed and outcome.
`act` plays it and raises `Infeasible` if the scene does not allow it, so that the planner draws again.
Narrations are short, as Ego4D's are: they name neither hand nor direction. One who only tries is said to try.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from pretrain.sim.articulated import ARTICULATED
from pretrain.sim.hand import SHAPES, SIDES, Side, blend
from pretrain.sim.library import KINDS
from pretrain.sim.motion import (
    Infeasible,
    Move,
    Pose,
    Stage,
    bend,
    eased,
    level,
    pose,
    straight,
    swung,
    waves,
    with_at,
)
from pretrain.sim.objects import MOVABLE
from pretrain.sim.scene import ZONES
from pretrain.sim.shapes import Array, rotation

Handed = Literal["left", "right", "both"]
Speed = Literal["slow", "normal", "fast"]
Outcome = Literal["success", "slips", "misses", "aborts"]

PACES: Mapping[Speed, float] = {"slow": 1.5, "normal": 1.0, "fast": 0.7}
"""By which durations are multiplied."""
FAILURES: Mapping[Outcome, float] = {"slips": 0.04, "misses": 0.04, "aborts": 0.04}
"""Share of the actions that fail in each way, of verbs that begin with a grasp."""

_WAYS: Mapping[str, Array] = {
    "left": np.array([-1.0, 0, 0]),
    "right": np.array([1.0, 0, 0]),
    "away": np.array([0, 1.0, 0]),
    "towards": np.array([0, -1.0, 0]),
}
_DOWN = np.array([0.0, 0.0, -1.0])
_UP = np.array([0.0, 0.0, 1.0])


def _by(x: float, y: float, z: float) -> Array:
    return np.array([x, y, z])


@dataclass(frozen=True)
class Action:
    """One draw.

    Attributes:
        verb: key of `VERBS`.
        hand: that acts.
        name, kind, colour: of the object.
        target, target_kind, target_colour: of the other object, "" if there is none.
        direction: one of the verb's, "" if it has none.
        speed: key of `PACES`.
        outcome: what comes of it.
        seed: of the details: ways, heights, amounts.
    """

    verb: str
    hand: Handed
    name: str
    kind: str
    colour: str
    target: str
    target_kind: str
    target_colour: str
    direction: str
    speed: Speed
    outcome: Outcome
    seed: int

    @property
    def side(self) -> Side:
        """The hand that acts first."""
        return "left" if self.hand == "left" else "right"

    def record(self) -> dict[str, str | int]:
        """The parameters, for the ground truth."""
        return asdict(self)


Act = Callable[[Stage, Action, np.random.Generator], None]


@dataclass(frozen=True)
class Verb:
    """A kind of action.

    Attributes:
        name: its key.
        phrases: what a narrator says; {o} is the object, {t} the target.
        base: of the first phrase, after "tries to".
        act: plays it.
        kinds: of the object.
        targets: kinds of the target; empty: it has none.
        directions: from which one is drawn; empty: it has none.
        held: whether the hand holds the object meanwhile; an empty hand picks it up first.
        fails: whether it begins with a grasp that may fail.
        hands: that can do it.
        grips: names of the grasps to pick the object up by; empty: any.
        opens: of a part that moves: True if the verb opens it, False if it closes it, None for other verbs.
    """

    name: str
    phrases: tuple[str, ...]
    base: str
    act: Act
    kinds: tuple[str, ...]
    targets: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    held: bool = False
    fails: bool = False
    hands: tuple[Handed, ...] = SIDES
    grips: tuple[str, ...] = ()
    opens: bool | None = None


VERBS: dict[str, Verb] = {}
"""Every verb by name."""

_VESSELS = ("cup", "mug", "bowl", "pot", "pan", "basket", "plate")
_SIDED = ("cup", "mug", "bottle", "can", "jar", "carton", "candle")
_SMALL = (
    *("block", "ball", "apple", "pear", "lemon", "banana", "carrot"),
    *("sponge", "soap", "pen", "spoon", "tape", "candle"),
)
_PUSHED = (
    *("box", "block", "book", "sponge", "can", "cup", "jar", "soap"),
    *("tape", "carton", "bread", "bowl", "phone"),
)
_GRASPED = tuple(
    kind for kind in MOVABLE.kinds if kind not in ("teapot", "cutting board", "scissors", "funnel")
)


def _verb(
    name: str,
    phrases: Sequence[str],
    base: str,
    kinds: Sequence[str],
    targets: Sequence[str] = (),
    directions: Sequence[str] = (),
    **traits: Any,
) -> Callable[[Act], Act]:
    """Registers the decorated function as a verb; `traits` are the later fields of `Verb`."""

    def register(play: Act) -> Act:
        VERBS[name] = Verb(
            name, tuple(phrases), base, play, tuple(kinds), tuple(targets), tuple(directions), **traits
        )
        return play

    return register


def kinds_of_verbs() -> Mapping[str, Collection[str]]:
    """The kinds of object of each verb, for `splits.split_combinations`."""
    return {verb.name: verb.kinds for verb in VERBS.values()}


def narration(action: Action) -> str:
    """What a narrator says, as "C picks up the red cup"; hand and direction are left out."""
    verb = VERBS[action.verb]
    rng = np.random.default_rng(action.seed)
    shown = rng.uniform() < 0.7  # a narrator names a colour or not
    object_ = _noun(action.kind, action.colour if shown else "", rng)
    target = _noun(action.target_kind, action.target_colour if shown else "", rng) if action.target else ""
    if action.outcome != "success":
        return f"C tries to {verb.base.format(o=object_, t=target)}"
    phrase = verb.phrases[int(rng.integers(len(verb.phrases)))]
    return f"C {phrase.format(o=object_, t=target)}"


def _noun(kind: str, colour: str, rng: np.random.Generator) -> str:
    nouns = KINDS[kind].nouns
    # The usual name most of the time.
    noun = nouns[0] if rng.uniform() < 0.7 else nouns[int(rng.integers(len(nouns)))]
    return f"the {colour} {noun}" if colour else f"the {noun}"


def act(stage: Stage, action: Action) -> None:
    """Play an action on the stage.

    Raises:
        Infeasible: the scene does not allow it; the stage is left in the middle of it, to be rewound.
    """
    rng = np.random.default_rng([action.seed, 1])
    stage.pace = PACES[action.speed] * float(rng.uniform(0.9, 1.1))
    verb = VERBS[action.verb]
    if verb.opens is not None and verb.opens == (_share(stage, action.name, _part(stage, action.name)) > 0.4):
        raise Infeasible("it stands there already")
    before = stage.mark()
    _succeed(stage, action)
    if action.outcome != "success":
        # Only what can succeed is seen to fail, or hard verbs would be told by their failures.
        stage.rewind(before)
        _fail(stage, action, rng)
    stage.wait(float(rng.uniform(0.05, 0.25)))


def _succeed(stage: Stage, action: Action) -> None:
    verb, rng = VERBS[action.verb], np.random.default_rng([action.seed, 2])
    if verb.held and verb.name != "hammer" and stage.held(action.side) is None:
        _pick(stage, action.side, action.name, verb.grips)
        _lifted(stage, action.side, rng)
    verb.act(stage, action, rng)


def _fail(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, part = action.side, _part(stage, action.name)
    start = stage.mark()
    stage.grasp(side, action.name, part)
    goal, angles = stage.wrists[side], stage.shapes[side].copy()
    if action.outcome == "slips":
        if part:
            raise Infeasible("what is fixed does not slip")
        _slip(stage, action)
        return
    stage.rewind(start)
    if action.outcome == "aborts":
        way = goal.moved(rng.uniform((-0.02, -0.09, 0.05), (0.02, -0.05, 0.09)))
        stage.go(side, way, SHAPES["reach"])
        stage.wait(0.25)
        stage.go_to_rest(side)
        return
    stage.go(side, goal.moved((0, -0.02, float(rng.uniform(0.05, 0.07)))), SHAPES["reach"], (0, 0.02, 0.07))
    stage.fingers(side, blend(angles, "pinch", 0.5))
    stage.glide(side, stage.wrists[side].moved((0, -0.02, 0.06)), 0.35)
    stage.go_to_rest(side)


def _slip(stage: Stage, action: Action) -> None:
    side, name = action.side, action.name
    before = stage.body_pose(name)
    stage.take(side, name)
    stage.glide(side, stage.wrists[side].moved((0, 0, 0.035)), 0.4)
    stage.drop(side)
    up = stage.wrists[side].moved((0, 0, 0.05))
    opened = blend(stage.shapes[side], "reach", 0.35)
    stage.fall(side, name, "", before, Move(straight(stage.wrists[side], up), opened))
    stage.go_to_rest(side)


def _part(stage: Stage, name: str) -> str:
    """The part that is acted on: the one that moves; the root of what has none."""
    bodies = stage.scene.objects[name].design.bodies
    return next((body.name for body in bodies if body.joint in ("slide", "hinge")), "")


# Picking up, carrying and placing


def _lifted(stage: Stage, side: Side, rng: np.random.Generator) -> None:
    """Take what has been grasped up, in front of the wearer."""
    wrist = stage.wrists[side]
    x = 0.13 if side == "right" else -0.13
    ahead = (np.array([x, 0.10, 0.0]) - wrist.at) * [0.35, 0.2, 0.0]
    stage.carry(side, wrist.moved(ahead + _by(0, 0, rng.uniform(0.09, 0.15))), 0.03)


def _pick(
    stage: Stage,
    side: Side,
    name: str,
    names: Sequence[str] = (),
    part: str = "",
    suits: Callable[[Pose], bool] | None = None,
) -> None:
    stage.grasp(side, name, part, names, suits)
    stage.take(side, name, part)


@_verb(
    "pick up",
    ("picks up {o}", "picks {o}", "lifts {o}", "takes {o}", "takes {o} from the table"),
    "pick up {o}",
    _GRASPED,
    fails=True,
)
def _pick_up(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    _pick(stage, action.side, action.name)
    _lifted(stage, action.side, rng)


def radius(stage: Stage, name: str) -> float:
    """Of the circle round the origin that holds an object's footprint, metres."""
    x0, x1, y0, y1 = stage.scene.objects[name].design.footprint
    return float(np.hypot(max(-x0, x1), max(-y0, y1)))


def free_place(stage: Stage, side: Side, name: str, rng: np.random.Generator) -> Array:
    """(3,) a place on the table within that hand's reach where nothing stands.

    Raises:
        Infeasible: none was found.
    """
    own = radius(stage, name)
    others = [(stage.body_pose(n).at[:2], radius(stage, n)) for n in stage.names if n != name]
    (x0, x1), (y0, y1) = ZONES[side]
    for _ in range(60):
        spot = rng.uniform((x0, y0), (x1, y1 - 0.04))
        corners = spot + own * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
        if stage.scene.recipe.room.holds(corners) and all(
            np.linalg.norm(spot - at) > own + far + 0.01 for at, far in others
        ):
            return np.array([*spot, 0.0])
    raise Infeasible(f"no free place for {name}")


def _set_down(stage: Stage, side: Side, at: Array) -> None:
    """Put what is held upright at `at` (3,), turned as the arm turns, and let go."""
    hold = stage.holds[side]
    if hold is None:
        raise Infeasible("nothing is held")
    now = stage.body_pose(hold.name, hold.part)
    # What was tilted while it was held is set upright again.
    up = rotation(vec4(now.turn))[:, 0]
    target = level(at, float(np.arctan2(up[1], up[0])))
    stage.carry(side, stage.hand_for(side, target.moved((0, 0, 0.002))), 0.05)
    stage.put(hold.name, hold.part, target)
    stage.retreat(side)


def vec4(turn: Array) -> tuple[float, float, float, float]:
    """A quaternion as a tuple."""
    w, x, y, z = turn.tolist()
    return w, x, y, z


@_verb(
    "put down",
    ("puts down {o}", "puts {o} on the table", "places {o} on the table", "drops {o} on the table"),
    "put down {o}",
    _GRASPED,
    held=True,
)
def _put_down(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    _set_down(stage, action.side, free_place(stage, action.side, action.name, rng))


@_verb(
    "lift",
    ("lifts {o} and puts it back", "raises {o}"),
    "lift {o}",
    _GRASPED,
    fails=True,
)
def _lift(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    before = stage.body_pose(name)
    _pick(stage, side, name)
    down = stage.wrists[side]
    stage.glide(side, down.moved((0, 0, rng.uniform(0.05, 0.12))), 0.5)
    stage.wait(float(rng.uniform(0.1, 0.4)))
    stage.glide(side, down, 0.5)
    stage.put(name, "", before)
    stage.retreat(side)


@_verb(
    "move",
    ("moves {o}", "moves {o} on the table", "shifts {o}"),
    "move {o}",
    _GRASPED,
    fails=True,
)
def _move(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    _pick(stage, action.side, action.name)
    _set_down(stage, action.side, free_place(stage, action.side, action.name, rng))


@_verb(
    "place in",
    ("puts {o} in {t}", "places {o} into {t}", "drops {o} into {t}"),
    "put {o} in {t}",
    _SMALL,
    _VESSELS,
    held=True,
)
def _place_in(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    spot = stage.scene.objects[action.target].design.root.spot("inside")
    place = stage.body_pose(action.target)
    inside = place.point(spot.position)
    if radius(stage, name) > spot.radius + (0.06 if action.target_kind in ("plate", "pan") else 0.01):
        raise Infeasible("too large")
    now = stage.body_pose(name)
    height = float(rng.uniform(0.005, 0.02)) + spot.depth + 0.01
    over = with_at(now, inside + _by(0, 0, height))
    stage.carry(side, stage.hand_for(side, over), 0.08)
    stage.drop(side)
    wrist = stage.wrists[side]
    opened = blend(stage.shapes[side], "reach", 0.6)
    stage.fall(side, name, "", with_at(now, inside), Move(straight(wrist, wrist.moved((0, 0, 0.01))), opened))
    stage.go_to_rest(side)


# On the table


def _ahead(side: Side, at: Array, down: float = 0.0) -> Pose:
    """A palm-down wrist whose hand points ahead of the arm, at `at` (3,)."""
    inwards = -0.2 if side == "right" else 0.2
    return pose(at, (inwards, 1.0, -down), (0, 0, -1))


def _near_push(stage: Stage, side: Side, name: str, way: str) -> tuple[Pose, Array]:
    """The wrist before a push, and the hand's shape."""
    middle = stage.body_pose(name).at.copy()
    tall = stage.scene.objects[name].design.height
    far = radius(stage, name)
    direction = _WAYS[way]
    if way == "away":
        at = middle - (far + 0.135) * direction
        return _ahead(side, np.array([at[0], at[1], max(0.05, min(tall, 0.10) * 0.5 + 0.03)])), SHAPES["fist"]
    if way == "towards":
        # Fingers bent down behind the thing draw it near.
        bent = np.deg2rad([0, 20, 10, 10, *(80, 0, 12, 5) * 4])
        at = middle + _by(0, far + 0.03 - 0.11, 0)
        return _ahead(side, np.array([at[0], at[1], 0.105])), bent
    thumb = 1.0 if side == "right" else -1.0
    palm = np.array([-thumb, 0.0, 0.0])  # looks inwards
    at = middle - (far + 0.06) * direction + _by(0, -0.11, 0)
    at[2] = max(0.058, min(tall, 0.1) * 0.5)
    return pose(at, (0, 1, -0.05), palm), np.deg2rad([-10, 15, 0, 0, *(10, 0, 12, 6) * 4])


@_verb(
    "push",
    ("pushes {o}", "pushes {o} on the table", "moves {o} aside"),
    "push {o}",
    _PUSHED,
    directions=("left", "right", "away"),
)
def _push(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name, way = action.side, action.name, _WAYS[action.direction]
    near, shape = _near_push(stage, side, name, action.direction)
    stage.touch(side, near, shape, way, name)
    _shove(stage, side, name, way * rng.uniform(0.06, 0.14), 0.6)
    stage.go(side, stage.wrists[side].moved(-0.03 * way + _by(0, -0.01, 0.02)), None, (0, 0, 0), (0, 0, 0))
    stage.go_to_rest(side)


@_verb(
    "pull",
    ("pulls {o}", "drags {o} closer", "pulls {o} closer"),
    "pull {o}",
    _PUSHED,
    directions=("towards",),
)
def _pull(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name, way = action.side, action.name, _WAYS[action.direction]
    near, shape = _near_push(stage, side, name, action.direction)
    stage.touch(side, near, shape, way, name)
    _shove(stage, side, name, way * rng.uniform(0.05, 0.10), 0.6)
    stage.glide(side, stage.wrists[side].moved((0, 0.02, 0.07)), 0.4)
    stage.go_to_rest(side)


def _shove(stage: Stage, side: Side, name: str, by: Array, seconds: float) -> None:
    """Move hand and object together over the table."""
    corners = stage.body_pose(name).at[:2] + by[:2]
    if not stage.scene.recipe.room.holds(corners[None]):
        raise Infeasible("off the table")
    stage.take(side, name)
    stage.glide(side, stage.wrists[side].moved(by), seconds)
    stage.drop(side)


_TIPS_DOWN = np.deg2rad([0, 30, 15, 10, *(38, 0, 22, 12) * 4])


@_verb(
    "slide",
    ("slides {o}", "slides {o} across the table"),
    "slide {o}",
    ("book", "phone", "remote", "plate", "cutting board", "sponge", "soap", "box", "block", "tape"),
    directions=tuple(_WAYS),
)
def _slide(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name, way = action.side, action.name, _WAYS[action.direction]
    stage.touch(side, _over(stage, side, stage.body_pose(name).at, name), _TIPS_DOWN, _DOWN, name)
    _shove(stage, side, name, way * rng.uniform(0.06, 0.13), 0.7)
    stage.glide(side, stage.wrists[side].moved((0, -0.01, 0.05)), 0.3)
    stage.go_to_rest(side)


def _over(stage: Stage, side: Side, at: Array, name: str, index: bool = False) -> Pose:
    """A wrist whose fingertips (or index tip, for the shape `point`) are over `at` (3,), above the object."""
    tip = 0.165 if index else 0.145
    aside = (0.018 if side == "right" else -0.018) if index else 0.0
    inwards = -0.2 if side == "right" else 0.2
    height = stage.scene.objects[name].design.height + (0.09 if index else 0.12)
    wrist = pose((0, 0, 0), (inwards, 1.0, -0.45 if index else -0.1), (0, 0, -1))
    offset = wrist.point((tip, aside, 0.0))
    return with_at(wrist, np.array([at[0] - offset[0], at[1] - offset[1], height - min(0.0, offset[2])]))


@_verb(
    "touch",
    ("touches {o}", "taps {o}"),
    "touch {o}",
    _GRASPED,
)
def _touch(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    near = _over(stage, side, stage.body_pose(name).at, name, index=True)
    stage.touch(side, near, SHAPES["point"], _DOWN, name)
    low = stage.wrists[side]
    for _ in range(int(rng.integers(0, 3))):
        stage.glide(side, low.moved((0, 0, 0.025)), 0.18)
        stage.glide(side, low, 0.18)
    stage.glide(side, near, 0.3)
    stage.go_to_rest(side)


@_verb(
    "point at",
    ("points at {o}", "points to {o}"),
    "point at {o}",
    _GRASPED,
)
def _point_at(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    goal = stage.body_pose(name).at + _by(0, 0, stage.scene.objects[name].design.height / 2)
    base = _by(0.16 if side == "right" else -0.16, 0, 0)
    way = (goal - base) / np.linalg.norm(goal - base)
    at = goal - way * (0.17 + radius(stage, name) + rng.uniform(0.05, 0.09))
    at[2] += 0.08
    stage.go(side, pose(at, goal - at, (0, 0, -1)), SHAPES["point"])
    stage.wait(float(rng.uniform(0.4, 0.8)))
    stage.go_to_rest(side)


@_verb(
    "knock over",
    ("knocks over {o}", "tips over {o}"),
    "knock over {o}",
    ("bottle", "carton", "can", "candle", "jar", "cup"),
    directions=("left", "right"),
)
def _knock_over(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name, way = action.side, action.name, _WAYS[action.direction]
    near, shape = _near_push(stage, side, name, action.direction)
    tall = stage.scene.objects[name].design.height
    near = near.moved((0, 0, max(0.0, tall * 0.7 - near.at[2])))
    stage.touch(side, near, shape, way, name)
    start = stage.body_pose(name)
    footprint = stage.scene.objects[name].design.footprint
    width = min(-footprint[0], footprint[1])
    edge = start.at + way * width
    axis = np.cross(_UP, way)
    fallen = np.pi / 2

    def effect(u: float) -> None:
        stage.put(name, "", start.turned(axis, fallen * u * u, edge))

    wrist = stage.wrists[side]
    stage.play(0.5, {side: Move(straight(wrist, wrist.moved(0.03 * way)))}, effect)
    stage.go_to_rest(side)


@_verb(
    "rotate",
    ("rotates {o}", "turns {o}"),
    "rotate {o}",
    ("can", "cup", "jar", "candle", "tape", "ball", "box", "block", "bowl", "apple", "mug"),
    directions=("clockwise", "counterclockwise"),
    fails=True,
)
def _rotate(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    _pick(stage, side, name)
    angle = float(rng.uniform(0.6, 1.1)) * (-1 if action.direction == "clockwise" else 1)
    wrist = stage.wrists[side]
    stage.play(0.9, {side: Move(swung(wrist, _UP, stage.body_pose(name).at, eased(angle)))})
    stage.retreat(side)


@_verb(
    "wipe",
    ("wipes the table with {o}", "cleans the table with {o}"),
    "wipe the table with {o}",
    ("sponge", "brush", "soap"),
    held=True,
)
def _wipe(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    place = free_place(stage, side, name, rng)
    now = stage.body_pose(name)
    stage.carry(side, stage.hand_for(side, with_at(now, place)), 0.04)
    wrist = stage.wrists[side]
    size, times = float(rng.uniform(0.025, 0.05)), int(rng.integers(2, 4))
    across = waves(size, times)
    stage.play(0.6 * times, {side: Move(lambda u: wrist.moved((across(u), 0, 0)))})


@_verb(
    "shake",
    ("shakes {o}",),
    "shake {o}",
    ("bottle", "can", "jar", "carton", "cup", "box"),
    held=True,
    grips=("side", "neck", "top"),
)
def _shake(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side = action.side
    wrist = stage.wrists[side]
    up = waves(float(rng.uniform(0.02, 0.04)), float(rng.integers(3, 6)))
    stage.play(1.2, {side: Move(lambda u: wrist.moved((0.3 * up(u), 0, up(u))))})


@_verb(
    "flip",
    ("turns over {o}", "flips {o}", "turns {o} upside down"),
    "turn over {o}",
    ("cup", "can", "jar", "candle", "bottle", "mug"),
    fails=True,
)
def _flip(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name = action.side, action.name
    before = stage.body_pose(name)
    _pick(stage, side, name, ("side",))
    tall = stage.scene.objects[name].design.height
    stage.glide(side, stage.wrists[side].moved((0, 0, 0.09)), 0.5)
    middle = stage.body_pose(name).point((0, 0, tall / 2))
    axis = rotation(vec4(stage.wrists[side].turn))[:, 0] * [1.0, 1.0, 0.0]
    turn = np.pi if side == "left" else -np.pi
    stage.play(0.9, {side: Move(swung(stage.wrists[side], axis / np.linalg.norm(axis), middle, eased(turn)))})
    now = stage.body_pose(name)
    to = with_at(now, before.at + _by(0, 0, tall + 0.001))
    stage.glide(side, stage.hand_for(side, to), 0.5)
    stage.retreat(side, (0, -0.04, 0.04))


@_verb(
    "pour",
    ("pours from {o} into {t}", "pours water from {o} into {t}"),
    "pour from {o} into {t}",
    ("bottle", "can", "carton", "cup", "mug"),
    ("cup", "mug", "bowl", "pot"),
    held=True,
    grips=("side", "neck", "top"),
)
def _pour(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    spot = stage.scene.objects[action.target].design.root.spot("inside")
    mouth = stage.body_pose(action.target).point(spot.position) + _by(0, 0, spot.depth)
    tall = stage.scene.objects[name].design.height
    outwards = 1.0 if side == "right" else -1.0
    # Beside the vessel, the top near its middle, then tilted towards it about the line of sight.
    top = mouth + _by(outwards * 0.012, 0, 0.03)
    tilt = float(rng.uniform(1.5, 1.85))
    base = with_at(stage.body_pose(name), top - _by(0, 0, tall))
    high = base.moved((outwards * 0.05, 0, 0.07))
    stage.carry(side, stage.hand_for(side, high), 0.05)
    wrist = stage.wrists[side]
    over = high.point((0, 0, tall))
    turn = swung(wrist, (0, -outwards, 0), over, eased(tilt))
    shift = top - over + _by(0, 0, 0.025)
    stage.play(0.9, {side: Move(lambda u: turn(u).moved(u * u * (3 - 2 * u) * shift))})
    stage.wait(float(rng.uniform(0.4, 0.9)))
    tilted = stage.wrists[side]
    back = swung(tilted, (0, -outwards, 0), over + shift, eased(-tilt))
    stage.play(0.8, {side: Move(lambda u: back(u).moved(-u * u * (3 - 2 * u) * shift))})


@_verb(
    "hand over",
    ("passes {o} to the other hand", "moves {o} to the other hand"),
    "pass {o} to the other hand",
    (
        "bottle",
        "can",
        "carton",
        "candle",
        "carrot",
        "pen",
        "banana",
        "hammer",
        "screwdriver",
        "wrench",
        "rolling pin",
        "remote",
    ),
    held=True,
)
def _hand_over(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    other: Side = "left" if side == "right" else "right"
    x = 0.05 if other == "right" else -0.05
    hold = stage.holds[side]
    if hold is None or stage.holds[other] is not None:
        raise Infeasible("the other hand is not free")
    now = stage.body_pose(name)
    stage.carry(
        side, stage.hand_for(side, with_at(now, np.array([x, 0.22, 0.13 + rng.uniform(0, 0.04)]))), 0.02
    )
    stage.grasp(other, name)
    stage.take(other, name)
    stage.drop(side)
    stage.fingers(side, blend(stage.shapes[side], "reach", 0.5), 0.25)
    stage.go(side, stage.wrists[side].moved((-1.2 * x, -0.06, 0.03)), None, (0, -0.01, 0.02), (0, 0, 0))
    stage.go_to_rest(side)


@_verb(
    "stir",
    ("stirs {t} with {o}", "stirs in {t} with {o}"),
    "stir in {t} with {o}",
    ("spoon", "spatula", "fork"),
    ("bowl", "pot", "pan", "mug"),
    held=True,
)
def _stir(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    spot = stage.scene.objects[action.target].design.root.spot("inside")
    floor = stage.body_pose(action.target).point(spot.position)
    tip = np.array(stage.scene.objects[name].design.root.spot("tip").position)
    now = stage.body_pose(name)
    # The tool is tilted until its working end points down steeply.
    ahead = rotation(vec4(now.turn))[:, 0] * [1.0, 1.0, 0.0]
    ahead /= np.linalg.norm(ahead)
    steep = np.cross(_UP, ahead)
    tilted = now.turned(steep, 0.95, now.at)
    goal = tilted.moved(floor + _by(0, 0, spot.depth + 0.05) - tilted.point(tip))
    stage.carry(side, stage.hand_for(side, goal), 0.07)
    stage.glide(side, stage.wrists[side].moved((0, 0, -0.05 - 0.6 * spot.depth)), 0.3)
    wrist = stage.wrists[side]
    circle, times = 0.35 * spot.radius, int(rng.integers(2, 5))

    def round_(u: float) -> Pose:
        angle, size = 2 * np.pi * times * u, circle * np.sin(np.pi * u) ** 0.5
        return wrist.moved((size * np.cos(angle), size * np.sin(angle), 0))

    stage.play(0.55 * times, {side: Move(round_)})
    stage.glide(side, wrist.moved((0, -0.03, 0.12)), 0.5)


# Things with moving parts


def _share(stage: Stage, name: str, part: str) -> float:
    return stage.shares.get((name, part), 0.0)


def _drive(stage: Stage, action: Action, to: float, seconds: float, upright: float = 0.0) -> None:
    """Take hold of a part, move its joint to the share `to`, let go."""
    side, name, part = action.side, action.name, _part(stage, action.name)
    if abs(_share(stage, name, part) - to) < 0.3:
        raise Infeasible("it stands there already")
    stage.grasp(side, name, part)
    stage.follow(side, name, part, to, seconds, upright)
    palm = rotation(vec4(stage.wrists[side].turn))[:, 2]
    stage.retreat(side, -0.05 * palm + _by(0, -0.02, 0.03))


def _mover(
    name: str, phrases: Sequence[str], base: str, kinds: Sequence[str], opens: bool, upright: float = 0.0
) -> None:
    def play(stage: Stage, action: Action, rng: np.random.Generator) -> None:
        to = float(rng.uniform(0.65, 1.0)) if opens else 0.0
        _drive(stage, action, to, 0.9, upright)

    _verb(name, phrases, base, kinds, fails=True, opens=opens)(play)


_mover("open drawer", ("opens {o}", "pulls {o} open"), "open {o}", ("drawer",), True)
_mover("close drawer", ("closes {o}", "pushes {o} shut"), "close {o}", ("drawer",), False)
_mover("open door", ("opens {o}", "opens the door of {o}"), "open {o}", ("cupboard",), True, 0.6)
_mover("close door", ("closes {o}", "shuts {o}"), "close {o}", ("cupboard",), False, 0.6)
_mover("open lid", ("opens {o}", "lifts the lid of {o}"), "open {o}", ("chest", "laptop"), True, 0.75)
_mover("turn on", ("turns on {o}", "opens {o}"), "turn on {o}", ("faucet",), True, 0.5)
_mover("turn off", ("turns off {o}", "closes {o}"), "turn off {o}", ("faucet",), False, 0.5)


@_verb(
    "close lid",
    ("closes {o}", "closes the lid of {o}"),
    "close {o}",
    ("chest", "laptop"),
    fails=True,
    opens=False,
)
def _close_lid(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name, part = action.side, action.name, _part(stage, action.name)
    stage.grasp(side, name, part)
    ajar = 0.25
    stage.follow(side, name, part, ajar, 0.9, 0.75)
    stage.fingers(side, blend(stage.shapes[side], "reach", 0.6), 0.15)
    wrist = stage.wrists[side]

    def shut(u: float) -> None:  # it falls once the fingers are out
        stage.set_share(name, part, ajar * (1.0 - max(0.0, u - 0.5) ** 2 / 0.25))

    away = wrist.moved((0, -0.08, 0.03))
    stage.play(0.5, {side: Move(straight(wrist, away))}, shut)
    stage.go_to_rest(side)


@_verb(
    "turn knob",
    ("turns {o}", "adjusts {o}"),
    "turn {o}",
    ("knob",),
    directions=("clockwise", "counterclockwise"),
)
def _turn_knob(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    part = _part(stage, action.name)
    now = _share(stage, action.name, part)
    low, high = stage.scene.objects[action.name].design.body(part).limits
    by = float(rng.uniform(0.45, 0.95)) / abs(high - low)
    to = now + by if action.direction == "clockwise" else now - by
    if not 0.0 <= to <= 1.0:
        raise Infeasible("it turns no further")
    side = action.side
    stage.grasp(side, action.name, part)
    stage.follow(side, action.name, part, to, 0.8)
    stage.retreat(side)


@_verb(
    "flip lever",
    ("flips {o}", "moves the lever of {o}"),
    "flip {o}",
    ("switch",),
    directions=("away", "towards"),
)
def _flip_lever(stage: Stage, action: Action, _: np.random.Generator) -> None:
    _drive(stage, action, 1.0 if action.direction == "away" else 0.0, 0.5, 0.5)


@_verb(
    "move slider",
    ("moves {o}", "slides {o}"),
    "move {o}",
    ("slider",),
    directions=("left", "right"),
)
def _move_slider(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    part = _part(stage, action.name)
    now = _share(stage, action.name, part)
    by = float(rng.uniform(0.35, 0.7)) * (1 if action.direction == "right" else -1)
    if not 0.0 <= now + by <= 1.0:
        raise Infeasible("it slides no further")
    _drive(stage, action, now + by, 0.7)


@_verb(
    "press",
    ("presses {o}", "pushes {o}"),
    "press {o}",
    ("button",),
)
def _press(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name = action.side, action.name
    near = _over(stage, side, stage.body_pose(name).at, name, index=True)
    stage.touch(side, near, SHAPES["point"], _DOWN, name, "cap")
    wrist = stage.wrists[side]
    low, high = stage.scene.objects[name].design.body("cap").limits
    for down in (True, False):
        shift = -(high - low) if down else (high - low)
        first = stage.wrists[side]

        def press(u: float, down: bool = down) -> None:
            done = float(np.clip(u**3 * (10 + u * (6 * u - 15)), 0, 1))
            stage.set_share(name, "cap", done if down else 1 - done)

        stage.play(0.2, {side: Move(straight(first, first.moved((0, 0, shift))))}, press)
        stage.wait(0.08)
    stage.glide(side, wrist.moved((0, -0.02, 0.08)), 0.3)
    stage.go_to_rest(side)


@_verb(
    "take out",
    ("takes the peg out of {o}", "pulls the peg out of {o}"),
    "take the peg out of {o}",
    ("peg board",),
)
def _take_out(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name = action.side, action.name
    if not _pegged(stage, name):
        raise Infeasible("the peg is out")
    _pick(stage, side, name, (), "peg")
    stage.glide(side, stage.wrists[side].moved((0, 0, 0.07)), 0.6)
    board = stage.body_pose(name)
    beside = np.array(stage.scene.objects[name].design.body("peg").at)
    _set_down(stage, side, board.point(beside) * [1, 1, 0])


def _pegged(stage: Stage, name: str) -> bool:
    hole = stage.scene.objects[name].design.root.spot("hole")
    peg = stage.body_pose(name, "peg").at
    return float(np.linalg.norm(peg[:2] - stage.body_pose(name).point(hole.position)[:2])) < 0.01


@_verb(
    "insert",
    ("puts the peg in {o}", "inserts the peg into {o}"),
    "insert the peg into {o}",
    ("peg board",),
)
def _insert(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name = action.side, action.name
    if _pegged(stage, name):
        raise Infeasible("the peg is in")
    hole = stage.scene.objects[name].design.root.spot("hole")
    mouth = stage.body_pose(name).point(hole.position)
    turn = stage.body_pose(name)
    _pick(stage, side, name, ("top",), "peg")
    over = with_at(turn, mouth + _by(0, 0, 0.03))
    stage.carry(side, stage.hand_for(side, over), 0.05)
    stage.glide(side, stage.hand_for(side, with_at(turn, mouth + _by(0, 0, 0.002 - hole.depth))), 0.6)
    stage.retreat(side)


def _striking(now: Pose) -> Pose:
    """A hammer turned about its handle until its face, which lay to the side, looks down."""
    ahead = rotation(vec4(now.turn))[:, 0] * [1.0, 1.0, 0.0]
    ahead /= np.linalg.norm(ahead)
    return pose(now.at, ahead, np.cross(ahead, _UP))


def _can_strike(side: Side, wrist: Pose, lying: Pose) -> bool:
    """Whether a wrist that grasps the hammer as it lies is still an arm's when its face looks down."""
    return bend(side, _striking(lying).moved((0, 0, 0.1)) @ lying.inverse() @ wrist) < np.deg2rad(60)


@_verb(
    "hammer",
    ("hammers the nail with {o}", "hits the nail with {o}"),
    "hammer the nail with {o}",
    ("hammer",),
    ("nail",),
    held=True,
    hands=("right",),
)
def _hammer(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name, target = action.side, action.name, action.target
    if stage.held(side) is None:
        _pick(stage, side, name, (), "", lambda wrist: _can_strike(side, wrist, stage.body_pose(name)))
        _lifted(stage, side, rng)
    design = stage.scene.objects[name].design
    tip = np.array(design.root.spot("tip").position)
    now = stage.body_pose(name)
    struck = _striking(now)
    ahead = rotation(vec4(struck.turn))[:, 0]
    strokes, before = int(rng.integers(2, 5)), _share(stage, target, "nail")
    left = 1.0 - before
    if left < 0.3:
        raise Infeasible("the nail is in")
    for stroke in range(strokes):
        share = before + left * 0.9 * stroke / strokes
        head = stage.pose_at(target, "nail", share).point(
            stage.scene.objects[target].design.body("nail").spot("head").position
        )
        hit = struck.moved(head + _by(0, 0, 0.001) - struck.point(tip))
        wrist = stage.hand_for(side, hit)
        butt = wrist.at
        lifted = wrist.turned(np.cross(_UP, ahead), -0.45, butt).moved((0, 0, 0.03))
        if stroke == 0:
            stage.carry(side, lifted, 0.03)
        else:
            stage.glide(side, lifted, 0.25)
        stage.glide(side, wrist, 0.22)
        deeper = before + left * 0.9 * (stroke + 1) / strokes
        stage.set_share(target, "nail", deeper)
    stage.glide(side, stage.wrists[side].moved((0, -0.04, 0.08)), 0.4)


@_verb(
    "hold and touch",
    ("holds {o} and touches {t}",),
    "hold {o} and touch {t}",
    _SIDED,
    _GRASPED,
    hands=("both",),
)
def _hold_and_touch(stage: Stage, action: Action, _: np.random.Generator) -> None:
    holder: Side = "left" if stage.body_pose(action.name).at[0] < 0 else "right"
    other: Side = "right" if holder == "left" else "left"
    stage.grasp(holder, action.name)
    near = _over(stage, other, stage.body_pose(action.target).at, action.target, index=True)
    stage.touch(other, near, SHAPES["point"], _DOWN, action.target)
    stage.glide(other, near, 0.3)
    stage.go_to_rest(other)
    stage.retreat(holder)


FIXED = tuple(ARTICULATED.kinds)
"""Kinds that are acted on where they stand."""
