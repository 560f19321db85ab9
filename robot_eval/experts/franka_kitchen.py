"""Experts of Franka Kitchen: the closed fingers push a knob, a switch or a handle, or pull it from behind.

What an expert does follows from the state alone: where the fingertip is, seen from the handle, says whether
to come nearer, to go in, to push or to back out. So noise that pushed it aside costs time, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
import numpy.typing as npt

from robot_eval.experts.vectors import Array, at_most

Vector = tuple[float, float, float]

_ARM = 7  # joints
_JOINTS = 9  # with the two of the gripper
_HAND = "panda0_link7"
_TIP = np.array([0.0, 0.0, 0.235])  # where closed fingers push, seen from `_HAND`, metres
_CLOSING = -0.2  # action of the fingers, which are closed from the start

_LEAD = 0.07  # how far ahead of the fingertip the arm strains while it pushes, metres
_ITERATIONS = 12  # of the inverse kinematics; each goes at most this far:
_LONGEST_MOVE, _LONGEST_TURN = 0.1, 0.5  # metres, rad
_TURN_WEIGHT = 0.1  # metres that one radian off the wanted direction is worth
_DAMPING = 0.02
_PREFERENCE = 0.05  # share of the way to the preferred posture that one iteration goes
_MARGIN = 0.02  # rad: this far the arm stays off the ends of its joints


@dataclass(frozen=True)
class Stroke:
    """How to push one thing. Points are the fingertip's, in the axes of the thing's site: they turn with it.

    Attributes:
        front: before the thing, where nothing is in the way, metres.
        ready: beside what is to be pushed, metres.
        push: direction of pushing, of any length.
        point: direction of the fingers, in world axes, of any length.
        posture: of the arm's joints, as far as the rest leaves a choice; None: as they are.
    """

    front: Vector
    ready: Vector
    push: Vector
    point: Vector
    posture: tuple[float, ...] | None = None


STROKES: Mapping[str, Stroke] = {
    # The lever is turned to the right by its upper end. The posture keeps the weak wrist off its limit.
    "knob1_on": Stroke(
        front=(-0.045, 0.04, 0.07),
        ready=(-0.036, 0.04, 0.016),
        push=(1.0, 0.0, 0.0),
        point=(0.1, 0.9, -0.4),
        posture=(-1.17, -0.52, 1.31, -2.41, -0.12, 1.8, 1.0),
    ),
    "light_on": Stroke(
        front=(0.08, -0.11, 0.0), ready=(0.06, -0.01, 0.0), push=(-1.0, -0.13, 0.0), point=(0.1, 0.9, -0.4)
    ),
    "sdoor_open": Stroke(
        front=(-0.06, -0.09, -0.05), ready=(-0.05, 0.0, -0.05), push=(1.0, 0.0, 0.0), point=(0.1, 0.9, -0.4)
    ),
    # The fingers reach behind the doors' handles from the right, aslant, and pull.
    "ldoor_open": Stroke(
        front=(0.1, -0.06, -0.1),
        ready=(0.03, 0.045, -0.1),
        push=(-0.2, -1.0, 0.0),
        point=(-0.3, 0.9, 0.3),
        posture=(-1.28, -0.86, 1.51, -1.32, 0.5, 1.33, 1.5),
    ),
    "micro_open": Stroke(
        front=(0.08, -0.06, 0.0), ready=(0.02, 0.035, 0.0), push=(-0.2, -1.0, 0.0), point=(-0.4, 0.8, -0.4)
    ),
}


class KitchenExpert:
    """Moves one joint of the kitchen to its goal and beyond, as far as `enough`.

    Args:
        model: with the robot's joints first.
        stroke: how.
        site: of what is pushed.
        joint: that is moved.
        enough: position of the joint at which the expert comes to rest, rad or metres.
        ahead: how far an action of one puts a servo's target before its joint, rad.
    """

    def __init__(
        self, model: mujoco.MjModel, stroke: Stroke, site: str, joint: str, enough: float, ahead: float
    ) -> None:
        self._model, self._stroke, self._ahead = model, stroke, ahead
        self._scratch = mujoco.MjData(model)
        self._hand = model.body(_HAND).id
        self._site = model.site(site).id
        self._moved = int(model.joint(joint).qposadr[0])
        self._enough = enough
        self._stiffness = model.actuator_gainprm[:_ARM, 0]
        self._lowest, self._highest = model.jnt_range[:_ARM].T + np.array([[_MARGIN], [-_MARGIN]])

    def action(self, data: mujoco.MjData) -> npt.NDArray[np.float32]:
        """The next action, (9,), within -1..1."""
        change = np.zeros(_ARM)
        if abs(data.qpos[self._moved]) < abs(self._enough):
            axes, origin = data.site_xmat[self._site].reshape(3, 3), data.site_xpos[self._site]
            goal, straight = _next_goal(self._stroke, axes.T @ (self._tip(data) - origin))
            # A joint follows its servo's target about half of the way in one control step.
            change = 2.0 * (self._reach(data.qpos, origin + axes @ goal) - data.qpos[:_ARM]) / self._ahead
            if straight:
                change /= max(1.0, float(np.abs(change).max()))
        weight = data.qfrc_bias[:_ARM] / self._stiffness / self._ahead  # the servos alone would sag
        action = np.concatenate([change + weight, np.full(_JOINTS - _ARM, _CLOSING)])
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _tip(self, data: mujoco.MjData) -> Array:
        tip: Array = data.xpos[self._hand] + data.xmat[self._hand].reshape(3, 3) @ _TIP
        return tip

    def _reach(self, start: Array, target: Array) -> Array:
        """The arm's joints with the fingertip at `target`, from those of `start` on: damped least squares."""
        data = self._scratch
        data.qpos[:] = start
        for _ in range(_ITERATIONS):
            mujoco.mj_kinematics(self._model, data)
            mujoco.mj_comPos(self._model, data)
            jacobian, error = self._errand(data, target)
            joints = data.qpos[:_ARM].copy()
            free, change = np.ones(_ARM), np.zeros(_ARM)
            for _ in range(2):  # once more without the joints that have come to an end
                change = free * _step(jacobian * free, error, self._preference(joints))
                free *= (joints + change > self._lowest) & (joints + change < self._highest)
            data.qpos[:_ARM] = np.clip(joints + change, self._lowest, self._highest)
        return np.array(data.qpos[:_ARM])

    def _errand(self, data: mujoco.MjData, target: Array) -> tuple[Array, Array]:
        """Jacobian (6, 7) and error (6,) of fingertip and direction of the fingers; their roll is free."""
        tip, fingers = self._tip(data), data.xmat[self._hand].reshape(3, 3)[:, 2]
        move, turn = np.zeros((2, 3, self._model.nv))
        mujoco.mj_jac(self._model, data, move, turn, tip, self._hand)
        across = np.eye(3) - np.outer(fingers, fingers)
        jacobian = np.vstack([move[:, :_ARM], _TURN_WEIGHT * across @ turn[:, :_ARM]])
        off = np.cross(fingers, _unit(self._stroke.point))
        error = [at_most(target - tip, _LONGEST_MOVE), _TURN_WEIGHT * at_most(off, _LONGEST_TURN)]
        return jacobian, np.concatenate(error)

    def _preference(self, joints: Array) -> Array:
        if self._stroke.posture is None:
            return np.zeros(_ARM)
        return _PREFERENCE * (np.array(self._stroke.posture) - joints)


