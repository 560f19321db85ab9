"""Files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from egorep.files import replacing, writable_folder


def test_replacing_leaves_the_old_file_when_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_made_or_refused_with_the_setting_that_named_it(tmp_path: Path) -> None:
    assert writable_folder("out", tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"out=.*/file/run is not a folder that can be made"):
        writable_folder("out", tmp_path / "file" / "run")
