from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from egorep.models.text import tokenize
from pretrain.data.augment import Frames
from pretrain.data.loader import (
    Batch,
    Batches,
    ClipFormat,
    EvaluationClips,
    Failure,
    TrainingClips,
    evaluation_loader,
    training_loader,
)
from pretrain.data.motion import TrackStore
from pretrain.data.narrations import read_narrations
from pretrain.data.video import UnreadableVideoError
from pretrain.training.config import Augmentation

FORMAT = ClipFormat(frames=8, slow_frames=4, size=32, context_length=16)


def clips_of(films: Path, seed: int = 0, flip: float = 0.5, crop: float = 0.5) -> TrainingClips:
    narrations = read_narrations(films, "hod.csv")
    return TrainingClips(
        narrations, FORMAT, Augmentation(crop, flip, 0.2), seed, TrackStore(films / "tracks.zarr")
    )


def assert_equal(first: Batch, second: Batch) -> None:
    for one, other in zip(first.tensors, second.tensors, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_an_example_follows_from_seed_epoch_and_row(films: Path) -> None:
    clips = clips_of(films)
    first = clips[2, 5]
    clips[0, 1]
    np.random.default_rng().random()
    torch.rand(3)
    assert_equal(first, clips_of(films)[2, 5])
    for other in (clips[3, 5], clips_of(films, seed=1)[2, 5]):
        assert not torch.equal(first.clips, other.clips)


def test_an_example_has_the_shapes_that_are_wanted(films: Path) -> None:
    example = clips_of(films)[0, 3]
    assert [tuple(part.shape) for part in example.tensors] == [
        (1, 8, 32, 32, 3),
        (1, 16),
        (1, 4, 5, 4),
        (1, 12, 116),
        (1,),
    ]
    assert [part.dtype for part in example.tensors] == [
        torch.uint8,
        torch.int64,
        torch.float32,
        torch.float32,
        torch.bool,
    ]
    assert example.tracked.item()


@pytest.mark.parametrize("row", [0, 5, 10, 15])  # one of each colour and move
def test_boxes_lie_around_what_moves_in_the_slow_frames(films: Path, row: int) -> None:
    example = clips_of(films, crop=0.9)[0, row]
    slow = example.clips[0, [1, 3, 5, 7]].numpy().astype(int)
    for frame, boxes in zip(slow, example.boxes[0].numpy(), strict=True):
        places = np.argwhere(np.abs(frame - frame[0, 0]).sum(-1) > 150)
        found = [*places.min(0)[::-1] / 32, *(places.max(0)[::-1] + 1) / 32]
        # A mirrored left hand is a right one. Frames hold the past 1/10 s, boxes are interpolated.
        hand = boxes[0] if np.isfinite(boxes[0, 0]) else boxes[1]
        assert found == pytest.approx(hand.tolist(), abs=0.1)


def test_the_words_follow_a_mirror(films: Path) -> None:
    clips = clips_of(films, flip=1.0)
    words = clips.narrations[0].texts[0]  # "a red square moves left"
    assert torch.equal(clips[0, 0].ids, tokenize([words.replace("left", "right")], 16))


ELEVEN = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 3])  # rows of four videos


@pytest.mark.parametrize("together", [1, 2])
def test_processes_share_batches_in_order(together: int) -> None:
    def keys(**share: int) -> list[list[tuple[int, int]]]:
        return list(Batches(ELEVEN, batch=4, steps=5, seed=3, together=together, **share))

    whole = keys()
    assert [len(batch) for batch in whole] == [4] * 5
    shares = zip(keys(rank=0, processes=2), keys(rank=1, processes=2), strict=True)
    assert [first + second for first, second in shares] == whole
    assert keys(first=3) == whole[3:]
    for epoch in (0, 1):
        rows = [row for batch in whole for found, row in batch if found == epoch]
        assert len(set(rows)) == len(rows) == 8
    assert [row for _, row in whole[0] + whole[1]] != [row for _, row in whole[2] + whole[3]]
    assert len(Batches(ELEVEN, batch=4, steps=5, seed=3, first=3)) == 2


