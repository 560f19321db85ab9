"""`python -m pretrain.export`: a trained EgoVideo made small enough to be handed on.

Weights become half precision, which `load_encoder` reads as single, and of CLIP's 49,408 tokens those stay
that read the narrations of training: the others are most of a small model. Nothing else is changed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from egorep.commands import Command, ConfigError, typed
from egorep.files import writable_folder
from pretrain.data.narrations import default_csv, read_narrations, text_columns

if TYPE_CHECKING:
    from egorep.models.egovideo import EgoVideo

COMMAND = Command("pretrain.export", "pretrain.configs", "export")


@dataclass
class ExportSettings:
    """configs/pretrain/export.yaml."""

    run: str
    data: str
    csv: str | None
    out: str


def export(model: EgoVideo, texts: Sequence[str], folder: Path) -> EgoVideo:
    """Write a model in half precision that knows the tokens of `texts` alone.

    Args:
        model: with all of CLIP's tokens, or fewer, which it then keeps.
        texts: what it was trained on.
        folder: takes config.json and model.safetensors.

    Returns:
        What was written.

    Raises:
        ValueError: a weight is too large for half precision.
    """
    whole = model.config.text.tokens is None
    small = (model.reading_only(texts) if whole else model).half()
    infinite = [name for name, value in small.state_dict().items() if not value.isfinite().all()]
    if infinite:
        raise ValueError(f"half precision cannot hold {', '.join(infinite)}, or they are no numbers")
    small.save_pretrained(folder)
    return small


def _texts(settings: ExportSettings) -> list[str]:
    data = Path(settings.data)
    csv = settings.csv or default_csv(data)
    rows = read_narrations(data, csv, "auto", text_columns(data, csv) or None)
    training = rows.where(split="train") if "split" in rows.columns else rows
    return sorted({text for row in training for text in row.texts})


def _job(config: DictConfig) -> None:
    settings = typed(config, ExportSettings)
    run = Path(settings.run)
    if not run.is_dir():
        raise ConfigError(f"run={run} is no folder: `python -m pretrain.train out=...` makes one")
    from egorep.egovideo import model_folder
    from egorep.models.egovideo import EgoVideo

    try:
        texts = _texts(settings)
        model: EgoVideo = EgoVideo.from_pretrained(model_folder(run))
        small = export(model, texts, writable_folder("out", settings.out))
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    weights = Path(settings.out) / "model.safetensors"
    assert small.config.text.tokens is not None
    sys.stdout.write(
        f"{weights}: {sum(value.numel() for value in small.parameters()) / 1e6:.1f} million weights, "
        f"{len(small.config.text.tokens)} tokens of {len(texts)} narrations, "
        f"{weights.stat().st_size / 1e6:.1f} MB\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    COMMAND.main(_job, arguments)


if __name__ == "__main__":
    main()
