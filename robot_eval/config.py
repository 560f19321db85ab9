"""The configuration of a run: typed, and checked in full before any work begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from omegaconf import DictConfig

from egorep.commands import Command, ConfigError, typed
from egorep.encoder import POOLS
from egorep.engines import ENGINES
from egorep.files import writable_folder
from egorep.names import unknown
from egorep.registry import validate_encoder_name
from robot_eval.cloning import SCHEDULES, Budget, Optimiser
from robot_eval.environment import EnvSettings
from robot_eval.policies.mlp import ACTIVATIONS, MLPConfig
from robot_eval.render import LOOKS, Look
from robot_eval.suites import load_suite
from robot_eval.variation import VARIATIONS, VariationName

COMMAND = Command("robot_eval", "robot_eval.configs", "config", ("suite", "protocol", "experiment"))


# The dataclasses are not frozen: OmegaConf merges into nothing that is read-only.


@dataclass
class SuiteConfig:
    """A suite's own defaults.

    Attributes:
        name: the suite's.
        camera: that it is seen through.
        tasks: the default set.
    """

    name: str
    camera: str
    tasks: list[str]


@dataclass
class HeadConfig:
    """Sizes of the policy's head, see `robot_eval.policies.mlp.MLPConfig`."""

    hidden: list[int]
    activation: str
    batch_norm: bool


@dataclass
class Protocol:
    """How policies are trained and judged; the numbers of a paper, or of our own.

    Attributes:
        name: the protocol's.
        demos: demonstrations per task.
        demo_noise: standard deviation of the noise on the expert's executed actions, action units.
        demo_hold: control steps that a demonstration goes on after success.
        seeds: of policies.
        render_size, picture_size: side of the rendered square and of its centre crop, pixels.
        frames: of the past that a policy sees, fused.
        proprio: whether policies on pictures also see proprioception.
        head, optimiser, budget: of behaviour cloning.
        episodes: per evaluation.
        held_out_episodes: of the picked policy, on fresh seeds.
        horizon: control steps of an episode at most.
        hold: end an episode after so many successful steps in a row; 0 never.
        success: `last` (at the last step) or `any`: the protocol's rule.
    """

    name: str
    demos: int
    demo_noise: float
    demo_hold: int
    seeds: list[int]
    render_size: int
    picture_size: int
    frames: int
    proprio: bool
    head: HeadConfig
    optimiser: Optimiser
    budget: Budget
    episodes: int
    held_out_episodes: int
    horizon: int
    hold: int
    success: str

    @property
    def mlp(self) -> MLPConfig:
        """The head in the policy's own terms."""
        return MLPConfig(tuple(self.head.hidden), self.head.activation, self.head.batch_norm)


@dataclass
class RunConfig:
    """One run of `python -m robot_eval`; `configs/robot_eval/config.yaml` says what each key means."""

    suite: SuiteConfig
    protocol: Protocol
    tasks: list[str]
    encoders: list[str]
    demos: int
    seeds: Any
    camera: str
    variation: str
    judge: list[str] | None
    render: str
    pool: str
    clip_seconds: float
    device: str
    engine: str | None
    max_batch: int | None
    num_envs: int | None
    videos: bool
    data: str
    out: str
    policy_seeds: list[int] = field(default_factory=list)

    def settings(self, task: str, variation: str) -> EnvSettings:
        """The environment of a task under a variation."""
        return EnvSettings(
            suite=self.suite.name,
            task=task,
            camera=self.camera,
            render=cast(Look, self.render),
            render_size=self.protocol.render_size,
            picture_size=self.protocol.picture_size,
            variation=cast(VariationName, variation),
        )

    @property
    def judges(self) -> list[str]:
        """The variations that policies are judged under; the one that they learnt under comes first."""
        extra = self.judge if self.judge is not None else (["unseen"] if self.variation == "train" else [])
        return [self.variation, *(name for name in extra if name != self.variation)]

    @property
    def inference_engine(self) -> str:
        """What computes the encoders: OpenVINO on a CPU, torch elsewhere, unless `engine` says."""
        return self.engine or ("openvino" if self.device == "cpu" else "torch")

    @property
    def workers(self) -> int:
        """Simulator processes."""
        return self.num_envs or 2 * (os.cpu_count() or 1)


