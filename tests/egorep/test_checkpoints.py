"""The release's and CLIP's files, against mathematics written out independently (`naive_egovideo`)."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import naive_egovideo as naive
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from egorep import load_encoder
from egorep.checkpoints import load_clip, load_egovideo
from egorep.models.config import SIZES, EgoVideoConfig, TextConfig, VisionConfig

SMALL: dict[str, int] = {
    "image_size": 32,
    "patch": 8,
    "width": 48,
    "layers": 3,
    "heads": 4,
    "text_width": 24,
    "text_layers": 2,
    "text_heads": 3,
    "context": 10,
    "vocabulary": 60,
    "joint": 20,
}
CONFIG = EgoVideoConfig(VisionConfig(32, 8, 48, 3, 4, 4), TextConfig(24, 2, 3, 10, 60), 20)
IDS = torch.tensor([[58, 5, 6, 7, 59, 0, 0, 0, 0, 0], [58, 9, 59, 0, 0, 0, 0, 0, 0, 0]])


def release(path: Path, **variant: Any) -> dict[str, torch.Tensor]:
    """Write a file as the release's training script does, optimiser and all."""
    spelling = {"convolution": False, "attention": "Wqkv", "mlp": "fc", "module_prefix": True, **variant}
    weights = naive.release_state_dict(**{**SMALL, **spelling})
    torch.save({"epoch": 14, "state_dict": weights, "optimizer": {"state": {}}, "args": {"lr": 4e-5}}, path)
    return weights


