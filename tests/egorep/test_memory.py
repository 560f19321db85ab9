from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

MEASURE = """
import resource, sys
import numpy as np, torch
from egorep import load_encoder
torch.set_num_threads(1)
encoder = load_encoder(sys.argv[1])
few, many = (np.zeros((count, 16, 16, 3), np.uint8) for count in (8, int(sys.argv[2])))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
encoder(few)
before = peak()
features = encoder(many)
print(peak() - before, features.nbytes // 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("random/egovideo_tiny", 10_000), ("random/egovideo_base", 60)])
def test_memory_does_not_grow_with_the_number_of_frames(
    name: str, count: int, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """In one pass, 60 clips of the base size would take gigabytes; split by itself, next to nothing."""
    run = run_python(MEASURE, name, str(count))
    grown, kept = map(int, run.stdout.split())
    assert grown < 100 + 3 * kept, "MB"
