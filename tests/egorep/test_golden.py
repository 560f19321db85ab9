"""Golden features: a change of preprocessing, of weights or of a dependency does not go unnoticed.

After a change that is meant to change features, `python tests/egorep/test_golden.py` writes them anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from egorep import list_encoders, load_encoder

GOLDEN = Path(__file__).with_name("golden.json")
NAMES = [name for name in list_encoders() if name not in ("state", "oracle")]
CASES = [(name, pool) for name in NAMES for pool in ("cls", "mean")]


def clip() -> np.ndarray:
    """One clip (1, 4, 96, 128, 3): coloured waves that move, by a formula, not by a generator."""
    t, y, x = np.mgrid[0:4, 0:96, 0:128].astype(np.float64)
    channels = [np.sin((a * x + b * y) / 23 + t) for a, b in ((1, 0.3), (0.4, -1), (-0.7, 0.8))]
    return np.round(127.5 + 127.5 * np.stack(channels, -1)).astype(np.uint8)[None]


def summary(name: str, pool: str) -> list[float]:
    """Mean and spread of the clip's features, and four sums that weigh each of them differently."""
    features = load_encoder(name, pool=pool)(clip())[0].double()
    places = torch.arange(len(features))
    sums = [(features * torch.cos(wave * places)).mean().item() for wave in (0.1, 0.7, 1.9, 3.1)]
    return [float(f"{value:.6g}") for value in (features.mean().item(), features.std().item(), *sums)]


@pytest.mark.parametrize(("name", "pool"), CASES)
def test_features_are_what_they_were(name: str, pool: str) -> None:
    torch.set_num_threads(1)
    expected = json.loads(GOLDEN.read_text())[f"{name} {pool}"]
    assert summary(name, pool) == pytest.approx(expected, rel=1e-3, abs=1e-4 * expected[1]), name


def test_nothing_is_golden_that_is_gone() -> None:
    assert set(json.loads(GOLDEN.read_text())) == {f"{name} {pool}" for name, pool in CASES}


if __name__ == "__main__":
    golden = {f"{name} {pool}": summary(name, pool) for name, pool in CASES}
    GOLDEN.write_text(json.dumps(golden, indent=2) + "\n")
