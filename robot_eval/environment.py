"""The interface between a simulation suite and everything else: tasks as gymnasium environments.

This module and the suites are imported by simulator processes, which never import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import gymnasium
import mujoco
import numpy as np
import numpy.typing as npt

from robot_eval.render import Look, Renderer
from robot_eval.variation import SceneParts, SceneVariation, Starts, VariationName

Observation = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class EnvSettings:
    """Everything that decides what one environment shows and does.

    Attributes:
        suite, task: names.
        camera: of the suite; several are joined by "+", and their pictures stand side by side.
        render: look, see `robot_eval.render`.
        render_size: side of the square that is rendered, pixels.
        picture_size: side of its centre crop, pixels: what is stored and encoded.
        variation: what the scene looks like and where the robot starts, see `robot_eval.variation`.
    """

    suite: str
    task: str
    camera: str
    render: Look = "fast"
    render_size: int = 224
    picture_size: int = 224
    variation: VariationName = "none"

    @property
    def cameras(self) -> tuple[str, ...]:
        """Their names, from left to right in the picture."""
        return tuple(self.camera.split("+"))


class RobotEnv(gymnasium.Env[Observation, npt.NDArray[np.float32]], ABC):
    """One task of a suite. Observations hold `proprio` (what the robot feels) and `state` (everything).

    A suite may add what its own tools look for under other names; policies here see the first two alone.

    Pictures come from `render()`, on demand, because on a CPU they cost more than all the rest; the
    renderer is made at the first call. `reset(seed=...)` decides the episode entirely: layout and looks.
    Subclasses call `_adopt` at the end of their constructor.
    """

    metadata = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, settings: EnvSettings) -> None:
        self.settings = settings
        self._renderer: Renderer | None = None

    def _adopt(self, model: mujoco.MjModel, data: mujoco.MjData, parts: SceneParts) -> None:
        self._model, self._data = model, data
        names = [model.camera(i).name for i in range(model.ncam)]
        for camera in self.settings.cameras:
            if camera not in names:
                raise ValueError(f"{self.settings.task} has no camera {camera!r}, only {names}")
        self._camera_ids = [names.index(camera) for camera in self.settings.cameras]
        _set_upright(model)
        mujoco.mj_camlight(model, data)
        self._variation = SceneVariation(model, parts, self.settings.variation)

    @abstractmethod
    def _reset_task(self, seed: int) -> None:
        """Start the episode that `seed` names."""

    @abstractmethod
    def _step_task(self, action: npt.NDArray[np.float32]) -> bool:
        """Apply one action and say whether the task is now achieved."""

    def _strictly_done(self, success: bool) -> bool:
        """Whether the task is done by a measure that leaves no doubt; `success` is what the suite says.

        For suites whose own measure is loose: a drawer counts as open when it has moved by a fifth.
        """
        return success

    @abstractmethod
    def _observe(self) -> Observation:
        """`proprio` and `state`, each 1-D float32, and what else the suite's own tools expect."""

    @abstractmethod
    def expert_action(self) -> npt.NDArray[np.float32]:
        """What the suite's demonstrator does now, within the action space."""

    @abstractmethod
    def _starts(self) -> Starts:
        """How the robot is moved before an episode under the variation `starts`."""

    def _observed_space(self) -> gymnasium.Space[Observation]:
        """The space of what is observed: unbounded, of the shapes of the present observation."""
        boxes: dict[str, gymnasium.Space[Any]] = {
            key: gymnasium.spaces.Box(-np.inf, np.inf, values.shape, np.float32)
            for key, values in self._observe().items()
        }
        return cast("gymnasium.Space[Observation]", gymnasium.spaces.Dict(boxes))

    @property
    def simulator_state(self) -> npt.NDArray[np.float64]:
        """The flat MuJoCo state as robomimic stores it: positions, velocities; robosuite: time first."""
        return np.concatenate([self._data.qpos, self._data.qvel])

    def restore(self, state: npt.NDArray[np.float64]) -> Observation:
        """Go to a `simulator_state` of this task, whatever the episode, and observe it.

        Raises:
            NotImplementedError: the suite cannot.
        """
        raise NotImplementedError(f"{self.settings.suite} has no way to go to a stored state")

    @property
    def model_file(self) -> str | None:
        """The model as XML, for suites whose own tools rebuild an episode from it."""
        return None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; without a seed, one is drawn from the environment's own generator.

        Raises:
            ValueError: `options` are given; there are none.
        """
        if options:
            raise ValueError(f"there are no reset options, got {options}: looks are set by EnvSettings")
        super().reset(seed=seed)
        episode = int(self.np_random.integers(2**31)) if seed is None else seed
        self._reset_task(episode)
        if self.settings.variation == "starts":
            self._start_elsewhere(np.random.default_rng((episode, 3)))
        # A stream of its own, so that looks do not depend on how much randomness a layout takes.
        self._variation.apply(np.random.default_rng((episode, 1)))
        # Pictures show cameras and lights where the data have them, which is where the model had them before.
        mujoco.mj_camlight(self._model, self._data)
        if self._renderer is not None:
            self._renderer.upload_textures(self._variation.changed_textures)
        return self._observe(), {}

    def _start_elsewhere(self, rng: np.random.Generator) -> None:
        action, steps = self._starts().draw(rng)
        for _ in range(steps):
            self._step_task(action)
        self._data.time = 0.0  # the episode begins now, for experts that go by the clock as well

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control step. The reward is 1 while the task is achieved; episodes end by the caller's horizon.

        The info holds `success`, the suite's own measure, and `strict_success`, ours where that is loose.

        Raises:
            ValueError: the action has another shape than the action space, or a NaN.
        """
        action = np.asarray(action, np.float32)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ValueError(
                f"{self.settings.task} takes a finite action of shape {self.action_space.shape}, got {action}"
            )
        box = cast(gymnasium.spaces.Box, self.action_space)
        success = self._step_task(np.clip(action, box.low, box.high))
        info = {"success": success, "strict_success": self._strictly_done(success)}
        return self._observe(), float(success), False, False, info

    def render(self) -> npt.NDArray[np.uint8]:
        """The current picture, (picture_size, picture_size, 3) uint8 RGB, upright.

        Of n cameras (picture_size, n * picture_size, 3).
        """
        if self._renderer is None:
            size = self.settings.render_size
            self._renderer = Renderer(self._model, size, size, self.settings.render)
            self._renderer.upload_textures(self._variation.changed_textures)
        margin = (self.settings.render_size - self.settings.picture_size) // 2
        kept = slice(margin, margin + self.settings.picture_size)
        views = [
            self._renderer.render(self._data, camera, self._variation.decor)[kept, kept]
            for camera in self._camera_ids
        ]
        return views[0] if len(views) == 1 else np.concatenate(views, axis=1)

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _set_upright(model: mujoco.MjModel) -> None:
    """Roll cameras that hang upside down (Meta-World's corner2) by half a turn, without mirroring."""
    half_turn = np.array([0.0, 0.0, 0.0, 1.0])
    up, turned = np.empty(3), np.empty(4)
    for camera in range(model.ncam):
        mujoco.mju_rotVecQuat(up, np.array([0.0, 1.0, 0.0]), model.cam_quat[camera])
        if model.cam_bodyid[camera] == 0 and up[2] < -1e-6:
            mujoco.mju_mulQuat(turned, model.cam_quat[camera], half_turn)
            model.cam_quat[camera] = turned


