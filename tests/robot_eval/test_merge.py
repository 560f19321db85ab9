"""Runs to one table: each evaluation once, the newer of two; what cannot be merged is told before work."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from synthetic_results import make_row, make_run, make_suites

from robot_eval.merge import MergeError, main, merge
from robot_eval.results import EvaluationRow, ResultStore, frame_of, read_results


def make_folder(folder: Path, rows: list[EvaluationRow], finished: bool = True) -> Path:
    """A run as it stands on disk; its start, its units and its table get older in this order."""
    store = ResultStore(folder)
    for index, row in enumerate(rows):
        store.write(f"unit-{index}", row)
    (folder / "hydra").mkdir(parents=True, exist_ok=True)
    (folder / "hydra" / "config.yaml").touch()
    if finished:
        store.merge()
    return folder


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables and plots take most of the time, and have tests of their own."""
    monkeypatch.setattr("robot_eval.merge.write_report", lambda folder: folder / "report.html")


def date(run: Path, seconds: float) -> None:
    """Let all of a run's files be of a time, seconds of the epoch."""
    for path in run.rglob("*"):
        os.utime(path, (seconds, seconds))


def by_encoder(rows: list[EvaluationRow]) -> dict[str, list[EvaluationRow]]:
    return {name: [row for row in rows if row.encoder == name] for name in {row.encoder for row in rows}}


@pytest.mark.usefixtures("without_report")
def test_the_runs_of_a_sweep_are_the_rows_of_one_run(tmp_path: Path) -> None:
    rows = make_suites()
    for name, part in by_encoder(rows).items():
        make_folder(tmp_path / "sweep" / name, part)
    merged = merge([tmp_path / "sweep"], tmp_path / "sweep")
    whole = make_folder(tmp_path / "whole", rows)
    assert read_results(tmp_path / "sweep").equals(read_results(whole))
    assert merged.rows.equals(read_results(whole))
    assert (len(merged.runs), merged.unfinished, merged.conflicts) == (3, [], [])
    again = merge([tmp_path / "sweep"], tmp_path / "sweep")
    assert again.rows.equals(merged.rows), "what was merged is no run"


@pytest.mark.usefixtures("without_report")
def test_a_run_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    run = make_folder(tmp_path / "runs" / "a", make_run(episodes=3, seeds=1, checkpoints=1))
    merged = merge([run, tmp_path / "runs", run], tmp_path / "all")
    assert merged.rows.equals(read_results(run))
    assert merged.runs == [run]


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("newest", ["a", "b"])
def test_the_newer_of_two_rows_counts_and_a_conflict_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, newest: str
) -> None:
    a = make_folder(tmp_path / "a", [make_row(), make_row(seed=1)])
    b = make_folder(tmp_path / "b", [make_row(success_last=[False] * 4), make_row(seed=2)])
    for run in (a, b):
        date(run, 2e9 if run.name == newest else 1e9)
    with caplog.at_level(logging.WARNING):
        merged = merge([a, b], tmp_path / "all")
    assert merged.rows["seed"].tolist() == [0, 1, 2]
    assert merged.rows["success_last"][0] == [[False] * 4, make_row().success_last][newest == "a"]
    (conflict,) = merged.conflicts
    assert conflict in caplog.messages
    assert "seed 0" in conflict
    assert "differ in success_last" in conflict
    assert f"{tmp_path / newest} is newer" in conflict


@pytest.mark.usefixtures("without_report")
def test_runs_that_agree_are_no_conflict_however_long_they_took(tmp_path: Path) -> None:
    a = make_folder(tmp_path / "a", [make_row(rollout_seconds=1.0)])
    b = make_folder(tmp_path / "b", [make_row(rollout_seconds=2.0, horizon=500)])
    merged = merge([a, b], tmp_path / "all")
    assert (len(merged.rows), merged.conflicts) == (1, [])


@pytest.mark.usefixtures("without_report")
def test_a_table_that_was_written_again_makes_its_rows_no_newer(tmp_path: Path) -> None:
    a = make_folder(tmp_path / "a", [make_row(train_loss=1.0)])
    b = make_folder(tmp_path / "b", [make_row(train_loss=2.0)])
    date(a, 1e9)
    date(b, 1.1e9)
    os.utime(a / "results.parquet", (2e9, 2e9))
    assert merge([a, b], tmp_path / "all").rows["train_loss"].tolist() == [2.0]


@pytest.mark.usefixtures("without_report")
def test_an_unfinished_run_gives_what_it_has_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = make_folder(tmp_path / "a", [make_row()])
    b = make_folder(tmp_path / "b", [make_row(seed=1)], finished=False)
    make_folder(c := tmp_path / "c", [], finished=False)
    with caplog.at_level(logging.WARNING):
        merged = merge([a, b, c], tmp_path / "all")
    assert merged.rows["seed"].tolist() == [0, 1]
    assert merged.unfinished == [b, c]
    assert f"{b} is not finished: merged with what it has" in caplog.messages


