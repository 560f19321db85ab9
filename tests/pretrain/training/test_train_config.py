from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from tiny_runs import settings

from egorep.commands import ConfigError
from egorep.models.config import SIZES
from pretrain import train as command
from pretrain.training.config import COMMAND, parse


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "cotrian"}, "unknown stage 'cotrian'; did you mean 'cotrain'?"),
        ({"schedule": "linear"}, "unknown schedule 'linear'; did you mean 'cosine'?"),
        ({"losses__contrast": "nce"}, "did you mean 'info_nce'"),
        ({"batch": 1}, "batch=1: wants batch >= 2"),
        ({"batch": "many"}, "batch"),
        ({"learning_rate": 0}, "learning_rate=0.0: wants learning_rate > 0"),
        ({"augmentation__flip": 1.5}, "augmentation.flip=1.5: wants augmentation.flip >= 0 and <= 1"),
        ({"betas": "[0.9]"}, "betas=[0.9]: wants two numbers"),
        ({"precision": "fp16", "sharding": "fsdp"}, "use precision=bf16"),
        ({"csv": "none.csv"}, "csv=none.csv: there is no such file"),
        ({"init": "nowhere/else"}, "init=nowhere/else: there is no such file or folder"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_said_in_one_line(
    changes: dict[str, object], message: str, films: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        settings(films, tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_losses_on_tracks_want_tracks(films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path / "data", ignore=shutil.ignore_patterns("tracks.zarr"))
    assert not settings(tmp_path / "data", tmp_path).losses.need_tracks
    for loss in ("boxes", "tracks"):
        with pytest.raises(ConfigError, match=r"losses\.boxes and losses\.tracks need .*tracks\.zarr"):
            settings(tmp_path / "data", tmp_path, **{f"losses__{loss}": 0.1})


def test_weights_and_biases_is_wanted_only_where_it_is(films: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed")
    with pytest.raises(ConfigError, match="wandb=true needs the package wandb: pip install wandb"):
        settings(films, tmp_path, wandb=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stage", ["backbone", "cotrain"])
def test_every_size_has_a_recipe(size: str, stage: str, films: Path) -> None:
    with initialize_config_module("pretrain.configs", version_base="1.3"):
        config = parse(compose("train", [f"model={size}", f"stage={stage}", f"data={films}"]))
    assert config.model.size == size
    assert config.batch == config.model.recipes[stage].batch


@pytest.mark.parametrize(("size", "rate"), [("egovideo_base", 4e-5), ("egovideo_large", 1e-5)])
def test_base_and_large_follow_the_paper(size: str, rate: float, films: Path) -> None:
    with initialize_config_module("pretrain.configs", version_base="1.3"):
        config = parse(compose("train", [f"model={size}", f"data={films}"]))
    assert (config.batch, config.learning_rate, config.epochs) == (16 * 128, rate, 15)
    assert (config.schedule, config.warmup, config.weight_decay) == ("constant", 0, 0.01)
    assert (config.patch_dropout, config.model.drop_path) == (0, 0)
    assert (config.betas, config.temperature, config.learn_temperature) == ([0.9, 0.999], 0.07, False)


def test_a_wrong_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        COMMAND.check_overrides(["learning_rat=1"])
    with pytest.raises(ConfigError, match="did you mean 'egovideo_base'"):
        COMMAND.check_overrides(["model=egovideo_bas"])


def test_the_command_ends_with_its_error_in_one_line(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train"])
    with pytest.raises(SystemExit) as stopped:
        command.main([f"data={films}/none", f"out={tmp_path}"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"pretrain.train: data={films}/none: there is no such folder\n"


def test_threads_wait_without_taking_a_core_unless_told_otherwise(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    for before, after in ((None, "passive"), ("active", "active")):
        monkeypatch.setattr("sys.argv", ["train"])
        if before is None:
            monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        else:
            monkeypatch.setenv("OMP_WAIT_POLICY", before)
        arguments = [f"data={films}", f"out={tmp_path}"]
        COMMAND.main(lambda _: found.append(os.environ["OMP_WAIT_POLICY"]), arguments)
        assert found[-1] == after


def test_torch_is_not_imported_before_it_can_be_told_how_threads_wait() -> None:
    script = "import sys, pretrain.train; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
