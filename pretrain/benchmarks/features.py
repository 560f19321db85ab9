"""Joint features of clips and texts, each encoded once: kept on disk by what made them.

A SQLite file holds them: every batch is a transaction, so a run that is killed loses one batch, and several
runs may share the file. The key of a clip's feature is a hash of the encoder's fingerprint, of how many
pictures of which size were read, of the segment, and of the video's path, size and time of change: not of its
content, which would mean to read all of it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from egorep import Encoder
from pretrain.benchmarks.tasks import Mask, Problem
from pretrain.data.loader import ClipFormat, EvaluationClips, evaluation_loader
from pretrain.data.narrations import Narrated
from pretrain.metrics import Floats

_BATCH = 32  # clips that are read, encoded and stored together
_TEXTS = 256  # texts likewise
_BUSY_SECONDS = 600  # another run may hold the file for a moment, on a network disk for longer

_Features = dict[str, Floats]  # by key


@dataclass(frozen=True)
class ClipFeatures:
    """Features of N clips.

    Attributes:
        features: (N, D) float32; zeros where a clip was not read.
        read: (N,) whether it was.
        problems: why those that were not were not, by the clip's name.
        encoded: how many this call encoded; the others were kept from before.
    """

    features: Floats
    read: Mask
    problems: Sequence[Problem]
    encoded: int


def encode_clips(encoder: Encoder, clips: Sequence[Narrated], cache: Path, workers: int) -> ClipFeatures:
    """Features of clips by an encoder, from the cache where they are there.

    Args:
        encoder: makes them.
        clips: may name the same segment several times; it is encoded once.
        cache: SQLite file, made where it is missing.
        workers: processes that read videos, 0 for this one.

    Raises:
        ValueError: `cache` is there and is no SQLite file.
    """
    stamp = lru_cache(maxsize=None)(_video_stamp)
    form = (encoder.fingerprint, encoder.num_frames, encoder.image_size)
    keys = [_hash(*form, clip.start, clip.end, stamp(clip.path)) for clip in clips]
    wanted = dict(zip(keys, clips, strict=True))
    with closing(_open(cache)) as store:
        known = _load(store, list(wanted))
        missing = {key: clip for key, clip in wanted.items() if key not in known}
        made, problems = _encode(encoder, missing, store, workers)
    known.update(made)
    blank = np.zeros(encoder.dim, np.float32)
    features = np.stack([known.get(key, blank) for key in keys])
    return ClipFeatures(features, np.array([key in known for key in keys]), problems, len(made))


def encode_texts(encoder: Encoder, texts: Sequence[str], cache: Path) -> Floats:
    """Joint features of texts, from the cache where they are there.

    Args:
        encoder: makes them.
        texts: M of them; each different one is encoded once.
        cache: SQLite file, made where it is missing.

    Returns:
        (M, E) float32, L2-normalised.

    Raises:
        ValueError: `cache` is there and is no SQLite file.
    """
    keys = [_hash(encoder.fingerprint, "text", text) for text in texts]
    wanted = dict(zip(keys, texts, strict=True))
    with closing(_open(cache)) as store:
        known = _load(store, list(wanted))
        missing = [key for key in wanted if key not in known]
        for start in range(0, len(missing), _TEXTS):
            part = missing[start : start + _TEXTS]
            rows = encoder.text([wanted[key] for key in part]).cpu().numpy()
            made = dict(zip(part, rows, strict=True))
            _save(store, made)
            known.update(made)
    return np.stack([known[key] for key in keys])


def clip_format(encoder: Encoder) -> ClipFormat:
    """What the encoder takes of a clip."""
    return ClipFormat(encoder.num_frames, encoder.num_frames, encoder.image_size, context_length=0)


def _encode(
    encoder: Encoder, clips: Mapping[str, Narrated], store: sqlite3.Connection, workers: int
) -> tuple[_Features, list[Problem]]:
    """Encode clips by their keys, and store every batch as soon as it is done."""
    made: _Features = {}
    problems = []
    keys = list(clips)
    dataset = EvaluationClips(list(clips.values()), clip_format(encoder))
    loader = evaluation_loader(dataset, range(len(keys)), _BATCH, workers)
    with tqdm(total=len(keys), unit="clip", desc="encoding", disable=not keys) as bar:
        for number, (pictures, failures) in enumerate(loader):
            features = encoder(pictures).cpu().numpy()
            places = range(number * _BATCH, number * _BATCH + len(failures))
            batch = {}
            for place, row, failure in zip(places, features, failures, strict=True):
                if failure is None:
                    batch[keys[place]] = row
                else:
                    problems.append(Problem(failure.name, str(failure.error)))
            _save(store, batch)
            made.update(batch)
            bar.update(len(failures))
    return made, problems


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    store = sqlite3.connect(path, timeout=_BUSY_SECONDS)
    try:
        with store:
            store.execute("CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, feature BLOB NOT NULL)")
    except sqlite3.DatabaseError as error:
        store.close()
        raise ValueError(f"{path} is no file of features ({error}): remove it") from error
    return store


def _load(store: sqlite3.Connection, keys: Sequence[str]) -> _Features:
    found: _Features = {}
    for key in keys:
        row = store.execute("SELECT feature FROM features WHERE key = ?", (key,)).fetchone()
        if row is not None:
            found[key] = np.frombuffer(row[0], np.float32)
    return found


def _save(store: sqlite3.Connection, features: _Features) -> None:
    with store:
        rows = [(key, feature.astype(np.float32).tobytes()) for key, feature in features.items()]
        store.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)


def _hash(*parts: str | float) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _video_stamp(path: Path) -> str:
    """The path, and size and time of change of every file there."""
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    states = [(file.name, status.st_size, status.st_mtime_ns) for file in files if (status := file.stat())]
    return json.dumps([str(path.resolve()), states])
