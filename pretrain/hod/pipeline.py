"""HOD data from narrated video: tracks, narrations, then one table. `stages` is what is kept on the way."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from tqdm import tqdm

from egorep.files import replacing
from pretrain.data.narrations import HOD_CSV, Narrated
from pretrain.data.video import SUFFIXES
from pretrain.hod.narrate import NarrationCounts
from pretrain.hod.stages import ARRAYS, NarrateStage, Shard, TrackStage, merged
from pretrain.hod.tracks import Tracks
from pretrain.processes import each

HEAD = ("video_id", "start_second", "end_second", "text", "caption")
JUDGED = ("quality", "egocentric", "accepted", "source", "attempts", "check", "faults")
"""Columns that the pipeline adds; those of the source follow."""

_ROW_SECONDS = 120.0  # given up after, per row of a shard: videos on slow disks, large detectors
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is done, and where it goes.

    Attributes:
        narrate: both stages, with all their settings.
        out: folder of the data set that is made.
        rows: of the source that are used, from the first on.
        shard: rows in a shard: what a kill costs, and what a process does at once.
        workers: processes.
        engine: of `pretrain.processes`.
        least_quality, least_egocentric: below which a row is not `accepted`, 0..1.
    """

    narrate: NarrateStage
    out: Path
    rows: int
    shard: int
    workers: int
    engine: str
    least_quality: float
    least_egocentric: float

    @property
    def tracks(self) -> TrackStage:
        """The first stage."""
        return self.narrate.tracks

    @property
    def shards(self) -> list[Shard]:
        """All shards of the rows."""
        starts = range(0, self.rows, self.shard)
        return [Shard(start, min(start + self.shard, self.rows)) for start in starts]


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        rows: in `hod.csv`.
        accepted: of them, good enough.
        skipped: (row, stage, reason) of all others.
        counts: of the narrations and their checks.
        rates: rows per second of each stage in this run; stages that had nothing to do are missing.
    """

    rows: int
    accepted: int
    skipped: Sequence[tuple[int, str, str]]
    counts: NarrationCounts
    rates: Mapping[str, float]


def run(plan: Plan) -> Summary:
    """Do what is missing, then write `hod.csv`, `tracks.zarr` and `skipped.csv` anew.

    Raises:
        NarratorError: the narrator cannot work at all.
        RuntimeError: a shard could not be done for a reason that is not in its rows.
    """
    rates: dict[str, float] = {}
    _do("tracks", plan.tracks.path, plan, rates, lambda shards: _find_tracks(plan, shards))
    _do("narrations", plan.narrate.path, plan, rates, lambda shards: _narrate(plan, shards))
    _link_videos(plan.tracks.narrations.data, plan.out)
    return _write(plan, rates)


def _do(
    name: str,
    path: Callable[[Shard], Path],
    plan: Plan,
    rates: dict[str, float],
    stage: Callable[[list[Shard]], Iterator[Shard]],
) -> None:
    missing = [shard for shard in plan.shards if not path(shard).is_file()]
    rows = sum(shard.stop - shard.start for shard in missing)
    began = time.perf_counter()
    with tqdm(total=plan.rows, initial=plan.rows - rows, unit="clip", desc=name) as bar:
        for shard in stage(missing):
            bar.update(shard.stop - shard.start)
    if rows:
        rates[name] = rows / (time.perf_counter() - began)


def _find_tracks(plan: Plan, shards: list[Shard]) -> Iterator[Shard]:
    timeout = _ROW_SECONDS * plan.shard
    for shard, made in each(plan.tracks, shards, plan.workers, plan.engine, timeout):
        if isinstance(made, Exception):
            _logger.warning("rows %d to %d are done one by one (%s)", shard.start, shard.stop - 1, made)
            rows = range(shard.start, shard.stop)
            found = dict(each(plan.tracks.tracks_of, rows, plan.workers, plan.engine, _ROW_SECONDS))
            outcomes = [
                str(one) if isinstance(one, Exception) else one for one in (found[row] for row in rows)
            ]
            plan.tracks.write(shard, outcomes)
        yield shard


def _narrate(plan: Plan, shards: list[Shard]) -> Iterator[Shard]:
    # Narrators have their own parallelism (batches, threads, requests at once): on one machine one does all.
    if plan.engine == "local":
        for shard in shards:
            plan.narrate(shard)
            yield shard
        return
    for shard, made in each(plan.narrate, shards, plan.workers, plan.engine, _ROW_SECONDS * plan.shard):
        if made is not None:
            raise RuntimeError(f"rows {shard.start} to {shard.stop - 1} were not narrated: {made}") from made
        yield shard


def _link_videos(data: Path, out: Path) -> None:
    """Make the videos, and EgoSim's ground truth, found from the new data set."""
    for entry in data.iterdir():
        link = out / entry.name
        if entry.name.startswith(".") or entry.resolve() == out.resolve() or link.exists():
            continue
        if entry.is_dir() or entry.suffix.lower() in SUFFIXES:
            link.symlink_to(os.path.relpath(entry.resolve(), out.resolve()))