def _gym_env_args(settings: EnvSettings) -> dict[str, Any]:
    # type 2 is robomimic's EnvType.GYM_TYPE: neither robosuite (1) nor iGibson (3).
    return {"env_name": settings.task, "type": 2, "env_kwargs": asdict(settings)}


@dataclass(frozen=True)
class StateEntries:
    """Where a task's `state` says what probes ask of features (`robot_eval.probes`).

    Attributes:
        hand: of each arm's hand or palm x, y, z, metres; none where it is not in the state.
        objects: of the task's objects x, y, z each, metres; or, where they hang on a joint, its place alone.
        moving: an object moves when it is faster, in its unit a second.
        goal: x, y, z of where things are to go, metres; none where it is not in the state.
    """

    hand: tuple[int, ...]
    objects: tuple[int, ...]
    moving: float = 0.02
    goal: tuple[int, ...] = ()


def entries(*firsts: int) -> tuple[int, ...]:
    """Entries of x, y, z each, by those of x."""
    return tuple(first + axis for first in firsts for axis in range(3))


@dataclass(frozen=True)
class Suite:
    """A simulation suite: what it offers, and how to make one of its environments.

    Attributes:
        name: the suite's, and its file's.
        tasks: all of them.
        cameras: that every task has.
        horizon: control steps of an episode in the suite's own protocol.
        short_horizon: control steps in which a good policy finishes with room to spare: for quick runs.
        horizons: `horizon` of the tasks in which it differs.
        control_hz: control steps per second, for videos.
        packages: whose versions decide what the suite does.
        version: raised when our part of it or its expert does something else: demonstrations are keyed by it.
        make: builds an environment; its settings are valid.
        entries: of a task's state, for probes.
        noise_scale: of a protocol's noise on the expert's actions; below 1 where these are forces or angles
            that shake the robot more than moves of its hand do.
        env_args: what robomimic's tools build an environment from, for its `env_args` attribute.
    """

    name: str
    tasks: tuple[str, ...]
    cameras: tuple[str, ...]
    horizon: int
    short_horizon: int
    control_hz: int
    packages: tuple[str, ...]
    make: Callable[[EnvSettings], RobotEnv]
    entries: Callable[[str], StateEntries]
    horizons: Mapping[str, int] = field(default_factory=dict)
    noise_scale: float = 1.0
    version: int = 1
    env_args: Callable[[EnvSettings], dict[str, Any]] = _gym_env_args
