from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from egorep.preprocessing import middle_frames
from egorep.video_files import write_mp4
from pretrain.data.clips import clip_bounds, read_clip, sample_instants
from pretrain.data.narrations import Narrated
from pretrain.data.video import UnreadableVideoError

FPS = 10


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds; frame i has level 20 + 5 i."""
    frames = np.stack([np.full((32, 48, 3), 20 + 5 * number, np.uint8) for number in range(4 * FPS)])
    return write_mp4(tmp_path_factory.mktemp("clips") / "a.mp4", frames, fps=FPS)


def narrated(path: Path, start: float, end: float) -> Narrated:
    return Narrated("a", path, start, end, ("C waves",), row=0)


def numbers(frames: np.ndarray) -> list[int]:
    return ((frames.mean(axis=(1, 2, 3)) - 20) / 5).round().astype(int).tolist()


def test_evaluation_takes_the_middle_of_each_part() -> None:
    assert sample_instants(2, 4, 4).tolist() == [2.25, 2.75, 3.25, 3.75]
    assert sample_instants(0.5, 1.5, 1).tolist() == [1.0]


def test_training_takes_any_instant_of_each_part() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([sample_instants(10, 18, 4, rng) for _ in range(2000)])
    parts = (drawn - 10) / 2 - np.arange(4)
    assert parts.min() >= 0
    assert parts.max() < 1
    assert np.histogram(parts, bins=10, range=(0, 1))[0] / parts.size == pytest.approx(0.1, abs=0.02)
    assert abs(np.corrcoef(parts[:, 0], parts[:, 1])[0, 1]) < 0.1, "each part draws for itself"
    again = sample_instants(10, 18, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(again, drawn[0])


def test_slow_frames_are_the_middles_of_quarters() -> None:
    fast = sample_instants(0, 16, 16)
    assert fast[middle_frames(16, 4)].tolist() == [2.5, 6.5, 10.5, 14.5]


@pytest.mark.parametrize(
    ("start", "end", "frames"), [(1, 1, 4), (2, 1, 4), (0, 1, 0), (0, float("nan"), 4), (0, float("inf"), 4)]
)
def test_segments_that_cannot_be(start: float, end: float, frames: int) -> None:
    with pytest.raises(ValueError, match="start < end"):
        sample_instants(start, end, frames)


@pytest.mark.parametrize(
    ("start", "end", "bounds"),
    [
        (1.0, 3.0, (1.0, 3.0)),
        (1.0, 2.0, (1.0, 2.0)),
        (1.9, 2.1, (1.5, 2.5)),
        (0.1, 0.3, (0.0, 1.0)),
        (3.8, 3.9, (3.0, 4.0)),
        (3.9, 4.2, (3.0, 4.0)),
        (5.0, 5.5, (5.0, 5.5)),
    ],
)
def test_a_clip_is_at_least_a_second_of_its_video(
    video: Path, start: float, end: float, bounds: tuple[float, float]
) -> None:
    assert clip_bounds(narrated(video, start, end)) == pytest.approx(bounds)


def test_a_video_shorter_than_a_second_is_taken_whole(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", np.full((3, 32, 32, 3), 90, np.uint8), fps=FPS)
    assert clip_bounds(narrated(path, 0.1, 0.2)) == pytest.approx((0.0, 0.3))
    assert read_clip(narrated(path, 0.1, 0.2), 4, 16).shape == (4, 16, 16, 3)


def test_long_segments_do_not_open_the_video(tmp_path: Path) -> None:
    assert clip_bounds(narrated(tmp_path / "missing.mp4", 0, 1)) == (0, 1)
    with pytest.raises(UnreadableVideoError, match="missing"):
        clip_bounds(narrated(tmp_path / "missing.mp4", 0, 0.5))


def test_the_pictures_of_a_row(video: Path) -> None:
    frames = read_clip(narrated(video, 1.0, 3.0), 4, size=24)
    assert frames.shape == (4, 24, 24, 3)
    assert frames.dtype == np.uint8
    assert numbers(frames) == [12, 17, 22, 27]
    assert numbers(read_clip(narrated(video, 1.95, 2.15), 5, size=24)) == [16, 18, 20, 22, 24]


def test_training_pictures_follow_the_generator(video: Path) -> None:
    row = narrated(video, 0, 4)
    drawn = [numbers(read_clip(row, 4, 24, np.random.default_rng(seed))) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert [number // 10 for number in drawn[0]] == [0, 1, 2, 3]


def test_a_clip_beyond_the_end_cannot_be_read(video: Path) -> None:
    with pytest.raises(UnreadableVideoError, match="nothing at"):
        read_clip(narrated(video, 5.0, 5.5), 4, 24)
    with pytest.raises(UnreadableVideoError, match="nothing at"):
        read_clip(narrated(video, 3.0, 6.0), 4, 24)
