"""Verbs of one or two hands that take things up: pick up, put down, move, turn, shake, hand over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pretrain.sim.actions.verbs import GRASPED, Action, verb
from pretrain.sim.grasping import Suits
from pretrain.sim.hand import Side, blend
from pretrain.sim.motion import Infeasible, Move, Stage
from pretrain.sim.poses import Pose, eased, level, shift, straight, swung, unit, waves, with_at
from pretrain.sim.scene import ZONES
from pretrain.sim.shapes import Array, Z

_SMALL = (
    *("block", "ball", "apple", "pear", "lemon", "banana", "carrot"),
    *("sponge", "soap", "pen", "spoon", "tape", "candle"),
)
_VESSELS = ("cup", "mug", "bowl", "pot", "pan", "basket", "plate")
_PASSED = ("bottle", "can", "candle", "cup", "jar", "mug", "rolling pin")  # with room for two hands
_KNUCKLES = np.array([0.09, 0.0, 0.0])  # hand frame
_HANDS_APART = 0.085  # metres between the knuckles of two hands that hold one thing
_SPOTS = 200  # places tried for a thing


def lift_up(stage: Stage, side: Side, rng: np.random.Generator) -> None:
    """Take what has been grasped up, in front of the wearer."""
    wrist = stage.wrists[side]
    x = 0.13 if side == "right" else -0.13
    ahead = (np.array([x, 0.10, 0.0]) - wrist.at) * [0.35, 0.2, 0.0]
    stage.carry(side, wrist.moved(ahead + shift(0, 0, rng.uniform(0.09, 0.15))), 0.03)


def pick(
    stage: Stage, side: Side, name: str, names: Sequence[str] = (), part: str = "", suits: Suits | None = None
) -> None:
    """Take hold of a body; from then on it goes with the hand. Arguments and errors as of `Stage.grasp`."""
    stage.grasp(side, name, part, names, suits)
    stage.take(side, name, part)


@verb(
    "pick up",
    ("picks up {o}", "picks {o}", "lifts {o}", "takes {o}", "takes {o} from the table"),
    "pick up {o}",
    GRASPED,
    fails=True,
)
def _pick_up(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    pick(stage, action.side, action.name)
    lift_up(stage, action.side, rng)


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
    (x0, x1), (y0, y1) = ZONES[side]
    spots = rng.uniform((x0, y0), (x1, y1 - 0.04), (_SPOTS, 2))
    gaps = np.min([_apart(stage, other, spots) for other in stage.names if other != name], axis=0)
    corners = own * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    for spot in spots[gaps > own + 0.01]:
        if stage.scene.recipe.room.holds(spot + corners):
            return np.array([*spot, 0.0])
    raise Infeasible(f"no free place for {name}")


def _apart(stage: Stage, name: str, spots: Array) -> Array:
    """(N,) distances of spots (N, 2) on the table from all that an object's joints let it cover, metres."""
    where = stage.body_pose(name)
    x0, x1, y0, y1 = stage.scene.objects[name].design.footprint
    local = (spots - where.at[:2]) @ where.axes[:2, :2]
    nearest = np.clip(local, (x0, y0), (x1, y1))
    return np.linalg.norm(local - nearest, axis=1)


def set_down(stage: Stage, side: Side, at: Array) -> None:
    """Put what is held upright at `at` (3,), turned as the arm turns, and let go."""
    hold = stage.holds[side]
    if hold is None:
        raise Infeasible("nothing is held")
    now = stage.body_pose(hold.name, hold.part)
    # What was tilted while it was held is set upright again.
    ahead = now.axes[:, 0]
    target = level(at, float(np.arctan2(ahead[1], ahead[0])))
    stage.carry(side, stage.hand_for(side, target.moved((0, 0, 0.002))), 0.05)
    stage.put(hold.name, hold.part, target)
    stage.retreat(side)


