"""Experts for Adroit, which ships none: scripts for the palm's place that watch the simulator's state.

Inverse kinematics of arm and wrist say which joints bring the palm to where it should be, servos of the arm
take it there, and the fingers go from one posture to another. Postures, offsets and servos were found by hand
and by the cross-entropy method: episodes under noise on the actions, scored by how firmly the hand held on.

Each step starts from the current state, so an expert that was pushed aside takes up its work where it stands;
only the door's goes by the clock until the door gives. Noise shakes the arm hard here, whose actuators push
with hundreds of newtons: from 0.03 (relocate: 0.05) the experts recover, from 0.1 they mostly do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np
import numpy.typing as npt

from robot_eval.experts.vectors import Array, at_most

_ITERATIONS = 2  # of the inverse kinematics, which start where the hand is
_LARGEST_MOVE = 0.2  # of a joint in one iteration, rad or metres


class Expert(Protocol):
    """Plays the episodes of one task."""

    def begin(self) -> None:
        """Start with the episode that the simulator has been reset to."""

    def action(self) -> npt.NDArray[np.float32]:
        """What to do in the simulator's current state, -1..1."""


@dataclass(frozen=True)
class _Servo:
    """How firmly the arm follows its targets, each for the arm's joints in order.

    Attributes:
        stiffness: N/m or Nm/rad.
        damping: beyond the joints' own, N s/m or Nm s/rad.
    """

    stiffness: Array
    damping: Array


@dataclass(frozen=True)
class _Wishes:
    """What the inverse kinematics do with the freedom that the palm's place leaves: rows @ joints = values.

    Attributes:
        rows: (wishes, joints that place the palm): small next to 1, or they would displace the palm.
        values: (wishes,).
    """

    rows: Array
    values: Array


