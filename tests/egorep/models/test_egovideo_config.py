from __future__ import annotations

import dataclasses

import pytest

from egorep.models.config import SIZES, TextConfig, VisionConfig
from egorep.models.egovideo import EgoVideo


def test_published_sizes() -> None:
    """The table of the family in the paper's release."""
    base, large = SIZES["egovideo_base"], SIZES["egovideo_large"]
    assert dataclasses.astuple(base.vision)[:5] == (224, 16, 768, 12, 12)
    assert dataclasses.astuple(large.vision)[:5] == (336, 14, 1024, 24, 16)
    assert dataclasses.astuple(base.text)[:5] == (512, 12, 8, 77, 49408)
    assert dataclasses.astuple(large.text)[:5] == (768, 12, 12, 77, 49408)
    for size in (base, large):
        assert (size.joint_dim, size.slow_frames, size.vision.norm_eps) == (512, 4, 1e-6)


def test_tiny_has_less_than_four_million_vision_parameters() -> None:
    visual = EgoVideo(SIZES["egovideo_tiny"]).visual
    assert 3e6 < sum(parameter.numel() for parameter in visual.parameters()) < 4e6


def test_what_cannot_be_built_is_refused() -> None:
    tiny = SIZES["egovideo_tiny"]
    with pytest.raises(ValueError, match="image_size 100 must be a multiple of patch_size 16"):
        VisionConfig(100, 16, 192, 12, 3, 4)
    with pytest.raises(ValueError, match="stem is 'conv'; choose from 'linear', 'efficientnet_lite0'"):
        dataclasses.replace(tiny.vision, stem="conv")
    with pytest.raises(ValueError, match="patches of 16 pixels, got 14"):
        VisionConfig(112, 14, 192, 12, 3, 4, stem="efficientnet_lite0")
    with pytest.raises(ValueError, match="vision width 192 must be a multiple of its heads, 5"):
        VisionConfig(112, 16, 192, 12, 5, 4)
    with pytest.raises(ValueError, match="text width 100 must be a multiple of its heads, 3"):
        TextConfig(100, 4, 3)
    with pytest.raises(ValueError, match="adapter is 'spatial'; choose from 'temporal', 'spatial_temporal'"):
        dataclasses.replace(tiny, adapter="spatial")
    with pytest.raises(ValueError, match="activation is 'relu'"):
        dataclasses.replace(tiny, activation="relu")
    with pytest.raises(ValueError, match="fast_frames 2 are fewer than slow_frames 4"):
        dataclasses.replace(tiny, fast_frames=2)