def _write(plan: Plan, rates: Mapping[str, float]) -> Summary:
    narrations = plan.tracks.narrations
    skipped = [(row, "table", reason) for row, reason in narrations.rejected]
    counts, rows, accepted = [], 0, 0
    store = _TrackFile(plan.out / "tracks.zarr", plan.tracks.frames)
    table = plan.out / HOD_CSV
    with replacing(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        more = [name for name in narrations.columns if name not in (*HEAD, *JUDGED)]
        writer = csv.DictWriter(file, [*HEAD, *JUDGED, *more], extrasaction="ignore")
        writer.writeheader()
        for shard in plan.shards:
            tracks, without = plan.tracks.read(shard)
            captions, silent, counted = plan.narrate.read(shard)
            skipped += [(narrations[row].row, "tracks", reason) for row, reason in without.items()]
            skipped += [(narrations[row].row, "narrations", reason) for row, reason in silent.items()]
            counts.append(counted)
            lines = [_line(plan, narrations[row], caption) for row, caption in captions.items()]
            writer.writerows(lines)
            store.append([tracks[row] for row in captions])
            rows += len(lines)
            accepted += sum(line["accepted"] for line in lines)
        store.finish()
    _write_skipped(plan.out / "skipped.csv", skipped)
    return Summary(rows, accepted, skipped, merged(counts), rates)


def _line(plan: Plan, narrated: Narrated, caption: Mapping[str, Any]) -> dict[str, Any]:
    texts = narrated.texts
    good = caption["quality"] >= plan.least_quality and caption["egocentric"] >= plan.least_egocentric
    return {
        **narrated.more,
        "video_id": narrated.video_id,
        "start_second": narrated.start,
        "end_second": narrated.end,
        "text": texts[0] if len(texts) == 1 else str(list(texts)),
        **caption,
        "quality": round(caption["quality"], 3),
        "egocentric": round(caption["egocentric"], 3),
        "accepted": int(good),
        "check": json.dumps(caption["check"]),
        "faults": "; ".join(caption["faults"]),
    }


def _write_skipped(path: Path, skipped: Sequence[tuple[int, str, str]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "stage", "reason"])
        writer.writerows(sorted(skipped))


class _TrackFile:
    """`tracks.zarr`: tracks of all rows of `hod.csv`, in its order; it takes its place when it is whole."""

    def __init__(self, path: Path, frames: int) -> None:
        self._path, self._temporary = path, path.with_name(f".{path.name}.tmp")
        shutil.rmtree(self._temporary, ignore_errors=True)
        group = zarr.open_group(self._temporary, mode="w")
        empty = Tracks.empty(np.arange(frames, dtype=np.float64))
        self._arrays = {
            name: group.create_array(
                name,
                shape=(0, *getattr(empty, name).shape),
                chunks=(256, *getattr(empty, name).shape),
                dtype=getattr(empty, name).dtype,
            )
            for name in ARRAYS
        }

    def append(self, tracks: Sequence[Tracks]) -> None:
        if tracks:
            for name, array in self._arrays.items():
                array.append(np.stack([getattr(one, name) for one in tracks]))

    def finish(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        self._temporary.rename(self._path)
