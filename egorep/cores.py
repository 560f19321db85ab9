"""How many cores a process may use: those of its machine or allocation, shared with jobs beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_SHARE = "EGOREP_CORES"  # an environment variable, so that processes of a job know it, too


def available_cores() -> int:
    """Cores that this process may run on: a scheduler such as SLURM gives a job some of a machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores() -> int:
    """Cores to plan for: the available ones or, in `sharing_cores`, a share of them."""
    share = os.environ.get(_SHARE)
    return int(share) if share else available_cores()


@contextmanager
def sharing_cores(jobs: int) -> Iterator[None]:
    """Let `cores` be a fair share of the available ones, at least one, while the block runs.

    Args:
        jobs: that run on this machine at once, this one included; with 1 nothing changes.
    """
    before = os.environ.get(_SHARE)
    if jobs > 1:
        os.environ[_SHARE] = str(max(1, available_cores() // jobs))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_SHARE, None)
        else:
            os.environ[_SHARE] = before
