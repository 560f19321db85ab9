"""What probes found, on disk and as tables: a small file per encoder and task, and one table of all."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egorep.files import replacing
from egorep.intervals import Interval
from robot_eval.stats import format_cell, text_grid

_logger = logging.getLogger(__name__)

TABLE = "probes.parquet"
TARGETS = ("layout", "hand", "object", "object moves", "direction", "action", "imitation")
"""In the order of the tables' columns; `robot_eval.probes` says what they are."""

_FOLDER = "probes"

# What makes two rows the same; the rest of a row is what was found.
IDENTITY = (
    "suite",
    "task",
    "train_variation",
    "camera",
    "encoder",
    "encoder_fingerprint",
    "encoder_seed",
    "frames",
    "stride",
    "demos_fingerprint",
    "target",
    "probe",
)


@dataclass(frozen=True)
class Probed:
    """What is probed: an encoder's features of a task's demonstrations.

    Attributes:
        suite, task, train_variation, camera, demos, demos_fingerprint: of the demonstrations.
        encoder, encoder_fingerprint: whose features they are.
        encoder_seed: which draw of an untrained encoder; 0 for others.
        frames: of the past that are fused, as a policy of the run sees them.
        stride: control steps between the frames that an encoder of clips looks at; 1 for others.
    """

    suite: str
    task: str
    train_variation: str
    camera: str
    demos: int
    demos_fingerprint: str
    encoder: str
    encoder_fingerprint: str
    encoder_seed: int
    frames: int
    stride: int


@dataclass(frozen=True)
class ProbeRow(Probed):
    """How well one probe reads one target from them.

    Attributes:
        target, probe, measure, estimate, low, high: see `egorep.probing.Score`.
        instants: how many steps of the demonstrations were looked at.
        episodes: how many demonstrations they are from.
    """

    target: str
    probe: str
    measure: str
    estimate: float
    low: float
    high: float
    instants: int
    episodes: int

    @property
    def identity(self) -> tuple[Any, ...]:
        """Which probe of what this is: its values of `IDENTITY`."""
        return tuple(getattr(self, name) for name in IDENTITY)

    @property
    def interval(self) -> Interval:
        """The score."""
        return Interval(self.estimate, self.low, self.high)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ProbeRow:
        """The row that `asdict` made a record of.

        Raises:
            ValueError: columns are missing or unknown.
        """
        wrong = {field.name for field in fields(cls)} ^ set(record)
        if wrong:
            raise ValueError(f"not what a probe found: columns {sorted(wrong)} are missing or unknown")
        return cls(**record)


