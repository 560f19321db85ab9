"""What a run is made of: policies to train, and evaluations of them, by hashes of all that decides them."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egorep import Encoder
from egorep.cache import FrameSet
from egorep.probing import LIMIT
from robot_eval.cloning import Training
from robot_eval.config import RunConfig, TaskName
from robot_eval.demos import Beginning, DemoSet, content_key
from robot_eval.environment import EnvSettings
from robot_eval.inputs import PolicyInputs
from robot_eval.policies.base import InputShape, PictureSource
from robot_eval.probes import ProbeUnit
from robot_eval.rollout import EpisodeRules
from robot_eval.suites import load_suite
from robot_eval.views import Pixels


def encoder_seed(name: str, policy_seed: int) -> int:
    """An untrained encoder is one draw of its initialisation: each policy seed has its own."""
    return policy_seed if name.startswith("random/") else 0


def frame_stride(encoder: Encoder, clip_seconds: float, control_hz: float) -> int:
    """Control steps between the frames, which together span `clip_seconds`, that an encoder looks at."""
    return max(1, round(clip_seconds * control_hz / encoder.num_frames))


def policy_path(folder: Path, step: int) -> Path:
    """File of a policy after `step` optimiser steps, in the folder of its checkpoints."""
    return folder / f"{step}.safetensors"


@dataclass(frozen=True)
class Cell:
    """One policy to train: an encoder on a task with a seed."""

    config: RunConfig
    name: TaskName
    encoder: Encoder
    demos: DemoSet
    seed: int

    @property
    def inputs(self) -> PolicyInputs:
        """What the policy sees."""
        protocol = self.config.protocol
        return PolicyInputs(self.encoder.observation, protocol.frames, protocol.proprio)

    @property
    def looks(self) -> bool:
        """Whether the policy has the encoder inside and is shown pictures."""
        return self.config.cloned.sees == "pictures" and self.encoder.observation == "picture"

    @functools.cached_property
    def eye(self) -> Encoder:
        """What turns pictures into the policy's inputs in a rollout."""
        if not self.looks:
            return self.encoder
        return Pixels(self.config.protocol.picture_size, len(self.cameras))

    @property
    def shown(self) -> Sequence[FrameSet]:
        """What the policy is shown of the pictures of its demonstrations."""
        count = self.config.cloned.looks
        demos = self.demos.demos
        return demos if count is None else [Beginning(demo, count) for demo in demos]

    @property
    def cameras(self) -> tuple[str, ...]:
        """Whose pictures stand side by side."""
        return self.config.settings(self.name, self.config.variation).cameras

    @functools.cached_property
    def shape(self) -> InputShape:
        """Of the policy's inputs."""
        demo = self.demos.demos[0]
        proprio, state = (demo.read(f"obs/{part}").shape[1] for part in ("proprio", "state"))
        if self.encoder.observation != "picture":
            return InputShape((), state if self.encoder.observation == "state" else proprio)
        height, width, channels = self.eye.grid
        visual: dict[str, tuple[int, ...]] = {
            "features": (self.eye.dim * self.inputs.frames,),
            "tokens": (height * width, channels),
            "pictures": self.eye.grid,
        }
        return InputShape(visual[self.config.cloned.sees], proprio if self.inputs.proprio else 0)

    @property
    def stride(self) -> int:
        """Control steps between the frames that an encoder of clips looks at."""
        return frame_stride(self.encoder, self.config.clip_seconds, load_suite(self.name.suite).control_hz)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the trained policy."""
        protocol = self.config.protocol
        return {
            "policy": self.config.cloned.to_dict(),
            "suite": self.name.suite,
            "task": self.name.task,
            "encoder": self.encoder.name,
            "encoder_fingerprint": self.encoder.fingerprint,
            "demos_fingerprint": self.demos.fingerprint,
            "inputs": dataclasses.asdict(self.inputs),
            **({"stride": self.stride} if self.encoder.num_frames > 1 else {}),
            "input_limit": LIMIT,
            "optimiser": dataclasses.asdict(protocol.optimiser),
            "budget": dataclasses.asdict(protocol.budget),
            "seed": self.seed,
        }

    @property
    def training(self) -> Training:
        """How the policy is trained."""
        protocol = self.config.protocol
        drawn = encoder_seed(self.encoder.name, self.seed)
        source = PictureSource(self.encoder.name, self.encoder.pool, drawn, self.cameras)
        return Training(
            self.config.cloned,
            self.shape,
            protocol.optimiser,
            self.checkpoints,
            self.seed,
            source if self.looks else None,
        )

    @functools.cached_property
    def checkpoints(self) -> list[int]:
        """Optimiser steps at which the policy is evaluated."""
        samples = sum(len(demo.read("actions")) for demo in self.demos.demos)
        return self.config.protocol.budget.checkpoints(samples, self.config.protocol.optimiser.batch_size)

    @property
    def trained(self) -> bool:
        """Whether every checkpoint of the policy is there."""
        return all(self.policy_path(step).exists() for step in self.checkpoints)

    @property
    def folder(self) -> Path:
        """Of the policy's checkpoints."""
        return Path(self.config.out) / "policies" / content_key(self.identity)

    def policy_path(self, step: int) -> Path:
        """File of the policy after `step` optimiser steps."""
        return policy_path(self.folder, step)

    @property
    def probes(self) -> ProbeUnit:
        """What its encoder's features know."""
        return ProbeUnit(
            suite=self.name.suite,
            task=self.name.task,
            train_variation=self.config.variation,
            camera=self.config.camera_of(self.name.suite),
            demos=len(self.demos.demos),
            demos_fingerprint=self.demos.fingerprint,
            encoder=self.encoder.name,
            encoder_fingerprint=self.encoder.fingerprint,
            encoder_seed=encoder_seed(self.encoder.name, self.seed),
            frames=self.inputs.frames,
            stride=self.stride if self.encoder.num_frames > 1 else 1,
        )


@dataclass(frozen=True)
class Unit:
    """One evaluation of a policy."""

    cell: Cell
    step: int
    role: str
    settings: EnvSettings
    seeds: Sequence[int]

    @property
    def rules(self) -> EpisodeRules:
        """When its episodes end."""
        config = self.cell.config
        return EpisodeRules(config.horizon(self.cell.name), config.protocol.hold)

    @functools.cached_property
    def key(self) -> str:
        """Hash of everything that decides its outcome."""
        suite = load_suite(self.settings.suite)
        return content_key(
            {
                "cell": self.cell.identity,
                "step": self.step,
                "role": self.role,
                "settings": dataclasses.asdict(self.settings),
                "seeds": list(self.seeds),
                "rules": dataclasses.asdict(self.rules),
                "versions": {package: importlib.metadata.version(package) for package in suite.packages},
            }
        )
