"""The settings of `pretrain.train`: typed, and checked before anything heavy is imported."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from egorep.commands import Command, ConfigError, typed
from egorep.names import unknown

COMMAND = Command("pretrain.train", "pretrain.configs", "train", ("model",))

STAGES = ("backbone", "cotrain")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "schedule": ("constant", "cosine"),
    "losses.contrast": ("info_nce", "siglip"),
    "precision": ("no", "bf16", "fp16"),
    "sharding": ("ddp", "fsdp"),
    "device": ("auto", "cpu"),
}
# Name, least value, whether it may be that, greatest value: a run outside makes no sense.
_RANGES: tuple[tuple[str, float, bool, float], ...] = (
    ("batch", 2, True, math.inf),  # a contrast needs two pairs
    ("learning_rate", 0, False, math.inf),
    ("epochs", 0, False, math.inf),
    ("warmup", 0, True, math.inf),
    ("weight_decay", 0, True, math.inf),
    ("clip_norm", 0, False, math.inf),
    ("ema", 0, False, 1),
    ("accumulate", 1, True, math.inf),
    ("temperature", 0, False, math.inf),
    ("losses.boxes", 0, True, math.inf),
    ("losses.tracks", 0, True, math.inf),
    ("augmentation.crop", 0, False, 1),
    ("augmentation.flip", 0, True, 1),
    ("augmentation.jitter", 0, True, 1),
    ("model.drop_path", 0, True, 1),
    ("patch_dropout", 0, True, 1),
    ("together", 1, True, math.inf),
    ("workers", 0, True, math.inf),
    ("log_every", 1, True, math.inf),
    ("checkpoint_every", 1, True, math.inf),
    ("keep", 1, True, math.inf),
    ("evaluate_every", 0, False, math.inf),
    ("evaluate_clips", 1, True, math.inf),
    ("limit_share", 0, True, 1),
)
# What may change when a run goes on: none of it decides the weights.
_FREE = (
    "out",
    "device",
    "workers",
    "log_every",
    "checkpoint_every",
    "keep",
    "evaluate_every",
    "evaluate_clips",
    "validation_csv",
    "limit_share",
    "wandb",
    "dry_run",
)


# The dataclasses are not frozen: OmegaConf merges into nothing that is read-only.


@dataclass
class Recipe:
    """How one stage of a model is trained; keys of the same names in `TrainConfig` and its groups read it."""

    batch: int
    learning_rate: float
    epochs: float
    warmup: float
    schedule: str
    patch_dropout: float
    together: int
    weight_decay: float
    ema: float | None
    jitter: float
    boxes: float
    tracks: float


@dataclass
class ModelSettings:
    """What is trained.

    Attributes:
        size: a name of `egorep.models.config.SIZES`.
        architecture: changes to it, nested, by the names of `EgoVideoConfig`; None for none.
        fast_frames: of the fast pathway in stage cotrain.
        drop_path: regularisation, see `egorep.models.vision.VisionTower`.
        gradient_checkpointing: compute blocks twice instead of keeping their activations.
        precision: the default of `TrainConfig.precision`.
        recipes: by stage.
    """

    size: str
    architecture: Any
    fast_frames: int
    drop_path: float
    gradient_checkpointing: bool
    precision: str
    recipes: dict[str, Recipe]


@dataclass
class LossSettings:
    """Losses: the contrast of clips and narrations, and the weights of two more that need tracks."""

    contrast: str
    boxes: float
    tracks: float

    @property
    def need_tracks(self) -> bool:
        """Whether one of them is computed from tracks."""
        return self.boxes > 0 or self.tracks > 0


@dataclass
class Augmentation:
    """Random changes to a training clip; `configs/pretrain/train.yaml` says what each number is."""

    crop: float
    flip: float
    jitter: float


@dataclass
class TrainConfig:
    """One run of `python -m pretrain.train`; `configs/pretrain/train.yaml` says what each key means."""

    data: str
    out: str
    stage: str
    init: str | None
    csv: str | None
    texts: list[str] | None
    layout: str
    validation_csv: str | None
    model: ModelSettings
    batch: int
    learning_rate: float
    epochs: float
    warmup: float
    schedule: str
    patch_dropout: float
    together: int
    weight_decay: float
    betas: list[float]
    clip_norm: float | None
    ema: float | None
    accumulate: int
    temperature: float
    learn_temperature: bool
    losses: LossSettings
    augmentation: Augmentation
    precision: str
    sharding: str
    device: str
    workers: int | None
    seed: int
    log_every: int
    checkpoint_every: int
    keep: int
    evaluate_every: float
    evaluate_clips: int
    limit_share: float
    wandb: bool
    dry_run: bool

    @property
    def co_training(self) -> bool:
        """Whether this is the second stage."""
        return self.stage == "cotrain"

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that decide the weights: a run goes on only with the same ones."""
        settings = {key: value for key, value in asdict(self).items() if key not in _FREE}
        settings["model"] = {key: value for key, value in settings["model"].items() if key != "recipes"}
        return settings


def parse(config: DictConfig) -> TrainConfig:
    """The settings, checked as far as that needs neither data nor processes.

    Raises:
        ConfigError: one line that says which key, what came and what is wanted.
    """
    # Recipes are looked up by it, so a wrong one would be reported as a failed look-up.
    _check_choice("stage", str(config.stage), STAGES)
    settings = typed(config, TrainConfig)
    for key, valid in _CHOICES.items():
        _check_choice(key, _look_up(settings, key), valid)
    for key, least, inclusive, greatest in _RANGES:
        _check_range(key, _look_up(settings, key), least, inclusive, greatest)
    if len(settings.betas) != 2 or not all(0 <= beta < 1 for beta in settings.betas):
        raise ConfigError(f"betas={settings.betas}: wants two numbers, 0 <= beta < 1, as [0.9,0.999]")
    if settings.sharding == "fsdp" and settings.precision == "fp16":
        raise ConfigError("precision=fp16 does not go with sharding=fsdp: use precision=bf16")
    _check_files(settings)
    if settings.wandb and importlib.util.find_spec("wandb") is None:
        raise ConfigError("wandb=true needs the package wandb: pip install wandb, or leave it out")
    return settings


def _check_files(settings: TrainConfig) -> None:
    data = Path(settings.data)
    if not data.is_dir():
        raise ConfigError(f"data={settings.data}: there is no such folder")
    for key in ("csv", "validation_csv"):
        name = getattr(settings, key)
        if name is not None and not (data / name).is_file():
            raise ConfigError(f"{key}={name}: there is no such file in {settings.data}")
    if settings.init is not None and not Path(settings.init).exists():
        raise ConfigError(f"init={settings.init}: there is no such file or folder")
    if settings.losses.need_tracks and not (data / "tracks.zarr").is_dir():
        raise ConfigError(
            f"losses.boxes and losses.tracks need {settings.data}/tracks.zarr, which pretrain.hod writes: "
            "run that, or set both to 0"
        )


def _look_up(settings: TrainConfig, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _check_choice(key: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ConfigError(str(unknown(key, value, valid)))


def _check_range(key: str, value: float | None, least: float, inclusive: bool, greatest: float) -> None:
    if value is None:
        return
    if not (least <= value if inclusive else least < value) or not value <= greatest:
        above = f"{key} {'>=' if inclusive else '>'} {least:g}"
        below = "" if math.isinf(greatest) else f" and <= {greatest:g}"
        raise ConfigError(f"{key}={value}: wants {above}{below}")
