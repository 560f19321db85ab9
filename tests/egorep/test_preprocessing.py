from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from torchvision.transforms import InterpolationMode, v2

from egorep.backbones import timm_backbone
from egorep.preprocessing import Preprocessing, as_clips

HALF = (0.5, 0.5, 0.5)


def test_clips_keep_their_values_and_pictures_get_a_time_axis(pictures: np.ndarray) -> None:
    assert as_clips(pictures).shape == (9, 1, 120, 160, 3)
    clips = pictures.reshape(3, 3, 120, 160, 3)
    assert np.array_equal(as_clips(clips).numpy(), clips)
    assert torch.equal(as_clips(torch.from_numpy(clips)), torch.from_numpy(clips))


def test_any_strides_work(pictures: np.ndarray) -> None:
    read_only = pictures.copy()
    read_only.flags.writeable = False
    for view in (pictures[:, ::-1, ::2], pictures[..., ::-1], np.asfortranarray(pictures), read_only):
        assert np.array_equal(as_clips(view)[:, 0].numpy(), view)


@pytest.mark.parametrize(
    ("frames", "error", "says"),
    [
        (
            np.zeros((2, 8, 8, 3), np.float32),
            TypeError,
            r"float32.*\(frames \* 255\).round\(\).astype\(np.uint8\)",
        ),
        (torch.zeros(2, 8, 8, 3), TypeError, r"float32.*\(frames \* 255\).round\(\).to\(torch.uint8\)"),
        (np.zeros((2, 8, 8, 3), np.int64), TypeError, r"int64.*frames.astype\(np.uint8\)"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.int16), TypeError, r"int16.*frames.to\(torch.uint8\)"),
        ([[1, 2]], TypeError, r"list.*np.stack"),
        (np.zeros((2, 3, 8, 8), np.uint8), ValueError, r"channels first: np.moveaxis\(frames, 1, -1\)"),
        (np.zeros((2, 4, 3, 8, 8), np.uint8), ValueError, r"channels first: np.moveaxis\(frames, 2, -1\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), ValueError, r"permute\(0, 2, 3, 1\)"),
        (torch.zeros(2, 4, 3, 8, 8, dtype=torch.uint8), ValueError, r"permute\(0, 1, 3, 4, 2\)"),
        (np.zeros((8, 8, 3), np.uint8), ValueError, r"\(8, 8, 3\), a single picture: frames\[None\]"),
        (np.zeros((8, 8), np.uint8), ValueError, "rank 2"),
        (np.zeros((0, 8, 8, 3), np.uint8), ValueError, "empty"),
        (np.zeros((2, 8, 8, 4), np.uint8), ValueError, r"RGBA: frames\[..., :3\]"),
        (np.zeros((2, 8, 8, 1), np.uint8), ValueError, r"1 channels.*np.repeat\(frames, 3, -1\)"),
    ],
)
def test_errors_teach(frames: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as raised:
        as_clips(frames)
    assert "uint8 RGB" in str(raised.value)


def test_the_calls_that_errors_name_work(pictures: np.ndarray) -> None:
    as_float = pictures / 255
    assert np.array_equal(as_clips((as_float * 255).round().astype(np.uint8))[:, 0].numpy(), pictures)
    for first in (np.moveaxis(pictures, -1, 1),):
        assert np.array_equal(as_clips(np.moveaxis(first, 1, -1))[:, 0].numpy(), pictures)
    tensor = torch.from_numpy(np.moveaxis(pictures, -1, 1).copy())
    assert np.array_equal(as_clips(tensor.permute(0, 2, 3, 1))[:, 0].numpy(), pictures)
    assert as_clips(pictures[0][None]).shape == (1, 1, 120, 160, 3)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [64, 200])
def test_it_is_the_usual_pipeline_without_zoom(pictures: np.ndarray, mode: str, size: int) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    ours = Preprocessing(size, mean, std, mode)(torch.from_numpy(pictures))
    usual = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize(size, InterpolationMode(mode), antialias=True),
            v2.Lambda(lambda pixels: pixels.clamp(0, 1)),
            v2.CenterCrop(size),
            v2.Normalize(mean, std),
        ]
    )
    assert ours.shape == (9, 3, size, size)
    assert torch.allclose(ours, usual(torch.from_numpy(pictures).permute(0, 3, 1, 2)), atol=1e-5)


def test_it_agrees_with_pictures_resized_as_bytes(pictures: np.ndarray) -> None:
    ours = Preprocessing(64, (0, 0, 0), (1, 1, 1), "bilinear")(torch.from_numpy(pictures))
    as_bytes = v2.CenterCrop(64)(v2.Resize(64)(torch.from_numpy(pictures).permute(0, 3, 1, 2)))
    assert (ours * 255 - as_bytes).abs().max() < 1.1  # they round twice


def test_a_picture_of_the_right_size_is_not_resampled(pictures: np.ndarray) -> None:
    square = torch.from_numpy(pictures[:, :, :120])
    ours = Preprocessing(120, HALF, HALF, "bicubic")(square)
    assert torch.allclose(ours, square.permute(0, 3, 1, 2) / 255 * 2 - 1, atol=1e-6)


def test_all_of_a_square_picture_is_seen() -> None:
    picture = torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    picture[:, :8] = 255  # what a zoom of 0.875 would cut away
    assert Preprocessing(64, HALF, HALF, "bilinear")(picture)[:, :, 0].min() == 1


@pytest.mark.parametrize(
    "name", ["test_vit", "test_efficientnet", "test_resnet", "vit_tiny_patch16_224", "resnet18"]
)
def test_constants_are_the_documented_ones(name: str) -> None:
    documented = resolve_model_data_config(timm.create_model(name))
    ours = timm_backbone(name, pretrained=False).preprocessing()
    assert (ours.mean, ours.std) == (documented["mean"], documented["std"])
    assert ours.interpolation == documented["interpolation"]
    assert (3, ours.image_size, ours.image_size) == documented["input_size"]
