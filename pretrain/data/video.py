"""Frames of videos on disk: single files, or folders of 15 s chunks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt


class UnreadableVideoError(ValueError):
    """A video, or the part of it that was asked for, cannot be read; the message says why in one line."""


def read_frames(path: Path, seconds: Sequence[float], size: int | None = None) -> npt.NDArray[np.uint8]:
    """Frames shown at the given instants. See the contract in the helper's prompt."""
    raise NotImplementedError
