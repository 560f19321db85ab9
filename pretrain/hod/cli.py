"""`python -m pretrain.hod`: narrated video to narrations of hand-object dynamics."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from egorep.commands import Command, ConfigError, typed
from egorep.cores import cores
from egorep.files import writable_folder
from egorep.names import unknown

if TYPE_CHECKING:
    from pretrain.data.narrations import Narrations
    from pretrain.hod.pipeline import Plan, Summary

COMMAND = Command("pretrain.hod", "pretrain.configs", "hod")
_EXAMPLES = 3  # skipped rows that the summary shows


@dataclass
class HodConfig:
    """`configs/pretrain/hod.yaml` says what each key means."""

    data: str
    out: str
    csv: str | None
    layout: str
    column: str | None
    limit: int | None
    detector: str
    detector_options: dict[str, Any] | None
    frames: int
    tracking: dict[str, Any]
    contact: dict[str, Any]
    narrator: str
    narrator_options: dict[str, Any] | None
    motion: dict[str, Any]
    attempts: int
    check: dict[str, Any]
    least_quality: float
    least_egocentric: float
    shard: int
    workers: int | None
    engine: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    COMMAND.main(_job, arguments)


def _job(config: DictConfig) -> None:
    settings = typed(config, HodConfig)
    _check_numbers(settings)
    from pretrain.hod.narrators import NarratorError

    try:
        plan = _plan(settings)
    except (ImportError, NarratorError, TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error
    from pretrain.hod.pipeline import run

    try:
        summary = run(plan)
    except (NarratorError, RuntimeError) as error:
        sys.stderr.write(f"{COMMAND.name}: {error}\n")
        raise SystemExit(1) from error
    sys.stdout.write(_told(plan, summary))
    if summary.skipped:
        raise SystemExit(1)


def _check_numbers(settings: HodConfig) -> None:
    least = {"frames": 2, "attempts": 1, "shard": 1, "workers": 1, "limit": 1}
    for key, minimum in least.items():
        value = getattr(settings, key)
        if value is not None and value < minimum:
            raise ConfigError(f"{key} must be at least {minimum}, got {value}")
    for key in ("least_quality", "least_egocentric"):
        if not 0 <= getattr(settings, key) <= 1:
            raise ConfigError(f"{key} must lie in 0..1, got {getattr(settings, key)}")


def _plan(settings: HodConfig) -> Plan:
    """The settings, with everything that they name opened and checked."""
    from pretrain.data.narrations import read_narrations
    from pretrain.hod.check import CheckSettings
    from pretrain.hod.contact import ContactOptions
    from pretrain.hod.motion import MotionSettings
    from pretrain.hod.narrate import NarrateSettings
    from pretrain.hod.pipeline import Plan
    from pretrain.hod.stages import NarrateStage, TrackStage
    from pretrain.hod.tracking import TrackingOptions
    from pretrain.processes import ENGINES

    if settings.engine not in ENGINES:
        raise unknown("engine", settings.engine, ENGINES)
    narrations = read_narrations(Path(settings.data), settings.csv, settings.layout, settings.column)
    _refuse_empty(narrations)
    options = dict(settings.detector_options or {})
    if settings.detector == "groundtruth":
        options.setdefault("data", settings.data)
    telling = dict(settings.narrator_options or {})
    check = CheckSettings(**{**settings.check, "required": tuple(settings.check["required"])})
    out = Path(settings.out)
    tracks = TrackStage(
        out / "stages",
        narrations,
        settings.detector,
        options,
        settings.frames,
        TrackingOptions(**settings.tracking),
        ContactOptions(**settings.contact),
    )
    narrate = NarrateStage(
        tracks,
        settings.narrator,
        telling,
        MotionSettings(**settings.motion),
        NarrateSettings(settings.attempts, check),
    )
    tracks.load()
    narrate.load()
    writable_folder("out", settings.out)
    rows = min(len(narrations), settings.limit or len(narrations))
    workers = settings.workers or cores()
    return Plan(
        narrate,
        out,
        rows,
        settings.shard,
        workers,
        settings.engine,
        settings.least_quality,
        settings.least_egocentric,
    )


def _refuse_empty(narrations: Narrations) -> None:
    if not len(narrations):
        reasons = Counter(reason for _, reason in narrations.rejected).most_common(1)
        why = f": {reasons[0][0]}" if reasons else ""
        raise ValueError(f"{narrations.data} has no row that can be used{why}")


def _told(plan: Plan, summary: Summary) -> str:
    lines = [
        f"{plan.out}: {summary.rows} clips in hod.csv and tracks.zarr, {summary.accepted} accepted",
        summary.counts.summary(),
        *(f"{name}: {rate:.1f} clips/s" for name, rate in summary.rates.items()),
    ]
    if summary.skipped:
        by_stage = Counter(stage for _, stage, _ in summary.skipped)
        numbers = ", ".join(f"{number} at {stage}" for stage, number in by_stage.items())
        lines.append(f"skipped {len(summary.skipped)} rows ({numbers}), listed in {plan.out}/skipped.csv:")
        lines += [f"  row {row}: {reason}" for row, _, reason in summary.skipped[:_EXAMPLES]]
    else:
        lines.append("skipped none")
    return "\n".join(lines) + "\n"
