"""The benchmarks that judge a video-text encoder: official annotation files in, tasks out, tasks scored.

One file per benchmark: `ek100_mir`, `ek100_cls`, `egtea`, `egomcq` and `egosim`. Each reads annotations as
they are published and makes tasks of them (`tasks.py`), which know how they are scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from egorep.names import unknown

if TYPE_CHECKING:
    from pretrain.benchmarks.tasks import Classification, Examples, Retrieval

NAMES = ("ek100_mir", "ek100_cls", "egtea", "egomcq", "egosim")


@dataclass(frozen=True)
class Source:
    """Where a benchmark lies.

    Attributes:
        name: one of `NAMES`.
        annotations: folder or file, see the benchmark's module.
        videos: folder of the videos.
        split: which of the benchmark's splits is evaluated, see its module.
    """

    name: str
    annotations: Path
    videos: Path
    split: str


class BenchmarkModule(Protocol):
    """What the module of a benchmark offers."""

    def evaluation(self, source: Source) -> Examples:
        """The tasks of the split to evaluate.

        Raises:
            FileNotFoundError: an annotation file is missing; the message names it and says where from.
            ValueError: an annotation file is not as published, or the benchmark has no such split.
        """

    def training(self, source: Source, kind: type[Retrieval] | type[Classification]) -> Examples:
        """What to fine-tune on for that kind of task: one task for training and one to select on.

        Raises:
            FileNotFoundError, ValueError: as for `evaluation`; ValueError also if the benchmark trains no
                such task.
        """


def load(name: str) -> BenchmarkModule:
    """The benchmark of this name.

    Raises:
        ValueError: there is none; names the nearest.
    """
    if name not in NAMES:
        raise unknown("benchmark", name, NAMES)
    return cast(BenchmarkModule, import_module(f"pretrain.benchmarks.{name}"))
