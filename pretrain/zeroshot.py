"""`python -m pretrain.zeroshot`: how well a video-text encoder does without any training on a benchmark.

Clips and texts are compared in the encoder's joint space, and nothing else is learnt. Each clip is seen once,
the middles of equal parts of its segment and the centre square of the picture. A class is the normalised mean
of its prompts' features (Radford et al. 2021, section 3.1.4).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from egorep.commands import Command, ConfigError, typed
from egorep.files import writable_folder
from pretrain.benchmarks.setup import BenchmarkSettings, EncoderChoice, worker_count

if TYPE_CHECKING:
    from egorep import Encoder
    from pretrain.benchmarks.features import ClipFeatures
    from pretrain.benchmarks.report import Result
    from pretrain.benchmarks.tasks import Examples, Figure, Task
    from pretrain.metrics import Floats

COMMAND = Command("pretrain.zeroshot", "pretrain.configs", "zeroshot", groups=("benchmark",))

_SOMETHING_MISSING = 1  # exit status where the figures are not over everything


@dataclass
class ZeroshotSettings:
    """configs/pretrain/zeroshot.yaml."""

    benchmark: BenchmarkSettings
    data: str
    checkpoint: str | None
    encoder: str | None
    out: str
    device: str
    batch: int
    workers: int | None


def evaluate(settings: ZeroshotSettings, choice: EncoderChoice, examples: Examples) -> Result:
    """Encode what the benchmark asks about, and score it.

    Args:
        settings: of the command.
        choice: the encoder.
        examples: the benchmark's tasks.

    Raises:
        ConfigError: there is no clip, the encoder cannot be loaded, or the kept features cannot be read.
    """
    from pretrain.benchmarks.features import encode_clips
    from pretrain.benchmarks.report import Result, data_fingerprint

    clips = [clip for task in examples.tasks for clip in task.clips]
    if not clips:
        first = f"; {examples.problems[0].name}: {examples.problems[0].reason}" if examples.problems else ""
        raise ConfigError(f"{settings.benchmark.name} has no clip that can be evaluated{first}")
    encoder = choice.load("joint", settings.device, settings.batch)
    cache = Path(settings.out) / "features.sqlite"
    try:
        found = encode_clips(encoder, clips, cache, worker_count(settings.workers))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    different = {
        (clip.path, clip.start, clip.end): read for clip, read in zip(clips, found.read, strict=True)
    }
    return Result(
        benchmark=settings.benchmark.name,
        split=settings.benchmark.split,
        method="zeroshot",
        encoder=choice.name,
        checkpoint="" if choice.checkpoint is None else str(choice.checkpoint),
        encoder_fingerprint=encoder.fingerprint,
        data_fingerprint=data_fingerprint(examples.tasks),
        clips=len(different),
        clips_read=sum(map(bool, different.values())),
        figures=_figures(encoder, examples.tasks, found, cache),
        problems=[*examples.problems, *found.problems],
    )


def task_scores(task: Task, video: Floats, encode: Callable[[Sequence[str]], Floats]) -> Floats:
    """What a task is scored from: similarities of its clips with its texts or classes.

    Args:
        task: N clips and M texts or classes.
        video: (N, E) features of the clips.
        encode: texts to (M, E) features.

    Returns:
        (N, M).
    """
    import numpy as np

    from pretrain.benchmarks.tasks import Classification

    if not isinstance(task, Classification):
        return video @ encode(task.texts).T
    texts = encode([prompt for prompts in task.prompts for prompt in prompts])
    ends = np.cumsum([len(prompts) for prompts in task.prompts])
    means = np.stack([part.mean(0) for part in np.split(texts, ends[:-1])])
    return video @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T


def _figures(encoder: Encoder, tasks: Sequence[Task], found: ClipFeatures, cache: Path) -> list[Figure]:
    from pretrain.benchmarks.features import encode_texts

    figures: list[Figure] = []
    first = 0
    for task in tasks:
        own = slice(first, first + len(task.clips))
        scores = task_scores(task, found.features[own], lambda texts: encode_texts(encoder, texts, cache))
        figures += task.score(scores, found.read[own])
        first = own.stop
    return figures


def _job(config: DictConfig) -> None:
    settings = typed(config, ZeroshotSettings)
    choice = EncoderChoice.of(settings.encoder, settings.checkpoint)
    worker_count(settings.workers)
    module, source = settings.benchmark.open()
    try:
        out = writable_folder("out", settings.out)
        examples = module.evaluation(source)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error
    result = evaluate(settings, choice, examples)
    result.write(out, settings.benchmark.name)
    sys.stdout.write(f"{result.text()}\n")
    if result.problems:
        raise SystemExit(_SOMETHING_MISSING)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    COMMAND.main(_job, arguments)


if __name__ == "__main__":
    main()
