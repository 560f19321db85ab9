"""Narrated clips of videos on disk, in the layouts that the field has.

A CSV is read once, row by row, and written as an Arrow file beside it, from which rows are read through a
memory map: a million rows cost a worker process almost no memory of its own, and pickling costs a path. Where
videos lie is looked up when a row is asked for, so a data set opens without touching its videos.
"""

from __future__ import annotations

import ast
import csv as csv_files
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from egorep.files import replacing, writable_folder
from egorep.names import unknown
from pretrain.data.video import SUFFIXES

CSV = "narrations.csv"
"""Name of the CSV in a data set's folder."""

HOD_CSV = "hod.csv"
"""Name of the CSV in the folder of a HOD data set."""

TEXT_COLUMNS = ("caption", "text", "narration")
"""Columns that hold texts, the first that a CSV has being read: HOD narrations before original ones."""

LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "videos": ("videos/{id}",),
    "flat": ("{id}",),
    "epic": tuple(
        f"{folder}{{participant}}/{videos}{{id}}" for folder in ("", "videos/") for videos in ("", "videos/")
    ),
}
"""Where videos lie in the data set's folder: a file with any suffix of a video, or a folder of chunks.

`videos`: EgoSim and what we write. `flat`: Ego4D as LaViLa and EgoHOD cut it, HowTo100M, any other folder.
`epic`: EPIC-Kitchens' `P01/P01_01.MP4` or `P01/videos/P01_01.MP4`, itself or cut.
"""

_IDS, _STARTS, _ENDS = ("video_id",), ("start_second", "start_timestamp"), ("end_second", "stop_timestamp")
_EPIC_COLUMN = "participant_id"
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")  # EPIC-Kitchens' 00:01:02.345
_BATCH = 65536  # rows of a record batch
_NAMED = 100  # values of a column among which an error looks for the one that was meant
_FORMAT = 1  # of the Arrow file: an older one is written anew
_STAMP = b"egorep"
# Columns of the Arrow file that come from no column of the CSV as they are; the others are `more`.
_OWN = ("#video", "#start", "#end", "#texts", "#row", "#reason")


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


