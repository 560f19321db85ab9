"""A part of the training data to select on, where a benchmark has no validation set of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pretrain.sim.seeds import stable_hash

_SHARE = 0.1

_Row = TypeVar("_Row")


def by_video(rows: Sequence[_Row], video: Callable[[_Row], str]) -> tuple[list[_Row], list[_Row]]:
    """Divide rows by their videos, so that no video is on both sides.

    A tenth of the videos, at least one, is held out: those whose names have the lowest hashes, so it is the
    same tenth on every machine.

    Args:
        rows: to divide.
        video: names the video of a row.

    Returns:
        The rows to learn from, and those to select on.

    Raises:
        ValueError: there are fewer than two videos.
    """
    names = sorted({video(row) for row in rows}, key=lambda name: stable_hash("holdout", name))
    if len(names) < 2:
        raise ValueError(f"training wants clips of two videos at least, one to select on; got {len(names)}")
    held = set(names[: max(1, round(_SHARE * len(names)))])
    return [row for row in rows if video(row) not in held], [row for row in rows if video(row) in held]
