"""Franka Kitchen: a Franka arm opens, turns and switches on: the five tasks of R3M, Voltron and MPI.

Model and control are gymnasium-robotics' (`FrankaKitchen-v1`), without the noise on what it observes: an
action of -1..1 sets the target of each joint's position servo, a velocity of two (rad/s or m/s) ahead of the
joint; the arm reaches half of that. Tasks and starts are R3M's, cameras RoboHive's: the robot stands at a
random place before the kitchen, in a random posture, and one joint of the kitchen is to be moved to its goal.

Two things differ from R3M. Robots stand within half of its range, on the side of the doors, and the left
door is done when half open, because the arm does not reach further. Episodes are longer than 50 steps,
because an arm that moves one radian per second needs them.

`success` is the suite's: within 0.3 rad or metres of the goal, which for a door that slides by 0.44 is loose.
`strict_success` is RoboHive's "solved": within 15 % of the joint's range too. For the microwave they agree.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import numpy.typing as npt

from robot_eval.environment import EnvSettings, Observation, RobotEnv, StateEntries, Suite, entries
from robot_eval.experts.franka_kitchen import STROKES, KitchenExpert
from robot_eval.variation import SceneParts, Starts, Zone

_MODEL = "envs/assets/kitchen_franka/kitchen_assets/kitchen_env_model.xml"
_ROBOT = "robot"  # name that the model's body of stand and arm lacks
_ROBOT_JOINTS = 9  # seven of the arm, two of the gripper; they come first
_ARM_JOINTS = 7
_HAND = 62  # of the state, where the hand's place begins
_SUBSTEPS = 40  # of 2 ms
_SPEED = 2.0  # of a full action, rad/s or m/s
# The suite's limits of the servos' targets.
_LOWEST = np.array([-2.9, -1.8, -2.9, -3.1, -2.9, 0.0, -2.9, 0.0, 0.0])
_HIGHEST = np.array([2.9, 1.8, 2.9, 0.0, 2.9, 3.8, 2.9, 0.04, 0.04])

_PLACES = ((-0.1, 0.0, -0.05), (0.0, 0.1, 0.05))  # of the robot, from its usual one, metres; R3M's: +-0.1
_POSTURES = 0.025  # of the joints' ranges, either way, as in R3M
_NEAR = 0.3  # the suite's
_STRICTLY_NEAR = 0.15  # RoboHive's, of the joint's range

# RoboHive's left_cam, turned by 7 degrees for the doors to stay in view, and its right_cam.
_CAMERAS = {
    "left": ((-1.4, -0.75, 3.0), (0.798, 0.502, -0.19, -0.272)),
    "right": ((1.4, -0.75, 3.0), (0.76, 0.5, 0.21, 0.35)),
}
_WALLS = ("wall_white", "wall_blue")
_PARTS = SceneParts(
    look_at=(-0.3, 0.6, 2.1),
    surfaces={"table": ("counter_marble",), "floor": ("MatPlane",), "walls": _WALLS},
    robot_body=_ROBOT,
    fixed_bodies=("counters", "ovenroot", "hoodroot", "wallroot", "wall2"),
    zones=(Zone((0.1, 0.4), (0.65, 0.9), 1.6), Zone((-0.75, -0.6), (-0.1, 0.25), 1.6)),
)


@dataclass(frozen=True)
class _Task:
    """What is to be moved.

    Attributes:
        joint: of the kitchen; it starts at 0.
        goal: rad or metres.
        site: where to take hold of it.
        entry: of the state, the joint's place.
    """

    joint: str
    goal: float
    site: str
    entry: int


_TASKS = {
    "knob1_on": _Task("knob_Joint_1", -1.57, "knob1_site", 9),
    "light_on": _Task("light_switch", -0.7, "light_site", 17),
    "sdoor_open": _Task("slide_cabinet", 0.44, "slide_site", 19),
    "ldoor_open": _Task("left_hinge_cabinet", -0.75, "hinge_site1", 20),  # R3M's: -1.25
    "micro_open": _Task("microwave", -1.25, "microhandle_site", 22),
}


class FrankaKitchenEnv(RobotEnv):
    """A Franka Kitchen task; the episode's seed draws the robot's place and posture."""

    def __init__(self, settings: EnvSettings) -> None:
        super().__init__(settings)
        task = _TASKS[settings.task]
        model = _load()
        self._goal, self._joint, self._site = task.goal, model.joint(task.joint), model.site(task.site).id
        self._reaches = _STRICTLY_NEAR * float(np.ptp(self._joint.range))
        self._robot = model.body(_ROBOT).id
        self._usual = model.body_pos[self._robot].copy()
        self._ahead = _SPEED * _SUBSTEPS * model.opt.timestep
        self._expert = KitchenExpert(
            model, STROKES[settings.task], task.site, task.joint, task.goal, self._ahead
        )
        self._adopt(model, mujoco.MjData(model), _PARTS)
        self._reset_task(seed=0)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (_ROBOT_JOINTS,), np.float32)
        self.observation_space = self._observed_space()

    def _reset_task(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        model, data = self._model, self._data
        mujoco.mj_resetDataKeyframe(model, data, 0)
        model.body_pos[self._robot] = self._usual + rng.uniform(*_PLACES)
        low, high = model.jnt_range[:_ROBOT_JOINTS].T
        off = (high - low) * rng.uniform(-_POSTURES, _POSTURES, _ROBOT_JOINTS)
        data.qpos[:_ROBOT_JOINTS] = np.clip(data.qpos[:_ROBOT_JOINTS] + off, low, high)
        mujoco.mj_forward(model, data)

    def _step_task(self, action: npt.NDArray[np.float32]) -> bool:
        data = self._data
        data.ctrl[:] = np.clip(data.qpos[:_ROBOT_JOINTS] + self._ahead * action, _LOWEST, _HIGHEST)
        mujoco.mj_step(self._model, data, _SUBSTEPS)
        mujoco.mj_forward(self._model, data)  # for pictures and expert: bodies where the joints now are
        return self._left < _NEAR

    @property
    def _left(self) -> float:
        return abs(float(self._data.qpos[self._joint.qposadr[0]]) - self._goal)

    def _strictly_done(self, success: bool) -> bool:
        return success and self._left < self._reaches

    def _observe(self) -> Observation:
        data = self._data
        places = (
            self._model.body_pos[self._robot],
            data.site("end_effector").xpos,
            data.site_xpos[self._site],
        )
        state = np.concatenate([data.qpos, data.qvel, *places]).astype(np.float32)
        return {"proprio": state[:_ROBOT_JOINTS], "state": state}

    def _starts(self) -> Starts:
        # The arm's joints either way; the fingers stay as they are.
        speeds = np.array([0.4] * _ARM_JOINTS + [0.0] * (_ROBOT_JOINTS - _ARM_JOINTS))
        return Starts(-speeds, speeds, (0.2, 0.4), SUITE.control_hz)

    def expert_action(self) -> npt.NDArray[np.float32]:
        """What `robot_eval.experts.franka_kitchen` does; nothing more once the joint is at its goal."""
        return self._expert.action(self._data)


def _load() -> mujoco.MjModel:
    """The suite's model with cameras, and walls that can be painted; they look as before."""
    package = importlib.util.find_spec("gymnasium_robotics")  # to import it registers a hundred environments
    if package is None or package.origin is None:
        raise ModuleNotFoundError("no gymnasium_robotics", name="gymnasium_robotics")
    spec = mujoco.MjSpec.from_file(str(Path(package.origin).parent / _MODEL))
    spec.worldbody.first_body().name = _ROBOT
    for name, (position, quaternion) in _CAMERAS.items():
        spec.worldbody.add_camera(name=name, pos=position, quat=quaternion)
    for wall in _WALLS:
        _add_white_texture(spec, wall)
    return spec.compile()


def _add_white_texture(spec: mujoco.MjSpec, material: str) -> None:
    texture = spec.add_texture(name=f"{material}_paint", type=mujoco.mjtTexture.mjTEXTURE_CUBE)
    texture.builtin = mujoco.mjtBuiltin.mjBUILTIN_FLAT
    texture.rgb1 = texture.rgb2 = (1.0, 1.0, 1.0)
    texture.width, texture.height = 128, 6 * 128
    spec.material(material).textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = texture.name


def _entries(task: str) -> StateEntries:
    """The hand's place follows joints, velocities and the robot's place; the object is its joint."""
    object_ = (_TASKS[task].entry,)
    return StateEntries(entries(_HAND), object_, moving=0.02 if task == "sdoor_open" else 0.1)


SUITE = Suite(
    name="franka_kitchen",
    tasks=tuple(sorted(_TASKS)),
    cameras=("left", "right"),
    horizon=80,  # R3M's 50 end before an expert has opened the microwave, in 40 to 50 steps, and stays there
    short_horizon=80,
    control_hz=12,
    packages=("gymnasium-robotics", "mujoco", "gymnasium"),
    make=FrankaKitchenEnv,
    entries=_entries,
)
