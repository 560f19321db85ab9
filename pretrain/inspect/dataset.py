"""A data set as the page sees it: rows with both narrations, tracks, and ground truth where there is any."""

from __future__ import annotations

import csv as csv_files
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.data.motion import TrackStore
from pretrain.data.narrations import CSV, HOD_CSV, Narrated, Narrations, read_narrations
from pretrain.hod.tracks import Tracks
from pretrain.inspect.agreement import true_tracks
from pretrain.inspect.drawing import shown_instants
from pretrain.sim.truth import Truth, read_truth

TRACKS_FILE = "tracks.zarr"
SKIPPED_CSV = "skipped.csv"
_SETTINGS = "settings.json"  # of a HOD data set: its key `data` names the folder with the videos

_ARRAYS = ("seconds", "boxes", "scores", "interpolated", "keypoints", "contact")
_BLOCK = 256  # rows that are read from tracks.zarr at once
_REMEMBERED = 8  # videos whose truth is kept: clips come one video after the other
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True)
class Clip:
    """One row.

    Attributes:
        narrated: the row as it was read.
        original: the narration by a person, or the only one there is.
        caption: the HOD narration; "" in a data set without.
        quality: 0..1; NaN where it is not known.
        accepted: whether the quality is above the data set's threshold; None where that is not known.
        source: which narrator wrote the caption; "" where that is not known.
        attempts: how many sentences it took; "" where that is not known.
        verdicts: what the check says about each slot.
        faults: what it found wrong, in words; "" if nothing.
        more: the other columns of the CSV.
    """

    narrated: Narrated
    original: str
    caption: str = ""
    quality: float = math.nan
    accepted: bool | None = None
    source: str = ""
    attempts: str = ""
    verdicts: Mapping[str, str] = field(default_factory=dict)
    faults: str = ""
    more: Mapping[str, str] = field(default_factory=dict)


class Dataset:
    """An opened data set; videos, tracks and truth are read when a clip asks for them.

    Attributes:
        folder: that was opened.
        rows: the good rows of its CSV.
        csv: name of the CSV.
        skipped: rows of the source that pretrain.hod left out: number, stage and reason.
        has_tracks: whether there are tracks beside the CSV.
        has_truth: whether there is ground truth beside the videos.

    Raises:
        ValueError: no such folder or CSV, tracks that do not belong to it, or videos that are elsewhere and
            not found.
    """

    def __init__(self, folder: Path, csv: str | None = None) -> None:
        if not folder.is_dir():
            raise ValueError(f"data={folder} is not a folder")
        source = _csv(folder, csv)
        videos = _video_folder(folder)
        self.folder, self.csv = folder, source.name
        self.rows: Narrations = read_narrations(videos, source, column=_original_column(source))
        self.skipped = _skipped(source.with_name(SKIPPED_CSV)) if source.name == HOD_CSV else []
        self._truth_folder = videos / "truth"
        self.has_truth = self._truth_folder.is_dir()
        self._store = _Store.beside(source, len(self.rows) + len(self.rows.rejected))
        self.has_tracks = self._store is not None
        self._truth = lru_cache(_REMEMBERED)(read_truth)

    def clip(self, place: int) -> Clip:
        """The row at a place of `rows`.

        Raises:
            ValueError: a column of HOD data holds what it cannot.
        """
        narrated = self.rows[place]
        more = dict(narrated.more)
        return Clip(
            narrated,
            " / ".join(narrated.texts),
            more.pop("caption", ""),
            _quality(more.pop("quality", "")),
            _accepted(more.pop("accepted", "")),
            more.pop("source", ""),
            more.pop("attempts", ""),
            _verdicts(more.pop("check", "")),
            more.pop("faults", ""),
            more,
        )

    def tracks(self, clip: Clip) -> Tracks | None:
        """The tracks of a clip; without tracks in the data set the true ones, or None if nobody knows any.

        Raises:
            ValueError: the truth or the video that is needed for it cannot be read.
        """
        if self._store is not None:
            return self._store[clip.narrated.row]
        truth = self.truth(clip)
        if truth is None:
            return None
        return true_tracks(truth, shown_instants(clip.narrated)[0])

    def truth(self, clip: Clip) -> Truth | None:
        """The ground truth of the clip's video; None in a data set without.

        Raises:
            ValueError: this video's is missing or damaged.
        """
        if not self.has_truth:
            return None
        try:
            return self._truth(self._truth_folder / f"{clip.narrated.video_id}.npz")
        except FileNotFoundError as error:
            raise ValueError(str(error)) from error