class Narrations(Sequence[Narrated]):
    """The good rows of a data set, in the order of its CSV. See `read_narrations`.

    Pickled by path, so that each worker process maps the same file.

    Attributes:
        data: the data set's folder.
        layout: a name of `LAYOUTS`.
    """

    def __init__(
        self, data: Path, index: Path, stamp: bytes, layout: str, conditions: Mapping[str, str]
    ) -> None:
        self.data, self.layout = data, layout
        self._index, self._stamp, self._conditions = index, stamp, dict(conditions)
        table = _load(index, stamp)
        if table is None:
            raise ValueError(f"{index} was replaced since it was opened: its CSV changed, so read it again")
        bad = len(table) - table["#reason"].null_count
        self._rows, self._bad = table.slice(0, len(table) - bad), table.slice(len(table) - bad)
        self._chosen = self._choose() if conditions else None

    def __reduce__(self) -> tuple[Callable[..., Narrations], tuple[object, ...]]:
        return Narrations, (self.data, self._index, self._stamp, self.layout, self._conditions)

    def __len__(self) -> int:
        return len(self._rows) if self._chosen is None else len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Narrated: ...
    @overload
    def __getitem__(self, index: slice) -> list[Narrated]: ...
    def __getitem__(self, index: int | slice) -> Narrated | list[Narrated]:
        """A row, or several as a list; as a list would, it raises IndexError beyond the end."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._narrated(place if self._chosen is None else int(self._chosen[place]))

    @cached_property
    def rejected(self) -> list[tuple[int, str]]:
        """Rows of the CSV that cannot be used, from 0, each with the reason; whatever `where` selects."""
        return list(zip(self._bad["#row"].to_pylist(), self._bad["#reason"].to_pylist(), strict=True))

    @property
    def columns(self) -> list[str]:
        """The columns of the CSV that came through as they are: the keys of `Narrated.more`."""
        return [name for name in self._rows.column_names if name not in _OWN]

    @property
    def videos(self) -> npt.NDArray[np.int64]:
        """(N,) of each row the number of its video, by which rows of one video are known."""
        ids = self._rows["#video"]
        ids = ids if self._chosen is None else ids.take(pa.array(self._chosen))
        numbers: npt.NDArray[np.int64] = (
            ids.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        )
        return numbers

    def where(self, **columns: str) -> Narrations:
        """Only the rows whose columns have these values, as in `where(split="train")`.

        Raises:
            ValueError: a column is not there, or no row is left; names what there is.
        """
        return Narrations(self.data, self._index, self._stamp, self.layout, {**self._conditions, **columns})

    def missing_videos(self) -> list[str]:
        """Ids of the videos of these rows that are not on disk, sorted; every id is looked up once."""
        keys = self._rows.select(["#video", *([_EPIC_COLUMN] if self.layout == "epic" else [])])
        keys = keys if self._chosen is None else keys.take(self._chosen)
        videos = keys.group_by(keys.column_names).aggregate([]).to_pylist()
        return sorted(video["#video"] for video in videos if not self._path(video["#video"], video).exists())

    def _choose(self) -> Any:
        chosen = pa.array(np.arange(len(self._rows)))
        for name, value in self._conditions.items():
            if name not in self.columns:
                raise unknown("column", name, self.columns)
            values = self._rows[name].take(chosen)
            kept = chosen.filter(pc.equal(values, value))
            if not len(kept):
                raise unknown(f"value of {name}", value, pc.unique(values)[:_NAMED].to_pylist())
            chosen = kept
        return chosen.to_numpy()

    def _narrated(self, place: int) -> Narrated:
        row = self._rows.slice(place, 1).to_pylist()[0]
        video_id, start, end, texts, number = (row.pop(name) for name in _OWN[:5])
        del row["#reason"]
        return Narrated(video_id, self._path(video_id, row), start, end, tuple(texts), number, row)

    def _path(self, video_id: str, more: Mapping[str, str]) -> Path:
        """Where the video is; where none is, the first place that it was looked for in."""
        participant = more.get(_EPIC_COLUMN, "")
        folders = [
            self.data / place.format(id=video_id, participant=participant) for place in LAYOUTS[self.layout]
        ]
        candidates = [
            folder.with_name(folder.name + suffix) for folder in folders for suffix in ("", *SUFFIXES)
        ]
        return next((path for path in candidates if path.exists()), candidates[0])


def read_narrations(
    data: Path,
    csv: str | Path | None = None,
    layout: str = "auto",
    column: str | Sequence[str] | None = None,
) -> Narrations:
    """A data set's rows: `video_id,start_second,end_second,text` and what else its CSV has.

    EPIC-Kitchens' `start_timestamp`, `stop_timestamp` (00:01:02.345) and `narration` do as well, and so does
    `caption` of HOD data. A text may be a Python list of captions printed as a string, as in the published
    `ego_hod.csv` and `howto100m_hod.csv`: they become several texts; one that only looks like a list stays a
    text. Rows that repeat another in every column are rejected.

    Args:
        data: the data set's folder.
        csv: its CSV, in that folder or anywhere; None takes `narrations.csv`.
        layout: how the videos lie there (see `LAYOUTS`); "auto" takes "epic" where the CSV has a column
            participant_id, "videos" where there is a folder of that name, else "flat".
        column: which column the texts are taken from; None takes the first of `TEXT_COLUMNS` that is there,
            so that HOD data give HOD narrations. Of `hod.csv`, "text" takes the original ones, and the other
            column is found in `Narrated.more`. Of several columns a row has the texts of all, in that order.

    Returns:
        The rows that can be used. Those that cannot are in `rejected`, each with its reason.

    Raises:
        ValueError: the folder or the CSV is not there; the CSV is not a text, has no rows or not the columns
            that are needed; an unknown layout.
    """
    data = Path(data)
    if layout not in ("auto", *LAYOUTS):
        raise unknown("layout", layout, ("auto", *LAYOUTS))
    source = _csv_file(data, csv)
    header = _header(source)
    columns = _Columns.of(source, header, column)
    stamp = _stamp(source, columns.names)
    index = _index_file(source, columns.names)
    if _load(index, stamp) is None:
        _write_index(source, index, stamp, header, columns)
    if layout == "auto":
        beside = "videos" if (data / "videos").is_dir() else "flat"
        layout = "epic" if _EPIC_COLUMN in header else beside
    return Narrations(data, index, stamp, layout, {})


def default_csv(data: Path) -> str | None:
    """The CSV of a data set that names none: HOD's, `hod.csv`, or None for `narrations.csv`."""
    return HOD_CSV if (data / HOD_CSV).is_file() else None


