"""`python -m robot_eval.merge`: runs of several machines, or a sweep's, as one table and one report.

Every evaluation is there once: of two rows with the same identity the newer one counts, and it is told where
they disagree. What is merged stays where it is, so merging again after more work is done gives the new state.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pandas as pd

from egorep.files import replacing, writable_folder
from robot_eval.probe_results import TABLE as PROBES
from robot_eval.probe_results import ProbeRow, ProbeStore, read_probes, write_probes
from robot_eval.report import tables_text, write_report
from robot_eval.results import EvaluationRow, ResultStore, read_rows, write_results

_logger = logging.getLogger(__name__)

_TABLE = "results.parquet"
# In what two rows of one evaluation must agree where both say it; how long things took may differ.
_OUTCOME = (
    "episode_seeds",
    "success_any",
    "success_last",
    "strict_any",
    "strict_last",
    "episode_steps",
    "frame_hash",
    "horizon",
    "render_size",
    "picture_size",
)


class MergeError(ValueError):
    """Folders that cannot be merged: said before anything is written."""


@dataclass(frozen=True)
class _Found:
    """A row where it was found: `written` is its file's time in nanoseconds."""

    written: int
    run: Path
    row: EvaluationRow


@dataclass(frozen=True)
class Merged:
    """What `merge` wrote.

    Attributes:
        rows: as `read_results` gives them.
        probes: what probes found.
        table, report: files; no report where the rows are of experiments that do not compare.
        runs: that were merged.
        unfinished: those of them that have not ended; what they have is there.
        conflicts: in words, where two runs disagree about an evaluation.
    """

    rows: pd.DataFrame
    probes: list[ProbeRow]
    table: Path
    report: Path | None
    runs: list[Path]
    unfinished: list[Path]
    conflicts: list[str]

    @property
    def text(self) -> str:
        """The table and where the files are, for a terminal."""
        counts = f"{len(self.rows)} evaluations of {len(self.runs)} runs: {self.table}"
        if self.report is None:
            return counts
        return f"{tables_text(self.rows, self.probes)}\n\n{counts}\nreport: {self.report}"


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Join the rows of runs, each once: `results.parquet`, `probes.parquet`, videos and `report.html`.

    Args:
        folders: runs, or folders that hold runs, such as a sweep's.
        out: folder of the merged results; a sweep's own is fine.

    Raises:
        MergeError: a folder is missing, holds no run or a table that is none, or `out` is one of the runs.
    """
    runs = [run for folder in folders for run in _runs(folder)]
    runs = list({run.resolve(): run for run in runs}.values())
    if out.resolve() in {run.resolve() for run in runs} or _units(out):
        raise MergeError(f"out={out} holds a run of its own, whose table would be lost: name another folder")
    unfinished = [run for run in runs if not _is_finished(run)]
    found = [each for run in runs for each in _rows(run, finished=run not in unfinished)]
    if not found:
        raise MergeError(f"no evaluation is finished in {', '.join(map(str, folders))}")
    probes = _probes(runs, unfinished)
    _writable(out)
    kept, conflicts = _newest(found)
    for each in kept:
        _copy_video(each, out)
    rows = write_results(out, [each.row for each in kept])
    written = write_probes(out, probes)
    for run in unfinished:
        _logger.warning("%s is not finished: merged with what it has", run)
    for conflict in conflicts:
        _logger.warning(conflict)
    return Merged(rows, written, out / _TABLE, _report(out), runs, unfinished, conflicts)


def _runs(folder: Path) -> list[Path]:
    """The folder, if it is a run's, and the runs in it."""
    if not folder.is_dir():
        raise MergeError(f"{folder} is no folder: name runs, or the folder of a sweep")
    inside = sorted(child for child in folder.iterdir() if child.is_dir() and _is_run(child))
    # A table without units beside runs is what an earlier merge made of them.
    itself = bool(_units(folder)) if inside else _is_run(folder)
    if not inside and not itself:
        raise MergeError(f"{folder} holds no run: a run has units/ or {_TABLE}")
    return [folder, *inside] if itself else inside


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("units", _TABLE)) or _start(folder).exists()


def _start(run: Path) -> Path:
    """A file that Hydra writes when a run begins."""
    return run / "hydra" / "config.yaml"


def _units(run: Path) -> list[Path]:
    return list((run / "units").glob("*.json"))


def _table(run: Path) -> Path:
    """What a run writes at its end: results, or, where no policies were wanted, what probes found."""
    evaluated = bool(_units(run)) or (run / _TABLE).exists()
    return run / (_TABLE if evaluated else PROBES)


def _is_finished(run: Path) -> bool:
    """Whether the run's table, which it writes at its end, is newer than its start and its units."""
    table = _table(run)
    if not table.exists():
        return False
    before = [path for path in (_start(run), *_units(run)) if path.exists()]
    return all(path.stat().st_mtime_ns <= table.stat().st_mtime_ns for path in before)


