"""Architectures small enough for tests, with and without a fast pathway."""

from __future__ import annotations

import dataclasses

from egorep.models.config import EgoVideoConfig, TextConfig, VisionConfig

SLOW = EgoVideoConfig(
    vision=VisionConfig(image_size=24, patch_size=8, width=32, layers=3, heads=2, num_frames=2),
    text=TextConfig(width=24, layers=2, heads=3, context_length=9, vocabulary=50),
    joint_dim=16,
    slow_frames=2,
)
SLOW_FAST = dataclasses.replace(SLOW, fast_frames=6)
