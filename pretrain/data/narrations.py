"""Narrated clips of videos on disk, in the layouts that the field has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Narrated:
    """One row of a data set: a segment of a video and what is said about it.

    Attributes:
        video_id: names the video under the data set's `videos/`.
        path: of the video: a file, or a folder of 15 s chunks `0000.mp4`, `0001.mp4`, ...
        start, end: seconds since the video's start.
        texts: one narration or several that mean the same; the first is the original.
        row: number of the row in its CSV, from 0, which names it in reports.
        more: every other column of the CSV as it is (EgoSim: split, verb, hand, ...).
    """

    video_id: str
    path: Path
    start: float
    end: float
    texts: tuple[str, ...]
    row: int
    more: Mapping[str, str] = field(default_factory=dict)
