"""Results on disk: one small file per finished evaluation, merged into one Parquet table.

A run can be killed at any point. A unit's file appears whole or not at all, so what is there is finished, and
what is not is to be done; the table is only ever rebuilt from the units.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from egorep.files import replacing
from robot_eval.variation import TRAIN_VARIATIONS, VARIATIONS

log = logging.getLogger(__name__)

ROLES = ("checkpoint", "held_out")
SUCCESS_RULES = ("any", "last")

# What makes two rows the same evaluation; the rest of a row is its outcome.
IDENTITY = (
    "suite",
    "task",
    "encoder",
    "policy",
    "protocol",
    "train_variation",
    "variation",
    "seed",
    "role",
    "checkpoint",
    "render",
    "camera",
    "demos",
    "success_rule",
    "encoder_fingerprint",
    "demos_fingerprint",
)

# Fields that results of earlier versions lack.
_ADDED_LATER = frozenset(
    {"strict_any", "strict_last", "demos_frame_hash", "horizon", "render_size", "picture_size"}
)

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class EvaluationRow:
    """One evaluation of one policy: who was judged, under what, and what came of every episode.

    The episode lists have one entry per episode, in the same order. `checkpoint` counts optimiser steps and
    `train_seconds` the seconds of training from the start to that checkpoint. A row of role "checkpoint" was
    evaluated during training, on the evaluation seeds; one of role "held_out" is the policy picked by `best`,
    on fresh seeds. `video` is a path relative to the run folder and shows the row's first episode.

    `strict_any` and `strict_last` are the successes by a measure that leaves no doubt, where the suite's own
    is loose. `frame_hash` is that of the reference frame as the rollouts' simulator drew it, and
    `demos_frame_hash` as the demonstrations' did. What rows older than a field do not say is None.

    Raises:
        ValueError: an unknown role, rule or variation, no episode, episode lists of different lengths, or a
            strict success that is no success.
    """

    encoder: str
    encoder_fingerprint: str
    suite: str
    task: str
    policy: str
    protocol: str
    seed: int
    train_variation: str
    variation: str
    render: str
    camera: str
    checkpoint: int
    role: str
    success_rule: str
    episode_seeds: list[int]
    success_any: list[bool]
    success_last: list[bool]
    episode_steps: list[int]
    demos: int
    demos_fingerprint: str
    demos_discarded: int
    frame_hash: str
    train_loss: float
    train_seconds: float
    rollout_seconds: float
    restarts: int
    versions: dict[str, str]
    video: str | None = None
    strict_any: list[bool] | None = None
    strict_last: list[bool] | None = None
    demos_frame_hash: str | None = None
    horizon: int | None = None
    render_size: int | None = None
    picture_size: int | None = None

    def __post_init__(self) -> None:
        for name, valid in (
            ("role", ROLES),
            ("success_rule", SUCCESS_RULES),
            ("train_variation", TRAIN_VARIATIONS),
            ("variation", VARIATIONS),
        ):
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} must be one of {', '.join(valid)}; got {getattr(self, name)!r}")
        if self.variation not in TRAIN_VARIATIONS and self.role != "held_out":
            raise ValueError(
                f"variation {self.variation!r} is for held_out rows only: no policy is picked under it"
            )
        self._check_episodes()

    def _check_episodes(self) -> None:
        names = ("episode_seeds", "success_any", "success_last", "episode_steps", "strict_any", "strict_last")
        lengths = {name: len(getattr(self, name)) for name in names if getattr(self, name) is not None}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(
                f"an evaluation needs the same number (> 0) of entries in each list; got {lengths}"
            )
        if len(set(self.episode_seeds)) != len(self.episode_seeds):
            raise ValueError("episode_seeds repeat: an episode would count twice")
        _check_strict("any", self.strict_any, self.success_any)
        _check_strict("last", self.strict_last, self.success_last)

    @property
    def identity(self) -> tuple[Any, ...]:
        """Which evaluation this is: its values of `IDENTITY`."""
        return tuple(getattr(self, name) for name in IDENTITY)

    @property
    def successes(self) -> list[bool]:
        """The outcomes under the row's own success rule, one per episode."""
        return self.success_any if self.success_rule == "any" else self.success_last

    def to_record(self) -> dict[str, Any]:
        """The row as plain values for JSON and Parquet; `versions` becomes a JSON string."""
        return asdict(self) | {"versions": json.dumps(self.versions, sort_keys=True)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> EvaluationRow:
        """The row that `to_record` wrote.

        Raises:
            ValueError: a column is missing or unknown, or its values do not make a row.
        """
        names = {field.name for field in fields(cls)}
        wrong = (names - _ADDED_LATER - set(record)) | (set(record) - names)
        if wrong:
            raise ValueError(f"not a result: columns {sorted(wrong)} are missing or unknown")
        return cls(**{**record, "versions": json.loads(record["versions"])})


class ResultStore:
    """The finished evaluations of one run folder, each under a key that says what it was computed from."""

    def __init__(self, run_folder: str | Path) -> None:
        self.run_folder = Path(run_folder)
        self.units = self.run_folder / "units"

    def has(self, key: str) -> bool:
        """Whether the unit is finished and readable; a damaged file is warned of and counts as not done."""
        return _read_unit(self._path(key)) is not None

    def read(self, key: str) -> EvaluationRow:
        """The row of a finished unit.

        Raises:
            KeyError: the unit is not finished, or its file is damaged.
        """
        row = _read_unit(self._path(key))
        if row is None:
            raise KeyError(f"no finished unit {key} in {self.units}")
        return row

    def write(self, key: str, row: EvaluationRow) -> None:
        """Keep a finished unit; another one under the same key is replaced.

        Raises:
            ValueError: a key that is no safe file name.
        """
        path = self._path(key)
        self.units.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(row.to_record(), default=_plain), encoding="utf-8")

    def rows(self, keys: Iterable[str] | None = None) -> list[EvaluationRow]:
        """Finished rows, each evaluation once, ordered by what they are and not by when they were written.

        Args:
            keys: the units wanted, such as those of the present configuration in a folder that also holds
                others; all when None. Unfinished ones are left out.
        """
        return [row for _, row in self.dated_rows(keys)]

    def dated_rows(self, keys: Iterable[str] | None = None) -> list[tuple[int, EvaluationRow]]:
        """As `rows`, each with the time at which its unit was written, in nanoseconds of the file system."""
        paths = self.units.glob("*.json") if keys is None else map(self._path, set(keys))
        dated = [(path.stat().st_mtime_ns, path) for path in paths if path.exists()]
        found: dict[tuple[Any, ...], tuple[int, EvaluationRow]] = {}
        for written, path in sorted(dated):
            row = _read_unit(path)
            if row is None:
                continue
            if row.identity in found:
                log.warning("%s repeats an evaluation that another unit holds; the newer one counts", path)
            found[row.identity] = (written, row)
        return [found[identity] for identity in sorted(found)]

    def merge(self, keys: Iterable[str] | None = None) -> pd.DataFrame:
        """Write `results.parquet` from the units and return it as `read_results` would.

        Args:
            keys: as in `rows`.

        Raises:
            ValueError: none of these units is finished.
        """
        rows = self.rows(keys)
        if not rows:
            raise ValueError(f"no finished evaluation in {self.units}")
        return write_results(self.run_folder, rows)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"a key must be a file name of letters, digits, '.', '_' and '-'; got {key!r}")
        return self.units / f"{key}.json"


