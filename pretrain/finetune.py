"""`python -m pretrain.finetune`: an encoder trained further on a benchmark, then judged on its test part.

Three depths: `linear` (a map of frozen features, each encoded once), `attentive` (attention over frozen patch
tokens) and `full` (all weights). The epoch that is judged is the best on a validation part; the test part is
looked at once, at the end. A run that was killed goes on after its last whole epoch, with the same numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from egorep.allocator import keep_freed_memory
from egorep.commands import Command, ConfigError, typed
from egorep.files import writable_folder
from egorep.names import unknown
from pretrain.benchmarks.setup import BenchmarkSettings, EncoderChoice, worker_count

COMMAND = Command("pretrain.finetune", "pretrain.configs", "finetune", groups=("benchmark",))
TASKS = ("classification", "retrieval")
# V-JEPA's probes and CLIP's fine-tuning are within a factor of three of these.
LEARNING_RATES = {"linear": 1e-3, "attentive": 3e-4, "full": 3e-5}

_SOMETHING_MISSING = 1  # exit status where the figures are not over everything


@dataclass
class FinetuneSettings:
    """configs/pretrain/finetune.yaml."""

    benchmark: BenchmarkSettings
    data: str
    checkpoint: str | None
    encoder: str | None
    task: str
    mode: str
    out: str
    epochs: int
    batch: int
    learning_rate: float | None
    weight_decay: float
    limit_share: float
    seed: int
    device: str
    workers: int | None

    @property
    def highest_learning_rate(self) -> float:
        """As set, else that of the mode."""
        return LEARNING_RATES[self.mode] if self.learning_rate is None else self.learning_rate

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: says what.
        """
        for key, value, valid in (("task", self.task, TASKS), ("mode", self.mode, tuple(LEARNING_RATES))):
            if value not in valid:
                raise ConfigError(str(unknown(key, value, valid)))
        for key, number in (("epochs", self.epochs), ("batch", self.batch)):
            if number < 1:
                raise ConfigError(f"{key}={number} wants at least 1")
        if not self.highest_learning_rate > 0:
            raise ConfigError(f"learning_rate={self.learning_rate} is not positive")
        if not 0 <= self.limit_share < 1:
            raise ConfigError(f"limit_share={self.limit_share} is no share of 0 to less than 1")
        worker_count(self.workers)


def _job(config: DictConfig) -> None:
    settings = typed(config, FinetuneSettings)
    settings.check()
    choice = EncoderChoice.of(settings.encoder, settings.checkpoint)
    module, source = settings.benchmark.open()
    # Heavy parts are imported once the settings are known to be good.
    from pretrain.benchmarks.finetuning import Finetuning
    from pretrain.benchmarks.tasks import Classification, Retrieval

    try:
        out = writable_folder("out", settings.out)
        kind = Classification if settings.task == "classification" else Retrieval
        training, evaluation = module.training(source, kind), module.evaluation(source)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error
    keep_freed_memory()
    result = Finetuning(settings, choice, training, evaluation).run()
    result.write(out, f"{settings.benchmark.name}_{settings.task}_{settings.mode}")
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
