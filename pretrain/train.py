"""`python -m pretrain.train`: from narrated video to an EgoVideo.

`configs/pretrain/train.yaml` says what each setting means. On several processes, with the same settings:
`torchrun --nproc-per-node 8 -m pretrain.train ...`. A run that was stopped goes on with the same command.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from egorep.allocator import keep_freed_memory
from egorep.commands import ConfigError
from egorep.files import writable_folder
from pretrain.training.config import COMMAND, TrainConfig, parse

_logger = logging.getLogger(__name__)


def train(config: TrainConfig) -> dict[str, float]:
    """Train as the settings say; on many processes, all of them call this.

    Args:
        config: checked settings.

    Returns:
        The last evaluation (`pretrain.training.evaluation.retrieval`); empty without validation rows, and of
        a dry run.

    Raises:
        ConfigError: data, `init` or the machine do not go with the settings; nothing was done then.
        CheckpointError, TooManySkippedError, FloatingPointError: see `pretrain.training.trainer.Trainer.run`.
    """
    # Heavy parts are imported once the settings are known to be good.
    from pretrain.training.parallel import start
    from pretrain.training.rehearsal import rehearse
    from pretrain.training.source import open_source
    from pretrain.training.trainer import Trainer

    accelerator = start(config)
    try:
        with accelerator.main_process_first():  # which indexes the CSV for all
            source = open_source(config)
        if config.dry_run:
            report = rehearse(config, source, accelerator)
            if accelerator.is_main_process:
                sys.stdout.write(f"{report}\n")
            return {}
        writable_folder("out", config.out)
        trainer = Trainer(config, source, accelerator)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    return trainer.run()


def _job(config: DictConfig) -> None:
    settings = parse(config)
    from pretrain.data.skipping import TooManySkippedError
    from pretrain.training.checkpoints import CheckpointError

    keep_freed_memory()
    try:
        train(settings)
    except (CheckpointError, TooManySkippedError, FloatingPointError) as error:
        _logger.critical("%s", error)
        raise SystemExit(1) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    COMMAND.main(_job, arguments)


if __name__ == "__main__":
    main()
