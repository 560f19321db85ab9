"""The two stages of HOD data, over shards of rows: tracks, then narrations. A shard is one file.

A stage's folder is named after all that decides its results, so that a changed setting never meets old files,
and another narrator finds the tracks that are there.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from egorep.files import replacing
from pretrain.data.clips import clip_bounds, sample_instants
from pretrain.data.narrations import Narrated, Narrations
from pretrain.data.video import read_frames
from pretrain.hod.check import SlotCounts
from pretrain.hod.contact import ContactOptions, find_contact
from pretrain.hod.detectors import ClipFrames, Detector, load_detector
from pretrain.hod.egocentric import egocentric_score
from pretrain.hod.motion import MotionSettings, describe
from pretrain.hod.narrate import NarrateSettings, NarrationCounts, narrate_checked
from pretrain.hod.narrators import Narrator, load_narrator
from pretrain.hod.prompt import Request, core
from pretrain.hod.tracking import TrackingOptions, track
from pretrain.hod.tracks import Tracks

VERSION = 1
"""Raised when the same settings give other results."""

_SIDE = 480  # pixels of the shorter side that detectors see at most: full HD is slower and no better

ARRAYS = tuple(field.name for field in fields(Tracks))
"""The arrays of `Tracks`, which are stored under their names."""


@dataclass(frozen=True)
class Shard:
    """Rows `start` to `stop` of a data set."""

    start: int
    stop: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.start:08d}"


@dataclass(frozen=True)
class TrackStage:
    """Rows to tracks. Can be pickled; a process loads the detector when it first needs it.

    Attributes:
        folder: of the stage's files, see `key`.
        detector, options: for `load_detector`.
        frames: instants of each clip.
        tracking, contact: settings of what comes after detection.
    """

    folder: Path
    narrations: Narrations
    detector: str
    options: Mapping[str, Any]
    frames: int
    tracking: TrackingOptions
    contact: ContactOptions

    @property
    def key(self) -> str:
        """Of what decides the tracks, the rows apart."""
        return key_of(
            {
                "detector": self.detector,
                "options": dict(self.options),
                "frames": self.frames,
                "tracking": asdict(self.tracking),
                "contact": asdict(self.contact),
            }
        )

    def load(self) -> Detector:
        """The detector, loaded once in a process; errors as of `load_detector`."""
        return _detector(self.detector, json.dumps(dict(self.options), default=str))

    def path(self, shard: Shard) -> Path:
        """The shard's file."""
        return self.folder / f"tracks-{self.key}" / f"{shard.name}.npz"

    def __call__(self, shard: Shard) -> None:
        """Find the tracks of a shard's rows and write them."""
        self.write(shard, [self.tracks_of(row) for row in range(shard.start, shard.stop)])

    def tracks_of(self, row: int) -> Tracks | str:
        """Tracks of one row, or why there are none."""
        narrated = self.narrations[row]
        try:
            start, end = clip_bounds(narrated)
            seconds = sample_instants(start, end, self.frames)
            frames = _not_too_large(read_frames(narrated.path, seconds))
            clip = ClipFrames(frames, seconds, narrated.video_id)
            detections = self.load().detect(clip)
            return track(find_contact(frames, detections, self.contact), seconds, self.tracking)
        except ValueError as error:  # unreadable videos and clips that a detector cannot answer
            return str(error)

    def write(self, shard: Shard, outcomes: Sequence[Tracks | str]) -> None:
        """Write the tracks of a shard's rows, and why others have none."""
        rows = [shard.start + i for i, outcome in enumerate(outcomes) if isinstance(outcome, Tracks)]
        failed = {shard.start + i: outcome for i, outcome in enumerate(outcomes) if isinstance(outcome, str)}
        found = [outcome for outcome in outcomes if isinstance(outcome, Tracks)]
        path = self.path(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                rows=np.array(rows, np.int64),
                failed=json.dumps(failed),
                **{name: np.stack([getattr(one, name) for one in found]) for name in ARRAYS if found},
            )

    def read(self, shard: Shard) -> tuple[dict[int, Tracks], dict[int, str]]:
        """Tracks by row, and reasons by row."""
        with np.load(self.path(shard)) as file:
            failed = {int(row): str(reason) for row, reason in json.loads(str(file["failed"])).items()}
            rows = [int(row) for row in file["rows"]]
            arrays = {name: file[name] for name in ARRAYS} if rows else {}
        tracks = {
            row: Tracks(**{name: array[place] for name, array in arrays.items()})
            for place, row in enumerate(rows)
        }
        return tracks, failed