class _Store:
    """`tracks.zarr`, read a block of rows at a time."""

    def __init__(self, path: Path) -> None:
        import zarr

        group = zarr.open_group(path, mode="r")
        missing = [name for name in _ARRAYS if name not in group]
        if missing:
            raise ValueError(f"{path} has no array {missing[0]!r}: pretrain.hod writes it")
        self._arrays: dict[str, Any] = {name: group[name] for name in _ARRAYS}
        self._block = lru_cache(2)(self._read)

    @classmethod
    def beside(cls, csv: Path, rows: int) -> _Store | None:
        """The tracks beside a CSV of so many rows, if there are any."""
        path = csv.with_name(TRACKS_FILE)
        if csv.name != HOD_CSV or not path.exists():
            return None
        TrackStore(path).check(rows)
        return cls(path)

    def __getitem__(self, row: int) -> Tracks:
        block, place = self._block(row // _BLOCK), row % _BLOCK
        known = np.isfinite(block["seconds"][place])  # rows of fewer instants are filled up with NaN
        return Tracks(**{name: block[name][place][known] for name in _ARRAYS})

    def _read(self, number: int) -> dict[str, Any]:
        part = slice(number * _BLOCK, (number + 1) * _BLOCK)
        return {name: np.asarray(array[part]) for name, array in self._arrays.items()}


def _csv(folder: Path, csv: str | None) -> Path:
    names = (HOD_CSV, CSV) if csv is None else (csv,)
    places = [folder / name for name in names] + ([Path(csv)] if csv else [])
    for place in places:
        if place.is_file():
            return place.resolve()
    there = ", ".join(sorted(file.name for file in folder.glob("*.csv"))) or "none"
    raise ValueError(f"{folder} has no {' or '.join(names)}; CSV files there: {there}")


def _video_folder(folder: Path) -> Path:
    """The folder whose videos the CSV names: this one, or the one that HOD data were made from."""
    settings = folder / _SETTINGS
    if (folder / "videos").is_dir() or not settings.is_file():
        return folder
    try:
        named = json.loads(settings.read_text(encoding="utf-8")).get("data")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{settings} is no JSON object: {error}") from error
    if named is None:
        return folder
    places = (Path(named), folder / named)
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise ValueError(
            f"{settings} says that the videos are in {named}, which is no folder: change its `data`"
        )
    return found


def _original_column(source: Path) -> str | None:
    """The column of the narrations by people where HOD narrations stand beside them."""
    with source.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        header = next(csv_files.reader(lines), [])
    return "text" if {"text", "caption"} <= {name.strip() for name in header} else None


def _skipped(path: Path) -> list[tuple[str, str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = csv_files.DictReader(lines)
        return [(row["row"], row["stage"], row["reason"]) for row in rows]


def _quality(cell: str) -> float:
    if not cell:
        return math.nan
    try:
        return float(cell)
    except ValueError as error:
        raise ValueError(f"quality wants a number; got {cell!r}") from error


def _accepted(cell: str) -> bool | None:
    if not cell:
        return None
    if cell.casefold() not in (*_YES, *_NO):
        raise ValueError(f"accepted wants true or false; got {cell!r}")
    return cell.casefold() in _YES


def _verdicts(cell: str) -> dict[str, str]:
    try:
        return {str(slot): str(verdict) for slot, verdict in json.loads(cell or "{}").items()}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"check wants a JSON object of slots and verdicts; got {cell[:60]!r}") from error
