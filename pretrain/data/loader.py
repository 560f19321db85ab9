"""Rows of a data set to batches of training.

All that is random about an example follows from (seed, epoch, row), and the order of rows from (seed, epoch).
So a batch depends neither on how many workers load it, nor on how many processes share it, nor on whether
the run was stopped in between.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from egorep.models.text import tokenize
from egorep.preprocessing import middle_frames
from pretrain.data.augment import Example, Frames, crop, draw_window, jitter, mirror
from pretrain.data.clips import clip_bounds, read_clip, sample_instants
from pretrain.data.motion import Motion, TrackStore
from pretrain.data.narrations import Narrated, Narrations
from pretrain.data.video import UnreadableVideoError, read_frames

if TYPE_CHECKING:
    from pretrain.training.config import Augmentation

# Rows that are tried in place of an unreadable one, each drawn at random.
_REPLACEMENTS = 16
_PREFETCH = 4  # batches that each worker keeps ready
_NICENESS = 10  # of workers, in steps of the operating system's scheduler

# What the parts of a seed are for, so that no two generators are the same.
_ORDER, _EXAMPLE, _REPLACEMENT = range(3)


class Failure(NamedTuple):
    """A row that could not be read: its name for reports, and why."""

    name: str
    error: Exception


class Batch(NamedTuple):
    """B training examples; F slow frames, M instants of D numbers (`pretrain.data.motion`).

    Attributes:
        clips: (B, T, S, S, 3) uint8 RGB.
        ids: (B, L) int64, tokens of the narrations.
        boxes: (B, F, K, 4) float32 at the slow frames, in 0..1 of the picture's sides; NaN where not seen.
        motion: (B, M, D) float32.
        tracked: (B,) bool: whether `motion` knows anything.
        failures: rows that could not be read, for which others stand in this batch.
    """

    clips: torch.Tensor
    ids: torch.Tensor
    boxes: torch.Tensor
    motion: torch.Tensor
    tracked: torch.Tensor
    failures: list[Failure]

    @classmethod
    def of(cls, tensors: Iterable[torch.Tensor], failures: list[Failure]) -> Batch:
        """Of the five tensors in order."""
        clips, ids, boxes, motion, tracked = tensors
        return cls(clips, ids, boxes, motion, tracked, failures)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All but the failures."""
        return (self.clips, self.ids, self.boxes, self.motion, self.tracked)

    def to(self, device: torch.device) -> Batch:
        """The same on another device; copies from pinned memory do not wait."""
        return Batch.of([part.to(device, non_blocking=True) for part in self.tensors], self.failures)

    def split(self, parts: int) -> list[Batch]:
        """The same in `parts` equal parts, a divisor of B."""
        pieces = zip(*(part.chunk(parts) for part in self.tensors), strict=True)
        return [Batch.of(piece, []) for piece in pieces]


@dataclass(frozen=True)
class ClipFormat:
    """What a model takes.

    Attributes:
        frames, slow_frames: of a clip, and those of them that the slow pathway sees.
        size: side of the square pictures, pixels.
        context_length: tokens of a text.
        tokens: that the model knows (`egorep.models.config.TextConfig`); None: all.
    """

    frames: int
    slow_frames: int
    size: int
    context_length: int
    tokens: tuple[int, ...] | None = None


class TrainingClips(Dataset[Batch]):
    """Augmented examples, each a batch of one; the key of one is (epoch, row).

    A row that cannot be read is replaced by others, drawn from (seed, epoch, row): batches keep their size.

    Args:
        narrations: the rows.
        wanted: what the model takes.
        augmentation: random changes.
        seed: of the run.
        tracks: of hands and objects, by rows of the CSV; None where none are used.
    """

    def __init__(
        self,
        narrations: Narrations,
        wanted: ClipFormat,
        augmentation: Augmentation,
        seed: int,
        tracks: TrackStore | None = None,
    ) -> None:
        self.narrations = narrations
        self._format = wanted
        self._augmentation = augmentation
        self._seed = seed
        self._tracks = tracks

    def __len__(self) -> int:
        return len(self.narrations)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """The example of a row in an epoch.

        Raises:
            UnreadableVideoError: neither it nor those that were tried in its place can be read.
        """
        epoch, first = key
        failures: list[Failure] = []
        for row in (first, *self._replacements(epoch, first)):
            narrated = self.narrations[row]
            try:
                return self._read(
                    narrated, np.random.default_rng([self._seed, _EXAMPLE, epoch, row]), failures
                )
            except UnreadableVideoError as error:
                failures.append(Failure(f"row {narrated.row} ({narrated.video_id})", error))
        raise UnreadableVideoError(
            f"{len(failures)} clips in a row cannot be read, the last one: {failures[-1].error}"
        )

    def _replacements(self, epoch: int, row: int) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, _REPLACEMENT, epoch, row])
        return map(int, rng.integers(len(self), size=_REPLACEMENTS))

    def _read(self, narrated: Narrated, rng: np.random.Generator, failures: list[Failure]) -> Batch:
        start, end = clip_bounds(narrated)
        seconds = sample_instants(start, end, self._format.frames, rng)
        motion = Motion.unknown() if self._tracks is None else self._tracks[narrated.row]
        text = narrated.texts[int(rng.integers(len(narrated.texts)))]
        # At the video's own size: a crop may lie anywhere, and boxes refer to the whole picture.
        example = Example(read_frames(narrated.path, seconds.tolist()), text, motion)
        example = self._augment(example, rng)
        slow = seconds[middle_frames(len(seconds), self._format.slow_frames)]
        return Batch(
            torch.from_numpy(example.frames)[None],
            tokenize([example.text], self._format.context_length, self._format.tokens),
            torch.from_numpy(example.motion.boxes_at(slow))[None],
            torch.from_numpy(example.motion.features(start, end))[None],
            torch.tensor([example.motion.known]),
            failures,
        )

    def _augment(self, example: Example, rng: np.random.Generator) -> Example:
        changes = self._augmentation
        height, width = example.frames.shape[1:3]
        example = crop(example, draw_window(height, width, changes.crop, rng), self._format.size)
        if rng.random() < changes.flip:
            example = mirror(example)
        if changes.jitter:
            example = example._replace(frames=jitter(example.frames, changes.jitter, rng))
        return example


