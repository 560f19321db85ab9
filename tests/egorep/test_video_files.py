from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from egorep.video_files import write_mp4


def moving_square(length: int = 12, height: int = 64, width: int = 96) -> np.ndarray:
    frames = np.full((length, height, width, 3), 40, np.uint8)
    for t in range(length):
        frames[t, 16:40, 4 * t : 4 * t + 24] = (220, 60, 20)
    return frames


class Mp4(NamedTuple):
    """What is in a file, read while it is open: PyAV's streams are freed with their container."""

    frames: np.ndarray
    codec: str
    pixels: str | None
    rate: float


def read_mp4(path: Path) -> Mp4:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        assert stream.average_rate is not None
        codec = stream.codec_context
        return Mp4(frames, codec.name, codec.pix_fmt, float(stream.average_rate))


def test_frames_come_back(tmp_path: Path) -> None:
    frames = moving_square()
    path = write_mp4(tmp_path / "videos" / "rollout.mp4", frames, fps=20)
    found = read_mp4(path)
    assert found.frames.shape == frames.shape
    assert np.abs(found.frames.astype(int) - frames).mean() < 6
    assert (found.codec, found.pixels, found.rate) == ("h264", "yuv420p", 20)


def test_fractional_rates_are_kept(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", moving_square(4), fps=12.5)
    assert read_mp4(path).rate == pytest.approx(12.5)


def test_the_index_comes_before_the_pictures(tmp_path: Path) -> None:
    content = write_mp4(tmp_path / "a.mp4", moving_square(), fps=20).read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("shape", [(3, 33, 47, 3), (1, 32, 47, 3), (2, 1, 1, 3)])
def test_odd_sizes_are_padded_to_even(tmp_path: Path, shape: tuple[int, ...]) -> None:
    frames = np.full(shape, 200, np.uint8)
    decoded = read_mp4(write_mp4(tmp_path / "odd.mp4", frames, fps=10)).frames
    assert decoded.shape == (shape[0], shape[1] + shape[1] % 2, shape[2] + shape[2] % 2, 3)
    assert np.abs(decoded.astype(int) - 200).max() < 8, "the padding repeats the edge"


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 32, 32, 3), np.float32),
        np.zeros((4, 3, 32, 32), np.uint8),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((0, 32, 32, 3), np.uint8),
    ],
)
def test_wrong_frames_are_refused_by_shape_and_type(tmp_path: Path, frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(T, H, W, 3\) uint8"):
        write_mp4(tmp_path / "a.mp4", frames, fps=20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_wrong_rates_are_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ValueError, match="positive rate"):
        write_mp4(tmp_path / "a.mp4", moving_square(), fps=fps)


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mp4(tmp_path / "a.mp4", moving_square(), fps=20)
    before = path.read_bytes()

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(av.VideoFrame, "from_ndarray", fail, raising=True)
    with pytest.raises(RuntimeError, match="killed"):
        write_mp4(path, moving_square(4), fps=20)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_the_same_frames_make_the_same_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 14, 14, 3), np.uint8)
    frames = noise.repeat(16, axis=1).repeat(16, axis=2)
    files = {write_mp4(tmp_path / "a.mp4", frames, preset="veryfast", crf=20).read_bytes() for _ in range(6)}
    assert len(files) == 1
