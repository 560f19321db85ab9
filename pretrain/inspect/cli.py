"""`python -m pretrain.inspect`: a data set as one HTML page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from egorep.commands import Command, ConfigError, typed
from egorep.files import writable_folder

COMMAND = Command("pretrain.inspect", "pretrain.configs", "inspect")


@dataclass
class InspectConfig:
    """`configs/pretrain/inspect.yaml` says what each key means."""

    data: str
    csv: str | None
    out: str
    rows: int
    choose: str
    seed: int
    size: int
    sample: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Rows that cannot be read are listed on the page; status 1 if none can.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    COMMAND.main(_job, arguments)


def _job(config: DictConfig) -> None:
    settings = typed(config, InspectConfig)
    out = Path(settings.out)
    if out.is_dir():
        raise ConfigError(f"out={out} is a folder: name the page, as out={out / 'page.html'}")
    from pretrain.inspect.dataset import Dataset
    from pretrain.inspect.page import PageSettings, said, write_page

    try:
        page = PageSettings(settings.rows, settings.choose, settings.seed, settings.size, settings.sample)
        dataset = Dataset(Path(settings.data), settings.csv)
        writable_folder("the folder of out", out.parent)
        written = write_page(dataset, out, page)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    sys.stdout.write(f"{said(written)}\n")
    if not written.shown:
        raise SystemExit(1)
