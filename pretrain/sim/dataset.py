"""EgoSim on disk: clips made side by side, each whole or not there, in the field's own layout.

    videos/<video_id>/0000.mp4   15 s chunks, 30 fps, 224 px, H.264
    narrations.csv               video_id, start_second, end_second, text; then split, seed and the action
    truth/<video_id>.npz         ground truth of every frame, see `truth.Truth`
    settings.json                what the clips are drawn from

or, of stills, `stills/<video_id>.npz` alone, see `stills.Stills`.

A clip is finished once its ground truth stands: that is written last. Clip i depends on the settings and on i
alone, so a run that was stopped goes on, and one that asks for more clips adds to those that are there.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from egorep.files import replacing
from egorep.video_files import write_mp4
from pretrain.data.skipping import SkipCounter
from pretrain.processes import in_processes
from pretrain.sim.clip import Clip, film, plan
from pretrain.sim.filming import Filmer
from pretrain.sim.motion import FPS
from pretrain.sim.splits import SPLITS, Split
from pretrain.sim.stills import film_stills, write_stills
from pretrain.sim.truth import read_rows, write_truth

CLIPS_VERSION = 2
"""Raised when a seed's clip changes: clips of two versions do not mix in a data set."""

CHUNK_SECONDS = 15
ROW = ("video_id", "start_second", "end_second", "text", "split", "seed")
ACTION = (
    *("verb", "hand", "object", "kind", "colour", "target", "target_kind", "target_colour"),
    *("direction", "speed", "outcome"),
)

_TIMEOUT = 600.0  # seconds for a clip, which takes about five: a worker that hangs is replaced
_WITHOUT_SCENE = 0.02  # share of clips that may fail; more means that something is wrong


@dataclass(frozen=True)
class Recipe:
    """What the clips of a data set are drawn from.

    Attributes:
        seed: of the first clip; clip i has seed + i.
        shares: of the clips in each split, adding up to 1.
        verbs: that clips lead with, in turn; empty: any.
        stills: pictures of each clip, with looks and views of their own, that stand for it; None: its video.
    """

    seed: int
    shares: Mapping[Split, float]
    verbs: tuple[str, ...] = ()
    stills: int | None = None

    def clips(self, count: int) -> Iterator[Job]:
        """The first `count` clips. Every prefix holds the splits in their shares, to a clip."""
        given = dict.fromkeys(SPLITS, 0)
        for index in range(count):
            split = max(SPLITS, key=lambda name: self.shares.get(name, 0.0) * (index + 1) - given[name])
            given[split] += 1
            # Verbs go round within a split: over all clips, a split might meet every second one only.
            verb = self.verbs[(given[split] - 1) % len(self.verbs)] if self.verbs else None
            name = f"{split}_{self.seed + index:07d}"
            yield Job(name, self.seed + index, split, verb, self.stills)


