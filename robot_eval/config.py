"""The configuration of a run: typed, and checked in full before any work begins."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import DictConfig, OmegaConf

from egorep.commands import Command, ConfigError, typed
from egorep.cores import cores
from egorep.encoder import POOLS
from egorep.engines import ENGINES
from egorep.files import writable_folder
from egorep.names import unknown
from egorep.registry import EncoderName, validate_encoder_name
from robot_eval.cloning import SCHEDULES, Budget, Optimiser
from robot_eval.demos import MOST_OWN_DEMOS, DemoRecipe
from robot_eval.environment import EnvSettings
from robot_eval.policies import PolicyConfig
from robot_eval.published import published_names
from robot_eval.render import LOOKS, Look
from robot_eval.seeds import FIRST_DEMO_SEED, OWN_DEMO_SETS, own_demo_seed
from robot_eval.suites import load_suite
from robot_eval.variation import TRAIN_VARIATIONS, VARIATIONS, VariationName

COMMAND = Command(
    "robot_eval",
    "robot_eval.configs",
    "config",
    groups=("suite", "protocol", "policy", "experiment"),
    lists=("suite",),
)
# For the default of `out`; sorted, so that the order of the suites makes no other folder.
OmegaConf.register_new_resolver("joined_names", lambda mapping: "_".join(sorted(mapping)), replace=True)
# For the folder of a sweep's job.
OmegaConf.register_new_resolver("file_name", lambda text: file_name(str(text)), replace=True)

_LONGEST_NAME = 150


# The dataclasses are not frozen: OmegaConf merges into nothing that is read-only.


@dataclass
class SuiteConfig:
    """A suite's own defaults.

    Attributes:
        camera: that it is seen through.
        tasks: the default set.
    """

    camera: str
    tasks: list[str]


class TaskName(NamedTuple):
    """A task of a suite."""

    suite: str
    task: str

    def __str__(self) -> str:
        return f"{self.suite}/{self.task}"


@dataclass
class Protocol:
    """How policies are trained and judged; the numbers of a paper, or of our own.

    Attributes:
        name: the protocol's.
        demos: demonstrations per task.
        demo_noise: standard deviation of the noise on the expert's executed actions, action units.
        demo_hold: control steps that a demonstration goes on after success.
        seeds: of policies.
        cameras: by suite, where the protocol names others than the suite's own; several are joined by "+".
        render_size, picture_size: side of the rendered square and of its centre crop, pixels.
        frames: of the past that a policy sees, fused.
        still: encoders of clips see the newest picture alone, repeated.
        proprio: whether policies on pictures also see proprioception.
        optimiser, budget: of behaviour cloning.
        episodes: per evaluation.
        held_out_episodes: of the picked policy, on fresh seeds.
        horizon: control steps of an episode at most: a number, `suite` (what the suite's own protocol gives
            the task) or `short` (what a good policy needs, with room to spare).
        hold: end an episode after so many successful steps in a row; 0 never.
        success: `last` (at the last step) or `any`: the protocol's rule.
    """

    name: str
    demos: int
    demo_noise: float
    demo_hold: int
    seeds: list[int]
    cameras: dict[str, str]
    render_size: int
    picture_size: int
    frames: int
    still: bool
    proprio: bool
    optimiser: Optimiser
    budget: Budget
    episodes: int
    held_out_episodes: int
    horizon: int | str
    hold: int
    success: str


@dataclass
class RunConfig:
    """One run of `python -m robot_eval`; `configs/robot_eval/config.yaml` says what each key means."""

    suites: dict[str, SuiteConfig]
    protocol: Protocol
    policy: dict[str, Any]
    tasks: list[str] | None
    encoders: list[str]
    demos: int
    fresh_demos: bool
    published: dict[str, str] | None
    filter_key: str | None
    seeds: Any
    camera: str | None
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
    probes: Any
    data: str
    out: str
    policy_seeds: list[int] = field(default_factory=list)

    @property
    def chosen(self) -> list[TaskName]:
        """The tasks of the run, in order; `tasks` are those of the suites unless it says.

        Raises:
            ValueError: no selected suite has such a task, or several have it.
        """
        if self.tasks is None:
            return [TaskName(name, task) for name, suite in self.suites.items() for task in suite.tasks]
        return [_task_name(task, list(self.suites)) for task in self.tasks]

    def horizon(self, name: TaskName) -> int:
        """Control steps of an episode of a task at most."""
        steps = self.protocol.horizon
        if isinstance(steps, int):
            return steps
        suite = load_suite(name.suite)
        published = suite.horizons.get(name.task, suite.horizon)
        # A task to which its suite gives more time than to others gets more of the short one, too.
        return published if steps == "suite" else round(suite.short_horizon * published / suite.horizon)

    def camera_of(self, suite: str) -> str:
        """The camera of a suite, or several, joined by "+"."""
        return self.camera or self.protocol.cameras.get(suite, self.suites[suite].camera)

    def settings(self, name: TaskName, variation: str) -> EnvSettings:
        """The environment of a task under a variation."""
        return EnvSettings(
            suite=name.suite,
            task=name.task,
            camera=self.camera_of(name.suite),
            render=cast(Look, self.render),
            render_size=self.protocol.render_size,
            picture_size=self.protocol.picture_size,
            variation=cast(VariationName, variation),
        )

    def recipe(self, name: TaskName, policy_seed: int) -> DemoRecipe:
        """Of the demonstrations by a task's expert that a policy learns from."""
        return DemoRecipe(
            settings=self.settings(name, self.variation),
            count=self.demos,
            noise=self.protocol.demo_noise * load_suite(name.suite).noise_scale,
            horizon=self.horizon(name) + self.protocol.demo_hold,
            hold=self.protocol.demo_hold,
            first_seed=own_demo_seed(policy_seed) if self.fresh_demos else FIRST_DEMO_SEED,
        )

    @functools.cached_property
    def cloned(self) -> PolicyConfig:
        """The policy."""
        return PolicyConfig.read(self.policy)

    @property
    def features(self) -> str:
        """The pool of the encoders: policies on tokens need the tokens, whatever `pool`."""
        return "patches" if self.cloned.sees == "tokens" else self.pool

    @property
    def only_probes(self) -> bool:
        """Whether features are probed and no policies trained."""
        return bool(self.probes == "only")

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
        return self.num_envs or 2 * cores()


