"""Verbs done with one thing to another, or to the table: wipe, pour, stir, hammer."""

from __future__ import annotations

import numpy as np

from pretrain.sim.actions.carrying import free_place, radius
from pretrain.sim.actions.verbs import Action, verb
from pretrain.sim.arms import bend, inwards
from pretrain.sim.grasping import Suits
from pretrain.sim.hand import Side
from pretrain.sim.motion import Infeasible, Move, Stage
from pretrain.sim.poses import Pose, level, minimum_jerk, pose, shift, unit, waves, with_at
from pretrain.sim.shapes import UPRIGHT, Array, Z, cross, turned, vec

_OUTMOST = 0.16  # metres aside, where there is room in the picture for a hand that pours from further out
_BEATS_BEND = np.deg2rad(60.0)  # between hand and forearm, at most, of one who hammers


@verb(
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
    size, times = float(rng.uniform(0.035, 0.06)), int(rng.integers(2, 4))
    across = waves(size, times)
    stage.play(0.6 * times, {side: Move(lambda u: wrist.moved((across(u), 0, 0)))})


@verb(
    "pour",
    ("pours from {o} into {t}", "pours water from {o} into {t}"),
    "pour from {o} into {t}",
    ("bottle", "can", "carton", "cup", "mug"),
    ("cup", "mug", "bowl", "pot"),
    held=True,
    grips=("side", "neck", "top"),
)
def _pour(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name, target = action.side, action.name, action.target
    spot = stage.scene.objects[target].design.root.spot("inside")
    vessel = stage.body_pose(target)
    mouth = vessel.point(spot.position) + shift(0, 0, spot.depth)
    if -inwards(side) * mouth[0] > _OUTMOST:
        raise Infeasible("it would be poured out of sight")
    tall = stage.scene.objects[name].design.height
    rim = radius(stage, name)
    away = shift(-inwards(side), 0, 0)
    # From upright beside the vessel it is tilted about the line of sight; its lip goes over the opening.
    beside = mouth + (radius(stage, target) + rim + 0.03) * away
    beside[2] = max(0.04, mouth[2] - 0.4 * tall)
    upright = _upright(stage.body_pose(name), beside)
    stage.carry(side, stage.hand_for(side, upright), 0.05)
    lip = shift(0, 0, tall) - rim * away
    start, end = beside + lip, mouth + 0.3 * spot.radius * away + shift(0, 0, 0.02)
    tilt = float(rng.uniform(1.5, 1.85))

    def tilted(share: float) -> Pose:
        turn = Pose(np.zeros(3), np.array(turned(vec(cross(np.array(Z), -away)), tilt * share)))
        over = (1 - share) * start + share * end + shift(0, 0, 0.06 * np.sin(np.pi * share))
        return Pose(over - turn.point(lip), turn.turn)

    held = Pose(beside, np.array(UPRIGHT)).inverse() @ stage.wrists[side]
    stage.play(1.0, {side: Move(lambda u: tilted(minimum_jerk(u)) @ held)})
    stage.wait(float(rng.uniform(0.4, 0.9)))
    stage.play(0.8, {side: Move(lambda u: tilted(1.0 - minimum_jerk(u)) @ held)})


def _upright(now: Pose, at: Array) -> Pose:
    """A thing at `at` (3,), set upright, turned about the vertical as it is."""
    ahead = now.axes[:, 0]
    return level(at, float(np.arctan2(ahead[1], ahead[0])))


@verb(
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
    ahead = unit(now.axes[:, 0] * [1.0, 1.0, 0.0])
    steep = cross(np.array(Z), ahead)
    tilted = now.turned(steep, 0.95, now.at)
    goal = tilted.moved(floor + shift(0, 0, spot.depth + 0.05) - tilted.point(tip))
    stage.carry(side, stage.hand_for(side, goal), 0.07)
    stage.glide(side, stage.wrists[side].moved((0, 0, -0.05 - 0.6 * spot.depth)), 0.3)
    wrist = stage.wrists[side]
    circle, times = 0.35 * spot.radius, int(rng.integers(2, 5))

    def round_(u: float) -> Pose:
        angle, size = 2 * np.pi * times * u, circle * np.sin(np.pi * u) ** 0.5
        return wrist.moved((size * np.cos(angle), size * np.sin(angle), 0))

    stage.play(0.55 * times, {side: Move(round_)})
    stage.glide(side, wrist.moved((0, -0.03, 0.09)), 0.5)


def _striking(now: Pose) -> Pose:
    """A hammer turned about its handle until its face, which lay to the side, looks down."""
    ahead = unit(now.axes[:, 0] * [1.0, 1.0, 0.0])
    return pose(now.at, ahead, cross(ahead, np.array(Z)))


def _can_strike(stage: Stage, side: Side, name: str) -> Suits:
    """Says whether a wrist that grasps the hammer as it lies is still an arm's when its face looks down."""
    lying = stage.body_pose(name)
    struck = _striking(lying).moved((0, 0, 0.1)) @ lying.inverse()
    return lambda wrist: bend(side, struck @ wrist) < _BEATS_BEND


@verb(
    "hammer",
    ("hammers the nail with {o}", "hits the nail with {o}"),
    "hammer the nail with {o}",
    ("hammer",),
    ("nail",),
    held=True,
    hands=("right",),
    suits=_can_strike,
)
def _hammer(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, name, target = action.side, action.name, action.target
    design = stage.scene.objects[name].design
    tip = np.array(design.root.spot("tip").position)
    now = stage.body_pose(name)
    struck = _striking(now)
    ahead = struck.axes[:, 0]
    strokes, before = int(rng.integers(2, 5)), stage.share(target, "nail")
    left = 1.0 - before
    if left < 0.3:
        raise Infeasible("the nail is in")
    for stroke in range(strokes):
        share = before + left * 0.9 * stroke / strokes
        head = stage.pose_at(target, "nail", share).point(
            stage.scene.objects[target].design.body("nail").spot("head").position
        )
        hit = struck.moved(head + shift(0, 0, 0.001) - struck.point(tip))
        wrist = stage.hand_for(side, hit)
        butt = wrist.at
        lifted = wrist.turned(cross(np.array(Z), ahead), -0.45, butt).moved((0, 0, 0.03))
        if stroke == 0:
            stage.carry(side, lifted, 0.03)
        else:
            stage.glide(side, lifted, 0.25)
        stage.glide(side, wrist, 0.22)
        deeper = before + left * 0.9 * (stroke + 1) / strokes
        stage.set_share(target, "nail", deeper)
    stage.glide(side, stage.wrists[side].moved((0, -0.04, 0.08)), 0.4)