def text_columns(data: Path, csv: str | Path | None = None) -> list[str]:
    """Those of `TEXT_COLUMNS` that a data set's CSV has, in their order; see `read_narrations`."""
    header = _header(_csv_file(Path(data), csv))
    return [name for name in TEXT_COLUMNS if name in header]


@dataclass(frozen=True)
class _Columns:
    """Places of the columns that are read."""

    video: int
    start: int
    end: int
    texts: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, source: Path, header: Sequence[str], column: str | Sequence[str] | None) -> _Columns:
        if len(set(header)) < len(header):
            raise ValueError(f"{source} has a column twice: {', '.join(header)}")
        asked = [TEXT_COLUMNS] if column is None else [(name,) for name in _listed(column)]
        wanted = (_IDS, _STARTS, _ENDS, *asked)
        found = [next((name for name in names if name in header), None) for names in wanted]
        missing = [" or ".join(names) for names, name in zip(wanted, found, strict=True) if name is None]
        if missing:
            raise ValueError(f"{source} wants the columns {'; '.join(missing)}; it has {', '.join(header)}")
        names = [name for name in found if name is not None]
        video, start, end, *texts = (header.index(name) for name in names)
        return cls(video, start, end, tuple(texts), tuple(names[3:]))


def _listed(column: str | Sequence[str]) -> Sequence[str]:
    return [column] if isinstance(column, str) else column


@dataclass
class _Parser:
    """Cells of a row to the columns of the Arrow file; remembers rows to find those that come twice."""

    columns: _Columns
    width: int
    seen: dict[int, int] = field(default_factory=dict)

    def __call__(self, number: int, cells: Sequence[str]) -> tuple[str, float, float, list[str]]:
        """Video, start, end and texts of a row; ValueError says what is wrong with it."""
        if len(cells) != self.width:
            raise ValueError(f"has {len(cells)} columns, not {self.width}")
        if any("\udc80" <= letter <= "\udcff" for cell in cells if not cell.isascii() for letter in cell):
            raise ValueError("is not UTF-8")
        video = cells[self.columns.video].strip()
        if not video:
            raise ValueError("video_id is empty")
        start, end = _seconds(cells[self.columns.start]), _seconds(cells[self.columns.end])
        if start < 0:
            raise ValueError(f"starts at {start:g} s, before the video")
        if end <= start:
            raise ValueError(f"ends at {end:g} s, not after its start at {start:g} s")
        texts: list[str] = []
        for name, place in zip(self.columns.names, self.columns.texts, strict=True):
            said = _texts(cells[place])
            if not said:
                raise ValueError(f"{name} is empty")
            texts += said
        first = self.seen.setdefault(hash(tuple(cells)), number)
        if first != number:
            raise ValueError(f"is the same as row {first}")
        return video, start, end, texts


def _seconds(cell: str) -> float:
    clock = _CLOCK.fullmatch(cell.strip())
    if clock:
        hours, minutes, seconds = map(float, clock.groups())
        return hours * 3600 + minutes * 60 + seconds
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(f"{cell!r} is no time: wants seconds, or hours:minutes:seconds")
    return value


def _texts(cell: str) -> list[str]:
    cell = cell.strip()
    texts: list[str] = [cell]
    if cell.startswith("[") and cell.endswith("]"):
        try:
            listed = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            listed = None
        if isinstance(listed, list) and all(isinstance(text, str) for text in listed):
            texts = [text.strip() for text in listed]
    return [text for text in texts if text]


