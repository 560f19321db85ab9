"""Scripted experts for robosuite's tasks, in the action space of the tasks' own policies.

Each action follows from the simulator's state alone: no plan, no counter. So an expert recovers from noise on
its actions, and what it does can be cloned by a policy that sees that state. Heights are funnels: the further
the hand is from where it must be, the higher it stays, which leads it over things instead of through them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Array = npt.NDArray[np.float64]

_STEP = 0.05  # metres that an action of 1 asks for, of robosuite's default_panda.json
_TURN = 0.5  # radians, likewise
_GAIN = 2.0  # the controller is soft: asked for a few millimetres, it does not move
_OPEN, _CLOSED = -1.0, 1.0
_UP = np.array([0.0, 0.0, 1.0])


class Hand:
    """The Panda's hand: where it is, and the action that brings it somewhere else.

    Args:
        env: a robosuite environment of one arm.
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        robot = env.robots[0]
        self._site = robot.eef_site_id["right"]
        self._fingers = [env.sim.model.get_joint_qpos_addr(name) for name in robot.gripper["right"].joints]

    @property
    def position(self) -> Array:
        """Of the point between the fingertips, (3,) metres."""
        return np.array(self._env.sim.data.site_xpos[self._site])

    @property
    def rotation(self) -> Array:
        """(3, 3): the fingers open along x and point along z."""
        return np.array(self._env.sim.data.site_xmat[self._site]).reshape(3, 3)

    @property
    def width(self) -> float:
        """Between the fingers, 0 to 0.08 metres."""
        return float(np.abs(self._env.sim.data.qpos[self._fingers]).sum())

    def holds(self, thing: Any) -> bool:
        """Whether both fingers touch `thing`, a robosuite object."""
        return bool(self._env._check_grasp(gripper=self._env.robots[0].gripper, object_geoms=thing))

    def move(self, target: Array, rotation: Array, grip: float) -> Array:
        """The action (7,) towards a pose, not yet clipped; `grip` is -1 to open and 1 to close."""
        turn = Rotation.from_matrix(rotation @ self.rotation.T).as_rotvec()
        return np.concatenate([_GAIN * (target - self.position) / _STEP, turn / _TURN, [grip]])


def pointing_down(opening: float) -> Array:
    """Rotation (3, 3) of a hand that points down and opens along the direction `opening`, radians."""
    x = np.array([np.cos(opening), np.sin(opening), 0.0])
    return np.column_stack([x, np.cross(-_UP, x), -_UP])


def nearest_turn(angle: float, reference: float, symmetry: float) -> float:
    """Of `angle` plus multiples of `symmetry`, the one nearest to `reference`, radians."""
    return float(angle + symmetry * np.round((reference - angle) / symmetry))


_NEAR = 0.01  # metres: as close as a grasp must be


class Expert(ABC):
    """One task's demonstrator.

    Args:
        env: a robosuite environment of the task.
    """

    _hover = 0.10  # metres that the hand keeps from what it is not yet in line with
    _per_twist = 0.3  # metres of these that a radian of wrong rotation asks for

    def __init__(self, env: Any) -> None:
        self._env = env
        self._hand = Hand(env)

    @abstractmethod
    def action(self) -> Array:
        """(7,), for the state that the simulator is in; not yet clipped."""

    def _reach(self, point: Array, rotation: Array) -> Array:
        """The action that brings the hand to `point` along its fingers, and closes it there."""
        ahead = rotation[:, 2]
        offset = self._hand.position - point
        along = float(offset @ ahead)
        beside = float(np.linalg.norm(offset - along * ahead))
        twist = Rotation.from_matrix(rotation @ self._hand.rotation.T).magnitude()
        away = np.clip(4.0 * (beside - _NEAR) + self._per_twist * (twist - 0.15), 0.0, self._hover)
        there = beside < 1.5 * _NEAR and abs(along) < 1.5 * _NEAR and twist < 0.3
        return self._hand.move(point - away * ahead, rotation, _CLOSED if there else _OPEN)

    def _pose(self, body: str) -> tuple[Array, Array]:
        """Position (3,) and rotation (3, 3) of a body."""
        data, number = self._env.sim.data, self._env.sim.model.body_name2id(body)
        return np.array(data.body_xpos[number]), np.array(data.body_xmat[number]).reshape(3, 3)


_REST = np.pi / 2  # radians: the direction in which the hand opens when an episode starts


