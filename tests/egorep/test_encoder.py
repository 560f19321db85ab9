from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from egorep import Encoder, list_encoders, load_encoder
from egorep.backbones import Backbone, Features
from egorep.preprocessing import Preprocessing

SMALL = ["random/timm/test_vit", "random/timm/test_efficientnet", "random/timm/test_convnext"]
SEEING = [name for name in list_encoders() if name not in ("state", "oracle")]
EVERY = [*list_encoders(), *SMALL]
HALF = (0.5, 0.5, 0.5)


class Colours(Backbone):
    """Mean colour as pooled features; colour of each quarter as tokens."""

    architecture = "colours"

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.largest = 0

    def forward(self, pixels: torch.Tensor) -> Features:
        self.largest = max(self.largest, len(pixels))
        tokens = nn.functional.adaptive_avg_pool2d(pixels, 2).permute(0, 2, 3, 1) * self.scale
        return Features(tokens.mean((1, 2)) + 1, tokens)


def colours(*, size: int = 8, scale: float = 1.0, pool: str = "cls", max_batch: int | None = None) -> Encoder:
    backbone = Colours()
    with torch.no_grad():
        backbone.scale[0] = scale
    return Encoder(
        "colours", backbone, Preprocessing(size, HALF, HALF, "bilinear"), pool=pool, max_batch=max_batch
    )


@pytest.mark.parametrize("name", EVERY)
def test_contract(name: str, pictures: np.ndarray) -> None:
    encoder = load_encoder(name)
    features = encoder(pictures[:3])
    assert features.shape == (3, encoder.dim)
    assert features.dtype == torch.float32
    assert features.device == encoder.device == torch.device("cpu")
    assert encoder.name == name
    assert encoder.num_frames == (4 if "egovideo" in name else 1)
    assert int(encoder.fingerprint, 16) > 0
    assert torch.equal(encoder(torch.from_numpy(pictures[:3])), features)
    with pytest.raises(TypeError, match="float64"):
        encoder(pictures / 255)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", EVERY)
def test_frozen_for_good(name: str, pictures: np.ndarray) -> None:
    encoder = load_encoder(name)
    policy = nn.Sequential(encoder, nn.Linear(encoder.dim, 2))
    before = encoder(pictures[:2])
    policy.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    policy(pictures[:2]).sum().backward()  # features may enter a graph, and stop it
    after = encoder(pictures[:2])
    assert not after.requires_grad
    assert torch.equal(before, after)


@pytest.mark.parametrize("name", [*SEEING, *SMALL, "random/timm/vit_tiny_patch16_224"])
def test_features_do_not_depend_on_the_batch(name: str, pictures: np.ndarray) -> None:
    encoder = load_encoder(name)
    together = encoder(pictures)
    for size in (1, 2, 5):
        assert torch.equal(encoder(pictures[:size]), together[:size])
        assert torch.equal(encoder(pictures[-size:]), together[-size:])
    clips = pictures[:6].reshape(2, 3, *pictures.shape[1:])
    assert torch.equal(encoder(clips)[1:], encoder(clips[1:]))
    assert torch.equal(encoder.tokens(pictures)[5:6], encoder.tokens(pictures[5:6]))


@pytest.mark.parametrize("name", SMALL)
def test_pictures_matter(name: str, pictures: np.ndarray) -> None:
    features = load_encoder(name)(pictures)
    assert (features[1:] != features[:-1]).any(1).all()


def test_a_clip_is_the_mean_of_its_frames(pictures: np.ndarray) -> None:
    encoder = load_encoder("random/timm/test_vit")
    clips = pictures.reshape(3, 3, *pictures.shape[1:])
    assert torch.allclose(encoder(clips), encoder(pictures).reshape(3, 3, -1).mean(1), atol=1e-6)
    assert encoder.tokens(clips).shape == (3, 3, 10, 10, 64)
    assert torch.equal(encoder.tokens(clips)[1, 2], encoder.tokens(pictures)[5, 0])


def test_pools(pictures: np.ndarray) -> None:
    for name in SMALL:
        mean = load_encoder(name, pool="mean")
        assert torch.allclose(mean(pictures), mean.tokens(pictures).mean((1, 2, 3)), atol=1e-6)
    assert colours()(pictures).sub(colours(pool="mean")(pictures)).sub(1).abs().max() < 1e-5
    patches = colours(pool="patches")
    assert torch.equal(patches(pictures), colours().tokens(pictures).flatten(1))
    assert (patches.grid, patches.dim) == ((2, 2, 3), 12)
    with pytest.raises(
        ValueError, match="'grid' wants 3 x 3 patch tokens at least, encoder 'colours' has 2 x 2"
    ):
        colours(pool="grid")
    with pytest.raises(ValueError, match="unknown pool 'meen'; did you mean 'mean'"):
        colours(pool="meen")