def file_name(text: str) -> str:
    """Words such as `encoders=[random/vit],seeds=[0]` as a file name, another one for every other text."""
    plain = re.sub(r"[\[\]'\"]", "", text)
    safe = re.sub(r"[^\w.,=-]", "_", plain)[:_LONGEST_NAME]
    # What was lost, save lists' brackets, is told apart by a hash.
    return safe if safe == plain else f"{safe}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def parse(config: DictConfig) -> RunConfig:
    """The typed configuration, with every name and number in it checked.

    Raises:
        ConfigError: one line that says which key, what came and what is wanted.
    """
    run = typed(config, RunConfig)
    run = dataclasses.replace(run, policy_seeds=_policy_seeds(run.seeds, run.protocol.seeds))
    try:
        _check_names(run)
        _check_tasks(run)
        _check_numbers(run)
        _check_policy(run)
        _check_fresh(run)
        _check_published(run)
        for key, folder in (("data", run.data), ("out", run.out)):
            writable_folder(key, folder)
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise ConfigError(str(error)) from error
    return run


def _check_fresh(run: RunConfig) -> None:
    if not run.fresh_demos:
        return
    if run.published:
        raise ValueError(f"fresh_demos=true wants demonstrations by experts, got published={run.published}")
    if run.demos > MOST_OWN_DEMOS:
        raise ValueError(
            f"fresh_demos=true has room for {MOST_OWN_DEMOS} demonstrations a seed, got demos={run.demos}"
        )
    if max(run.policy_seeds) >= OWN_DEMO_SETS:
        raise ValueError(
            f"fresh_demos=true is for policy seeds below {OWN_DEMO_SETS}, got seeds={run.policy_seeds}"
        )


def _check_published(run: RunConfig) -> None:
    tasks = {name.task: name for name in run.chosen if name.suite == "robosuite"}
    for task, path in (run.published or {}).items():
        if task not in tasks:
            raise unknown("published robosuite task of this run", task, tasks)
        names = published_names(Path(path), run.settings(tasks[task], run.variation), run.filter_key)
        if len(names) < run.demos:
            raise ValueError(f"{path} has {len(names)} demonstrations, demos={run.demos} are wanted")