def test_rows_of_a_video_stand_together_in_groups() -> None:
    def epoch(together: int, seed: int = 0) -> list[int]:
        (batch,) = Batches(ELEVEN, batch=11, steps=1, seed=seed, together=together)
        rows = [row for _, row in batch]
        assert sorted(rows) == list(range(11))
        return rows

    def runs(rows: list[int]) -> list[int]:
        """How many rows of one video stand side by side, by run."""
        return [len(list(group)) for _, group in itertools.groupby(ELEVEN[rows].tolist())]

    assert sorted(runs(epoch(5))) == [1, 2, 3, 5]
    assert {tuple(epoch(5, seed)) for seed in range(3)} != {tuple(epoch(5))}
    # 5 = 2 + 2 + 1 and 3 = 2 + 1: seven groups, of which two of one video may be neighbours.
    assert 4 <= len(runs(epoch(2))) <= 7
    many = np.mean([len(runs(epoch(1, seed))) for seed in range(20)])
    assert many > np.mean([len(runs(epoch(2, seed))) for seed in range(20)]) + 1


def test_narrations_know_the_rows_of_one_video(tmp_path: Path) -> None:
    rows = [("b", "train"), ("a", "test"), ("b", "train"), ("c", "train")]
    text = "".join(f"{video},{n},{n + 1},C opens {n},{split}\n" for n, (video, split) in enumerate(rows))
    (tmp_path / "narrations.csv").write_text(f"video_id,start_second,end_second,text,split\n{text}")
    narrations = read_narrations(tmp_path)
    first, other, again, last = narrations.videos
    assert first == again
    assert len({first, other, last}) == 3
    trained = narrations.where(split="train").videos
    assert trained[0] == trained[1] != trained[2]


def test_workers_change_nothing(films: Path) -> None:
    order = Batches(np.arange(16), batch=4, steps=3, seed=0)
    alone = list(training_loader(clips_of(films), order, workers=0, pin_memory=False))
    helped = list(training_loader(clips_of(films), order, workers=2, pin_memory=False))
    assert len(alone) == len(helped) == 3
    for one, other in zip(alone, helped, strict=True):
        assert_equal(one, other)


class Priorities(EvaluationClips):
    """The priority of the process that reads, instead of pictures."""

    def __getitem__(self, index: int) -> tuple[Frames, Failure | None]:
        return np.full((1, 1, 1, 3), os.getpriority(os.PRIO_PROCESS, 0), np.uint8), None


def test_workers_give_way_to_the_process_that_trains(films: Path) -> None:
    clips = Priorities(read_narrations(films, "hod.csv"), FORMAT)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    for workers, expected in ((0, own), (1, min(own + 10, 19))):
        ((found, _),) = evaluation_loader(clips, [0, 1], batch=2, workers=workers)
        assert (found == expected).all()
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


@pytest.fixture
def damaged(films: Path, tmp_path: Path) -> Path:
    """The films, without the first two."""
    shutil.copytree(films, tmp_path / "damaged")
    (tmp_path / "damaged/videos/00.mp4").unlink()
    (tmp_path / "damaged/videos/01.mp4").write_bytes(b"no film")
    return tmp_path / "damaged"


def test_an_unreadable_row_is_replaced_by_another_and_named(damaged: Path) -> None:
    clips = clips_of(damaged)
    example = clips[0, 0]
    assert_equal(example, clips_of(damaged)[0, 0])
    assert example.failures[0].name == "row 0 (00)"
    assert isinstance(example.failures[0].error, UnreadableVideoError)
    assert not torch.equal(clips[1, 0].clips, example.clips)
    loader = training_loader(clips, Batches(np.arange(16), 16, 1, 0), workers=1, pin_memory=False)
    (batch,) = loader
    assert len(batch.clips) == 16
    assert {"row 0 (00)", "row 1 (01)"} <= {failure.name for failure in batch.failures}


def test_when_nothing_can_be_read_it_says_so(films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path / "empty")
    shutil.rmtree(tmp_path / "empty/videos")
    with pytest.raises(UnreadableVideoError, match=r"17 clips in a row cannot be read"):
        clips_of(tmp_path / "empty")[0, 0]


def test_evaluation_keeps_its_rows(damaged: Path) -> None:
    clips = EvaluationClips(read_narrations(damaged, "hod.csv"), FORMAT)
    batches = list(evaluation_loader(clips, [3, 0, 2], batch=2, workers=0))
    assert [tuple(pictures.shape) for pictures, _ in batches] == [(2, 8, 32, 32, 3), (1, 8, 32, 32, 3)]
    assert [failure is None for _, failures in batches for failure in failures] == [True, False, True]
    assert not batches[0][0][1].any()
    assert batches[0][0][0].any()
