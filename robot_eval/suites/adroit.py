"""Adroit: four tasks of a Shadow hand with 24 joints, on an arm whose freedoms differ from task to task.

Model, control, reset and success are gymnasium-robotics' (`AdroitHand*-v1`), after DAPG, as in R3M and
CortexBench. An action of -1..1 spans the control range of each actuator, mostly a weak position servo. What
differs from episode to episode, the suite writes into the model: the places of door, nail board, ball and
target, and the attitude of the pen's target.

Proprioception is the positions of all joints of hand and arm, as in R3M and CortexBench (door 28, hammer 26,
pen 24, relocate 30). The full state is the suite's observation; that of `door` leaves out how far the arm has
slid forward, which follows here.

`success` is the suite's. It is loose twice: a ball counts as relocated within 10 cm of the target, and a pen
that has been dropped counts as turned while it passes the target's direction. `strict_success` asks for 5 cm,
and for a pen that hardly turns.

No demonstrations ship with the suite. `robot_eval.experts.adroit` solves the tasks in `EXPERTS`; the others
can be run, but not demonstrated: `expert_action` raises.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from gymnasium_robotics.envs.adroit_hand.adroit_door import AdroitHandDoorEnv
from gymnasium_robotics.envs.adroit_hand.adroit_hammer import AdroitHandHammerEnv
from gymnasium_robotics.envs.adroit_hand.adroit_pen import AdroitHandPenEnv
from gymnasium_robotics.envs.adroit_hand.adroit_relocate import AdroitHandRelocateEnv

from robot_eval.environment import EnvSettings, Observation, RobotEnv, StateEntries, Suite, entries
from robot_eval.experts.adroit import EXPERTS
from robot_eval.variation import SceneParts, Starts, Zone

_TASKS = {
    "door": AdroitHandDoorEnv,
    "hammer": AdroitHandHammerEnv,
    "pen": AdroitHandPenEnv,
    "relocate": AdroitHandRelocateEnv,
}
_JOINTS = {"door": 28, "hammer": 26, "pen": 24, "relocate": 30}  # of hand and arm; they come first in qpos
# Controls of the first actuators before an episode under the variation `starts`, least and most, rad or
# metres: the arm's or, where it is fixed, the wrist's. All other joints are held where they start.
_STARTS = {
    "door": ((-0.06, -0.06, -0.06, -0.15), (0.0, 0.06, 0.06, 0.15)),
    "hammer": ((-0.06, -0.06), (0.06, 0.06)),
    "pen": ((-0.1, -0.1), (0.1, 0.1)),
    "relocate": ((-0.06, 0.0, -0.06, -0.06, -0.06, -0.06), (0.06, 0.1, 0.06, 0.06, 0.06, 0.06)),
}
# The state of `relocate` has palm and ball relative to the target alone, which stands still in an episode;
# that of `pen` has no palm: it does not move.
_ENTRIES = {
    "door": StateEntries(entries(29), entries(32)),  # the handle
    "hammer": StateEntries(entries(33), entries(36, 42)),  # the hammer and the nail
    "pen": StateEntries((), entries(24)),
    "relocate": StateEntries(entries(33), entries(36)),
}
_RELOCATED = 0.05  # metres: the suite's reward calls this "very close"
_PEN_AT_REST = 2.0  # rad/s; one that falls past the target's direction turns several times as fast

_PARTS = SceneParts(
    look_at=(0.0, -0.1, 0.15),
    surfaces={"table": ("tablecube",), "floor": ("groundplane",)},
    robot_body="forearm",
    fixed_bodies=("table", "vive_tracker"),
    zones=(Zone((-0.4, -0.3), (-0.2, 0.4), 0.0), Zone((0.3, 0.4), (-0.2, 0.4), 0.0)),
)


class AdroitEnv(RobotEnv):
    """An Adroit task whose layout is drawn from the episode's seed."""

    def __init__(self, settings: EnvSettings) -> None:
        super().__init__(settings)
        self._env = _TASKS[settings.task]()
        self.action_space = self._env.action_space
        expert = EXPERTS.get(settings.task)
        self._expert = expert and expert(self._env.model, self._env.data)
        self._adopt(self._env.model, self._env.data, _PARTS)
        self._reset_task(seed=0)
        self.observation_space = self._observed_space()

    def _reset_task(self, seed: int) -> None:
        self._last, _ = self._env.reset(seed=seed)
        if self._expert is not None:
            self._expert.begin()

    def _step_task(self, action: npt.NDArray[np.float32]) -> bool:
        self._last, _, _, _, info = self._env.step(action)
        return bool(info["success"])

    def _strictly_done(self, success: bool) -> bool:
        if self.settings.task == "relocate":
            return success and float(np.linalg.norm(self._last[-3:])) < _RELOCATED
        if self.settings.task == "pen":
            return success and float(np.linalg.norm(self._data.qvel[-3:])) < _PEN_AT_REST
        return success

    def _observe(self) -> Observation:
        state = self._last
        if self.settings.task == "door":
            state = np.append(state, self._data.qpos[0])
        return {
            "proprio": self._data.qpos[: _JOINTS[self.settings.task]].astype(np.float32),
            "state": state.astype(np.float32),
        }

    def _starts(self) -> Starts:
        low, high = (np.zeros(self._env.model.nu) for _ in range(2))
        for controls, moving in zip((low, high), _STARTS[self.settings.task], strict=True):
            controls[: len(moving)] = moving
        ranges = self._env.model.actuator_ctrlrange
        middle, half = ranges.mean(axis=1), np.ptp(ranges, axis=1) / 2
        return Starts((low - middle) / half, (high - middle) / half, (0.1, 0.2), SUITE.control_hz)

    def expert_action(self) -> npt.NDArray[np.float32]:
        """What the expert does now.

        Raises:
            NotImplementedError: the task has none.
        """
        if self._expert is None:
            raise NotImplementedError(
                f"adroit's task {self.settings.task!r} has no expert, so no demonstrations can be made: "
                f"choose from tasks={list(EXPERTS)}"
            )
        return self._expert.action()


SUITE = Suite(
    name="adroit",
    tasks=tuple(_TASKS),
    cameras=("vil_camera", "fixed"),
    horizon=200,
    short_horizon=250,  # experts need 100 (relocate) or 170 steps (door), 50 more in demonstrations
    control_hz=100,
    packages=("gymnasium-robotics", "mujoco", "gymnasium"),
    make=AdroitEnv,
    entries=_ENTRIES.__getitem__,
    noise_scale=0.3,  # at 1 random torques shake the palm at a metre a second
)