def _rows(run: Path, finished: bool) -> Iterator[_Found]:
    """The rows of a run's table; while it is not finished, of all its units."""
    dated = ResultStore(run).dated_rows()
    if not finished:
        yield from (_Found(written, run, row) for written, row in dated)
        return
    # A second run with the same settings writes the table again, and not the units.
    times = {row.identity: written for written, row in dated}
    table = run / _TABLE
    if not table.exists():  # only probes were wanted
        return
    try:
        rows = read_rows(table)
    except (OSError, ValueError) as error:
        raise MergeError(f"{table} is no table of results: {error}") from error
    for row in rows:
        yield _Found(times.get(row.identity, _written(run)), run, row)


def _probes(runs: Sequence[Path], unfinished: Sequence[Path]) -> list[ProbeRow]:
    """What probes of the runs found, each once; the newer of two counts."""
    dated: list[tuple[int, ProbeRow]] = []
    for run in runs:
        own = ProbeStore(run).dated_rows()
        if run not in unfinished:
            times = {row.identity: written for written, row in own}
            own = [(times.get(row.identity, _written(run)), row) for row in _table_of_probes(run)]
        dated += own
    return list({row.identity: row for _, row in sorted(dated, key=lambda each: each[0])}.values())


def _table_of_probes(run: Path) -> list[ProbeRow]:
    try:
        return read_probes(run)
    except ValueError as error:
        raise MergeError(str(error)) from error


def _written(run: Path) -> int:
    """When a finished run wrote its tables."""
    return _table(run).stat().st_mtime_ns


def _newest(found: Sequence[_Found]) -> tuple[list[_Found], list[str]]:
    """Each evaluation once, in the order of what they are, and where rows of one disagree."""
    kept: dict[tuple[object, ...], _Found] = {}
    conflicts = []
    for newer in sorted(found, key=lambda each: (each.written, str(each.run))):
        older = kept.get(newer.row.identity)
        differences = _differences(older.row, newer.row) if older else []
        if older and differences:
            conflicts.append(_conflict(older, newer, differences))
        kept[newer.row.identity] = newer
    return [kept[identity] for identity in sorted(kept)], conflicts


def _differences(one: EvaluationRow, other: EvaluationRow) -> list[str]:
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in _OUTCOME}
    return [name for name, (a, b) in pairs.items() if a is not None and b is not None and a != b]


def _conflict(older: _Found, newer: _Found, differences: Sequence[str]) -> str:
    row = newer.row
    return (
        f"{row.encoder} on {row.suite}/{row.task}, seed {row.seed}, {row.role} {row.checkpoint} under "
        f"{row.variation}: {older.run} and {newer.run} differ in {', '.join(differences)}; "
        f"that of {newer.run} is newer and counts"
    )


def _copy_video(found: _Found, out: Path) -> None:
    """Put a row's video where the merged row finds it; one that is not there, the report names."""
    if found.row.video is None:
        return
    source = (found.run / found.row.video).resolve()
    if source.is_file() and source.is_relative_to(found.run.resolve()):
        target = out / found.row.video
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def _report(out: Path) -> Path | None:
    try:
        return write_report(out)
    except ValueError as error:
        (out / "report.html").unlink(missing_ok=True)  # of an earlier merge: it would contradict the table
        _logger.warning("no report: %s", error)
        return None


def _writable(out: Path) -> None:
    try:
        writable_folder("out", out)
    except ValueError as error:
        raise MergeError(str(error)) from error


def _target(folders: Sequence[Path], outs: Sequence[str]) -> Path:
    if not folders:
        raise MergeError("name at least one run, or the folder of a sweep")
    if len(outs) == 1 and outs[0]:
        return Path(outs[0])
    if not outs and len(folders) == 1:
        return folders[0]  # a sweep's; a run's is refused
    raise MergeError("name the folder of the merged results once, as out=runs/all")


def _fail(error: Exception) -> NoReturn:
    sys.stderr.write(f"robot_eval.merge: {error}\n")
    raise SystemExit(2) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Merge what the command line names.

    Args:
        arguments: folders, and `out=<folder>`; those of the process by default.
    """
    usage = "python -m robot_eval.merge <run, or folder of runs> [...] [out=<folder>]"
    parser = argparse.ArgumentParser(
        prog="python -m robot_eval.merge", usage=usage, description=merge.__doc__
    )
    parser.add_argument("words", nargs="+", help="runs or folders of runs; out: by default a sweep's own")
    words: list[str] = parser.parse_args(arguments).words
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    folders = [Path(word) for word in words if not word.startswith("out=")]
    try:
        target = _target(folders, [word.removeprefix("out=") for word in words if word.startswith("out=")])
        merged = merge(folders, target)
    except MergeError as error:
        _fail(error)
    sys.stdout.write(f"\n{merged.text}\n")


if __name__ == "__main__":
    main()
