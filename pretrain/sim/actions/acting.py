"""Plays an action on a stage, and how it fails."""

from __future__ import annotations

import numpy as np

from pretrain.sim.actions.carrying import lift_up, pick
from pretrain.sim.actions.parts import part_of
from pretrain.sim.actions.verbs import PACES, VERBS, Action
from pretrain.sim.hand import SHAPES, blend
from pretrain.sim.motion import Infeasible, Move, Stage
from pretrain.sim.poses import straight


def act(stage: Stage, action: Action) -> None:
    """Play an action on the stage.

    Raises:
        Infeasible: the scene does not allow it; the stage is left in the middle of it, to be rewound.
    """
    rng = np.random.default_rng([action.seed, 1])
    stage.pace = PACES[action.speed] * float(rng.uniform(0.9, 1.1))
    if not VERBS[action.verb].ready(stage, action.name):
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
    if verb.held and stage.held(action.side) is None:
        suits = verb.suits(stage, action.side, action.name) if verb.suits else None
        pick(stage, action.side, action.name, verb.grips, suits=suits)
        lift_up(stage, action.side, rng)
    verb.act(stage, action, rng)


def _fail(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    side, part = action.side, part_of(stage, action.name)
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
