"""Training on a CUDA device: the losses of a CPU, in each precision, and runs that go on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from processes import forget_accelerator
from tiny_runs import settings

from egorep.models.egovideo import EgoVideo
from pretrain.train import train
from pretrain.training.config import TrainConfig
from pretrain.training.parallel import start
from pretrain.training.source import open_source
from pretrain.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

# Nothing that is drawn on the device itself, whose generator is another than the CPU's.
SAME = {
    "losses__boxes": 1,
    "losses__tracks": 0.5,
    "model__drop_path": 0,
    "patch_dropout": 0,
    "learning_rate": 1e-3,
}


def first_losses(films: Path, out: Path, **changes: object) -> list[float]:
    """Of the first four steps."""
    forget_accelerator()
    config = settings(films, out, **SAME, **changes)
    accelerator = start(config)
    assert accelerator.device.type == ("cpu" if config.device == "cpu" else "cuda")
    trainer = Trainer(config, open_source(config), accelerator)
    return [
        float(trainer.advance(batch)["loss"]) for batch, _ in zip(trainer.batches(), range(4), strict=False)
    ]


@pytest.mark.parametrize("stage", ["backbone", "cotrain"])
@pytest.mark.parametrize(("precision", "tolerance"), [("no", 1e-3), ("bf16", 0.03), ("fp16", 0.03)])
def test_losses_are_those_of_the_cpu(
    films: Path, tmp_path: Path, stage: str, precision: str, tolerance: float
) -> None:
    here = first_losses(films, tmp_path / "here", stage=stage)
    there = first_losses(films, tmp_path / "there", stage=stage, precision=precision, device="auto")
    assert there == pytest.approx(here, rel=tolerance)
    assert here[-1] < here[0]


def test_a_run_goes_on_with_what_it_drew(films: Path, tmp_path: Path) -> None:
    """One that was stopped half-way ends where the undisturbed one does, up to the order of sums."""

    def config(out: str) -> TrainConfig:
        changes = {"checkpoint_every": 3, "ema": 0.9, "patch_dropout": 0.25, "precision": "bf16", "keep": 9}
        return settings(films, tmp_path / out, stage="cotrain", device="auto", workers=2, **changes)

    train(config("whole"))
    (tmp_path / "half/checkpoints").mkdir(parents=True)
    (tmp_path / "whole/checkpoints/step_3").rename(tmp_path / "half/checkpoints/step_3")
    forget_accelerator()
    train(config("half"))
    whole, half = (EgoVideo.from_pretrained(tmp_path / out / "model") for out in ("whole", "half"))
    for first, second in zip(whole.parameters(), half.parameters(), strict=True):
        assert torch.allclose(first, second, atol=1e-3)