def random_clip(frames: int, side: int = 32, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, frames, 3, side, side, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(
    ("convolution", "attention", "mlp", "prefix"),
    list(itertools.product([False, True], ["Wqkv", "in_proj"], ["fc", "c"], [False, True])),
)
def test_every_spelling_of_the_release(
    convolution: bool, attention: str, mlp: str, prefix: bool, tmp_path: Path
) -> None:
    path = tmp_path / "release.pth"
    weights = release(
        path, slow_fast=True, convolution=convolution, attention=attention, mlp=mlp, module_prefix=prefix
    )
    model, clip = load_egovideo(path, CONFIG), random_clip(16)
    with torch.no_grad():
        ours = model.encode_video(clip).joint
    assert (ours - naive.clip_features(weights, clip, heads=4)).abs().max() < 1e-5


@pytest.mark.parametrize(("slow_fast", "frames"), [(False, 4), (False, 1), (False, 7), (True, 16), (True, 9)])
def test_features_are_those_of_the_specification(slow_fast: bool, frames: int, tmp_path: Path) -> None:
    weights = release(tmp_path / "release.pth", slow_fast=slow_fast)
    model, clip = load_egovideo(tmp_path / "release.pth", CONFIG), random_clip(frames)
    assert len(model.visual.adapters) == (3 if slow_fast else 0)
    with torch.no_grad():
        video = model.encode_video(clip)
        text = model.encode_text(IDS)
    classes, patches, _ = naive.video_features(
        weights, clip, heads=4, pathway="fast" if slow_fast else "slow"
    )
    seen = video.fast or video.slow
    assert (seen.classes - classes).abs().max() < 1e-4
    assert (seen.patches - patches.flatten(2, 3)).abs().max() < 1e-4
    assert (video.joint - naive.clip_features(weights, clip, heads=4)).abs().max() < 1e-5
    assert (text - naive.text_features(weights, IDS, heads=3)).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("slow_fast", [False, True])
def test_the_published_base_size(slow_fast: bool, tmp_path: Path) -> None:
    weights = naive.release_state_dict(slow_fast=slow_fast, module_prefix=True)
    torch.save({"state_dict": weights}, tmp_path / "base.pth")
    encoder = load_encoder("egovideo_base", checkpoint=tmp_path / "base.pth", pool="joint")
    frames = 16 if slow_fast else 4
    assert (encoder.num_frames, encoder.image_size, encoder.dim) == (frames, 224, 512)
    pictures = np.random.default_rng(0).integers(0, 256, (1, frames, 224, 224, 3), np.uint8)
    pixels = encoder.preprocessing(torch.from_numpy(pictures))
    expected = naive.clip_features(weights, pixels, heads=12)
    assert (encoder(pictures) - expected).abs().max() < 1e-4
    ids = torch.tensor([[49406, 320, 1125, 539, 320, 2368, 49407] + [0] * 70])
    expected = naive.text_features(weights, ids, heads=8)
    assert (encoder.text(["a photo of a cat"]) - expected).abs().max() < 1e-4


def test_a_slow_fast_file_keeps_its_table_and_says_what_it_skips(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = release(tmp_path / "release.pth", slow_fast=True)
    unused = [key for key in weights if "conv2d" in key or "adapter_2" in key]
    with caplog.at_level("INFO", logger="egorep.checkpoints"):
        model = load_egovideo(tmp_path / "release.pth", CONFIG)
    assert model.config.vision.num_frames == model.config.fast_frames == 16
    assert f"skipped {len(unused)} weights" in caplog.text


def test_all_that_does_not_fit_is_listed_at_once(tmp_path: Path) -> None:
    weights = release(tmp_path / "release.pth", slow_fast=False, module_prefix=False)
    del weights["visual.ln_post.bias"]
    weights["visual.surprise"] = torch.zeros(3)
    weights["textual.text_projection"] = torch.zeros(24, 7)
    torch.save({"state_dict": weights}, tmp_path / "broken.pth")
    with pytest.raises(ValueError, match="does not fit") as error:
        load_egovideo(tmp_path / "broken.pth", CONFIG)
    said = str(error.value)
    for part in (
        "missing: visual.norm_post.bias",
        "unexpected: visual.surprise",
        "(24, 7) instead of (24, 20)",
    ):
        assert part in said


def test_files_of_something_else(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"neither of the EgoHOD release.*it holds fc\.weight"):
        load_egovideo(tmp_path / "other.pth", CONFIG)
    torch.save({"state_dict": {"visual.image_projection": torch.zeros(2), "note": 3}}, tmp_path / "mixed.pth")
    with pytest.raises(ValueError, match="more than tensors under note"):
        load_egovideo(tmp_path / "mixed.pth", CONFIG)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        load_egovideo(tmp_path / "nowhere.pth", CONFIG)


class Hostile:
    """Would create a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_hostile_file_never_runs(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    torch.save({"state_dict": {"visual.image_projection": Hostile(mark)}}, tmp_path / "hostile.pth")
    with pytest.raises(ValueError, match=r"hostile\.pth.*more than tensors"):
        load_encoder("egovideo_base", checkpoint=tmp_path / "hostile.pth")
    assert not mark.exists()


def open_clip_model(*, quick_gelu: bool) -> torch.nn.Module:
    import open_clip

    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 3, "width": 48, "patch_size": 8, "head_width": 12}
    text = {"context_length": 10, "vocab_size": 60, "width": 24, "heads": 3, "layers": 2}
    model: torch.nn.Module = open_clip.CLIP(20, vision, text, quick_gelu=quick_gelu).eval()
    return model


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_clip_gives_a_picture_the_features_that_clip_gives_it(quick_gelu: bool, tmp_path: Path) -> None:
    clip = open_clip_model(quick_gelu=quick_gelu)
    path = tmp_path / "open_clip_model.safetensors"
    save_file({name: weight.contiguous() for name, weight in clip.state_dict().items()}, path)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": quick_gelu}}))
    model, picture = load_egovideo(path, CONFIG), random_clip(1)
    assert model.config.activation == ("quick_gelu" if quick_gelu else "gelu")
    with torch.no_grad():
        ours, theirs = model.encode_video(picture).joint, clip.encode_image(picture[:, 0], normalize=True)
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert torch.allclose(model.encode_text(IDS), clip.encode_text(IDS, normalize=True), atol=1e-5)
        assert not torch.allclose(load_clip(path, CONFIG, "gelu").encode_text(IDS), ours) or not quick_gelu


def test_openais_state_dicts_mean_quick_gelu(tmp_path: Path) -> None:
    weights = open_clip_model(quick_gelu=True).state_dict()
    numbers = {"input_resolution": 32, "context_length": 10, "vocab_size": 60}
    torch.save({**weights, **numbers}, tmp_path / "ViT-B-16.pt")
    assert load_egovideo(tmp_path / "ViT-B-16.pt", CONFIG).config.activation == "quick_gelu"


def test_the_activation_of_a_clip_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    torch.save(open_clip_model(quick_gelu=False).state_dict(), path)
    with pytest.raises(ValueError, match="does not say which activation"):
        load_egovideo(path, CONFIG)
    assert load_clip(path, CONFIG, "gelu").config.activation == "gelu"
    with pytest.raises(ValueError, match="activation is 'relu'"):
        load_clip(path, CONFIG, "relu")


def test_a_clip_knows_no_order_of_frames_yet(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    torch.save(open_clip_model(quick_gelu=False).state_dict(), path)
    model = load_clip(path, dataclasses.replace(CONFIG, fast_frames=16), "gelu")
    assert model.config.fast_frames is None
    with torch.no_grad():
        forth, back = (model.encode_video(clip).joint for clip in (random_clip(4), random_clip(4).flip(1)))
    assert torch.allclose(forth, back, atol=1e-5)


def test_sizes_fit_openais_clip_names() -> None:
    """ViT-B/16 and ViT-L/14 at 336 px, from which the paper starts."""
    assert SIZES["egovideo_base"].vision.grid == 14
    assert SIZES["egovideo_large"].vision.grid == 24
