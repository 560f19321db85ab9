"""Pictures with structure."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def pictures() -> np.ndarray:
    """(9, 120, 160, 3) uint8: smooth gradients with noise, every one different."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:120, 0:160]
    ramps = np.stack([rows * 2, columns, 255 - columns], axis=-1)[None]
    noisy = ramps + rng.normal(0, 25, (9, 120, 160, 3)) + rng.uniform(-60, 60, (9, 1, 1, 3))
    return noisy.clip(0, 255).astype(np.uint8)
