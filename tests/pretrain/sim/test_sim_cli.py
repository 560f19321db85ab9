"""`python -m pretrain.sim`: wrong settings end in one clear line, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.sim.cli import main


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["clips=0"], "clips must be at least 1, got 0"),
        (["clips=many"], "clips"),
        (["stills=0"], "stills must be at least 1, got 0"),
        (["workers=0"], "workers must be at least 1, got 0"),
        (["seed=-1"], "seed must not be negative"),
        (["clip=3"], "unknown config key 'clip'; did you mean 'clips'"),
        (["verbs=[pick upp]"], "unknown verb 'pick upp'; did you mean 'pick up'"),
        (["splits.train=0.5"], "splits must be shares that add up to 1"),
        (["+splits.dev=0"], "unknown config key 'splits.dev'"),
    ],
)
def test_a_wrong_setting_is_one_line(
    overrides: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([f"out={tmp_path}/out", *overrides])
    assert stop.value.code == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line]
    assert line.startswith("pretrain.sim: ")
    assert message in line
    assert not (tmp_path / "out/narrations.csv").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        main([f"out={tmp_path}/file/out", "hydra.run.dir=" + str(tmp_path / "hydra")])
    assert stop.value.code == 2
    assert "is not a folder that can be made" in capfd.readouterr().err


def test_a_machine_without_opengl_is_one_line_that_names_the_packages(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise RuntimeError("no offscreen OpenGL: egl: gone. On Debian: apt-get install libegl1")

    monkeypatch.setattr("egorep.graphics.graphics_backend", missing)
    with pytest.raises(SystemExit) as stop:
        main([f"out={tmp_path}/out"])
    assert stop.value.code == 2
    assert "pretrain.sim: no offscreen OpenGL" in capfd.readouterr().err
