"""What the commands of the benchmarks share: settings, and the encoder that they mean."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egorep.commands import ConfigError
from egorep.cores import cores
from pretrain.benchmarks import BenchmarkModule, Source, load

if TYPE_CHECKING:
    from egorep import Encoder

_MOST_WORKERS = 8


@dataclass
class BenchmarkSettings:
    """A file of configs/pretrain/benchmark; see `pretrain.benchmarks.Source`."""

    name: str
    annotations: str
    videos: str
    split: str

    def open(self) -> tuple[BenchmarkModule, Source]:
        """The benchmark's module and where it lies.

        Raises:
            ConfigError: there is no such benchmark, or no such folder of videos.
        """
        try:
            module = load(self.name)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"benchmark={self.name}: {error}") from error
        videos = Path(self.videos)
        if not videos.is_dir():
            raise ConfigError(
                f"benchmark.videos={self.videos} is no folder: data= or benchmark.videos= says where"
            )
        return module, Source(self.name, Path(self.annotations), videos, self.split)


@dataclass(frozen=True)
class EncoderChoice:
    """An encoder's name and its weights, None where the name says it all."""

    name: str
    checkpoint: Path | None

    @classmethod
    def of(cls, name: str | None, checkpoint: str | None) -> EncoderChoice:
        """What the settings `encoder` and `checkpoint` mean.

        A checkpoint may be the folder of a run of `pretrain.train` or `pretrain.finetune`, whose model is in
        `model/`. Of a folder the name follows from its config.json.

        Raises:
            ConfigError: neither is given; there is no such checkpoint; a file comes without a name; or the
                folder holds no model, or one of a size that has no name.
        """
        if checkpoint is None:
            if name is None:
                raise ConfigError(
                    "give checkpoint=, a run's folder or a file, or encoder=, as random/egovideo_tiny"
                )
            return cls(name, None)
        path = _model(Path(checkpoint))
        if path.is_file() and name is None:
            raise ConfigError(
                f"checkpoint={checkpoint} is a file, which does not say its size: add encoder=egovideo_base"
            )
        return cls(name or _size(path), path)

    def load(self, pool: str, device: str, batch: int) -> Encoder:
        """The encoder.

        Args:
            pool: "joint", "cls" or "mean".
            device: where it runs.
            batch: clips, or texts, in one pass of the network.

        Raises:
            ConfigError: it cannot be loaded.
        """
        from egorep import load_encoder

        try:
            return load_encoder(
                self.name, checkpoint=self.checkpoint, pool=pool, device=device, max_batch=batch
            )
        except (FileNotFoundError, ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(str(error)) from error


def worker_count(workers: int | None) -> int:
    """Processes that read videos: as set, else one per core and at most 8.

    Raises:
        ConfigError: a negative number.
    """
    if workers is None:
        return min(_MOST_WORKERS, cores())
    if workers < 0:
        raise ConfigError(f"workers={workers} is negative: 0 reads in the main process")
    return workers


def _model(checkpoint: Path) -> Path:
    if not checkpoint.exists():
        raise ConfigError(f"checkpoint={checkpoint} does not exist")
    places = [checkpoint, checkpoint / "model"]
    if checkpoint.is_file():
        return checkpoint
    found = [place for place in places if (place / "config.json").is_file()]
    if not found:
        raise ConfigError(
            f"checkpoint={checkpoint} holds no config.json, nor has its model/ one, which a run writes last"
        )
    return found[0]


def _size(folder: Path) -> str:
    """The name of the size that a saved model is of."""
    from egorep.models.config import SIZES

    vision: dict[str, Any] = json.loads((folder / "config.json").read_text()).get("vision", {})
    shape = (vision.get("width"), vision.get("layers"))
    for name, config in SIZES.items():
        if shape == (config.vision.width, config.vision.layers):
            return name
    raise ConfigError(
        f"{folder} holds a vision tower of width {shape[0]} and {shape[1]} layers, which is no size of "
        f"{', '.join(SIZES)}"
    )
