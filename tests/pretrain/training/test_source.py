from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_runs import settings

from pretrain.training.source import open_source


def with_splits(films: Path, to: Path, splits: list[str], column: str = "split") -> Path:
    shutil.copytree(films, to)
    header, *rows = (to / "hod.csv").read_text().splitlines()
    lines = [f"{header},{column}", *(f"{row},{split}" for row, split in zip(rows, splits, strict=True))]
    (to / "hod.csv").write_text("\n".join(lines) + "\n")
    return to


def test_splits_are_kept_apart(films: Path, tmp_path: Path) -> None:
    data = with_splits(films, tmp_path / "data", ["train"] * 10 + ["validation"] * 4 + ["test"] * 2)
    source = open_source(settings(data, tmp_path, losses__boxes=1))
    assert [narrated.row for narrated in source.training] == list(range(10))
    assert [narrated.row for narrated in source.validation] == [10, 11, 12, 13]
    assert source.tracks is not None
    few = open_source(settings(data, tmp_path, evaluate_clips=2)).validation
    assert few == open_source(settings(data, tmp_path, evaluate_clips=2)).validation
    assert len(few) == 2


def test_rows_that_are_not_accepted_are_not_trained_on(films: Path, tmp_path: Path) -> None:
    data = with_splits(films, tmp_path / "data", ["1"] * 12 + ["0"] * 4, column="accepted")
    assert [narrated.row for narrated in open_source(settings(data, tmp_path)).training] == list(range(12))


def test_examples_draw_from_the_columns_of_texts(films: Path, tmp_path: Path) -> None:
    data = with_splits(films, tmp_path / "data", [f"the left hand {row}" for row in range(16)], "caption")
    original = open_source(settings(films, tmp_path)).training[3].texts[0]
    wanted = {None: ("the left hand 3", original), "[caption]": ("the left hand 3",), "[text]": (original,)}
    for columns, texts in wanted.items():
        assert open_source(settings(data, tmp_path, texts=columns)).training[3].texts == texts
    with pytest.raises(ValueError, match="wants the columns narration"):
        open_source(settings(data, tmp_path, texts="[narration]"))


def test_without_validation_rows_it_says_so(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for data in (films, with_splits(films, tmp_path / "data", ["train"] * 16)):
        caplog.clear()
        source = open_source(settings(data, tmp_path))
        assert (len(source.training), source.validation, source.tracks) == (16, [], None)
        assert "nothing is evaluated" in caplog.text
    assert len(open_source(settings(films, tmp_path, validation_csv="hod.csv")).validation) == 16


def test_without_training_rows_it_fails(films: Path, tmp_path: Path) -> None:
    data = with_splits(films, tmp_path / "data", ["test"] * 16)
    with pytest.raises(ValueError, match="unknown value of split 'train'"):
        open_source(settings(data, tmp_path))