class _Robot:
    """The hand and arm of one model: joints that bring the palm somewhere, and actions that bring them there.

    Args:
        model, data: the environment's own.
        placing: joints of arm and wrist that place the palm.
        wishes: for these.
        servo: of the arm.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        placing: npt.NDArray[np.int64],
        wishes: _Wishes,
        servo: _Servo,
    ) -> None:
        self._model, self._data = model, data
        self._scratch = mujoco.MjData(model)
        self._placing, self._wishes, self._servo = placing, wishes, servo
        self._site = model.site("S_grasp").id
        # The robot's joints come first, one actuator each.
        self._low, self._high = model.jnt_range[: model.nu].T
        self._gain = model.actuator_gainprm[:, 0]
        self._spring = -model.actuator_biasprm[:, 1]
        self._middle = model.actuator_ctrlrange.mean(axis=1)
        self._half = np.ptp(model.actuator_ctrlrange, axis=1) / 2

    @property
    def palm(self) -> Array:
        """Where something in the grasp is, world coordinates, metres."""
        return np.array(self._data.site_xpos[self._site])

    def towards(self, goal: Array, posture: Array) -> npt.NDArray[np.float32]:
        """The action that moves the palm towards `goal`, and all joints that do not place it to `posture`."""
        targets = self._reaching(goal, posture)
        controls = targets.copy()
        arm = slice(0, len(self._servo.stiffness))
        positions, velocities = self._data.qpos[arm], self._data.qvel[arm]
        force = self._servo.stiffness * (targets[arm] - positions) - self._servo.damping * velocities
        # Actuators pull like springs to zero, and gravity pulls the arm down: both are made up for.
        force += self._data.qfrc_bias[arm] + self._spring[arm] * positions
        controls[arm] = force / self._gain[arm]
        return np.clip((controls - self._middle) / self._half, -1.0, 1.0).astype(np.float32)

    def _reaching(self, goal: Array, posture: Array) -> Array:
        """Joint positions that bring the palm to `goal`, or near: joints have limits."""
        joints, placing = np.clip(posture, self._low, self._high), self._placing
        joints[placing] = self._data.qpos[placing]
        jacobian = np.empty((3, self._model.nv))
        for _ in range(_ITERATIONS):
            self._scratch.qpos[: len(joints)] = joints
            mujoco.mj_kinematics(self._model, self._scratch)
            mujoco.mj_comPos(self._model, self._scratch)
            mujoco.mj_jacSite(self._model, self._scratch, jacobian, None, self._site)
            rows = np.concatenate([jacobian[:, placing], self._wishes.rows])
            missing = self._wishes.values - self._wishes.rows @ joints[placing]
            errors = np.concatenate([goal - self._scratch.site_xpos[self._site], missing])
            moves = self._moves(rows, errors, joints[placing])
            joints[placing] += np.clip(moves, -_LARGEST_MOVE, _LARGEST_MOVE)
            joints[placing] = np.clip(joints[placing], self._low[placing], self._high[placing])
        return joints

    def _moves(self, rows: Array, errors: Array, joints: Array) -> Array:
        """Least squares without the joints that would be moved beyond their limits."""
        low, high = self._low[self._placing], self._high[self._placing]
        free = np.ones(len(joints), bool)
        moves = np.zeros(len(joints))
        for _ in joints:
            used = rows[:, free]
            moves[:] = 0.0
            # The small diagonal keeps moves finite where the rows leave a joint undecided.
            moves[free] = np.linalg.solve(used.T @ used + 1e-8 * np.eye(used.shape[1]), used.T @ errors)
            stuck = free & (((joints <= low) & (moves < 0)) | ((joints >= high) & (moves > 0)))
            if not stuck.any():
                break
            free &= ~stuck
        return moves


def _posture(
    arm: Sequence[float],
    wrist: tuple[float, float],
    spread: tuple[float, float, float, float],
    bend: tuple[float, float],
    arch: float,
    thumb: tuple[float, float, float, float, float],
) -> Array:
    """Positions of the robot's joints in the model's order, rad.

    Args:
        arm: those of the arm that do not place the palm; the others count for nothing.
        wrist: sideways, then up and down.
        spread: of first, middle, ring and little finger, sideways.
        bend: of all fingers at the knuckles, then at each of the two joints beyond.
        arch: of the palm below the little finger.
        thumb: from its root to its tip.
    """
    knuckle, beyond = bend
    first, middle, ring, little = ((sideways, knuckle, beyond, beyond) for sideways in spread)
    return np.array([*arm, *wrist, *first, *middle, *ring, arch, *little, *thumb])


_GRASP_OFFSET = np.array([0.0, -0.022, 0.0])  # of the palm from the ball when the hand closes, metres
_WITHIN_REACH = 0.035  # metres off that place: time to close
_LOST = 0.065  # metres off that place: the ball has slipped away
_CLOSING_TIME = 0.13  # s, from when on the ball is carried
_OVER_BALL = 0.035  # metres: farther to the side than this, the palm stays above the ball
_HIGHEST = 0.08  # metres above it
_LEAD = 0.25  # s that the palm is behind a rolling ball
_APPROACH, _CARRY = 0.15, 0.1  # metres: how far ahead the palm's goal is at most, which sets the pace

_OPEN = _posture(
    arm=(0.0, 0.0, 0.0, 0.0, -0.03, -0.02),
    wrist=(0.07, 0.12),
    spread=(-0.02, 0.01, 0.03, -0.17),
    bend=(0.21, 0.20),
    arch=0.13,
    thumb=(0.12, 1.18, -0.02, 0.14, -0.41),
)
_CLOSED = _posture(
    arm=(0.0, 0.0, 0.0, 0.0, -0.03, -0.02),
    wrist=(0.07, 0.12),
    spread=(-0.02, 0.01, 0.03, -0.17),
    bend=(1.49, 1.31),
    arch=0.13,
    thumb=(0.46, 1.24, 0.01, -0.42, -1.45),
)
_CARRYING = _CLOSED.copy()
_CARRYING[5:8] = 0.11, 0.07, 0.08  # the palm turned a little, with the ball on the thumb

_RELOCATE_SERVO = _Servo(
    stiffness=np.array([470.0, 470.0, 470.0, 340.0, 340.0, 350.0]),
    damping=np.array([43.0, 43.0, 43.0, 8.0, 8.0, 8.0]),
)
# The arm's slides, its pitch, and the wrist's; the palm slopes by 0.27 rad, the arm stays low and level.
_RELOCATE_PLACING = np.array([0, 1, 2, 3, 7])
_RELOCATE_WISHES = _Wishes(
    rows=np.array([[0.0, 0.0, 0.0, 0.05, 0.05], [0.0, 0.01, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.01, 0.0]]),
    values=np.array([0.0135, 0.0003, 0.0]),
)


class RelocateExpert:
    """Comes down over the ball, closes the hand around it, and carries it to the target.

    Args:
        model, data: the environment's own.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._data = data
        self._ball = model.body("Object").id
        self._ball_speed = model.jnt_dofadr[model.joint("OBJTx").id]
        self._target = model.site("target").id
        self._robot = _Robot(model, data, _RELOCATE_PLACING, _RELOCATE_WISHES, _RELOCATE_SERVO)
        self.begin()

    def begin(self) -> None:
        """Start with the episode that the simulator has been reset to."""
        self._closing_since: float | None = None

    def action(self) -> npt.NDArray[np.float32]:
        """What to do in the simulator's current state, -1..1."""
        ball = np.array(self._data.xpos[self._ball])
        miss = ball + _GRASP_OFFSET - self._robot.palm
        self._notice_ball(float(np.linalg.norm(miss)))
        if self._closing_since is None:
            posture, move = _OPEN, at_most(self._above(miss), _APPROACH)
        elif self._data.time - self._closing_since < _CLOSING_TIME:
            posture, move = _CLOSED, miss
        else:
            posture, move = _CARRYING, at_most(self._data.site_xpos[self._target] - ball, _CARRY)
        return self._robot.towards(self._robot.palm + move, posture)

    def _notice_ball(self, distance: float) -> None:
        if distance > (_WITHIN_REACH if self._closing_since is None else _LOST):
            self._closing_since = None
        elif self._closing_since is None:
            self._closing_since = self._data.time

    def _above(self, miss: Array) -> Array:
        """The way to the ball, which may roll, from above: down only once the palm is over it."""
        rolling = self._data.qvel[self._ball_speed : self._ball_speed + 2]
        height = np.clip(2.0 * (np.linalg.norm(miss[:2]) - _OVER_BALL), 0.0, _HIGHEST)
        return miss + np.append(_LEAD * rolling, height)


