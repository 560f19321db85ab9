"""`python -m robot_eval.play`: a trained policy in its environment, from its run's folder alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from safetensors import safe_open

from egorep import Encoder, load_encoder
from egorep.commands import Command, ConfigError, typed
from egorep.files import writable_folder
from egorep.names import unknown
from egorep.registry import EncoderName
from robot_eval.cloning import load_policy
from robot_eval.environment import EnvSettings
from robot_eval.inputs import PolicyInputs
from robot_eval.results import ResultStore
from robot_eval.rollout import EpisodeResult, EpisodeRules, Rollouts
from robot_eval.simulators import simulators
from robot_eval.suites import load_suite
from robot_eval.variation import VARIATIONS
from robot_eval.views import Pixels, seen_by

COMMAND = Command("robot_eval.play", "robot_eval.configs", "play")


@dataclass
class PlayConfig:
    """What is played; `configs/robot_eval/play.yaml` says what each key means."""

    run: str
    task: str
    encoder: str | None
    seed: int | None
    checkpoint: Any
    weights: str | None
    variation: str | None
    episodes: int
    first_episode: int
    device: str
    video: str | None
    num_envs: int


@dataclass(frozen=True)
class Trained:
    """The checkpoints of one policy.

    Attributes:
        folder: that they are in.
        metadata: saved beside each of them, but for `step` and the losses.
        steps: optimiser steps of the checkpoints, rising.
    """

    folder: Path
    metadata: dict[str, Any]
    steps: tuple[int, ...]

    @property
    def task(self) -> str:
        """As `suite/task`."""
        return f"{self.metadata['settings']['suite']}/{self.metadata['settings']['task']}"

    @property
    def encoder(self) -> str:
        """Its name."""
        return str(self.metadata["encoder"]["name"])


def trained_policies(run: Path) -> list[Trained]:
    """All policies of a run, ordered by task, encoder and seed.

    Raises:
        FileNotFoundError: `run` holds none.
    """
    found = []
    for folder in sorted((run / "policies").glob("*")):
        steps = sorted(int(path.stem) for path in folder.glob("*.safetensors"))
        if steps:
            with safe_open(folder / f"{steps[-1]}.safetensors", framework="pt") as file:
                metadata = json.loads(file.metadata()["egorep"])
            if "settings" in metadata:  # what older versions wrote cannot be played
                found.append(Trained(folder, metadata, tuple(steps)))
    if not found:
        raise FileNotFoundError(f"{run} holds no policy that can be played: name the folder of a run")
    return sorted(found, key=lambda each: (each.task, each.encoder, each.metadata["seed"]))


def choose(policies: Sequence[Trained], config: PlayConfig) -> Trained:
    """The policy that the settings name.

    Raises:
        ValueError: none is so, or several are and the settings do not say which; names the choices.
    """
    of_task = [each for each in policies if config.task in (each.task, each.task.partition("/")[2])]
    if not of_task:
        raise unknown("task of this run", config.task, {each.task for each in policies})
    of_encoder = [each for each in of_task if config.encoder in (None, each.encoder)]
    if not of_encoder:
        raise unknown("encoder of this run", str(config.encoder), {each.encoder for each in of_task})
    of_seed = [each for each in of_encoder if config.seed in (None, each.metadata["seed"])]
    if not of_seed:
        seeds = sorted({each.metadata["seed"] for each in of_encoder})
        raise ValueError(f"seed={config.seed}: the run has {seeds}")
    lowest = [each for each in of_seed if each.metadata["seed"] == of_seed[0].metadata["seed"]]
    for key, values in (
        ("task", {each.task for each in lowest}),
        ("encoder", {each.encoder for each in lowest}),
        ("run", {str(each.folder) for each in lowest}),
    ):
        if len(values) > 1:
            raise ValueError(f"{key} must say which: the run has {', '.join(sorted(values))}")
    return lowest[0]


def checkpoint_of(policy: Trained, asked: Any, run: Path) -> int:
    """The optimiser steps of the checkpoint that is asked for.

    Raises:
        ValueError: there is no such checkpoint, or the run has not picked one yet.
    """
    if asked == "last":
        return policy.steps[-1]
    if asked == "best":
        return _picked(policy, run)
    if asked not in policy.steps:
        raise ValueError(f"checkpoint={asked}: choose best, last or one of {list(policy.steps)}")
    return int(asked)


def _picked(policy: Trained, run: Path) -> int:
    identity = policy.metadata["identity"]
    names = ("suite", "task", "encoder_fingerprint", "demos_fingerprint", "seed")
    picked = {
        row.checkpoint
        for row in ResultStore(run).rows()
        if row.role == "held_out"
        and row.policy == identity["policy"]["name"]
        and all(getattr(row, name) == identity[name] for name in names)
    }
    # Several where runs with other rules, which picked another, share the folder.
    if len(picked) != 1:
        raise ValueError(
            f"checkpoint=best: the run picked {sorted(picked) or 'none yet'}; say last, or steps"
        )
    return picked.pop()


def play(config: PlayConfig, policy: Trained, step: int) -> tuple[list[EpisodeResult], EnvSettings]:
    """Roll a policy out.

    Returns:
        The episodes, with their pictures where a video is wanted, and the environment.

    Raises:
        FileNotFoundError, ConnectionError, ImportError: the encoder or the suite cannot be had.
        ValueError: the encoder is not the one that the policy was trained on.
    """
    encoder = _encoder(config, policy)
    actor, metadata = load_policy(policy.folder / f"{step}.safetensors")
    settings = EnvSettings(**metadata["settings"])
    if config.variation is not None:
        settings = replace(settings, variation=config.variation)  # type: ignore[arg-type]  # checked
    seeds = [config.first_episode + index for index in range(config.episodes)]
    looks = metadata["policy"]["pictures"] is not None
    views = len(settings.cameras)
    eye = Pixels(settings.picture_size, views) if looks else encoder
    with simulators(settings, min(config.num_envs, config.episodes)) as pool:
        rollouts = Rollouts(
            pool,
            eye,
            PolicyInputs(**metadata["inputs"]),
            EpisodeRules(**metadata["rules"]),
            stride=metadata["stride"],
        )
        return rollouts.run(actor, seeds, record=seeds if config.video else ()), settings


def _encoder(config: PlayConfig, policy: Trained) -> Encoder:
    said = policy.metadata["encoder"]
    name = said["name"]
    if config.weights is not None:
        name = EncoderName.read(name).with_checkpoint(config.weights)
    loaded = load_encoder(
        name, pool=said["pool"], device=config.device, engine=said["engine"], seed=said["seed"]
    )
    cameras = EnvSettings(**policy.metadata["settings"]).cameras
    encoder = seen_by(loaded, len(cameras), still=said["still"])
    if encoder.fingerprint != said["fingerprint"]:
        raise ValueError(
            f"encoder {name!r} is not the one that the policy was trained on: its weights, or the package "
            f"that computes them, have changed (fingerprint {encoder.fingerprint}, not {said['fingerprint']})"
        )
    return encoder


def check(config: PlayConfig) -> None:
    """Raise a ValueError where a setting cannot be."""
    if config.episodes < 1 or config.num_envs < 1 or config.first_episode < 0:
        raise ValueError("episodes and num_envs must be at least 1, first_episode at least 0")
    if config.variation is not None and config.variation not in VARIATIONS:
        raise unknown("variation", config.variation, VARIATIONS)
    if config.video is not None:
        if not config.video.endswith(".mp4"):
            raise ValueError(f"video={config.video} must end with .mp4")
        writable_folder("video", str(Path(config.video).parent))


def _job(config: DictConfig) -> None:
    settings = typed(config, PlayConfig)
    try:
        check(settings)
        policy = choose(trained_policies(Path(settings.run)), settings)
        step = checkpoint_of(policy, settings.checkpoint, Path(settings.run))
        episodes, environment = play(settings, policy, step)
    except (ConnectionError, FileNotFoundError, ImportError, ValueError) as error:
        raise ConfigError(str(error)) from error
    rule = policy.metadata["success_rule"]
    won = [each.success_any if rule == "any" else each.success_last for each in episodes]
    words = [f"{policy.task} under {environment.variation}, {policy.encoder}, step {step}"]
    words += [
        f"episode {each.seed}: {'success' if good else 'failure'} after {each.steps} steps"
        for each, good in zip(episodes, won, strict=True)
    ]
    words.append(f"{sum(won)} of {len(won)} succeeded")
    if settings.video is not None:
        words.append(f"video: {_film(settings.video, episodes, environment)}")
    sys.stdout.write("\n".join(words) + "\n")


def _film(path: str, episodes: Sequence[EpisodeResult], settings: EnvSettings) -> Path:
    from egorep.video_files import write_mp4

    pictures = [each.pictures for each in episodes if each.pictures is not None]
    return write_mp4(path, np.concatenate(pictures), load_suite(settings.suite).control_hz)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    COMMAND.main(_job, arguments)


if __name__ == "__main__":
    main()
