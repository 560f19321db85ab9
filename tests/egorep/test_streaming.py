"""Streams: what they remember is what the same window, encoded from scratch, would show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from egorep import Encoder, load_encoder
from egorep.backbones import Backbone, Features
from egorep.preprocessing import Preprocessing

HALF = (0.5, 0.5, 0.5)
T = 4


class Order(Backbone):
    """Looks at `T` frames together; what it says depends on which of them comes when."""

    architecture = "order"
    num_frames = T

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([1.0, 10.0, 100.0, 1000.0]))

    def forward(self, pixels: torch.Tensor) -> Features:
        cells = nn.functional.adaptive_avg_pool2d(pixels.flatten(0, 1), 2)
        tokens = cells.unflatten(0, pixels.shape[:2]).permute(0, 1, 3, 4, 2)
        return Features(tokens.mean((2, 3)).mul(self.weights[:, None]).sum(1), tokens)


@pytest.fixture
def clips() -> Encoder:
    return Encoder("order", Order(), Preprocessing(8, HALF, HALF, "bilinear"))


def movie(steps: int, num_envs: int = 3, size: tuple[int, int] = (16, 20)) -> np.ndarray:
    """(steps, num_envs, H, W, 3) noise."""
    return np.random.default_rng(0).integers(0, 256, (steps, num_envs, *size, 3), dtype=np.uint8)


def window(frames: np.ndarray, step: int, stride: int, start: int = 0) -> np.ndarray:
    """(T, H, W, 3): what an environment sees at `step` of an episode that began at step `start`."""
    return np.stack([frames[max(start, step - age * stride)] for age in reversed(range(T))])


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_a_stream_of_clips_equals_windows_from_scratch(clips: Encoder, stride: int) -> None:
    frames = movie(25)
    stream = clips.stream(num_envs=3, stride=stride)
    for step in range(25):
        windows = np.stack([window(frames[:, env], step, stride) for env in range(3)])
        assert torch.equal(stream(frames[step]), clips(windows))


@pytest.mark.parametrize("name", ["random/timm/test_vit", "random/timm/test_efficientnet"])
def test_a_stream_of_pictures_sees_the_newest(name: str) -> None:
    encoder = load_encoder(name)
    stream = encoder.stream(num_envs=3, stride=7)
    for frames in movie(4):
        assert torch.equal(stream(frames), encoder(frames))
        assert torch.equal(stream(torch.from_numpy(frames)), encoder(frames))


def test_environments_begin_anew_when_their_mask_says_so(clips: Encoder) -> None:
    frames, rng = movie(30), np.random.default_rng(1)
    stream, starts = clips.stream(num_envs=3, stride=2), np.zeros(3, dtype=int)
    for step in range(30):
        ended = rng.random(3) < 0.2
        stream.reset(torch.from_numpy(ended) if step % 2 else ended)
        starts[ended] = step
        windows = np.stack([window(frames[:, env], step, 2, starts[env]) for env in range(3)])
        assert torch.equal(stream(frames[step]), clips(windows))


def test_a_reset_of_all_forgets_all_and_allows_another_size(clips: Encoder) -> None:
    stream = clips.stream(num_envs=3)
    for frames in movie(6):
        stream(frames)
    stream.reset()
    (other,) = movie(1, size=(24, 12))
    assert torch.equal(stream(other), clips(other))  # a picture is a clip that stands still


def test_a_mask_gives_a_frame_to_some_environments_and_leaves_the_others(clips: Encoder) -> None:
    frames = movie(8)
    stream, seen = clips.stream(num_envs=3), [[frames[0][env]] for env in range(3)]
    stream(frames[0])
    for step, mask in enumerate(np.random.default_rng(2).random((7, 3)) < 0.5, start=1):
        features = stream(frames[step], mask)
        for env in np.flatnonzero(mask):
            seen[env].append(frames[step][env])
        wanted = clips(np.stack([window(np.stack(past), len(past) - 1, 1) for past in seen]))
        assert torch.equal(features, wanted)
        features.zero_()  # is the caller's own


def test_memory_is_constant(clips: Encoder) -> None:
    stream, held = clips.stream(num_envs=3, stride=5), set()
    for frames in movie(40):
        stream(frames)
        held.add(sum(value.nbytes for value in vars(stream).values() if hasattr(value, "nbytes")))
    assert len(held) == 1
    assert held.pop() < (3 * 5 + 2) * frames.nbytes


def test_inference_mode_may_come_and_go(clips: Encoder) -> None:
    frames, stream = movie(6), clips.stream(num_envs=3)
    with torch.inference_mode():
        stream(frames[0])
    stream(frames[1])
    with torch.inference_mode():
        stream(frames[2], np.array([True, False, True]))
    stream(frames[3], np.array([True, False, True]))


def test_frames_are_copied(clips: Encoder) -> None:
    (frames,) = movie(1)
    stream, wanted = clips.stream(num_envs=3), clips(frames)
    buffer = frames.copy()
    stream(buffer)
    buffer[:] = 0  # as vector environments do that reuse their memory
    assert torch.equal(stream(frames), wanted)


def test_errors_say_what_came_and_what_is_wanted(clips: Encoder) -> None:
    frames = movie(2)
    stream = clips.stream(num_envs=3)
    with pytest.raises(ValueError, match=r"num_envs must be at least 1, got 0"):
        clips.stream(num_envs=0)
    with pytest.raises(ValueError, match=r"stride must be at least 1, got 0"):
        clips.stream(num_envs=3, stride=0)
    with pytest.raises(ValueError, match=r"\(3, H, W, 3\); got 2 pictures: encoder.stream\(num_envs=2\)"):
        stream(frames[0, :2])
    with pytest.raises(ValueError, match=r"got clips \(3, 2, 16, 20, 3\): .*frames\[:, -1\]"):
        stream(frames.swapaxes(0, 1))
    with pytest.raises(TypeError, match="float64"):
        stream(frames[0] / 255)
    with pytest.raises(ValueError, match=r"environments \[1\] have had no frame"):
        stream(frames[0], np.array([True, False, True]))
    stream(frames[0])
    stream.reset(np.array([True, True, False]))
    with pytest.raises(ValueError, match=r"from \(16, 20\) to \(8, 20\) \(height, width\): .*stream.reset"):
        stream(frames[1, :, :8])
    with pytest.raises(ValueError, match=r"is \(3,\), a flag per environment, got \(2,\)"):
        stream.reset(np.array([True, False]))
    with pytest.raises(TypeError, match=r"got int64: mask.astype\(bool\)"):
        stream.reset(np.array([1, 0, 1]))
    with pytest.raises(TypeError, match=r"got uint8: mask.bool\(\)"):
        stream.reset(torch.tensor([1, 0, 1], dtype=torch.uint8))
    assert torch.equal(stream(frames[0]), clips(frames[0]))  # errors changed nothing