class PickAndPlace(Expert):
    """Grasp a thing from above, and bring it somewhere."""

    thing: Any

    def action(self) -> Array:
        """See `Expert.action`."""
        if self._placed():
            return self._leave()
        point, opening = self._grasp()
        if self._hand.holds(self.thing) and np.linalg.norm(self._hand.position - point) < 3 * _NEAR:
            return self._carry(point)
        return self._reach(point, pointing_down(opening))

    @abstractmethod
    def _grasp(self) -> tuple[Array, float]:
        """Where to grasp (3,), and along which direction the hand opens there, radians."""

    @abstractmethod
    def _placed(self) -> bool:
        """Whether the thing is where it belongs."""

    @abstractmethod
    def _carry(self, point: Array) -> Array:
        """The action while the thing is held at `point`."""

    def _lead(self, point: Array, goal: Array, rotation: Array, over: float) -> Array:
        """Bring what is held at `point` to `goal`, at least `over` metres above it until it is near."""
        beside = float(np.linalg.norm(goal[:2] - point[:2]))
        height = np.clip(4.0 * (beside - _NEAR), 0.0, over)
        missing = goal[2] + height - point[2]
        # Up before sideways: what is held must clear what stands about.
        sideways = np.clip(1.0 - (missing - 0.02) / 0.04, 0.0, 1.0)
        move = np.append(sideways * (goal[:2] - point[:2]), missing)
        return self._hand.move(self._hand.position + move, rotation, _CLOSED)

    def _leave(self) -> Array:
        """Open, and go up once the fingers let go."""
        rise = self._hover if self._hand.width > 0.07 else 0.0
        upright = pointing_down(self._opening())
        return self._hand.move(self._hand.position + rise * _UP, upright, _OPEN)

    def _opening(self) -> float:
        return _heading(self._hand.rotation)


def _heading(rotation: Array) -> float:
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


class Lift(PickAndPlace):
    """Raise the cube."""

    @property
    def thing(self) -> Any:  # noqa: D102
        return self._env.cube

    def _grasp(self) -> tuple[Array, float]:
        position, _ = self._pose(self._env.cube.root_body)
        # The hand opens wider than the cube's diagonal, and turns it when it closes. Which of four faces is
        # the nearest is a question that policies need not learn to answer.
        return position, _REST

    def _placed(self) -> bool:
        return False

    def _carry(self, point: Array) -> Array:
        goal = np.array([*point[:2], self._env.model.mujoco_arena.table_offset[2] + 0.12])
        return self._lead(point, goal, pointing_down(self._opening()), 0.0)


class Stack(PickAndPlace):
    """Put cube A on cube B."""

    @property
    def thing(self) -> Any:  # noqa: D102
        return self._env.cubeA

    def _grasp(self) -> tuple[Array, float]:
        position, rotation = self._pose(self._env.cubeA.root_body)
        return position, nearest_turn(_heading(rotation), _REST, np.pi / 2)

    def _goal(self) -> Array:
        below, _ = self._pose(self._env.cubeB.root_body)
        return below + (self._env.cubeA.size[2] + self._env.cubeB.size[2]) * _UP

    def _placed(self) -> bool:
        position, _ = self._grasp()
        offset = position - self._goal()
        return bool(np.linalg.norm(offset[:2]) < 0.015 and abs(offset[2]) < 0.006)

    def _carry(self, point: Array) -> Array:
        return self._lead(point, self._goal(), pointing_down(self._opening()), 0.08)


# Metres from the corner of the can's part, next to the robot: the arm cannot stand upright over the middle.
_IN_BIN = np.array([0.05, 0.05, 0.09])


class Can(PickAndPlace):
    """Put the can into its part of the second bin."""

    @property
    def thing(self) -> Any:  # noqa: D102
        return self._env.objects[self._env.object_id]

    def _grasp(self) -> tuple[Array, float]:
        position, _ = self._pose(self.thing.root_body)
        return position, _REST  # it is round

    def _goal(self) -> Array:
        return np.asarray(self._env.bin2_pos) + _IN_BIN

    def _placed(self) -> bool:
        position, _ = self._grasp()
        offset = position - self._goal()
        return bool(np.abs(offset[:2]).max() < 0.04 and offset[2] < 0.01)

    def _carry(self, point: Array) -> Array:
        return self._lead(point, self._goal(), pointing_down(_REST), 0.15)