def test_pool_grid_averages_thirds_of_the_picture(pictures: np.ndarray) -> None:
    grid = load_encoder("random/timm/test_vit", pool="grid")
    tokens = grid.tokens(pictures)[:, 0]
    assert (tokens.shape, grid.dim) == ((9, 10, 10, 64), 9 * 64)
    cells = grid(pictures).unflatten(1, (3, 3, 64))
    for row, rows in enumerate((slice(0, 4), slice(3, 7), slice(6, 10))):
        for column, columns in enumerate((slice(0, 4), slice(3, 7), slice(6, 10))):
            assert torch.allclose(cells[:, row, column], tokens[:, rows, columns].mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_pool_places_is_the_same_under_any_level_and_spread_of_channels(
    name: str, pictures: np.ndarray
) -> None:
    """What is left of tokens says where; level and spread of each channel are gone, however small."""
    places = load_encoder(name, pool="places")
    tokens = places.tokens(pictures)[:, 0].flatten(1, 2).double()
    spread = tokens.std(1, correction=0, keepdim=True)
    wanted = torch.where(spread > 0, (tokens - tokens.mean(1, keepdim=True)) / spread, 0.0)
    assert torch.allclose(places(pictures).double(), wanted.flatten(1), atol=1e-3)
    assert places.dim == tokens[0].numel()


def test_pool_places_of_what_does_not_vary(pictures: np.ndarray) -> None:
    """A channel that is the same everywhere up to rounding says nothing of places, and is no noise either."""
    places = colours(pool="places")
    flat = np.broadcast_to(np.uint8([30, 60, 90]), pictures.shape)
    assert torch.equal(places(flat), torch.zeros(len(pictures), 12))
    faint = places(pictures // 64 + 100)
    assert torch.allclose(faint.unflatten(1, (4, 3)).std(1, correction=0), torch.ones(9, 3), atol=1e-4)


def test_pool_places_does_not_hide_what_is_not_finite(pictures: np.ndarray) -> None:
    with pytest.raises(FloatingPointError, match="not finite"):
        colours(scale=float("nan"), pool="places")(pictures)


def test_pool_places_wants_several_places() -> None:
    class Whole(Colours):
        def forward(self, pixels: torch.Tensor) -> Features:
            return Features(pixels.mean((2, 3)), pixels.mean((2, 3))[:, None, None])

    with pytest.raises(ValueError, match="encoder 'whole' has a single one: choose pool 'cls'"):
        Encoder("whole", Whole(), Preprocessing(8, HALF, HALF, "bilinear"), pool="places")


def test_large_batches_are_split(pictures: np.ndarray) -> None:
    encoder = colours(max_batch=2)
    assert encoder(pictures).shape == (9, 3)
    assert encoder.backbone.largest == 2
    assert torch.allclose(encoder(pictures), colours()(pictures), atol=1e-6)
    assert encoder.max_batch == 2
    assert colours().max_batch == 1
    with pytest.raises(ValueError, match="at least 1, got 0"):
        colours(max_batch=0)


def test_features_that_are_not_finite_are_refused(pictures: np.ndarray) -> None:
    encoder = colours(scale=float("nan"))
    with pytest.raises(FloatingPointError, match="'colours'"):
        encoder(pictures)
    with pytest.raises(FloatingPointError, match="'colours'"):
        encoder.tokens(pictures)


def test_fingerprint_tells_what_decides_the_features() -> None:
    variants = [colours(), colours(size=9), colours(pool="mean"), colours(scale=1.0000001)]
    assert len({encoder.fingerprint for encoder in variants}) == 4
    assert colours().fingerprint == colours(max_batch=2).fingerprint


def test_fingerprint_is_the_same_in_another_process() -> None:
    name = "random/timm/test_vit"
    code = f"import egorep; print(egorep.load_encoder({name!r}).fingerprint)"
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert other.stdout.strip() == load_encoder(name).fingerprint


@pytest.mark.parametrize(("name", "observation"), [("state", "proprio"), ("oracle", "state")])
def test_blind_encoders(name: str, observation: str, pictures: np.ndarray) -> None:
    encoder = load_encoder(name)
    assert (encoder.dim, encoder.observation) == (0, observation)
    with pytest.raises(ValueError, match=f"'{name}' looks at no picture"):
        encoder.tokens(pictures)
    assert load_encoder("state").fingerprint != load_encoder("oracle").fingerprint
    assert encoder.max_batch > 0
