"""robosuite 1.5 with robomimic's tasks: a Panda under operational-space control at 20 Hz.

Source: robosuite's environments and robomimic's datasets (Mandlekar et al. 2021): names of cameras and
observations, the action per arm (moves of the hand in the world's frame, at most 5 cm and 0.5 rad a step,
then the gripper, 1 closes) and the horizons. Proprioception is what robomimic's policies feel: position and
quaternion of the hand and the gripper's two joints, per arm; the full state adds robosuite's `object-state`.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import gymnasium
import numpy as np
import numpy.typing as npt

from egorep.shims import import_robosuite
from robot_eval.environment import EnvSettings, Observation, RobotEnv, StateEntries, Suite, entries
from robot_eval.experts.robosuite import EXPERTS
from robot_eval.variation import SceneParts, Starts, Zone

robosuite = import_robosuite()

# robomimic calls the tasks by the first name, robosuite by the second.
_ENVIRONMENTS = {
    "Can": "PickPlaceCan",
    "Door": "Door",
    "Lift": "Lift",
    "Square": "NutAssemblySquare",
    "Stack": "Stack",
    "ToolHang": "ToolHang",
    "Transport": "TwoArmTransport",
}
_HIDDEN_GROUP = 4  # MuJoCo draws groups 0 to 2
_SURFACES = {
    "table": ("table_ceramic", "table_legs_metal", "light-wood", "dark-wood"),
    "floor": ("floorplane",),
    "walls": ("walls_mat",),
}
_FIXED = ("table", "table0", "table1", "bin1", "bin2", "left_eef_target", "right_eef_target")
# On the table beside the robot, out of the way of what is handled.
_TABLE = (Zone((-0.33, -0.20), (-0.32, -0.20), 0.8), Zone((-0.33, -0.20), (0.20, 0.32), 0.8))
# Where no free table is in the picture: parts of the second bin that are for other things, and the floor.
_ZONES = {
    "Can": (Zone((-0.05, 0.05), (0.08, 0.22), 0.8), Zone((0.15, 0.25), (0.08, 0.22), 0.8)),
    "Door": (Zone((-0.70, -0.30), (0.30, 0.55), 0.0),),
    "Transport": (Zone((-0.30, 0.30), (-0.20, 0.20), 0.0),),
}
# Of the state, where the places of the task's objects begin; hands come before, 9 numbers an arm.
_HAND = 9
_OBJECTS = {
    "Can": (16,),
    "Door": (12,),  # the handle
    "Lift": (9,),
    "Square": (16,),
    "Stack": (9, 16),
    "ToolHang": (16, 30, 44),  # stand, frame, tool
    "Transport": (18, 25, 32),  # payload, trash, handle of the lid
}
_MIDDLES = {"Can": (0.1, 0.0, 0.85), "Door": (-0.15, -0.25, 1.0), "Transport": (0.0, 0.0, 0.85)}


def _parts(task: str) -> SceneParts:
    return SceneParts(
        look_at=_MIDDLES.get(task, (0.0, 0.0, 0.85)),
        surfaces=_SURFACES,
        robot_body="robot0_base",
        fixed_bodies=_FIXED,
        zones=_ZONES.get(task, _TABLE),
    )


def robosuite_arguments(task: str) -> dict[str, Any]:
    """What `robosuite.make` takes, beside cameras, for an environment as robomimic's datasets have it.

    Without hard resets the model is built once: objects keep the sizes that seed 0 gives them.
    """
    arms = 2 if task == "Transport" else 1
    controller = robosuite.load_composite_controller_config(robot="Panda")
    # As before robosuite 1.5, where the datasets come from. With one arm the robot's frame is parallel to it.
    controller["body_parts"]["right"]["input_ref_frame"] = "world"
    return {
        "env_name": _ENVIRONMENTS[task],
        "robots": ["Panda"] * arms,
        "controller_configs": controller,
        "control_freq": 20,
        "ignore_done": True,
        "reward_shaping": False,
        "hard_reset": False,
        "seed": 0,
        **({"env_configuration": "opposed"} if arms == 2 else {}),
    }


class RobosuiteEnv(RobotEnv):
    """A robosuite task whose layout and starting pose are drawn from the episode's seed."""

    def __init__(self, settings: EnvSettings) -> None:
        super().__init__(settings)
        self._env = robosuite.make(
            **robosuite_arguments(settings.task),
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
        )
        low, high = self._env.action_spec
        self.action_space = gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32))
        expert = EXPERTS.get(settings.task)
        self._expert = None if expert is None else expert(self._env)
        self._reset_task(seed=0)
        self.observation_space = self._observed_space()
        model = self._env.sim.model._model
        # Collision shapes lie in group 0, under the visual ones.
        model.geom_group[model.geom_group == 0] = _HIDDEN_GROUP
        self._adopt(model, self._env.sim.data._data, _parts(settings.task))

    def _reset_task(self, seed: int) -> None:
        # Placement samplers hold this very generator.
        self._env.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        self._last = self._env.reset()

    def _step_task(self, action: npt.NDArray[np.float32]) -> bool:
        self._last = self._env.step(action.astype(np.float64))[0]
        return bool(self._env._check_success())

    def _observe(self) -> Observation:
        hands = {name: _float32(self._last[name]) for name in self._hand_names}
        proprio, objects = np.concatenate(list(hands.values())), _float32(self._last["object-state"])
        return {"proprio": proprio, "state": np.concatenate([proprio, objects]), **hands, "object": objects}

    @functools.cached_property
    def _hand_names(self) -> list[str]:
        parts = ("eef_pos", "eef_quat", "gripper_qpos")
        return [f"robot{arm}_{part}" for arm in range(len(self._env.robots)) for part in parts]

    def _starts(self) -> Starts:
        # Each hand sideways and up, without a turn; 0 leaves a gripper as it is.
        hand = np.array([[-1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
        low, high = np.tile(hand, len(self._env.robots))
        return Starts(low, high, (0.2, 0.4), SUITE.control_hz)

    def expert_action(self) -> npt.NDArray[np.float32]:
        """The scripted expert's action.

        Raises:
            NotImplementedError: nobody has scripted this task; published demonstrations can be read.
        """
        if self._expert is None:
            raise NotImplementedError(
                f"{self.settings.task} has no scripted expert, only {sorted(EXPERTS)} have: "
                "give robomimic's published demonstrations"
            )
        box = cast(gymnasium.spaces.Box, self.action_space)
        return np.clip(self._expert.action(), box.low, box.high).astype(np.float32)

    @property
    def simulator_state(self) -> npt.NDArray[np.float64]:
        """Time, positions, velocities: robosuite's flattened state."""
        return np.asarray(self._env.sim.get_state().flatten(), np.float64)

    def restore(self, state: npt.NDArray[np.float64]) -> Observation:
        """Go to a `simulator_state` and observe it."""
        self._env.sim.set_state_from_flattened(state)
        self._env.sim.forward()
        self._last = self._env._get_observations(force_update=True)
        return self._observe()

    @property
    def model_file(self) -> str:
        """The model as robosuite's XML."""
        return str(self._env.sim.model.get_xml())


def _float32(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    return np.atleast_1d(np.asarray(values, np.float32))


def _env_args(settings: EnvSettings) -> dict[str, Any]:
    """What robomimic's EnvRobosuite builds this environment from, with robosuite's own pictures.

    Those have the size of ours, but show what stands around the centre crop as well, where there is one.
    """
    arguments = robosuite_arguments(settings.task)
    size = settings.picture_size
    return {
        "env_name": arguments.pop("env_name"),
        "env_version": robosuite.__version__,
        "type": 1,  # robomimic's EnvType.ROBOSUITE_TYPE
        "env_kwargs": {
            **arguments,
            "camera_names": list(settings.cameras),
            "camera_heights": size,
            "camera_widths": size,
        },
    }


def _entries(task: str) -> StateEntries:
    hands = (0, _HAND) if task == "Transport" else (0,)
    return StateEntries(entries(*hands), entries(*_OBJECTS[task]))


SUITE = Suite(
    name="robosuite",
    tasks=tuple(_ENVIRONMENTS),
    cameras=("agentview", "birdview", "frontview", "robot0_eye_in_hand", "sideview", "shouldercamera0"),
    horizon=400,
    short_horizon=200,
    control_hz=20,
    packages=("robosuite", "mujoco", "gymnasium"),
    make=RobosuiteEnv,
    entries=_entries,
    horizons={"Transport": 700, "ToolHang": 700},
    env_args=_env_args,
)
