from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_models import SLOW_FAST

from egorep.models.config import EgoVideoConfig
from egorep.models.egovideo import EgoVideo


@pytest.fixture
def clips() -> torch.Tensor:
    """Two clips of six frames, (2, 6, 3, 24, 24)."""
    return torch.randn(2, 6, 3, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def make_model() -> Callable[..., EgoVideo]:
    """A small model in evaluation, with two pathways unless told; adapters and temporal table matter."""

    def make(config: EgoVideoConfig = SLOW_FAST, **training: float) -> EgoVideo:
        torch.manual_seed(1)
        model = EgoVideo(config, **training)
        with torch.no_grad():
            model.visual.time.normal_()
            for adapter in model.visual.adapters:
                adapter.up.weight.normal_(std=0.1)
        return model.eval()

    return make