def write_results(run_folder: str | Path, rows: Iterable[EvaluationRow]) -> pd.DataFrame:
    """Write `results.parquet` and return it as `read_results` would."""
    path = Path(run_folder) / "results.parquet"
    records = [row.to_record() for row in rows]
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(records, schema=_schema()), temporary)
    return read_results(path)


def read_results(path: str | Path) -> pd.DataFrame:
    """The table of a run: one row per evaluation, the columns of `EvaluationRow`.

    Args:
        path: `results.parquet`, or the run folder that holds it.

    Raises:
        FileNotFoundError: no table there.
        ValueError: the file lacks columns of `EvaluationRow` that are not of a later version.
    """
    return frame_of(read_rows(path))


def read_rows(path: str | Path) -> list[EvaluationRow]:
    """The rows of a table; arguments and errors as of `read_results`."""
    path = Path(path)
    path = path / "results.parquet" if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"no results at {path}; a run writes them as results.parquet")
    return [EvaluationRow.from_record(record) for record in pq.read_table(path).to_pylist()]


def frame_of(rows: Iterable[EvaluationRow]) -> pd.DataFrame:
    """Rows as a frame: the columns of `EvaluationRow`; `versions` are dictionaries, the unknown is None."""
    rows = list(rows)
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(EvaluationRow)}
    # As objects, what may be None stays None: pandas would make floats of whole numbers with gaps.
    kinds = dict.fromkeys({"video", *_ADDED_LATER}, object)
    return pd.DataFrame({name: pd.Series(values, dtype=kinds.get(name)) for name, values in columns.items()})


def _check_strict(rule: str, strict: list[bool] | None, success: list[bool]) -> None:
    if strict is not None and any(hard and not soft for hard, soft in zip(strict, success, strict=True)):
        raise ValueError(f"strict_{rule} counts an episode that success_{rule} does not")


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no value of a result")


def _read_unit(path: Path) -> EvaluationRow | None:
    """The row in a unit's file; None if there is no file, or, with a warning, if it is damaged."""
    if not path.exists():
        return None
    try:
        return EvaluationRow.from_record(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        log.warning("%s is damaged and will be done again (%s)", path, error)
        return None


def _schema() -> pa.Schema:
    types = {
        "list[int]": pa.list_(pa.int64()),
        "list[bool]": pa.list_(pa.bool_()),
        "int": pa.int64(),
        "float": pa.float64(),
        "str": pa.string(),
        "dict[str, str]": pa.string(),  # JSON
    }
    return pa.schema(
        [(field.name, types[str(field.type).removesuffix(" | None")]) for field in fields(EvaluationRow)]
    )
