"""Meta-World v3: 50 table-top tasks of a Sawyer arm, with the scripted experts that ship with the suite.

Source: Farama Meta-World 3.1 (`metaworld.ALL_V3_ENVIRONMENTS`, `metaworld.policies`). Proprioception is the
hand's position and the gripper's opening (4), as in R3M and CortexBench; the full state is the suite's
observation of 39 numbers, goal included.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP

from robot_eval.environment import EnvSettings, Observation, RobotEnv, StateEntries, Suite, entries
from robot_eval.variation import SceneParts, Starts, Zone

_PARTS = SceneParts(
    look_at=(0.0, 0.6, 0.1),
    surfaces={"table": ("table_wood",), "floor": ("basic_floor",), "walls": ("wall_metal",)},
    robot_body="base",
    fixed_bodies=("tablelink", "RetainingWall", "mocap"),
    zones=(Zone((-0.62, -0.45), (0.35, 0.9), 0.0), Zone((0.45, 0.62), (0.35, 0.9), 0.0)),
)
# The state of all others has zeros for a second object.
_TWO_OBJECTS = ("hammer-v3", "stick-pull-v3", "stick-push-v3")


class MetaWorldEnv(RobotEnv):
    """A Meta-World task whose goal and layout are drawn from the episode's seed."""

    def __init__(self, settings: EnvSettings) -> None:
        super().__init__(settings)
        self._env = ALL_V3_ENVIRONMENTS[settings.task]()
        self._expert = ENV_POLICY_MAP[settings.task]()
        # The suite hides goals and freezes layouts unless its benchmark classes set these; its observation
        # space is cached from the time when the goal was hidden and would clip the goal to zero.
        self._env._partially_observable = False
        self._env._freeze_rand_vec = False
        self._env._set_task_called = True
        self._env.seeded_rand_vec = True
        self._env.__dict__.pop("sawyer_observation_space", None)
        # Episodes end by the caller's horizon; the suite would raise after 500 steps.
        self._env.max_path_length = np.iinfo(np.int64).max
        self.action_space = self._env.action_space
        self._last = self._start(seed=0)
        self.observation_space = self._observed_space()
        self._adopt(self._env.model, self._env.data, _PARTS)

    def _start(self, seed: int) -> npt.NDArray[np.float64]:
        self._env.seed(seed)
        state, _ = self._env.reset()
        return np.asarray(state, np.float64)

    def _reset_task(self, seed: int) -> None:
        self._last = self._start(seed)

    def _step_task(self, action: npt.NDArray[np.float32]) -> bool:
        state, _, _, _, info = self._env.step(action)
        self._last = np.asarray(state, np.float64)
        return bool(info["success"])

    def _observe(self) -> Observation:
        state = self._last.astype(np.float32)
        return {"proprio": state[:4], "state": state}

    def _starts(self) -> Starts:
        # Sideways and up, by up to a centimetre a step; -1 keeps the gripper as open as it starts.
        low, high = np.array([[-0.6, -0.6, 0.0, -1.0], [0.6, 0.6, 1.0, -1.0]])
        return Starts(low, high, (0.1, 0.2), SUITE.control_hz)

    def expert_action(self) -> npt.NDArray[np.float32]:
        """The scripted expert's action, clipped to -1..1 as the environment does."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "Constant(s) may be too high": clipped here
            action = self._expert.get_action(self._last)
        return np.clip(action, -1.0, 1.0).astype(np.float32)


def _entries(task: str) -> StateEntries:
    """Hand, gripper, place and quaternion of a first object and, in three tasks, of a second; the goal."""
    return StateEntries(
        hand=entries(0), objects=entries(4, 11) if task in _TWO_OBJECTS else entries(4), goal=entries(36)
    )


SUITE = Suite(
    name="metaworld",
    tasks=tuple(sorted(ALL_V3_ENVIRONMENTS)),
    cameras=("topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV"),
    horizon=500,
    short_horizon=250,  # experts need 60 to 160 steps, policies more: bin-picking runs out of time at 150
    control_hz=80,
    packages=("metaworld", "mujoco", "gymnasium"),
    make=MetaWorldEnv,
    entries=_entries,
)