@dataclass(frozen=True)
class Job:
    """One clip to make, see `clip.record`; `stills` as in `Recipe`."""

    video_id: str
    seed: int
    split: Split
    verb: str | None
    stills: int | None

    def path(self, folder: Path) -> Path:
        """The file that says that it is finished."""
        kind = "truth" if self.stills is None else "stills"
        return folder / kind / f"{self.video_id}.npz"


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        made, kept: clips made now, and found finished.
        frames: of the clips made now; of stills their number.
        skipped: why others are missing.
        redrawn: infeasible draws among the clips made now, by verb.
    """

    made: int
    kept: int
    frames: int
    skipped: SkipCounter
    redrawn: Mapping[str, int]


def make(folder: Path, recipe: Recipe, count: int, workers: int) -> Summary:
    """Make the clips that are missing, with a progress bar, then, of videos, write `narrations.csv` anew.

    Args:
        folder: of the data set; made if missing.
        recipe: what the clips are drawn from.
        count: clips that the data set shall hold, at least.
        workers: processes.

    Raises:
        ValueError: the folder holds clips of another recipe.
        TooManySkippedError: more than 2 % of the clips, and at least two, could not be made.
    """
    _claim(folder, recipe)
    for temporary in folder.glob("**/.*.tmp"):  # of a run that was killed
        temporary.unlink()
    jobs = list(recipe.clips(count))
    missing = [job for job in jobs if not job.path(folder).is_file()]
    skipped = SkipCounter(limit_share=_WITHOUT_SCENE)
    frames, redrawn = 0, Counter[str]()
    kept = len(jobs) - len(missing)
    with tqdm(total=count, initial=kept, unit="clip", desc=str(folder)) as bar:
        try:
            for job, outcome in in_processes(partial(_make_one, folder=folder), missing, workers, _TIMEOUT):
                bar.update()
                if isinstance(outcome, Exception):
                    skipped.skip(f"{job.video_id} (seed {job.seed}, {job.split})", outcome)
                    continue
                skipped.done()
                frames += outcome[0]
                redrawn.update(outcome[1])
        finally:
            if recipe.stills is None:
                write_narrations(folder)
    return Summary(skipped.succeeded, kept, frames, skipped, redrawn)


def write_narrations(folder: Path) -> int:
    """Write `narrations.csv` of all finished clips, by seed; returns the number of its rows."""
    rows = [row for path in (folder / "truth").glob("*.npz") for row in read_rows(path)]
    rows.sort(key=lambda row: (row["seed"], row["start_second"]))
    path = folder / "narrations.csv"
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*ROW, *ACTION])
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def write_clip(folder: Path, video_id: str, clip: Clip) -> None:
    """Write a clip's chunks, then its ground truth, which says that it is finished."""
    chunk = CHUNK_SECONDS * FPS
    for number, start in enumerate(range(0, len(clip.frames), chunk)):
        # Reading a frame decodes all since the last keyframe: three keyframes a second make that a third of
        # the work, for a tenth more disk. Preset superfast takes half of veryfast's time.
        write_mp4(
            folder / "videos" / video_id / f"{number:04d}.mp4",
            clip.frames[start : start + chunk],
            FPS,
            preset="superfast",
            crf=22,
            keyframe_every=FPS // 3,
        )
    path = folder / "truth" / f"{video_id}.npz"
    path.parent.mkdir(exist_ok=True)
    write_truth(path, clip.truth, _rows(video_id, clip))


def _rows(video_id: str, clip: Clip) -> list[dict[str, Any]]:
    rows = []
    for segment in clip.segments:
        action = asdict(segment.action)
        action["object"] = action["name"]
        about = {name: action[name] for name in ACTION}
        times = (round(segment.start, 3), round(segment.end, 3))
        head = (video_id, *times, segment.text, clip.split, clip.seed)
        rows.append({**dict(zip(ROW, head, strict=True)), **about})
    return rows


def _claim(folder: Path, recipe: Recipe) -> None:
    """Note what the clips are drawn from; refuse a folder whose clips were drawn from something else."""
    settings = {"version": CLIPS_VERSION, **asdict(recipe), "verbs": list(recipe.verbs)}
    path = folder / "settings.json"
    folder.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in settings if found.get(key) != settings[key]]
        if differing:
            key = differing[0]
            raise ValueError(
                f"{folder} holds clips made with {key}={found.get(key)}, not {settings[key]}: "
                "give another out, or the same settings"
            )
        return
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


# Processes

_filmer: Filmer | None = None  # of a worker: contexts are costly


def _make_one(job: Job, folder: Path) -> tuple[int, dict[str, int]]:
    global _filmer
    played = plan(job.seed, job.split, job.verb)
    _filmer = _filmer or Filmer()
    if job.stills is not None:
        write_stills(job.path(folder), film_stills(played, job.stills, _filmer))
        return job.stills, dict(played.redrawn)
    clip = film(played, _filmer)
    write_clip(folder, job.video_id, clip)
    return len(clip.frames), dict(clip.redrawn)
