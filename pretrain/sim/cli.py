"""`python -m pretrain.sim`: EgoSim clips with narrations and ground truth, or stills with outlines."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from omegaconf import DictConfig

from egorep.commands import Command, ConfigError, typed
from egorep.cores import cores
from egorep.files import writable_folder
from egorep.names import unknown

if TYPE_CHECKING:
    from pretrain.sim.splits import Split

COMMAND = Command("pretrain.sim", "pretrain.configs", "sim")
_TOLERANCE = 1e-6  # of shares that should add up to 1


@dataclass
class SimConfig:
    """`configs/pretrain/sim.yaml` says what each key means."""

    out: str
    clips: int
    splits: dict[str, float]
    verbs: list[str] | None
    stills: int | None
    seed: int
    workers: int | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    COMMAND.main(_job, arguments)


def _job(config: DictConfig) -> None:
    settings = typed(config, SimConfig)
    _check_numbers(settings)
    # MuJoCo is imported once the numbers are known to be good.
    from egorep.graphics import graphics_backend
    from pretrain.data.skipping import TooManySkippedError
    from pretrain.sim.dataset import Recipe, make

    start = time.perf_counter()
    workers = settings.workers or cores()
    try:
        verbs = _checked_verbs(settings)
        folder = writable_folder("out", settings.out)
        graphics_backend()
        splits = cast("dict[Split, float]", settings.splits)
        recipe = Recipe(settings.seed, splits, verbs, settings.stills)
        summary = make(folder, recipe, settings.clips, workers)
    except TooManySkippedError as error:
        sys.stderr.write(f"{COMMAND.name}: {error}\n")
        raise SystemExit(1) from error
    except (RuntimeError, ValueError) as error:
        raise ConfigError(str(error)) from error
    logging.getLogger(__name__).info("infeasible draws by verb: %s", dict(summary.redrawn))
    sys.stdout.write(
        f"{folder}: {summary.made} clips made, {summary.kept} found finished; {summary.frames} pictures in "
        f"{time.perf_counter() - start:.0f} s with {workers} workers\n{summary.skipped.summary()}\n"
    )
    if summary.skipped.skipped:
        raise SystemExit(1)


def _check_numbers(settings: SimConfig) -> None:
    for key in ("clips", "stills", "workers"):
        value = getattr(settings, key)
        if value is not None and value < 1:
            raise ConfigError(f"{key} must be at least 1, got {value}")
    if settings.seed < 0:
        raise ConfigError(f"seed must not be negative, got {settings.seed}")
    shares = settings.splits.values()
    if min(shares, default=-1.0) < 0 or abs(sum(shares) - 1) > _TOLERANCE:
        raise ConfigError(f"splits must be shares that add up to 1, got {dict(settings.splits)}")


def _checked_verbs(settings: SimConfig) -> tuple[str, ...]:
    """The verbs asked for, once each split that gets clips is known to show them."""
    from pretrain.sim.actions import VERBS
    from pretrain.sim.draws import verbs_of
    from pretrain.sim.splits import SPLITS

    for name in settings.splits:
        if name not in SPLITS:
            raise unknown("split", name, SPLITS)
    verbs = tuple(settings.verbs or ())
    for verb in verbs:
        if verb not in VERBS:
            raise unknown("verb", verb, VERBS)
        for split in SPLITS:
            if settings.splits.get(split, 0) > 0 and verb not in verbs_of(split):
                raise ValueError(f"clips of {split} never show {verb!r}: set splits.{split}=0")
    return verbs