@dataclass(frozen=True)
class _Hold:
    """Where the palm goes at the door, and how the hand is held there.

    Attributes:
        offset: of the palm from the end of the handle, metres.
        roll: of the arm about its axis, rad.
        wrist: sideways, then up and down, rad.
        bend: of every joint of the fingers, rad.
        thumb: how far it is folded into the palm, 0..1.
    """

    offset: tuple[float, float, float]
    roll: float
    wrist: tuple[float, float]
    bend: float
    thumb: float

    @property
    def posture(self) -> Array:
        """Of all joints."""
        thumb = self.thumb
        return _posture(
            arm=(0.0, 0.0, 0.0, self.roll),
            wrist=self.wrist,
            spread=(0.0, 0.0, 0.0, 0.0),
            bend=(self.bend, self.bend),
            arch=0.0,
            thumb=(0.3 * thumb, 1.2 * thumb, 0.0, 0.3 * thumb, -0.8 * thumb),
        )


# The fingers reach over the handle and behind it, the palm presses it down; then the hand, hooked in, pulls,
# and flings the door open as soon as it gives.
_BEFORE_HANDLE = _Hold((-0.029, -0.087, 0.081), roll=0.17, wrist=(0.10, 0.07), bend=0.28, thumb=0.43)
_OVER_HANDLE = _Hold((-0.004, 0.056, 0.076), roll=0.17, wrist=(-0.02, 0.18), bend=0.69, thumb=0.49)
_PRESSING = _Hold((-0.016, 0.065, -0.247), roll=0.24, wrist=(-0.05, 0.67), bend=0.90, thumb=0.27)
_PULLING = _Hold((-0.077, -0.102, -0.040), roll=0.53, wrist=(0.18, 0.14), bend=0.72, thumb=0.21)
_FLINGING = _Hold((-0.045, -0.268, -0.057), roll=0.43, wrist=(0.26, -0.02), bend=1.01, thumb=0.21)
_PHASES = ((0.35, _BEFORE_HANDLE), (0.55, _OVER_HANDLE), (0.9, _PRESSING))  # each until so many seconds
_GIVES = 0.05  # rad that the door is open

_DOOR_SERVO = _Servo(
    stiffness=np.array([500.0, 400.0, 400.0, 350.0]), damping=np.array([40.0, 8.0, 8.0, 8.0])
)
_DOOR_PLACING = np.array([0, 1, 2])  # the arm's slide, its pitch and its turn to the side
_NO_WISHES = _Wishes(rows=np.empty((0, 3)), values=np.empty(0))


class DoorExpert:
    """Presses the handle down, hooks the fingers behind it, and flings the door open.

    Args:
        model, data: the environment's own.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._data = data
        self._handle = model.site("S_handle").id
        self._hinge = model.jnt_qposadr[model.joint("door_hinge").id]
        self._robot = _Robot(model, data, _DOOR_PLACING, _NO_WISHES, _DOOR_SERVO)
        self.begin()

    def begin(self) -> None:
        """Start with the episode that the simulator has been reset to."""
        self._start = np.array(self._data.site_xpos[self._handle])

    def action(self) -> npt.NDArray[np.float32]:
        """What to do in the simulator's current state, -1..1."""
        angle = float(self._data.qpos[self._hinge])
        phase = next((hold for until, hold in _PHASES if self._data.time < until), None)
        if phase is not None and angle < _GIVES:
            return self._robot.towards(self._start + phase.offset, phase.posture)
        # The handle swings with the door, and so does the way to pull.
        hold = _PULLING if angle < _GIVES else _FLINGING
        handle = np.array(self._data.site_xpos[self._handle])
        return self._robot.towards(handle + _turned(hold.offset, angle), hold.posture)


def _turned(offset: tuple[float, float, float], angle: float) -> Array:
    """`offset` after a turn about the vertical."""
    x, y, z = offset
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([cosine * x - sine * y, sine * x + cosine * y, z])


EXPERTS: Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], Expert]] = {
    "door": DoorExpert,
    "relocate": RelocateExpert,
}
