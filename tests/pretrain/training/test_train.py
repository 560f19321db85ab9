from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from processes import begin, together
from tiny_runs import settings

from egorep import load_encoder
from egorep.commands import ConfigError
from egorep.models.config import SIZES
from egorep.models.egovideo import EgoVideo
from pretrain.data.skipping import TooManySkippedError
from pretrain.train import train
from pretrain.training.checkpoints import CheckpointError
from pretrain.training.config import TrainConfig
from pretrain.training.trainer import Trainer


def weights(out: Path) -> dict[str, torch.Tensor]:
    model: EgoVideo = EgoVideo.from_pretrained(out / "model")
    return model.state_dict()


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


def test_training_learns(films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Losses fall, and most of sixteen clips find their narration."""
    config = settings(
        films,
        tmp_path,
        batch=16,
        epochs=60,
        learning_rate=1e-3,
        losses__boxes=1,
        augmentation__crop=1,
        augmentation__flip=0,
        model__drop_path=0,
        validation_csv="hod.csv",
        evaluate_every=60,
        log_every=1,
    )
    with caplog.at_level("INFO"):
        measured = train(config)
    reports = [dict(re.findall(r"(\w+) (\d+\.\d{4})", message)) for message in caplog.messages]
    reports = [{name: float(value) for name, value in report.items()} for report in reports if report]
    assert reports[0]["info_nce"] > 2.5  # ln 16 = 2.77 by chance
    assert reports[-1]["info_nce"] < 1.2
    assert reports[-1]["boxes"] < 0.8 * reports[0]["boxes"]
    assert measured["text_recall@1"] >= 0.5  # by chance 0.06
    assert measured["video_median_rank"] <= 2  # by chance 8.5
    assert list((tmp_path / "tensorboard").rglob("events.out.tfevents.*"))


def kill_soon(process: BaseProcess, checkpoints: Path, rng: random.Random) -> None:
    """Let a run write another checkpoint, or none, and kill it a little later."""
    before = set(checkpoints.glob("step_*"))
    if rng.random() < 0.7:
        while not set(checkpoints.glob("step_*")) - before:
            assert process.is_alive()
            time.sleep(0.005)
    process.join(rng.uniform(0, 0.1))
    assert process.pid is not None
    assert process.is_alive(), "the run is too short to be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_run_ends_as_an_undisturbed_one(films: Path, tmp_path: Path, kills: int) -> None:
    def config(out: str) -> TrainConfig:
        changes = {"checkpoint_every": 2, "ema": 0.9, "model__drop_path": 0.2, "patch_dropout": 0.25}
        epochs = 4 * kills
        return settings(films, tmp_path / out, epochs=epochs, losses__boxes=1, losses__tracks=1, **changes)

    train(config("whole"))
    rng = random.Random(0)
    for _ in range(kills):
        kill_soon(begin(train, config("killed")), tmp_path / "killed/checkpoints", rng)
    last = begin(train, config("killed"))
    last.join()
    assert last.exitcode == 0
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


@pytest.fixture(scope="module")
def finished(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six steps with a checkpoint of each second."""
    out = tmp_path_factory.mktemp("finished") / "run"
    train(settings(films, out, checkpoint_every=2, keep=3))
    return out


def copy_step(finished: Path, step: int, out: Path) -> None:
    name = f"checkpoints/step_{step}"
    shutil.copytree(finished / name, out / name)


def test_only_the_last_checkpoints_stay(finished: Path) -> None:
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == [
        "step_2",
        "step_4",
        "step_6",
    ]


def test_another_number_of_workers_gives_the_same_weights(
    films: Path, finished: Path, tmp_path: Path
) -> None:
    copy_step(finished, 2, tmp_path)
    train(settings(films, tmp_path, workers=2, checkpoint_every=2, log_every=1, keep=1))
    assert_same(weights(finished), weights(tmp_path))


def test_a_finished_run_writes_its_model_again(films: Path, finished: Path, tmp_path: Path) -> None:
    copy_step(finished, 6, tmp_path)
    train(settings(films, tmp_path))
    assert_same(weights(finished), weights(tmp_path))


def test_a_run_with_other_settings_is_refused(films: Path, finished: Path) -> None:
    with pytest.raises(CheckpointError, match=r"learning_rate=0\.5 \(was 0\.0005\).*another out="):
        train(settings(films, finished, learning_rate=0.5))
    changed = settings(films, finished)
    changed.model.architecture["vision"]["layers"] = 3
    with pytest.raises(CheckpointError, match=r"model\.architecture\.vision\.layers=3 \(was 2\)"):
        train(changed)


def test_a_damaged_checkpoint_is_named(films: Path, finished: Path, tmp_path: Path) -> None:
    copy_step(finished, 4, tmp_path)
    (tmp_path / "checkpoints/step_4/state.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"step_4 cannot be read .* remove it"):
        train(settings(films, tmp_path))


def test_co_training_goes_on_from_the_backbone(
    films: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(films, tmp_path, stage="cotrain", init=finished, losses__boxes=1, batch=8)
    train(config)
    slow, fast = weights(finished), weights(tmp_path)
    assert "slowfast_projection" in fast
    moved = {name for name in slow if not torch.equal(slow[name], fast[name])}
    assert {"visual.blocks.0.attn.qkv.weight", "textual.blocks.0.attn.qkv.weight"} <= moved
    # Trap 1 of the release: adapters before the last one learn too. Of the last nothing depends on.
    assert fast["visual.adapters.0.up.weight"].any()
    assert not fast["visual.adapters.1.up.weight"].any()
    model: EgoVideo = EgoVideo.from_pretrained(tmp_path / "model")
    monkeypatch.setattr("egorep.egovideo.SIZES", {**SIZES, "egovideo_tiny": model.config})
    encoder = load_encoder("egovideo_tiny", checkpoint=tmp_path / "model")
    assert encoder.num_frames == 8
    assert encoder.dim == 64


def test_sharded_and_copied_runs_are_one_run(films: Path, tmp_path: Path) -> None:
    """Few steps on two processes, by DDP and FSDP, with averages, and FSDP from its own checkpoint."""
    common = {
        "model__drop_path": 0,
        "patch_dropout": 0,
        "ema": 0.9,
        "checkpoint_every": 2,
        "keep": 9,
        "losses__tracks": 1,
    }
    evaluated = {"validation_csv": "hod.csv", "learn_temperature": True, "epochs": 2, "stage": "cotrain"}

    def config(out: str, **changes: object) -> TrainConfig:
        return settings(films, tmp_path / out, **common, **evaluated, **changes)

    train(config("one"))
    together(train, config("ddp"))
    together(train, config("fsdp", sharding="fsdp"))
    shutil.copytree(tmp_path / "fsdp/checkpoints/step_2", tmp_path / "again/checkpoints/step_2")
    together(train, config("again", sharding="fsdp"))
    wanted = weights(tmp_path / "one")
    for out in ("ddp", "fsdp", "again"):
        for name, value in weights(tmp_path / out).items():
            torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=2e-5, msg=f"{out}: {name}")
    assert_same(weights(tmp_path / "fsdp"), weights(tmp_path / "again"))


def test_averaged_weights_are_saved(films: Path, finished: Path, tmp_path: Path) -> None:
    train(settings(films, tmp_path, ema=0.99))
    plain, averaged = weights(finished), weights(tmp_path)
    state = torch.load(tmp_path / "checkpoints/step_6/state.pt")["network"]
    assert torch.equal(state["egovideo.image_projection"], plain["image_projection"])
    assert not torch.equal(averaged["image_projection"], plain["image_projection"])
    assert torch.allclose(averaged["image_projection"], plain["image_projection"], atol=0.01)


def break_films(films: Path, to: Path, count: int) -> Path:
    shutil.copytree(films, to)
    for number in range(count):
        (to / "videos" / f"{number:02}.mp4").write_bytes(b"no film")
    return to


def test_unreadable_clips_are_replaced_and_reported(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = break_films(films, tmp_path / "broken", 1)
    config = settings(broken, tmp_path / "out", epochs=2, limit_share=0.2, validation_csv="hod.csv")
    with caplog.at_level("INFO"):
        train(config)
    assert "clips: skipped 2 of" in caplog.text
    assert "validation: skipped 1 of 16" in caplog.text
    assert "row 0 (00)" in caplog.text


def test_too_many_unreadable_clips_stop_a_run(films: Path, tmp_path: Path) -> None:
    broken = break_films(films, tmp_path / "broken", 8)
    with pytest.raises(TooManySkippedError, match=r"more than 2\.0% failed"):
        train(settings(broken, tmp_path / "out"))


def test_a_full_disk_ends_a_run_and_leaves_what_was_whole(
    films: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_step(finished, 2, tmp_path)

    def full(state: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"No space left on device\); the last one is of step 2\. Make"):
        train(settings(films, tmp_path, checkpoint_every=2))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_2"]
    train(settings(films, tmp_path, checkpoint_every=2))
    assert_same(weights(finished), weights(tmp_path))


def test_a_loss_that_is_not_finite_ends_a_run(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Trainer, *_: object) -> dict[str, torch.Tensor]:
        self.step += 1
        return {"loss": torch.tensor(float("nan"))}

    monkeypatch.setattr(Trainer, "advance", broken)
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 1.*learning_rate"):
        train(settings(films, tmp_path, log_every=1))


def test_a_dry_run_tells_and_leaves_nothing(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(films, tmp_path / "films")
    (tmp_path / "films/videos/03.mp4").unlink()
    assert train(settings(tmp_path / "films", out, dry_run=True, losses__boxes=1, accumulate=2)) == {}
    told = capsys.readouterr().out
    for words in (
        "videos      1 missing: 03",
        "16 rows to train on",
        "6 of 8 clips",
        "in 2 parts",
        "GiB of weights",
        "clips/s",
        "0:00:",
    ):
        assert words in told
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 32}, "batch=32 is more than the 16 rows"),
        ({"batch": 9, "accumulate": 2}, "batch=9 cannot be shared"),
        ({"model__size": "egovideo_tinny"}, "did you mean 'egovideo_tiny'"),
        ({"model__architecture": "{vision: {depth: 3}}"}, "unexpected keyword argument 'depth'"),
    ],
)
def test_what_cannot_be_trained_is_said_before_any_work(
    changes: dict[str, object], message: str, films: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        train(settings(films, tmp_path, **changes))
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("precision", ["fp16", pytest.param("bf16", marks=pytest.mark.slow)])
def test_half_precision_trains(precision: str, films: Path, finished: Path, tmp_path: Path) -> None:
    changes = {"checkpoint_every": 2, "keep": 3, "precision": precision}
    train(settings(films, tmp_path / "half", **changes))
    copy_step(tmp_path / "half", 4, tmp_path / "again")
    train(settings(films, tmp_path / "again", **changes))
    assert_same(weights(tmp_path / "half"), weights(tmp_path / "again"))
    for name, value in weights(tmp_path / "half").items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, weights(finished)[name], rtol=0, atol=0.01, msg=name)


def test_the_time_of_evaluation_is_no_training_time(films: Path, tmp_path: Path) -> None:
    from pretrain.training.progress import Meter

    meter = Meter(batch=8)
    for _ in meter.waiting([1, 2, 3]):
        began = time.perf_counter()
        time.sleep(0.05)
        meter.pause(time.perf_counter() - began)
        time.sleep(0.01)
        meter.step()
    numbers, words = meter.report(steps_left=30)
    assert 8 / 0.02 < numbers["clips_per_second"] < 8 / 0.01
    assert "left" in words
