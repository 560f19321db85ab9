"""On a CUDA device encoders give what they give on the CPU, and streams what whole clips do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from egorep import load_encoder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

NAMES = ["egovideo_tiny", "egovideo_tiny:grid", "egovideo_tiny:joint", "random/timm/test_vit:mean"]


def nearness(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Size of the difference, as a share of the wanted features' own size."""
    assert found.device.type == "cuda"
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    return float((found.cpu() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_the_cpu(name: str, pictures: np.ndarray) -> None:
    here, there = load_encoder(name), load_encoder(name, device="cuda")
    assert there.max_batch > here.max_batch
    assert there.fingerprint == here.fingerprint
    assert nearness(there(pictures), here(pictures)) < 1e-3
    assert nearness(there(pictures[None]), here(pictures[None])) < 1e-3
    assert nearness(there.tokens(pictures), here.tokens(pictures)) < 1e-3


def test_pictures_may_lie_on_either_device(pictures: np.ndarray) -> None:
    encoder = load_encoder("egovideo_tiny", device="cuda")
    frames = torch.from_numpy(pictures)
    assert torch.equal(encoder(frames), encoder(frames.cuda()))


def test_words_choose_as_on_the_cpu(pictures: np.ndarray) -> None:
    texts = ["C opens the drawer with the left hand", "C pours water"]
    here, there = (load_encoder("egovideo_tiny", device=device) for device in ("cpu", "cuda"))
    assert nearness(there.similarity(pictures, texts), here.similarity(pictures, texts)) < 1e-3


@pytest.mark.parametrize("name", ["egovideo_tiny", "random/timm/test_vit"])
def test_a_stream_gives_what_the_episode_does(name: str, pictures: np.ndarray) -> None:
    encoder = load_encoder(name, device="cuda")
    stream = encoder.stream(num_envs=1, stride=2)
    streamed = torch.cat([stream(picture[None]) for picture in pictures])
    whole = encoder.encode_episode(pictures, stride=2)
    assert streamed.device.type == "cuda"
    assert float((streamed - whole).norm() / whole.norm()) < 1e-3
