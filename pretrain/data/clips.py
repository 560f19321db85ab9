"""Which instants of a narrated segment a model sees: the sampling of EgoVideo, and the pictures there.

The slow pathway's frames are picked from a clip's by `egorep.preprocessing.middle_frames`.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pretrain.data.narrations import Narrated
from pretrain.data.video import Pictures, probe, read_frames

LEAST_SECONDS = 1.0
"""A clip is at least this long (EgoVideo's data, arXiv 2503.00986)."""


def sample_instants(
    start: float, end: float, frames: int, rng: np.random.Generator | None = None
) -> npt.NDArray[np.float64]:
    """Instants at which a segment is looked at: it is cut into equal parts, and one is taken of each.

    Args:
        start: of the segment in seconds.
        end: of the segment in seconds, after its start.
        frames: how many, > 0.
        rng: None takes the middle of each part, as in evaluation; a generator takes a random instant in each,
            as in training.

    Returns:
        (frames,) seconds, rising, within the segment.

    Raises:
        ValueError: a segment without length, or no frames.
    """
    if not (np.isfinite([start, end]).all() and start < end and frames > 0):
        raise ValueError(f"wants start < end and frames > 0; got start={start}, end={end}, frames={frames}")
    shifts = np.full(frames, 0.5) if rng is None else rng.random(frames)
    return start + (end - start) * (np.arange(frames) + shifts) / frames


def clip_bounds(narrated: Narrated) -> tuple[float, float]:
    """Start and end of what is read of a row, in seconds since the video's start.

    A segment shorter than `LEAST_SECONDS` is widened to that around its middle, and moved into the video
    where it would reach beyond. Only for this is the video opened, once per process. A shorter video is taken
    whole; a segment that begins after the end of its video stays as it is, for reading it to fail.

    Raises:
        UnreadableVideoError: the segment is too short, and the video cannot be read.
    """
    start, end = narrated.start, narrated.end
    if end - start >= LEAST_SECONDS:
        return start, end
    length = _seconds(narrated.path)
    if start >= length:
        return start, end
    latest = max(length - LEAST_SECONDS, 0.0)
    start = min(max((start + end - LEAST_SECONDS) / 2, 0.0), latest)
    return start, min(start + LEAST_SECONDS, length)


def read_clip(narrated: Narrated, frames: int, size: int, rng: np.random.Generator | None = None) -> Pictures:
    """The pictures of a row, at least one second of its video (see `clip_bounds`).

    Args:
        narrated: the row.
        frames: T, how many pictures.
        size: side of the square pictures.
        rng: where a random instant of each part is wanted (see `sample_instants`).

    Returns:
        (T, size, size, 3) uint8 RGB.

    Raises:
        UnreadableVideoError: see `pretrain.data.video.read_frames`.
    """
    return read_frames(narrated.path, sample_instants(*clip_bounds(narrated), frames, rng), size)


@functools.lru_cache(maxsize=65536)
def _seconds(path: Path) -> float:
    return probe(path).seconds