class EvaluationClips(Dataset[tuple[Frames, Failure | None]]):
    """Clips as an encoder sees them, (T, S, S, 3), or zeros and why a row could not be read."""

    def __init__(self, narrations: Sequence[Narrated], wanted: ClipFormat) -> None:
        self._narrations = narrations
        self._format = wanted

    def __len__(self) -> int:
        return len(self._narrations)

    def __getitem__(self, index: int) -> tuple[Frames, Failure | None]:
        narrated, frames, size = self._narrations[index], self._format.frames, self._format.size
        try:
            return read_clip(narrated, frames, size), None
        except UnreadableVideoError as error:
            empty: Frames = np.zeros((frames, size, size, 3), np.uint8)
            return empty, Failure(f"row {narrated.row} ({narrated.video_id})", error)


class Batches(Sampler[list[tuple[int, int]]]):
    """Keys (epoch, row) of one process's share of every batch, in the order of a run.

    Each epoch is a new order of all rows, cut into batches; what is left over at its end, less than a batch,
    is left out. Process r of W takes the r-th of W equal parts of a batch, so together, in the order of
    ranks, they hold what one process would.

    Args:
        videos: (N,) the video of each row, as a number.
        batch: B of all processes together, a multiple of `processes`.
        steps: batches in all.
        seed: of the run.
        together: rows of one video, at most, that stand side by side, and so mostly in one batch. Clips of one
            scene are told apart by what is done in it alone; other negatives give themselves away by their
            scene. After the scene-aware negatives of EgoVLP (Lin et al. 2022, section 3.2), which has 2.
        first: number of the first batch, where a run goes on.
        rank, processes: whose share.
    """

    def __init__(
        self,
        videos: npt.NDArray[np.int64],
        batch: int,
        steps: int,
        seed: int,
        together: int = 1,
        first: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._videos, self._batch, self._steps, self._seed = videos, batch, steps, seed
        self._together, self._first = together, first
        self._share = batch // processes
        self._offset = rank * self._share

    def __len__(self) -> int:
        return self._steps - self._first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = len(self._videos) // self._batch
        order: npt.NDArray[np.int64] = np.empty(0, np.int64)
        known = -1
        for step in range(self._first, self._steps):
            epoch, place = divmod(step, per_epoch)
            if epoch != known:
                order = self._order(np.random.default_rng([self._seed, _ORDER, epoch]))
                known = epoch
            begin = place * self._batch + self._offset
            yield [(epoch, int(row)) for row in order[begin : begin + self._share]]

    def _order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """All rows, those of a video in groups of `together`, groups and their rows in random order."""
        rows = rng.permutation(len(self._videos))
        rows = rows[self._videos[rows].argsort(kind="stable")]
        videos = self._videos[rows]
        starts = np.flatnonzero(np.diff(videos, prepend=-1))  # of the videos
        within = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
        group = (within % self._together == 0).cumsum() - 1
        return rows[rng.permutation(group[-1] + 1)[group].argsort(kind="stable")]


def training_loader(
    clips: TrainingClips, batches: Batches, workers: int, pin_memory: bool
) -> DataLoader[Any]:
    """Batches in order, loaded by worker processes ahead of their use; `workers` 0 loads in this one."""
    return DataLoader(
        clips,
        batch_sampler=batches,
        collate_fn=_collate,
        pin_memory=pin_memory,
        **_worker_options(workers),
    )


def evaluation_loader(
    clips: EvaluationClips, rows: Sequence[int], batch: int, workers: int
) -> DataLoader[Any]:
    """Batches of the given rows in order: (B, T, S, S, 3) uint8 clips, and a failure or None for each."""
    groups = [list(rows[begin : begin + batch]) for begin in range(0, len(rows), batch)]
    return DataLoader(clips, batch_sampler=groups, collate_fn=_collate_evaluation, **_worker_options(workers))


def _worker_options(workers: int) -> dict[str, Any]:
    return {
        "num_workers": workers,
        "prefetch_factor": _PREFETCH if workers else None,
        "worker_init_fn": _give_way,
    }


def _give_way(_: int) -> None:
    torch.set_num_threads(1)  # workers are the parallelism
    # Batches are loaded ahead. Where the model computes on the same cores, each of its steps waits for the slowest
    # thread, so one that a worker interrupts stops them all.
    os.nice(_NICENESS)


def _collate(examples: list[Batch]) -> Batch:
    parts = zip(*(example.tensors for example in examples), strict=True)
    failures = [failure for example in examples for failure in example.failures]
    return Batch.of((torch.cat(part) for part in parts), failures)


def _collate_evaluation(
    examples: list[tuple[Frames, Failure | None]],
) -> tuple[torch.Tensor, list[Failure | None]]:
    clips, failures = zip(*examples, strict=True)
    return torch.from_numpy(np.stack(clips)), list(failures)