def parse(config: DictConfig) -> RunConfig:
    """The typed configuration, with every name and number in it checked.

    Raises:
        ConfigError: one line that says which key, what came and what is wanted.
    """
    run = typed(config, RunConfig)
    try:
        _check_names(run)
        _check_numbers(run)
        for key, folder in (("data", run.data), ("out", run.out)):
            writable_folder(key, folder)
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise ConfigError(str(error)) from error
    seeds = _policy_seeds(run.seeds, run.protocol.seeds)
    return RunConfig(**{**run.__dict__, "policy_seeds": seeds})


def _check_names(run: RunConfig) -> None:
    suite = load_suite(run.suite.name)
    for key, names, valid in (
        ("task", run.tasks, suite.tasks),
        ("camera", [run.camera], suite.cameras),
        ("render", [run.render], LOOKS),
        ("variation", [run.variation, *(run.judge or [])], VARIATIONS),
        ("activation", [run.protocol.head.activation], tuple(ACTIVATIONS)),
        ("success rule", [run.protocol.success], ("last", "any")),
        ("schedule", [run.protocol.optimiser.schedule], SCHEDULES),
        ("budget unit", [run.protocol.budget.unit], ("steps", "epochs")),
        ("pool", [run.pool], POOLS),
        ("engine", [run.inference_engine], ENGINES),
    ):
        for name in names:
            if name not in valid:
                raise unknown(f"{suite.name} {key}" if key in ("task", "camera") else key, name, valid)
    for key, names in (("tasks", run.tasks), ("encoders", run.encoders)):
        if not names or len(set(names)) < len(names):
            raise ValueError(f"{key} must be a list of distinct names, at least one, got {names}")
    for encoder in run.encoders:
        validate_encoder_name(encoder)
    if run.variation == "unseen":
        raise ValueError("variation=unseen is for judging: train under none or train, and set judge=[unseen]")


def _check_numbers(run: RunConfig) -> None:
    protocol = run.protocol
    least = {
        "demos": (run.demos, 1),
        "max_batch": (run.max_batch if run.max_batch is not None else 1, 1),
        "num_envs": (run.num_envs if run.num_envs is not None else 1, 1),
        "protocol.frames": (protocol.frames, 1),
        "protocol.episodes": (protocol.episodes, 1),
        "protocol.held_out_episodes": (protocol.held_out_episodes, 1),
        "protocol.horizon": (protocol.horizon, 1),
        "protocol.hold": (protocol.hold, 0),
        "protocol.demo_hold": (protocol.demo_hold, 1),
        "protocol.picture_size": (protocol.picture_size, 1),
        "protocol.budget.evaluate_every": (protocol.budget.evaluate_every, 1),
        "protocol.optimiser.batch_size": (protocol.optimiser.batch_size, 2),
    }
    for key, (value, minimum) in least.items():
        if value < minimum:
            raise ValueError(f"{key} must be at least {minimum}, got {value}")
    if run.clip_seconds <= 0:
        raise ValueError(f"clip_seconds must be positive, got {run.clip_seconds}")
    if protocol.demo_noise < 0 or protocol.optimiser.lr <= 0:
        raise ValueError("protocol.demo_noise must not be negative, protocol.optimiser.lr must be positive")
    if protocol.picture_size > protocol.render_size:
        raise ValueError(
            f"protocol.picture_size {protocol.picture_size} is a crop of render_size {protocol.render_size}: "
            "make it no larger"
        )
    if protocol.budget.total < 1 or protocol.budget.total % protocol.budget.evaluate_every:
        raise ValueError(
            f"protocol.budget.total {protocol.budget.total} must be a positive multiple of "
            f"evaluate_every {protocol.budget.evaluate_every}"
        )


def _policy_seeds(asked: Any, of_protocol: list[int]) -> list[int]:
    if isinstance(asked, int) and not isinstance(asked, bool):
        if not 1 <= asked <= len(of_protocol):
            raise ConfigError(
                f"seeds={asked}: the protocol names {len(of_protocol)} seeds {of_protocol}; "
                "ask for so many at most, or give a list"
            )
        return of_protocol[:asked]
    seeds = list(asked) if isinstance(asked, Sequence) and not isinstance(asked, str) else []
    if not seeds or not all(isinstance(s, int) and s >= 0 for s in seeds) or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must be a number or a list of distinct numbers from 0 on, got {asked!r}")
    return seeds