def _csv_file(data: Path, csv: str | Path | None) -> Path:
    if not data.is_dir():
        raise ValueError(f"data={data} is not a folder")
    places = [data / (CSV if csv is None else csv), *([] if csv is None else [Path(csv)])]
    for place in places:
        if place.is_file():
            return place
    there = ", ".join(sorted(file.name for file in data.glob("*.csv"))) or "none"
    raise ValueError(f"{places[0]} is missing; CSV files in {data}: {there}")


def _rows(source: Path) -> Iterator[list[str]]:
    # What is not UTF-8 becomes lone surrogates, by which its row is found out.
    with source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        try:
            yield from csv_files.reader(lines)
        except csv_files.Error as error:
            raise ValueError(f"{source} is no CSV: {error}; is a quote left open?") from error


def _header(source: Path) -> list[str]:
    header = next(_rows(source), None)
    if not header:
        raise ValueError(f"{source} is empty: wants a header and rows")
    return [name.strip() for name in header]


def _stamp(source: Path, texts: Sequence[str]) -> bytes:
    status = source.stat()
    return json.dumps([_FORMAT, *texts, status.st_size, status.st_mtime_ns]).encode()


def _index_file(source: Path, texts: Sequence[str]) -> Path:
    """Beside the CSV; of a read-only data set in the user's folder for such files."""
    text = "+".join(texts)
    if os.access(source.parent, os.W_OK):
        return source.with_name(f".{source.name}.{text}.arrow")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "egorep" / "narrations"
    name = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:16]
    return writable_folder("XDG_CACHE_HOME", cache) / f"{name}.{text}.arrow"


def _load(index: Path, stamp: bytes) -> Any | None:
    """The Arrow file mapped into memory; None if there is none, or one of another state of the CSV."""
    try:
        table = pa.ipc.open_file(pa.memory_map(str(index))).read_all()
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    return table if table.schema.metadata[_STAMP] == stamp else None


def _write_index(source: Path, index: Path, stamp: bytes, header: Sequence[str], columns: _Columns) -> None:
    read = {columns.video, columns.start, columns.end, *columns.texts}
    kept = [place for place in range(len(header)) if place not in read]
    types = (pa.string(), pa.float64(), pa.float64(), pa.list_(pa.string()), pa.int64(), pa.string())
    fields = [*zip(_OWN, types, strict=True), *((header[place], pa.string()) for place in kept)]
    schema = pa.schema(fields, metadata={_STAMP: stamp})
    rejected: list[tuple[int, str]] = []
    good = _good_rows(source, _Parser(columns, len(header)), kept, rejected)
    with replacing(index) as temporary, pa.ipc.new_file(str(temporary), schema) as writer:
        written = sum(_write(writer, schema, batch) for batch in _batches(good))
        nothing = [None] * len(kept)
        bad = ((None, None, None, None, number, reason, *nothing) for number, reason in rejected)
        for batch in _batches(bad):
            _write(writer, schema, batch)
        if not written:
            first = f"; row {rejected[0][0]} {rejected[0][1]}" if rejected else ""
            raise ValueError(f"{source} has no row that can be used{first}")


def _good_rows(
    source: Path, parser: _Parser, kept: Sequence[int], rejected: list[tuple[int, str]]
) -> Iterator[tuple[object, ...]]:
    rows = _rows(source)
    next(rows)
    for number, cells in enumerate(row for row in rows if row):
        try:
            parsed = parser(number, cells)
        except ValueError as error:
            rejected.append((number, str(error)))
        else:
            yield (*parsed, number, None, *(cells[place] for place in kept))


def _batches(rows: Iterable[tuple[object, ...]]) -> Iterator[list[tuple[object, ...]]]:
    batch: list[tuple[object, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _write(writer: Any, schema: Any, rows: list[tuple[object, ...]]) -> int:
    arrays = [pa.array(cells, kind.type) for cells, kind in zip(zip(*rows, strict=True), schema, strict=True)]
    writer.write_batch(pa.record_batch(arrays, schema=schema))
    return len(rows)
