"""What probes found, on disk, in tables, in the report and in merged runs."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_results import make_row

from robot_eval.merge import MergeError, merge
from robot_eval.probe_results import (
    ProbeRow,
    ProbeStore,
    probe_tables,
    probes_text,
    read_probes,
    write_probes,
)
from robot_eval.report import write_report
from robot_eval.results import EvaluationRow, ResultStore

ROW = ProbeRow(
    suite="metaworld",
    task="assembly-v3",
    train_variation="train",
    camera="corner2",
    demos=25,
    demos_fingerprint="d3m0",
    encoder="egovideo_tiny",
    encoder_fingerprint="3f1c09ab77de",
    encoder_seed=0,
    frames=1,
    stride=1,
    target="hand",
    probe="linear",
    measure="R2",
    estimate=0.913,
    low=0.87,
    high=0.94,
    instants=900,
    episodes=25,
)


def rows_of(encoder: str = "egovideo_tiny", **changes: object) -> list[ProbeRow]:
    """Both kinds of probe on two targets."""
    base = replace(ROW, encoder=encoder, encoder_fingerprint=encoder, **changes)
    return [
        replace(base, target=target, measure=measure, probe=probe)
        for target, measure in (("object moves", "AUROC"), ("hand", "R2"))
        for probe in ("linear", "mlp")
    ]


def make_folder(folder: Path, rows: list[EvaluationRow], probes: list[ProbeRow], ended: bool = True) -> Path:
    """A run with one file of evaluations each and one of probes."""
    store = ResultStore(folder)
    for index, row in enumerate(rows):
        store.write(f"unit-{index}", row)
    ProbeStore(folder).write("probes-0", probes)
    (folder / "hydra").mkdir(exist_ok=True)
    (folder / "hydra" / "config.yaml").touch()
    if ended:
        write_probes(folder, probes)
        store.merge()
    return folder


def test_rows_survive_the_disk_in_the_order_of_what_they_are(tmp_path: Path) -> None:
    rows = rows_of()
    store = ProbeStore(tmp_path)
    assert not store.has("k")
    store.write("k", rows)
    assert store.has("k")
    assert [row for _, row in store.dated_rows(["k", "none"])] == rows
    written = write_probes(tmp_path, rows)
    assert read_probes(tmp_path) == written
    assert sorted(written, key=lambda row: row.identity) == written
    assert sorted(map(repr, written)) == sorted(map(repr, rows))


def test_a_run_without_probes_has_no_table(tmp_path: Path) -> None:
    write_probes(tmp_path, rows_of())
    assert write_probes(tmp_path, []) == []
    assert read_probes(tmp_path) == []
    assert probes_text([], []) == ""


def test_a_damaged_file_is_told_and_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ProbeStore(tmp_path)
    store.write("k", rows_of())
    for content in ("[{", '[{"suite": "metaworld"}]', '["text"]', "3"):
        (tmp_path / "probes" / "k.json").write_text(content)
        with caplog.at_level(logging.WARNING):
            assert not store.has("k")
        assert "damaged" in caplog.text
    (tmp_path / "probes.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="is no table of probes"):
        read_probes(tmp_path)


def test_a_table_has_a_line_per_encoder_and_draw(tmp_path: Path) -> None:
    rows = [*rows_of("random/x"), *rows_of("random/x", encoder_seed=1), *rows_of("b"), *rows_of("a")]
    rows = [replace(row, encoder_fingerprint=f"{row.encoder}{row.encoder_seed}") for row in rows]
    rows = [row for row in rows if (row.encoder, row.target, row.probe) != ("a", "hand", "mlp")]
    other = rows_of("a", task="hammer-v3")
    tables = probe_tables([*other, *rows], ["b", "random/x"])
    assert [table.title.split(",")[0] for table in tables] == ["metaworld/assembly-v3", "metaworld/hammer-v3"]
    table = tables[0]
    assert table.columns == [("hand", "R2"), ("object moves", "AUROC")]
    assert table.probes == ["linear", "mlp"]
    assert [(line.encoder, line.draw) for line in table.lines] == [
        ("b", ""),
        ("random/x", "(draw 0)"),
        ("random/x", "(draw 1)"),
        ("a", ""),
    ]
    assert table.lines[0].cells[0] == [ROW.interval, ROW.interval]
    assert table.lines[3].cells[0] == [ROW.interval, None]
    text = probes_text(rows, ["b"])
    assert "hand R2" in text
    assert "random/x (draw 1)" in text
    assert "0.91 [0.87, 0.94]" in text


def test_the_report_shows_them_and_none_where_there_are_none(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, [make_row(role="held_out")], rows_of(estimate=-0.25, low=-0.5, high=0.1))
    page = write_report(folder).read_text()
    assert "What the features know" in page
    assert "metaworld/assembly-v3, filmed under train by corner2" in page
    assert "object moves<br>AUROC" in page
    assert "<b>\N{MINUS SIGN}0.25</b><span>[\N{MINUS SIGN}0.50, 0.10]</span>" in page
    (folder / "probes.parquet").unlink()
    assert "What the features know" not in write_report(folder).read_text()


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables and plots take most of the time."""
    monkeypatch.setattr("robot_eval.merge.write_report", lambda folder: folder / "report.html")