@verb(
    "put down",
    ("puts down {o}", "puts {o} on the table", "places {o} on the table", "drops {o} on the table"),
    "put down {o}",
    GRASPED,
    held=True,
)
def _put_down(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    set_down(stage, action.side, free_place(stage, action.side, action.name, rng))


@verb(
    "lift",
    ("lifts {o} and puts it back", "raises {o}"),
    "lift {o}",
    GRASPED,
    fails=True,
)
def _lift(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    before = stage.body_pose(name)
    pick(stage, side, name)
    down = stage.wrists[side]
    stage.glide(side, down.moved((0, 0, rng.uniform(0.05, 0.12))), 0.5)
    stage.wait(float(rng.uniform(0.1, 0.4)))
    stage.glide(side, down, 0.5)
    stage.put(name, "", before)
    stage.retreat(side)


@verb(
    "move",
    ("moves {o}", "moves {o} on the table", "shifts {o}"),
    "move {o}",
    GRASPED,
    fails=True,
)
def _move(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    pick(stage, action.side, action.name)
    set_down(stage, action.side, free_place(stage, action.side, action.name, rng))


def _goes_in(stage: Stage, name: str, target: str) -> bool:
    vessel = stage.scene.objects[target]
    over = 0.06 if vessel.placed.kind in ("plate", "pan") else 0.01  # things may stick out of flat ones
    return radius(stage, name) <= vessel.design.root.spot("inside").radius + over


@verb(
    "place in",
    ("puts {o} in {t}", "places {o} into {t}", "drops {o} into {t}"),
    "put {o} in {t}",
    _SMALL,
    _VESSELS,
    held=True,
    fits=_goes_in,
)
def _place_in(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    spot = stage.scene.objects[action.target].design.root.spot("inside")
    inside = stage.body_pose(action.target).point(spot.position)
    now = stage.body_pose(name)
    height = float(rng.uniform(0.005, 0.02)) + spot.depth + 0.01
    over = with_at(now, inside + shift(0, 0, height))
    stage.carry(side, stage.hand_for(side, over), 0.08)
    stage.drop(side)
    wrist = stage.wrists[side]
    opened = blend(stage.shapes[side], "reach", 0.6)
    stage.fall(side, name, "", with_at(now, inside), Move(straight(wrist, wrist.moved((0, 0, 0.01))), opened))
    stage.go_to_rest(side)


@verb(
    "rotate",
    ("rotates {o}", "turns {o}"),
    "rotate {o}",
    ("can", "cup", "jar", "candle", "tape", "ball", "box", "block", "bowl", "apple", "mug"),
    directions=("clockwise", "counterclockwise"),
    fails=True,
)
def _rotate(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    pick(stage, side, name)
    angle = float(rng.uniform(0.6, 1.1)) * (-1 if action.direction == "clockwise" else 1)
    wrist = stage.wrists[side]
    stage.play(0.9, {side: Move(swung(wrist, Z, stage.body_pose(name).at, eased(angle)))})
    stage.retreat(side)


@verb(
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


@verb(
    "flip",
    ("turns over {o}", "flips {o}", "turns {o} upside down"),
    "turn over {o}",
    ("cup", "can", "jar", "candle", "bottle", "mug", "box", "carton"),
    held=True,
    grips=("side", "top"),
)
def _flip(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    start = stage.wrists[side]
    middle = stage.body_pose(name).point((0, 0, stage.scene.objects[name].design.height / 2))
    share = eased(1.0)
    stage.play(1.0, {side: Move(lambda u: _over(side, start, middle, share(u)))})
    stage.wait(float(rng.uniform(0.2, 0.5)))


def _over(side: Side, wrist: Pose, middle: Array, share: float) -> Pose:
    """A wrist that turns by that share of half a turn, the thumb inwards and down, about `middle` (3,)."""
    along = unit(wrist.axes[:, 0] * [1.0, 1.0, 0.0])
    return wrist.turned(along, (np.pi if side == "left" else -np.pi) * share, middle)


@verb(
    "hand over",
    ("passes {o} to the other hand", "moves {o} to the other hand"),
    "pass {o} to the other hand",
    _PASSED,
    held=True,
)
def _handover(stage: Stage, action: Action, rng: np.random.Generator) -> None:
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
    giver = stage.wrists[side].point(_KNUCKLES)
    stage.grasp(
        other, name, suits=lambda wrist: float(np.linalg.norm(wrist.point(_KNUCKLES) - giver)) > _HANDS_APART
    )
    stage.take(other, name)
    stage.drop(side)
    stage.fingers(side, blend(stage.shapes[side], "reach", 0.5), 0.25)
    stage.go(side, stage.wrists[side].moved((-1.2 * x, -0.06, 0.03)), None, (0, -0.01, 0.02), (0, 0, 0))
    stage.go_to_rest(side)
