from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from synthetic_results import make_row, make_run

from robot_eval.results import EvaluationRow, ResultStore, frame_of, read_results


def store_of(folder: Path, rows: list[EvaluationRow]) -> ResultStore:
    store = ResultStore(folder)
    for index, row in enumerate(rows):
        store.write(f"unit-{index}", row)
    return store


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"success_any": [True]}, "same number"),
        ({"episode_seeds": [], "success_any": [], "success_last": [], "episode_steps": []}, "same number"),
        ({"episode_seeds": [1, 1, 2, 3]}, "repeat"),
        ({"strict_any": [True]}, "same number"),
        ({"strict_any": [True] * 4}, "strict_any counts an episode that success_any does not"),
        (
            {"strict_last": [True, True, True, False]},
            "strict_last counts an episode that success_last does not",
        ),
        ({"role": "final"}, "role must be one of checkpoint, held_out; got 'final'"),
        ({"success_rule": "first"}, "success_rule"),
        ({"variation": "other"}, "variation"),
        ({"train_variation": "unseen"}, "train_variation"),
        ({"variation": "unseen"}, "held_out rows only"),
        ({"variation": "starts"}, "'starts' is for held_out rows only"),
        ({"train_variation": "camera"}, "train_variation"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_row(**changes)


def test_the_rule_decides_what_success_is() -> None:
    assert make_row(success_rule="any").successes == [True, True, True, False]
    assert make_row(success_rule="last").successes == [True, False, True, False]


def test_a_unit_is_there_once_it_is_written(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    assert not store.has("a")
    store.write("a", make_row())
    assert store.has("a")
    assert ResultStore(tmp_path).rows() == [make_row()]
    assert [path.name for path in store.units.iterdir()] == ["a.json"], "no temporary file stays"


def test_a_unit_reads_back_or_says_that_it_is_not_there(tmp_path: Path) -> None:
    store = store_of(tmp_path, [make_row(video="videos/a.mp4")])
    assert store.read("unit-0") == make_row(video="videos/a.mp4")
    with pytest.raises(KeyError, match="no finished unit other"):
        store.read("other")


def test_a_table_of_some_units_leaves_the_others_of_the_folder_out(tmp_path: Path) -> None:
    store = store_of(tmp_path, [make_row(seed=seed) for seed in range(3)])
    assert store.merge(["unit-2", "unit-0", "unit-2", "unfinished"])["seed"].tolist() == [0, 2]
    assert len(store.rows()) == 3


def test_numpy_values_are_stored_as_plain_ones(tmp_path: Path) -> None:
    row = make_row(
        success_any=np.array([True, True, True, False]), train_loss=np.float32(0.5), seed=np.int64(0)
    )
    store = store_of(tmp_path, [row])
    assert store.rows()[0] == make_row(train_loss=0.5)


def test_a_diverged_loss_survives(tmp_path: Path) -> None:
    frame = store_of(tmp_path, [make_row(train_loss=math.nan)]).merge()
    assert math.isnan(frame["train_loss"].iloc[0])


@pytest.mark.parametrize("damage", ["", '{"encoder": "ego', "[]", '{"encoder": "a"}', "\udcff"])
def test_a_damaged_unit_is_warned_of_and_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    store = store_of(tmp_path, [make_row(seed=0), make_row(seed=1)])
    (store.units / "unit-0.json").write_bytes(damage.encode("utf-8", "surrogateescape"))
    with caplog.at_level(logging.WARNING):
        assert not store.has("unit-0")
        assert store.rows() == [make_row(seed=1)]
    assert "unit-0.json is damaged" in caplog.text
    store.write("unit-0", make_row(seed=0))
    assert store.has("unit-0")
    assert len(store.merge()) == 2


def test_a_leftover_temporary_file_is_no_unit(tmp_path: Path) -> None:
    store = store_of(tmp_path, [make_row()])
    (store.units / ".unit-9.json.123.tmp").write_text("{")
    assert len(store.rows()) == 1


@pytest.mark.parametrize("key", ["", "../a", "a/b", ".hidden", "a b", "x" * 300])
def test_a_key_must_be_a_safe_file_name(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        ResultStore(tmp_path).write(key, make_row())


def test_the_table_round_trips(tmp_path: Path) -> None:
    rows = make_run(episodes=4, seeds=2, checkpoints=2)
    merged = store_of(tmp_path, rows).merge()
    read = read_results(tmp_path)
    assert read.equals(merged)
    assert len(read) == len(rows)
    assert read["versions"].iloc[0] == {"mujoco": "3.3.0", "metaworld": "3.1.1"}
    assert read["video"].iloc[0] is None
    stored = pq.read_table(tmp_path / "results.parquet")
    assert stored["versions"][0].as_py() == '{"metaworld": "3.1.1", "mujoco": "3.3.0"}'


def test_the_table_does_not_depend_on_the_order_of_work(tmp_path: Path) -> None:
    rows = make_run(episodes=3, seeds=2, checkpoints=2)
    store_of(tmp_path / "a", rows).merge()
    store_of(tmp_path / "b", rows[::-1]).merge()
    assert (tmp_path / "a/results.parquet").read_bytes() == (tmp_path / "b/results.parquet").read_bytes()


def test_an_evaluation_counts_once_and_the_newer_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(tmp_path, [make_row(train_loss=1.0), make_row(train_loss=2.0)])
    os.utime(store.units / "unit-0.json", (2e9, 2e9))
    with caplog.at_level(logging.WARNING):
        frame = store.merge()
    assert frame["train_loss"].tolist() == [1.0]
    assert "repeats an evaluation" in caplog.text


def test_merging_again_replaces_the_table(tmp_path: Path) -> None:
    store = store_of(tmp_path, [make_row()])
    store.merge()
    store.write("more", make_row(seed=5))
    assert store.merge()["seed"].tolist() == [0, 5]


def test_nothing_to_merge_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished evaluation"):
        ResultStore(tmp_path).merge()


def test_reading_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no results"):
        read_results(tmp_path)
    store_of(tmp_path, [make_row()]).merge()
    table = pq.read_table(tmp_path / "results.parquet").drop_columns(["camera"])
    pq.write_table(table, tmp_path / "old.parquet")
    with pytest.raises(ValueError, match="camera"):
        read_results(tmp_path / "old.parquet")


LATER = ["strict_any", "strict_last", "demos_frame_hash", "horizon", "render_size", "picture_size"]


def test_what_later_versions_added_is_kept_where_it_is_known(tmp_path: Path) -> None:
    known = {
        "strict_any": [True, True, False, False],
        "strict_last": [True, False, False, False],
        "demos_frame_hash": "9f0e",
        "horizon": 500,
        "render_size": 256,
        "picture_size": 224,
    }
    frame = store_of(tmp_path, [make_row(**known), make_row(seed=1)]).merge()
    assert frame[LATER].iloc[0].to_dict() == known
    assert frame[LATER].iloc[1].to_dict() == dict.fromkeys(LATER)


def test_results_of_before_are_read(tmp_path: Path) -> None:
    store = store_of(tmp_path, [make_row()])
    now = store.merge()
    old = pq.read_table(tmp_path / "results.parquet").drop_columns(LATER)
    pq.write_table(old, tmp_path / "old.parquet")
    assert read_results(tmp_path / "old.parquet").equals(now)
    unit = store.units / "unit-0.json"
    record = json.loads(unit.read_text())
    unit.write_text(json.dumps({name: value for name, value in record.items() if name not in LATER}))
    assert store.read("unit-0") == make_row()


def test_frame_of_rows_in_memory_is_the_frame_of_the_file(tmp_path: Path) -> None:
    assert store_of(tmp_path, [make_row(video="a.mp4")]).merge().equals(frame_of([make_row(video="a.mp4")]))