class Square(PickAndPlace):
    """Put the square nut over the square peg, by its handle."""

    @property
    def thing(self) -> Any:  # noqa: D102
        return self._env.nuts[self._env.nut_id]

    def _grasp(self) -> tuple[Array, float]:
        site = self._env.sim.model.site_name2id(f"{self.thing.name}_handle_site")
        _, rotation = self._pose(self.thing.root_body)
        heading = _heading(rotation)
        # Of the two ways to hold it, the one that leaves the wrist nearest to its rest, here and at the peg.
        ways = [nearest_turn(heading + side * np.pi / 2, _REST, 2 * np.pi) for side in (-1, 1)]
        best = min(ways, key=lambda way: max(abs(way - _REST), abs(way + _turn(heading, way) - _REST)))
        return np.array(self._env.sim.data.site_xpos[site]), best

    def _offset(self) -> Array:
        """From the nut's middle to where it must be on the peg."""
        peg, _ = self._pose("peg1")
        nut, _ = self._pose(self.thing.root_body)
        return np.array([*peg[:2], self._env.table_offset[2] + 0.02]) - nut

    def _placed(self) -> bool:
        offset = self._offset()
        return bool(np.abs(offset[:2]).max() < 0.02 and offset[2] > -0.025)

    def _carry(self, point: Array) -> Array:
        _, rotation = self._pose(self.thing.root_body)
        turn = _turn(_heading(rotation), self._opening())
        offset = self._offset()
        # The peg is 10 cm high: above it until the nut is over it, and turned as it is.
        beside = float(np.linalg.norm(offset[:2]))
        around = beside < 0.015 and offset[2] > -0.105
        aligned = beside < 0.005 and abs(turn) < 0.08
        clear = 0.0 if around or aligned else 0.14
        goal = point + offset + clear * _UP
        return self._lead(point, goal, pointing_down(self._opening() + turn), 0.0)


def _turn(heading: float, opening: float) -> float:
    """The turn that brings the nut onto the square peg, of a hand that opens along `opening`, radians.

    The handle must point to the robot or aside: beyond the peg the arm does not reach it.
    """
    opening = nearest_turn(opening, _REST, 2 * np.pi)
    turns = [nearest_turn(end - heading, 0.0, 2 * np.pi) for end in (np.pi, np.pi / 2, -np.pi / 2)]
    # Between equals, the shorter: it stays the shorter while the hand turns.
    return min(turns, key=lambda turn: abs(opening + turn - _REST) + 0.1 * abs(turn))


_ON_LEVER = np.array([0.10, -0.10, 0.0])  # metres in the lever's own frame: where to hold it
_FREE = 1.4  # radians: with the lever turned so far the latch lets the door go
_OPENED = 0.36  # radians of 0.4: the task asks for 0.3


class Door(Expert):
    """Grasp the lever from the front, turn it up until the latch is free, and pull.

    Downwards the latch frees as well, but the arm's last joint ends 0.9 radians from where it grasps.
    """

    _hover = 0.15
    _per_twist = 0.5

    def action(self) -> Array:
        """See `Expert.action`."""
        position, lever = self._pose("Door_latch")
        point, ahead = position + lever @ _ON_LEVER, lever[:, 1]
        # It opens along the lever's own vertical, its palm towards the door.
        rotation = np.column_stack([-lever[:, 2], -lever[:, 0], ahead])
        _, opened = self._joint("Door_hinge")
        if opened > _OPENED:
            return self._hand.move(self._hand.position - 0.05 * ahead, rotation, _OPEN)
        if not self._hand.holds(["Door_handle"]):
            return self._reach(point, rotation)
        axis, turned = self._joint("Door_latch_joint")
        if turned < _FREE and opened < 0.03:
            arm = point - position
            upwards = np.sign(np.cross(axis, arm)[2])
            step = Rotation.from_rotvec(0.5 * upwards * axis)
            return self._hand.move(position + step.apply(arm), step.as_matrix() @ rotation, _CLOSED)
        return self._hand.move(self._hand.position - 0.05 * ahead, rotation, _CLOSED)

    def _joint(self, name: str) -> tuple[Array, float]:
        """Axis (3,) in the world and position of a joint, radians."""
        sim = self._env.sim
        return np.array(sim.data.xaxis[sim.model.joint_name2id(name)]), abs(
            float(sim.data.get_joint_qpos(name))
        )


EXPERTS: Mapping[str, type[Expert]] = {
    "Can": Can,
    "Door": Door,
    "Lift": Lift,
    "Square": Square,
    "Stack": Stack,
}