@pytest.mark.usefixtures("without_report")
def test_a_run_that_was_started_again_and_has_not_ended_is_unfinished(tmp_path: Path) -> None:
    a = make_folder(tmp_path / "a", [make_row(), make_row(seed=1)])
    assert merge([a], tmp_path / "all").unfinished == []
    os.utime(a / "hydra" / "config.yaml", (3e9, 3e9))
    merged = merge([a], tmp_path / "all")
    assert merged.unfinished == [a]
    assert len(merged.rows) == 2


@pytest.mark.usefixtures("without_report")
def test_of_a_finished_run_the_rows_of_its_present_settings_are_taken(tmp_path: Path) -> None:
    store = ResultStore(make_folder(tmp_path / "a", [make_row(), make_row(seed=1)]))
    store.merge(["unit-1"])
    assert merge([tmp_path / "a"], tmp_path / "all").rows["seed"].tolist() == [1]


@pytest.mark.usefixtures("without_report")
def test_a_table_alone_is_a_run(tmp_path: Path) -> None:
    run = make_folder(tmp_path / "a", [make_row()])
    (tmp_path / "b").mkdir()
    (run / "results.parquet").rename(tmp_path / "b" / "results.parquet")
    assert merge([tmp_path / "b"], tmp_path / "all").rows.equals(frame_of([make_row()]))


def test_videos_come_along_and_none_from_outside_of_its_run(tmp_path: Path) -> None:
    rows = [make_row(role="held_out", video="videos/a.mp4"), make_row(seed=1, video="../secret.mp4")]
    run = make_folder(tmp_path / "sweep" / "a", rows)
    (run / "videos").mkdir()
    (run / "videos" / "a.mp4").write_bytes(b"film")
    (run.parent / "secret.mp4").write_bytes(b"secret")
    merged = merge([run], tmp_path / "all")
    assert (tmp_path / "all" / "videos" / "a.mp4").read_bytes() == b"film"
    assert not (tmp_path / "secret.mp4").exists()
    assert merged.report is not None
    page = merged.report.read_text()
    assert page.count("<video") == 1
    assert "../secret.mp4" in page, "named as not found"


def test_experiments_that_do_not_compare_make_a_table_and_no_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = make_folder(tmp_path / "a", [make_row(demos=10)])
    b = make_folder(tmp_path / "b", [make_row(demos=25)])
    merge([a], tmp_path / "all")
    with caplog.at_level(logging.WARNING):
        merged = merge([a, b], tmp_path / "all")
    assert merged.report is None
    assert sorted(read_results(tmp_path / "all")["demos"]) == [10, 25]
    assert not (tmp_path / "all" / "report.html").exists(), "one of an earlier merge"
    assert "no report" in caplog.text
    assert "2 evaluations of 2 runs" in merged.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{}/nowhere", "out={}/all"], "nowhere is no folder"),
        (["{}/a", "{}/empty", "out={}/all"], "empty holds no run"),
        (["{}/a", "{}/started", "out={}/a"], "holds a run of its own"),
        (["{}/a"], "holds a run of its own"),
        (["{}/started", "out={}/all"], "no evaluation is finished"),
        (["{}/a", "{}/broken", "out={}/all"], "results.parquet is no table of results"),
        (["{}/a", "{}/started"], "name the folder"),
        (["{}/a", "out={}/x", "out={}/all"], "name the folder"),
        (["out={}/all"], "at least one run"),
        (["{}/a", "out={}/file"], "not a folder"),
    ],
)
def test_what_cannot_be_merged_is_one_line_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    make_folder(tmp_path / "a", [make_row()])
    make_folder(tmp_path / "started", [], finished=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.parquet").write_bytes(b"no parquet")
    (tmp_path / "file").touch()
    before = (tmp_path / "a" / "results.parquet").stat().st_mtime_ns
    with pytest.raises(SystemExit) as ended:
        main([word.format(tmp_path) for word in words])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "all").exists()
    assert (tmp_path / "a" / "results.parquet").stat().st_mtime_ns == before


def test_the_command_ends_with_the_table_and_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, part in by_encoder(make_run(episodes=3, seeds=2, checkpoints=1)).items():
        make_folder(tmp_path / name, part)
    main([str(tmp_path)])
    said = capsys.readouterr().out
    assert "egovideo_tiny" in said
    assert f"evaluations of 3 runs: {tmp_path}/results.parquet" in said
    assert said.rstrip().endswith(f"report: {tmp_path}/report.html")
    assert (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("without_report")
def test_merging_merged_results_is_fine(tmp_path: Path) -> None:
    a = make_folder(tmp_path / "a", [make_row()])
    b = make_folder(tmp_path / "b", [make_row(seed=1)])
    merge([a], tmp_path / "first")
    assert len(merge([tmp_path / "first", b], tmp_path / "all").rows) == 2
    with pytest.raises(MergeError, match="run of its own"):
        merge([tmp_path / "first"], tmp_path / "first")