@dataclass(frozen=True)
class NarrateStage:
    """Tracks to narrations. Can be pickled; a process loads the narrator when it first needs it.

    Attributes:
        tracks: the stage before.
        narrator, options: for `load_narrator`.
        motion, narrate: settings of what is said and of its checks.
    """

    tracks: TrackStage
    narrator: str
    options: Mapping[str, Any]
    motion: MotionSettings
    narrate: NarrateSettings

    @property
    def key(self) -> str:
        """Of what decides the narrations."""
        return key_of(
            {
                "tracks": self.tracks.key,
                "narrator": self.narrator,
                "options": dict(self.options),
                "motion": asdict(self.motion),
                "narrate": asdict(self.narrate),
            }
        )

    def load(self) -> Narrator:
        """The narrator, loaded once in a process; errors as of `load_narrator`."""
        return _narrator(self.narrator, json.dumps(dict(self.options)))

    def path(self, shard: Shard) -> Path:
        """The shard's file."""
        return self.tracks.folder / f"narrations-{self.key}" / f"{shard.name}.json"

    def __call__(self, shard: Shard) -> None:
        """Narrate a shard's rows and write that."""
        tracks, _ = self.tracks.read(shard)
        narrated = {row: self.tracks.narrations[row] for row in tracks}
        silent = {row: "no original narration" for row, one in narrated.items() if not core(one.texts[0])}
        rows = [row for row in tracks if row not in silent]
        requests = [self._request(narrated[row], tracks[row]) for row in rows]
        counts = NarrationCounts()
        made = narrate_checked(requests, self.load(), self.narrate, counts)
        captions = {
            row: {
                "caption": one.text,
                "source": self.narrator if one.by == "narrator" else "template",
                "attempts": one.attempt + 1,
                "quality": one.quality,
                "egocentric": egocentric_score(tracks[row]),
                "check": {**one.result.verdicts, **dict.fromkeys(one.result.missing, "missing")},
                "faults": list(one.result.faults),
            }
            for row, one in zip(rows, made, strict=True)
        }
        path = self.path(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"captions": captions, "failed": silent, "counts": _plain_counts(counts)}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    def read(self, shard: Shard) -> tuple[dict[int, dict[str, Any]], dict[int, str], NarrationCounts]:
        """Captions by row, reasons by row, and the shard's counts."""
        content = json.loads(self.path(shard).read_text(encoding="utf-8"))
        captions = {int(row): caption for row, caption in content["captions"].items()}
        failed = {int(row): reason for row, reason in content["failed"].items()}
        return captions, failed, _read_counts(content["counts"])

    def _request(self, narrated: Narrated, tracks: Tracks) -> Request:
        key = f"{narrated.video_id}:{narrated.start:.3f}:{narrated.row}"
        return Request(key, narrated.texts[0], describe(tracks, self.motion), tracks)


def key_of(settings: Mapping[str, Any]) -> str:
    """A short name for settings."""
    text = json.dumps({"version": VERSION, **settings}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def merged(counts: Sequence[NarrationCounts]) -> NarrationCounts:
    """The counts of several shards as one."""
    total = NarrationCounts()
    for one in counts:
        for name in ("total", "at_once", "retried", "replaced", "silent"):
            setattr(total, name, getattr(total, name) + getattr(one, name))
        for sum_, part in ((total.before, one.before), (total.after, one.after)):
            sum_.total += part.total
            sum_.passed += part.passed
            sum_.verdicts += part.verdicts
            sum_.missing += part.missing
    return total


@functools.lru_cache(maxsize=1)
def _detector(name: str, options: str) -> Detector:
    return load_detector(name, **json.loads(options))


@functools.lru_cache(maxsize=1)
def _narrator(name: str, options: str) -> Narrator:
    return load_narrator(name, **json.loads(options))


def _not_too_large(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = frames.shape[1:3]
    scale = _SIDE / min(height, width)
    if scale >= 1:
        return frames
    size = (round(width * scale), round(height * scale))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def _plain_counts(counts: NarrationCounts) -> dict[str, Any]:
    plain: dict[str, Any] = asdict(replace(counts, before=SlotCounts(), after=SlotCounts()))
    for name in ("before", "after"):
        slots: SlotCounts = getattr(counts, name)
        plain[name] = {
            "total": slots.total,
            "passed": slots.passed,
            "verdicts": [[slot, verdict, number] for (slot, verdict), number in slots.verdicts.items()],
            "missing": dict(slots.missing),
        }
    return plain


def _read_counts(plain: Mapping[str, Any]) -> NarrationCounts:
    slots = {
        name: SlotCounts(
            plain[name]["total"],
            plain[name]["passed"],
            Counter({(slot, verdict): number for slot, verdict, number in plain[name]["verdicts"]}),
            Counter(plain[name]["missing"]),
        )
        for name in ("before", "after")
    }
    return NarrationCounts(**{**plain, **slots})
