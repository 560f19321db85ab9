from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_benchmarks
import torch
from small_egovideo import save_small_egovideo

from egorep import load_encoder
from pretrain import finetune
from pretrain.benchmarks import finetuning, probes
from pretrain.benchmarks.tasks import Captioned, retrieval
from pretrain.data.narrations import Narrated
from pretrain.losses import info_nce

COLOURS = ((255, 40, 40), (40, 255, 40))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_egovideo(tmp_path_factory.mktemp("model"))


def toy(folder: Path, clips: int, told_by: str) -> Path:
    """EGTEA with two classes, told apart by a square's colour or by its way; the other is drawn at random."""
    annotations = folder / "action_annotation"
    annotations.mkdir(parents=True)
    (annotations / "action_idx.txt").write_text("Move left 1\nMove right 2\n")
    rng = np.random.default_rng(0)
    for part, count in (("train", clips), ("test", 12)):
        lines = []
        for number in range(count):
            label, other = number % 2, int(rng.integers(2))
            colour, way = (label, other) if told_by == "colour" else (other, label)
            recording = f"OP{number // 2:02d}-R01-{part}"
            name = f"{recording}-{number}-{number}-F0-F1"
            paint = np.clip(np.array(COLOURS[colour]) + rng.integers(-30, 30, 3), 0, 255)
            small_benchmarks.square(
                folder / "cropped_clips" / recording / f"{name}.mp4", paint.tolist(), (-1, 1)[way], 1.0
            )
            lines.append(f"{name} {label + 1} 1 1\n")
        (annotations / f"{part}_split1.txt").write_text("".join(lines))
    return folder


def command(data: Path, checkpoint: Path | None, out: Path, *more: str) -> dict[str, float]:
    settings = (f"data={data}", f"checkpoint={checkpoint or 'null'}", f"out={out}", "workers=0")
    quiet = (f"hydra.run.dir={out}", "hydra/job_logging=none")
    finetune.main([*settings, *quiet, *more])
    return figures(out)


def figures(out: Path) -> dict[str, float]:
    (path,) = out.glob("*.parquet")
    rows = pd.read_parquet(path)
    return dict(zip(rows["measure"], rows["estimate"], strict=True))


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "last.pt", weights_only=True)["learner"]