def _next_goal(stroke: Stroke, tip: Array) -> tuple[Array, bool]:
    """Where the fingertip shall go, and whether on a straight line; all in the site's axes."""
    front, ready, push = np.array(stroke.front), np.array(stroke.ready), _unit(stroke.push)
    out = _unit(front - ready)
    past, across = _split(tip - ready, push)
    inside, aside = _split(tip - front, -out)
    off = np.linalg.norm(aside)
    if abs(past) < 0.04 and np.linalg.norm(across) < 0.045:  # at the thing: push, and correct the sides
        return tip + _LEAD * push - at_most(2.0 * across, 0.1), True
    if inside > -0.03 and off < (0.02 if inside < 0.02 else 0.03):  # before it: in
        return ready, True
    if inside > 0.04 and off < 0.2:  # beside it: back out
        return tip + 0.1 * out, True
    return front, False


def _step(jacobian: Array, error: Array, preference: Array) -> Array:
    damped = jacobian @ jacobian.T + _DAMPING**2 * np.eye(len(error))
    step: Array = preference + jacobian.T @ np.linalg.solve(damped, error - jacobian @ preference)
    return step


def _split(vector: Array, direction: Array) -> tuple[float, Array]:
    along = float(vector @ direction)
    return along, vector - along * direction


def _unit(vector: npt.ArrayLike) -> Array:
    array = np.asarray(vector, np.float64)
    return array / np.linalg.norm(array)
