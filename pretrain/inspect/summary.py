"""What the page's numbers and plots sum up, over many rows of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pretrain.data.flip import TRACKS
from pretrain.hod.motion import SIDES, Path, describe
from pretrain.hod.tracks import Tracks
from pretrain.inspect.agreement import Agreement, agree
from pretrain.inspect.dataset import Clip, Dataset

STILL, UNKNOWN = "stays still", "not seen enough"
"""What a hand does that has no direction; see `pretrain.hod.motion`."""


@dataclass(frozen=True)
class Problem:
    """A row that could not be summed up or shown.

    Attributes:
        row: number of the row in its CSV, from 0.
        video_id: "" where the row has none.
        reason: in one line.
    """

    row: int
    video_id: str
    reason: str


@dataclass
class Coverage:
    """At how many instants each of `TRACKS` has a box.

    Attributes:
        instants: of all clips together.
        detected: (5,) with a box that was detected.
        filled: (5,) with a box that was filled in.
    """

    instants: int = 0
    detected: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(TRACKS), np.int64))
    filled: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(TRACKS), np.int64))

    def add(self, tracks: Tracks) -> None:
        """Count a clip."""
        filled = tracks.visible & tracks.interpolated
        self.instants += len(tracks.seconds)
        self.filled += filled.sum(0)
        self.detected += (tracks.visible & ~filled).sum(0)


@dataclass
class Summary:
    """Over the rows that were asked for.

    Attributes:
        clips: those that could be summed up, by their place in the data set.
        coverage: of the tracks.
        directions: how often each hand set out which way, by side: one of `pretrain.hod.motion.DIRECTIONS`,
            `STILL` or `UNKNOWN`.
        agreements: with the truth, by place in the data set.
        problems: the rows that could not be summed up.
    """

    clips: dict[int, Clip] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    directions: dict[str, Counter[str]] = field(default_factory=lambda: {side: Counter() for side in SIDES})
    agreements: dict[int, Agreement] = field(default_factory=dict)
    problems: dict[int, Problem] = field(default_factory=dict)

    @property
    def qualities(self) -> dict[int, float]:
        """The qualities that are known, by place in the data set."""
        return {place: clip.quality for place, clip in self.clips.items() if not np.isnan(clip.quality)}

    @property
    def agreement(self) -> Agreement:
        """Over all clips, each instant counting the same."""
        return sum(self.agreements.values(), Agreement())

    @property
    def verdicts(self) -> dict[str, Counter[str]]:
        """How often each slot of the check had each verdict."""
        found: dict[str, Counter[str]] = {}
        for clip in self.clips.values():
            for slot, verdict in clip.verdicts.items():
                found.setdefault(slot, Counter())[verdict] += 1
        return found

    @property
    def sources(self) -> Counter[str]:
        """How many captions each narrator wrote."""
        return Counter(clip.source for clip in self.clips.values() if clip.source)


def summarise(dataset: Dataset, places: Iterable[int]) -> Summary:
    """Read rows, their tracks and their truth; videos are not opened."""
    summary = Summary()
    for place in tqdm(sorted(places), desc="rows", disable=None):
        narrated = dataset.rows[place]
        try:
            _add(summary, dataset, place)
        except ValueError as error:
            summary.problems[place] = Problem(narrated.row, narrated.video_id, one_line(error))
    return summary


def one_line(error: Exception) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def spread(count: int, among: int) -> list[int]:
    """At most `count` places, spread evenly over `among`: the middles of equal parts."""
    count = min(count, among)
    return [int((number + 0.5) * among / count) for number in range(count)]


def _add(summary: Summary, dataset: Dataset, place: int) -> None:
    clip = dataset.clip(place)
    tracks = dataset.tracks(clip)
    truth = dataset.truth(clip) if dataset.has_tracks else None
    agreement = None if truth is None or tracks is None else agree(tracks, truth)
    summary.clips[place] = clip
    if tracks is not None:
        summary.coverage.add(tracks)
        for side, hand in zip(SIDES, describe(tracks).hands, strict=True):
            summary.directions[side][_way(hand.path)] += 1
    if agreement is not None:
        summary.agreements[place] = agreement


def _way(path: Path) -> str:
    if not path.known:
        return UNKNOWN
    return path.legs[0].direction if path.legs else STILL