def _check_policy(run: RunConfig) -> None:
    policy, protocol = run.cloned, run.protocol
    pooled = [name for name in run.encoders if EncoderName.read(name).pool]
    if policy.sees == "tokens" and pooled:
        raise ValueError(f"policy {policy.name!r} sees all patch tokens: leave the pool out of {pooled}")
    if policy.sees != "features" and run.only_probes:
        raise ValueError(
            f"probes=only leaves nothing to do: policy {policy.name!r} sees {policy.sees}, "
            "and what is probed are features"
        )
    if policy.sees != "features" and protocol.frames > 1:
        raise ValueError(
            f"protocol.frames={protocol.frames} fuses features, and policy {policy.name!r} sees "
            f"{policy.sees}: set protocol.frames=1"
        )
    if policy.kind == "keyposes" and not protocol.proprio:
        raise ValueError(
            f"policy {policy.name!r} learns from proprioception what to read: set protocol.proprio=true"
        )
    if policy.kind == "keyposes" and run.demos < 2:
        raise ValueError(
            f"policy {policy.name!r} leaves out one demonstration after the other: demos must be at least 2, "
            f"got {run.demos}"
        )


def _check_names(run: RunConfig) -> None:
    for key, names, valid in (
        ("render", [run.render], LOOKS),
        ("variation", [run.variation, *(run.judge or [])], VARIATIONS),
        ("horizon", [h for h in [run.protocol.horizon] if isinstance(h, str)], ("suite", "short")),
        ("success rule", [run.protocol.success], ("last", "any")),
        ("schedule", [run.protocol.optimiser.schedule], SCHEDULES),
        ("budget unit", [run.protocol.budget.unit], ("steps", "epochs")),
        ("pool", [run.pool], POOLS),
        ("engine", [run.inference_engine], ENGINES),
    ):
        for name in names:
            if name not in valid:
                raise unknown(key, name, valid)
    if run.probes not in (True, False, "only"):
        raise ValueError(f"probes={run.probes} is none of true, false and only")
    _check_distinct("encoders", run.encoders)
    for encoder in run.encoders:
        validate_encoder_name(encoder)
    if run.variation not in TRAIN_VARIATIONS:
        raise ValueError(
            f"variation={run.variation} is for judging: train under {' or '.join(TRAIN_VARIATIONS)}, "
            f"and set judge=[{run.variation}]"
        )


def _check_tasks(run: RunConfig) -> None:
    for name, config in run.suites.items():
        suite = load_suite(name)
        for camera in f"{config.camera}+{run.camera_of(name)}".split("+"):
            if camera not in suite.cameras:
                raise unknown(f"{name} camera", camera, suite.cameras)
        for task in config.tasks:
            if task not in suite.tasks:
                raise unknown(f"{name} task", task, suite.tasks)
    chosen = run.chosen
    _check_distinct("tasks", [str(name) for name in chosen])
    without = set(run.suites) - {name.suite for name in chosen}
    if without:
        raise ValueError(f"tasks has none of {', '.join(sorted(without))}: name one, or leave the suite out")


def _check_distinct(key: str, names: list[str]) -> None:
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{key} must be a list of distinct names, at least one, got {names}")


def _task_name(task: str, suites: list[str]) -> TaskName:
    """The task that a user calls `task` or, where suites share its name, `suite/task`."""
    tasks = [TaskName(suite, each) for suite in suites for each in load_suite(suite).tasks]
    found = [name for name in tasks if task in (name.task, str(name))]
    if not found:
        valid = [str(name) if "/" in task else name.task for name in tasks]
        raise unknown(f"task of {', '.join(suites)}", task, set(valid))
    if len(found) > 1:
        raise ValueError(f"task {task!r} is ambiguous: write one of {', '.join(map(str, found))}")
    return found[0]


def _check_numbers(run: RunConfig) -> None:
    protocol = run.protocol
    least = {
        "demos": (run.demos, 1),
        "max_batch": (run.max_batch if run.max_batch is not None else 1, 1),
        "num_envs": (run.num_envs if run.num_envs is not None else 1, 1),
        "protocol.frames": (protocol.frames, 1),
        "protocol.episodes": (protocol.episodes, 1),
        "protocol.held_out_episodes": (protocol.held_out_episodes, 1),
        "protocol.horizon": (protocol.horizon if isinstance(protocol.horizon, int) else 1, 1),
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