class ProbeStore:
    """The finished probes of a run folder, each file under a key that says what it was computed from."""

    def __init__(self, run_folder: str | Path) -> None:
        self.run_folder = Path(run_folder)

    def has(self, key: str) -> bool:
        """Whether they are finished and readable; a damaged file is warned of and counts as not done."""
        return _read(self._path(key)) is not None

    def write(self, key: str, rows: Sequence[ProbeRow]) -> None:
        """Keep what was found of an encoder on a task."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps([asdict(row) for row in rows], allow_nan=False), encoding="utf-8")

    def dated_rows(self, keys: Iterable[str] | None = None) -> list[tuple[int, ProbeRow]]:
        """Rows with the time at which their file was written, in nanoseconds of the file system.

        Args:
            keys: those wanted; all when None.
        """
        folder = self.run_folder / _FOLDER
        paths = sorted(folder.glob("*.json")) if keys is None else [self._path(key) for key in keys]
        found = [(path, _read(path)) for path in paths]
        return [(path.stat().st_mtime_ns, row) for path, rows in found if rows is not None for row in rows]

    def _path(self, key: str) -> Path:
        return self.run_folder / _FOLDER / f"{key}.json"


def write_probes(run_folder: str | Path, rows: Iterable[ProbeRow]) -> list[ProbeRow]:
    """Write `probes.parquet`, ordered by what the rows are; without any row, there shall be no such file."""
    path = Path(run_folder) / TABLE
    ordered = sorted(rows, key=lambda row: row.identity)
    if not ordered:
        path.unlink(missing_ok=True)
        return ordered
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in ordered]), temporary)
    return ordered


def read_probes(run_folder: str | Path) -> list[ProbeRow]:
    """The rows of a run's `probes.parquet`; none where its probes were left out.

    Raises:
        ValueError: the file is no table of probes.
    """
    path = Path(run_folder) / TABLE
    if not path.exists():
        return []
    try:
        return [ProbeRow.from_record(record) for record in pq.read_table(path).to_pylist()]
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no table of probes: {error}") from error


@dataclass(frozen=True)
class ProbeTable:
    """What encoders know on one task's demonstrations.

    Attributes:
        title: the task and what it was filmed under.
        columns: targets with their measures, as `("hand", "R2")`.
        probes: kinds of probe, as cells have them.
        lines: an encoder, or one draw of an untrained one, with a cell for each column and kind of probe.
        legend: how many instants of how many demonstrations the numbers are over.
    """

    title: str
    columns: list[tuple[str, str]]
    probes: list[str]
    lines: list[ProbeLine]
    legend: str


@dataclass(frozen=True)
class ProbeLine:
    """A line of a `ProbeTable`.

    Attributes:
        encoder: its name.
        draw: which one of several draws of an untrained encoder; "" where there is one alone.
        cells: by columns, then by kinds of probe; None where there is no score.
    """

    encoder: str
    draw: str
    cells: list[list[Interval | None]]


def probe_tables(rows: Sequence[ProbeRow], order: Sequence[str]) -> list[ProbeTable]:
    """One table per task and kind of demonstrations.

    Args:
        rows: of one run or of merged ones.
        order: encoders, in which they stand; those that are not in it come last.
    """
    parts: dict[tuple[Any, ...], list[ProbeRow]] = {}
    for row in rows:
        about = (row.suite, row.task, row.train_variation, row.camera, row.frames, row.demos_fingerprint)
        parts.setdefault(about, []).append(row)
    places = {name: place for place, name in enumerate(order)}
    return [_table(parts[about], places) for about in sorted(parts)]


def probes_text(rows: Sequence[ProbeRow], order: Sequence[str]) -> str:
    """The tables for a terminal, linear probes alone; "" without rows."""
    blocks = []
    for table in probe_tables(rows, order):
        first = table.probes.index("linear")
        head = ["encoder", *(f"{target} {measure}" for target, measure in table.columns)]
        body = [
            [f"{line.encoder} {line.draw}".rstrip(), *(format_cell(cells[first]) for cells in line.cells)]
            for line in table.lines
        ]
        blocks.append(
            "\n".join([f"linear probes of frozen features, {table.title}\n", *text_grid([head, *body])])
        )
    return "\n\n".join(blocks)


def _table(rows: Sequence[ProbeRow], places: Mapping[str, int]) -> ProbeTable:
    some = rows[0]
    columns = list(dict.fromkeys((row.target, row.measure) for row in sorted(rows, key=_column)))
    probes = sorted({row.probe for row in rows})
    parts: dict[tuple[Any, ...], list[ProbeRow]] = {}
    for row in rows:
        about = (row.encoder, row.encoder_seed, row.encoder_fingerprint, row.stride)
        parts.setdefault((places.get(row.encoder, len(places)), *about), []).append(row)
    names = [part[0].encoder for part in parts.values()]
    lines = []
    for _, part in sorted(parts.items()):
        found = {(row.target, row.probe): row.interval for row in part}
        cells = [[found.get((target, probe)) for probe in probes] for target, _ in columns]
        draw = f"(draw {part[0].encoder_seed})" if names.count(part[0].encoder) > 1 else ""
        lines.append(ProbeLine(part[0].encoder, draw, cells))
    fused = f", {some.frames} frames fused" if some.frames > 1 else ""
    return ProbeTable(
        f"{some.suite}/{some.task}, filmed under {some.train_variation} by {some.camera}{fused}",
        columns,
        probes,
        lines,
        f"{some.instants} instants of {some.episodes} demonstrations.",
    )


def _column(row: ProbeRow) -> int:
    return TARGETS.index(row.target)


def _read(path: Path) -> list[ProbeRow] | None:
    """The rows in a file; None if there is no file, or, with a warning, if it is damaged."""
    if not path.exists():
        return None
    try:
        return [ProbeRow.from_record(record) for record in json.loads(path.read_text(encoding="utf-8"))]
    except (AttributeError, TypeError, ValueError) as error:
        _logger.warning("%s is damaged and will be done again (%s)", path, error)
        return None