@pytest.mark.usefixtures("without_report")
def test_merged_runs_have_each_probe_once_the_newer_of_two(tmp_path: Path) -> None:
    a = make_folder(tmp_path / "a", [make_row()], rows_of())
    newer = rows_of(estimate=0.5, low=0.4)
    b = make_folder(tmp_path / "b", [make_row(seed=1)], [*newer, *rows_of("other")], ended=False)
    os.utime(a / "probes" / "probes-0.json", (1e9, 1e9))
    merged = merge([a, b], tmp_path / "all")
    found = {(row.encoder, row.target, row.probe): row.estimate for row in read_probes(tmp_path / "all")}
    assert merged.probes == read_probes(tmp_path / "all")
    assert len(merged.probes) == len(found) == 8
    assert found["egovideo_tiny", "hand", "linear"] == 0.5
    assert found["other", "hand", "linear"] == ROW.estimate
    assert "linear probes of frozen features" in merged.text
    again = merge([tmp_path / "all"], tmp_path / "again")
    assert again.probes == merged.probes, "a merged table alone is a run"


@pytest.mark.usefixtures("without_report")
def test_a_run_of_probes_alone_joins_those_of_policies(tmp_path: Path) -> None:
    probed = make_folder(tmp_path / "probed", [], rows_of("other"), ended=False)
    write_probes(probed, rows_of("other"))
    with pytest.raises(MergeError, match="no evaluation is finished"):
        merge([probed], tmp_path / "all")
    whole = make_folder(tmp_path / "whole", [make_row()], rows_of())
    merged = merge([probed, whole], tmp_path / "all")
    assert merged.unfinished == []
    assert {row.encoder for row in merged.probes} == {"egovideo_tiny", "other"}
    assert len(merged.rows) == 1


@pytest.mark.usefixtures("without_report")
def test_probes_that_a_run_leaves_out_now_are_left_out(tmp_path: Path) -> None:
    run = make_folder(tmp_path / "a", [make_row()], rows_of())
    (run / "probes.parquet").unlink()
    assert merge([run], tmp_path / "all").probes == []


def test_a_broken_table_of_probes_cannot_be_merged(tmp_path: Path) -> None:
    run = make_folder(tmp_path / "a", [make_row()], rows_of())
    (run / "probes.parquet").write_bytes(b"no parquet")
    with pytest.raises(MergeError, match=r"probes\.parquet is no table of probes"):
        merge([run], tmp_path / "all")
    assert not (tmp_path / "all").exists()
