"""Verbs done to things where they stand: push, pull, slide, touch, point at, knock over, hold and touch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pretrain.sim.actions.carrying import radius
from pretrain.sim.actions.verbs import GRASPED, Action, verb
from pretrain.sim.arms import inwards
from pretrain.sim.hand import SHAPES, Side
from pretrain.sim.motion import Infeasible, Move, Stage
from pretrain.sim.poses import Pose, minimum_jerk, pose, shift, straight, with_at
from pretrain.sim.shapes import Array, Z, cross

_WAYS: Mapping[str, Array] = {
    "left": np.array([-1.0, 0, 0]),
    "right": np.array([1.0, 0, 0]),
    "away": np.array([0, 1.0, 0]),
    "towards": np.array([0, -1.0, 0]),
}
_DOWN = np.array([0.0, 0.0, -1.0])
_SIDED = ("cup", "mug", "bottle", "can", "jar", "carton", "candle")
_PUSHED = (
    *("box", "block", "book", "sponge", "can", "cup", "jar", "soap"),
    *("tape", "carton", "bread", "bowl", "phone"),
)
_SLID = (
    *("book", "phone", "remote", "plate", "cutting board", "sponge"),
    *("soap", "box", "block", "tape"),
)
_TIPS_DOWN = np.deg2rad([0, 30, 15, 10, *(38, 0, 22, 12) * 4])
_RAKE = np.deg2rad([0, 20, 10, 10, *(80, 0, 12, 5) * 4])  # fingers bent down behind a thing
_EDGE_ON = np.deg2rad([-10, 15, 0, 0, *(10, 0, 12, 6) * 4])
_OFF_CENTRE = 0.4  # of a thing's radius that a push may pass its middle by
_TURN = 0.8  # radians that it turns, for a push one radius off its middle


def _ahead(side: Side, at: Array) -> Pose:
    """A palm-down wrist whose hand points ahead of the arm, at `at` (3,)."""
    return pose(at, (0.2 * inwards(side), 1.0, 0.0), (0, 0, -1))


def _near_push(stage: Stage, side: Side, name: str, way: str, aside: float = 0.0) -> tuple[Pose, Array]:
    """The wrist before a push that passes the object's middle by `aside` metres, and the hand's shape."""
    middle = stage.body_pose(name).at.copy()
    tall, far = stage.scene.objects[name].design.height, radius(stage, name)
    if way == "away":
        height = max(0.05, min(tall, 0.10) * 0.5 + 0.03)
        return _ahead(side, np.array([middle[0] + aside, middle[1] - far - 0.135, height])), SHAPES["fist"]
    if way == "towards":
        # The palm passes over the thing, and the bent fingers, which end 4 cm ahead of the wrist, behind it.
        height = max(0.105, tall + 0.035)
        return _ahead(side, np.array([middle[0] + aside, middle[1] + far - 0.05, height])), _RAKE
    at = middle - (far + 0.06) * _WAYS[way] + shift(0, aside - 0.11, 0)
    at[2] = max(0.058, min(tall, 0.1) * 0.5)
    return pose(at, (0, 1, -0.05), (inwards(side), 0.0, 0.0)), _EDGE_ON


def _push_along(stage: Stage, action: Action, rng: np.random.Generator, longest: float) -> None:
    """Touch an object and move it; pushed beside its middle it turns."""
    side, name, way = action.side, action.name, _WAYS[action.direction]
    off = float(rng.uniform(-_OFF_CENTRE, _OFF_CENTRE))
    near, shape = _near_push(stage, side, name, action.direction, off * radius(stage, name))
    stage.touch(side, near, shape, way, name)
    # A push away on the right of the middle turns it counterclockwise; other ways likewise.
    lever = off * (-1.0 if action.direction in ("towards", "right") else 1.0)
    _shove(stage, side, name, way * rng.uniform(0.05, longest), 0.6, _TURN * lever)


@verb(
    "push",
    ("pushes {o}", "pushes {o} on the table", "moves {o} aside"),
    "push {o}",
    _PUSHED,
    directions=("left", "right", "away"),
)
def _push(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side = action.side
    _push_along(stage, action, rng, 0.14)
    back = -0.03 * _WAYS[action.direction] + shift(0, -0.01, 0.02)
    stage.go(side, stage.wrists[side].moved(back), None, (0, 0, 0), (0, 0, 0))
    stage.go_to_rest(side)


@verb(
    "pull",
    ("pulls {o}", "drags {o} closer", "pulls {o} closer"),
    "pull {o}",
    _PUSHED,
    directions=("towards",),
)
def _pull(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side = action.side
    _push_along(stage, action, rng, 0.10)
    stage.glide(side, stage.wrists[side].moved((0, 0.02, 0.07)), 0.4)
    stage.go_to_rest(side)


def _shove(stage: Stage, side: Side, name: str, by: Array, seconds: float, turn: float = 0.0) -> None:
    """Move hand and object together over the table by (3,) metres, and turn them by `turn` radians."""
    middle = stage.body_pose(name).at
    if not stage.scene.recipe.room.holds((middle[:2] + by[:2])[None]):
        raise Infeasible("off the table")
    stage.take(side, name)
    start = stage.wrists[side]

    def path(u: float) -> Pose:
        done = minimum_jerk(u)
        return start.turned(Z, done * turn, middle).moved(done * by)

    stage.play(seconds, {side: Move(path)})
    stage.drop(side)


@verb(
    "slide",
    ("slides {o}", "slides {o} across the table"),
    "slide {o}",
    _SLID,
    directions=tuple(_WAYS),
)
def _slide(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name, way = action.side, action.name, _WAYS[action.direction]
    stage.touch(side, over(stage, side, stage.body_pose(name).at, name), _TIPS_DOWN, _DOWN, name)
    _shove(stage, side, name, way * rng.uniform(0.06, 0.13), 0.7)
    stage.glide(side, stage.wrists[side].moved((0, -0.01, 0.05)), 0.3)
    stage.go_to_rest(side)


def over(stage: Stage, side: Side, at: Array, name: str, index: bool = False) -> Pose:
    """A wrist whose fingertips (or index tip, for the shape `point`) are over `at` (3,), above the object."""
    tip = 0.165 if index else 0.145
    aside = -0.018 * inwards(side) if index else 0.0
    height = stage.scene.objects[name].design.height + (0.09 if index else 0.12)
    wrist = pose((0, 0, 0), (0.2 * inwards(side), 1.0, -0.45 if index else -0.1), (0, 0, -1))
    offset = wrist.point((tip, aside, 0.0))
    return with_at(wrist, np.array([at[0] - offset[0], at[1] - offset[1], height - min(0.0, offset[2])]))


@verb(
    "touch",
    ("touches {o}", "taps {o}"),
    "touch {o}",
    GRASPED,
)
def _touch(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    near = over(stage, side, stage.body_pose(name).at, name, index=True)
    stage.touch(side, near, SHAPES["point"], _DOWN, name)
    low = stage.wrists[side]
    for _ in range(int(rng.integers(0, 3))):
        stage.glide(side, low.moved((0, 0, 0.025)), 0.18)
        stage.glide(side, low, 0.18)
    stage.glide(side, near, 0.3)
    stage.go_to_rest(side)


@verb(
    "point at",
    ("points at {o}", "points to {o}"),
    "point at {o}",
    GRASPED,
)
def _point_at(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name = action.side, action.name
    goal = stage.body_pose(name).at + shift(0, 0, stage.scene.objects[name].design.height / 2)
    base = shift(-0.16 * inwards(side), 0, 0)
    way = (goal - base) / np.linalg.norm(goal - base)
    at = goal - way * (0.17 + radius(stage, name) + rng.uniform(0.05, 0.09))
    at[2] += 0.08
    stage.go(side, pose(at, goal - at, (0, 0, -1)), SHAPES["point"])
    stage.wait(float(rng.uniform(0.4, 0.8)))
    stage.go_to_rest(side)


@verb(
    "knock over",
    ("knocks over {o}", "tips over {o}"),
    "knock over {o}",
    ("bottle", "carton", "can", "candle", "jar", "cup"),
    directions=("left", "right"),
)
def _knockover(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name, way = action.side, action.name, _WAYS[action.direction]
    near, shape = _near_push(stage, side, name, action.direction)
    tall = stage.scene.objects[name].design.height
    near = near.moved((0, 0, max(0.0, tall * 0.7 - near.at[2])))
    stage.touch(side, near, shape, way, name)
    start = stage.body_pose(name)
    footprint = stage.scene.objects[name].design.footprint
    width = min(-footprint[0], footprint[1])
    edge = start.at + way * width
    axis = cross(np.array(Z), way)
    fallen = np.pi / 2

    def effect(u: float) -> None:
        stage.put(name, "", start.turned(axis, fallen * u * u, edge))

    wrist = stage.wrists[side]
    stage.play(0.5, {side: Move(straight(wrist, wrist.moved(0.03 * way)))}, effect)
    stage.go_to_rest(side)


@verb(
    "hold and touch",
    ("holds {o} and touches {t}",),
    "hold {o} and touch {t}",
    _SIDED,
    GRASPED,
    hands=("both",),
)
def _hold_and_touch(stage: Stage, action: Action, _: np.random.Generator) -> None:
    holder: Side = "left" if stage.body_pose(action.name).at[0] < 0 else "right"
    other: Side = "right" if holder == "left" else "left"
    stage.grasp(holder, action.name)
    near = over(stage, other, stage.body_pose(action.target).at, action.target, index=True)
    stage.touch(other, near, SHAPES["point"], _DOWN, action.target)
    stage.glide(other, near, 0.3)
    stage.go_to_rest(other)
    stage.retreat(holder)
