from __future__ import annotations

import numpy as np
import pytest
import torch

from egorep import load_encoder
from robot_eval.views import Pixels, Views, seen_by

VIT = "random/timm/test_vit"


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("pool", ["cls", "patches"])
def test_each_camera_is_encoded_alone(pool: str) -> None:
    encoder = load_encoder(VIT, pool=pool)
    views = Views(encoder, 3)
    pictures = [noise(2, 40, 40), noise(2, 40, 40)[::-1].copy(), noise(2, 40, 40) // 2]
    features = views(np.concatenate(pictures, axis=2))
    assert features.shape == (2, views.dim) == (2, 3 * encoder.dim)
    for number, picture in enumerate(pictures):
        assert torch.equal(features[:, number * encoder.dim :][:, : encoder.dim], encoder(picture))
    assert views.grid == (3 * encoder.grid[0], *encoder.grid[1:])


def test_streams_and_episodes_see_the_views_too() -> None:
    encoder = load_encoder("random/egovideo_tiny")
    views = Views(encoder, 2)
    frames = noise(5, 32, 64)
    stream = views.stream(num_envs=1, stride=2)
    whole = views.encode_episode(frames, stride=2)
    assert torch.equal(whole, torch.cat([stream(frame[None]) for frame in frames]))
    left = encoder.encode_episode(frames[:, :, :32], stride=2)
    assert torch.equal(whole[:, : encoder.dim], left)


def test_still_is_the_newest_picture_alone() -> None:
    encoder = load_encoder("random/egovideo_tiny")
    still = seen_by(encoder, 1, still=True)
    frames = noise(4, 32, 32)
    assert still.num_frames == 1
    assert torch.equal(still.encode_episode(frames), encoder(frames))
    assert not torch.equal(still.encode_episode(frames), encoder.encode_episode(frames))


def test_an_encoder_is_itself_where_nothing_changes() -> None:
    single = load_encoder(VIT)
    assert seen_by(single, 1, still=True) is single
    blind = load_encoder("state")
    assert seen_by(blind, 2, still=True) is blind


def test_fingerprints_say_what_was_changed() -> None:
    encoder = load_encoder("random/egovideo_tiny")
    seen = [encoder, Views(encoder, 2), Views(encoder, 1, still=True), Views(encoder, 2, still=True)]
    assert len({each.fingerprint for each in seen}) == 4


def test_pixels_are_the_picture() -> None:
    frames = noise(2, 16, 32)
    pixels = Pixels(16, views=2)
    assert torch.equal(pixels(frames).view(2, 16, 32, 3), torch.from_numpy(frames).float())
    assert pixels.dim == 16 * 32 * 3
    with pytest.raises(ValueError, match=r"trained on pictures \(16, 32\) .* got \(8, 32\)"):
        pixels(noise(1, 8, 32))