@pytest.mark.parametrize(
    ("mode", "told_by", "more"),
    [
        ("linear", "colour", ["epochs=30", "learning_rate=0.01"]),
        ("attentive", "colour", ["epochs=6", "learning_rate=0.003"]),
        ("full", "way", ["epochs=9", "learning_rate=0.0001"]),
    ],
)
def test_each_mode_learns_what_it_can_see(
    mode: str, told_by: str, more: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy(tmp_path / "data", 48, told_by)
    settings = ["benchmark=egtea", f"mode={mode}", "batch=8", *more]
    found = command(data, model, tmp_path / "out", *settings)
    assert found["action top-1"] >= 0.9
    assert found["action mean class"] == pytest.approx(found["action top-1"], abs=0.1)
    assert f"classification {mode}" in capsys.readouterr().out
    assert (tmp_path / "out" / "model" / "config.json").exists() == (mode == "full")
    if mode == "full":
        before = load_encoder("egovideo_tiny", checkpoint=model)
        after = load_encoder("egovideo_tiny", checkpoint=tmp_path / "out" / "model")
        assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("mode", ["linear", "attentive", "full"])
def test_retrieval_in_each_mode(mode: str, model: Path, tmp_path: Path) -> None:
    data = small_benchmarks.egosim(tmp_path / "data")
    settings = ["task=retrieval", f"mode={mode}", "epochs=2", "batch=6", "learning_rate=0.001"]
    found = command(data, model, tmp_path / "out", *settings)
    assert {"mAP", "nDCG", "intra-video", "hand", "direction", "object"} <= set(found)
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("mode", ["linear", "full"])
def test_a_run_that_was_cut_off_ends_with_the_same_weights(
    mode: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy(tmp_path / "data", 8, "colour")
    settings = ["benchmark=egtea", f"mode={mode}", "epochs=3", "batch=3", "learning_rate=0.01"]
    whole = command(data, model, tmp_path / "whole", *settings)
    saved = finetuning.Finetuning._save_state
    with monkeypatch.context() as patch:

        def cut(self: finetuning.Finetuning, epoch: int, best: object) -> None:
            saved(self, epoch, best)  # type: ignore[arg-type]
            if epoch == 1:
                raise KeyboardInterrupt

        patch.setattr(finetuning.Finetuning, "_save_state", cut)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            command(data, model, tmp_path / "cut", *settings)
    epochs = []
    train = finetuning.Finetuning._train
    monkeypatch.setattr(
        finetuning.Finetuning, "_train", lambda self, epoch: epochs.append(epoch) or train(self, epoch)
    )
    assert command(data, model, tmp_path / "cut", *settings) == whole
    assert epochs == [1, 2]
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(SystemExit):
        command(data, model, tmp_path / "cut", *settings, "seed=1")


def test_the_epoch_is_chosen_on_the_validation_part(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy(tmp_path / "data", 8, "colour")
    values = iter([0.4, 0.9, 0.9, 0.1])
    score = finetuning.Finetuning._figures

    def staged(self: finetuning.Finetuning, part: finetuning._Part) -> list[finetuning.Figure]:
        found = score(self, part)
        if part is self._parts[1]:
            found[0] = found[0]._replace(interval=found[0].interval._replace(estimate=next(values)))
        return found

    monkeypatch.setattr(finetuning.Finetuning, "_figures", staged)
    command(data, model, tmp_path / "out", "benchmark=egtea", "epochs=4", "batch=8")
    result = json.loads((tmp_path / "out" / "egtea_classification_linear.json").read_text())
    assert result["method"] == "classification linear, epoch 2 of 4"
    best = torch.load(tmp_path / "out" / "best.pt", weights_only=True)
    assert not torch.equal(best["head.weight"], weights(tmp_path / "out")["head.weight"])


@pytest.mark.parametrize("mode", ["linear", "attentive"])
def test_unreadable_clips_are_reported_and_too_many_end_the_run(
    mode: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_benchmarks.egosim(tmp_path / "data")
    shutil.rmtree(data / "videos" / "train_0")
    (data / "videos" / "test_0" / "0000.mp4").write_bytes(b"no video")
    settings = [f"mode={mode}", "epochs=2", "batch=2"]
    with pytest.raises(SystemExit) as ended:
        command(data, model, tmp_path / "out", *settings)
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "training: row 0 (train_0)" in printed
    assert "row 12 (test_0)" in printed
    assert "the figures are over 4 of 6 clips" in printed
    with pytest.raises(SystemExit) as ended:
        command(data, model, tmp_path / "strict", *settings, "limit_share=0.001")
    assert ended.value.code == 2
    assert "training stopped: more than 0.1% failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["mode=linaer"], "'linear'"),
        (["task=clasification"], "'classification'"),
        (["epochs=0"], "epochs=0 wants at least 1"),
        (["learning_rate=-1"], "not positive"),
        (["limit_share=1"], "limit_share"),
        (["benchmark=egomcq"], "evaluation only"),
        (["benchmark=ek100_mir"], "ek100_cls"),
        (["task=retrieval", "encoder=random/efficientnet_lite0", "checkpoint=null"], "shares no space"),
    ],
)
def test_wrong_settings_end_in_one_line(
    changes: list[str], message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_benchmarks.egosim(tmp_path / "data")
    (data / "videos").mkdir(exist_ok=True)
    (data / "egomcq.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        command(data, model, tmp_path / "out", *changes)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_an_encoder_of_pictures_can_be_probed(tmp_path: Path) -> None:
    data = toy(tmp_path / "data", 8, "colour")
    settings = ["encoder=random/efficientnet_lite0", "benchmark=egtea", "epochs=2", "batch=4"]
    assert "action top-1" in command(data, None, tmp_path / "out", *settings)


def test_multi_instance_nce_is_info_nce_where_every_clip_has_one_text() -> None:
    video, text = (torch.nn.functional.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    scale = torch.tensor(math.log(1 / probes.TEMPERATURE))
    loss = probes.multi_instance_nce(video, text, torch.eye(5, dtype=torch.bool))
    assert loss.item() == pytest.approx(
        info_nce(video, text, scale, torch.arange(5)[:, None]).item(), abs=1e-5
    )
    # Equal texts cannot be told apart: the loss knows, and is least where both clips are theirs alike.
    same = torch.eye(2)[[0, 0, 1]]
    together = same @ same.T > 0
    assert probes.multi_instance_nce(same, same, together) == pytest.approx(math.log(2) * 2 / 3, abs=1e-3)


def test_a_linear_probe_learns_to_bring_clips_and_texts_together() -> None:
    draw = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(64, 16, generator=draw), dim=-1)
    turn = torch.linalg.qr(torch.randn(16, 16, generator=draw))[0]
    texts, own = features @ turn, torch.eye(64, dtype=torch.bool)
    probe = probes.LinearProbe(features, classes=None)
    optimiser = torch.optim.AdamW(probe.parameters(), lr=0.01)

    def found() -> float:
        return ((probe(features) @ probe.text(texts).T).argmax(1) == torch.arange(64)).float().mean().item()

    assert found() < 0.2
    for _ in range(150):
        loss = probes.multi_instance_nce(probe(features), probe.text(texts), own)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert found() > 0.95


def test_the_probes_begin_where_zero_shot_ends() -> None:
    features = torch.nn.functional.normalize(torch.randn(6, 8), dim=-1)
    probe = probes.LinearProbe(features, classes=None)
    assert torch.allclose(probe(features), features, atol=1e-6)
    assert torch.allclose(probe.text(features), features, atol=1e-6)


def test_own_captions_are_those_of_the_text_and_the_classes() -> None:
    rows = [
        Captioned(Narrated(str(n), Path(), 0.0, 1.0, (text,), n), text, frozenset([verb]), frozenset(["cup"]))
        for n, (text, verb) in enumerate(
            [("takes", "take"), ("opens", "lid"), ("opens", "door"), ("opens", "lid")]
        )
    ]
    assert finetuning.own_captions(retrieval("task", rows)).tolist() == [0, 1, 2, 1]
