"""EgoVideo of the tiny size with small pictures: fast enough for tests, and loaded by its name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from egorep.models.config import SIZES
from egorep.models.egovideo import EgoVideo

TINY = SIZES["egovideo_tiny"]


def save_small_egovideo(folder: Path, seed: int = 0) -> Path:
    """A slow-only model of random weights in `folder`: 32 px pictures of one patch, frames told apart."""
    vision = dataclasses.replace(TINY.vision, image_size=32, patch_size=32, stem="linear")
    text = dataclasses.replace(TINY.text, layers=1)
    torch.manual_seed(seed)
    model = EgoVideo(dataclasses.replace(TINY, vision=vision, text=text))
    torch.nn.init.normal_(model.visual.time)
    model.save_pretrained(folder)
    return folder
