"""The data of a run, found and checked before anything is trained on them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pretrain.data.motion import TrackStore
from pretrain.data.narrations import Narrated, Narrations, default_csv, read_narrations, text_columns
from pretrain.training.config import TrainConfig

_logger = logging.getLogger(__name__)

_SPLIT, _ACCEPTED = "split", "accepted"
_PICKED = 1  # part of a seed: which validation rows are taken, if not all


@dataclass(frozen=True)
class Source:
    """What a run trains on and is evaluated on.

    Attributes:
        training: rows.
        validation: rows, at most as many as are evaluated; empty where there are none.
        tracks: of all rows of the CSV, where a loss wants them.
    """

    training: Narrations
    validation: list[Narrated]
    tracks: TrackStore | None


def open_source(config: TrainConfig) -> Source:
    """Open the data that the settings name.

    Of a CSV with a column `split`, rows with `train` are trained on and those with `validation` are held out;
    of another, all rows are trained on, and without `validation_csv` nothing is evaluated. Of a CSV with a
    column `accepted`, as HOD data have, only accepted rows are trained on. Where HOD narrations and original
    ones are there, each example draws one: benchmarks ask in original ones, which a text tower that only ever
    read long sentences would not know.

    Raises:
        ValueError: a CSV that cannot be used, too few rows for one batch, or tracks that do not belong to it.
    """
    data = Path(config.data)
    name = config.csv or default_csv(data)
    rows = _read(config, name)
    if rows.rejected:
        row, reason = rows.rejected[0]
        _logger.warning("left out %d bad rows; row %d %s", len(rows.rejected), row, reason)
    split = _SPLIT in rows.columns
    training = rows.where(split="train") if split else rows
    if _ACCEPTED in rows.columns:
        training = training.where(accepted="1")
    if len(training) < config.batch:
        raise ValueError(f"batch={config.batch} is more than the {len(training)} rows to train on")
    tracks = None
    if config.losses.need_tracks:
        tracks = TrackStore(data / "tracks.zarr")
        tracks.check(len(rows) + len(rows.rejected))
    return Source(training, _validation(config, rows), tracks)


def _read(config: TrainConfig, csv: str | None) -> Narrations:
    # No column of texts at all is an error that `read_narrations` words.
    columns = config.texts or text_columns(Path(config.data), csv) or None
    return read_narrations(Path(config.data), csv, config.layout, columns)


def _validation(config: TrainConfig, rows: Narrations) -> list[Narrated]:
    try:
        if config.validation_csv is not None:
            rows = _read(config, config.validation_csv)
        else:
            rows = rows.where(split="validation")
    except ValueError as error:
        if config.validation_csv is not None:
            raise
        _logger.warning("nothing is evaluated, for there are no rows with split=validation: %s", error)
        return []
    picked = np.random.default_rng([config.seed, _PICKED]).permutation(len(rows))[: config.evaluate_clips]
    return [rows[int(place)] for place in sorted(picked)]
