from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from egorep import load_encoder
from egorep.models.config import SIZES
from egorep.models.egovideo import EgoVideo
from egorep.models.objectness import CLASSES, ObjectnessHead, ObjectnessNetwork
from egorep.models.stem import ConvolutionalStem
from pretrain.objectness import ObjectnessSettings, judge, main, train
from pretrain.sim.stills import Stills, write_stills

SETTINGS = ObjectnessSettings(
    data="",
    init="",
    out="",
    steps=40,
    batch=8,
    learning_rate=5e-3,
    weight_decay=0.01,
    smallest=48,
    seed=0,
    device="cpu",
)


def discs(count: int, seed: int) -> Stills:
    """Discs, which are objects, and squares, which are right hands, on grounds of any colour."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:112, :112]
    pictures = np.empty((count, 112, 112, 3), np.uint8)
    outlines = np.zeros((count, 28, 28), np.uint8)
    for picture, outline in zip(pictures, outlines, strict=True):
        picture[:] = rng.integers(0, 120, 3)
        for kind, centre in (("object", (0, 56)), ("right hand", (56, 112))):
            at = rng.integers(20, 92), rng.integers(centre[0] + 16, centre[1] - 16)
            away = rows - at[0], columns - at[1]
            inside = np.hypot(*away) < 13 if kind == "object" else np.maximum(*map(abs, away)) < 13
            picture[inside] = rng.integers(140, 255, 3)
            outline[inside[2::4, 2::4]] = CLASSES.index(kind)
    return Stills(pictures, outlines)


@pytest.fixture(scope="module")
def trained() -> ObjectnessNetwork:
    torch.manual_seed(0)
    stem = ConvolutionalStem(192)
    stem.load_imagenet()
    network = ObjectnessNetwork(stem, ObjectnessHead())
    train(network, discs(40, seed=0), SETTINGS)
    return network


def test_it_learns_where_objects_are(trained: ObjectnessNetwork) -> None:
    judged = judge(trained, discs(12, seed=1))
    assert judged.stills == 12
    assert judged.iou["object"] > 0.7
    assert judged.iou["background"] > 0.9
    assert judged.iou["left hand"] == 0.0, "mirrored pictures show them, these do not"
    untrained = ObjectnessNetwork(trained.stem, ObjectnessHead()).eval()
    assert judge(untrained, discs(12, seed=1)).iou["object"] < 0.3


def test_objects_are_told_in_smaller_pictures_and_other_colours(trained: ObjectnessNetwork) -> None:
    stills = discs(6, seed=2)
    inverted = Stills(255 - stills.pictures, stills.outlines)
    assert judge(trained, inverted).iou["object"] > 0.6
    smaller = Stills(stills.pictures[:, ::2, ::2], stills.outlines[:, ::2, ::2])
    assert judge(trained, smaller).iou["object"] > 0.4


def test_training_repeats_and_leaves_the_stem_alone(trained: ObjectnessNetwork) -> None:
    weights = []
    before = {name: value.clone() for name, value in trained.stem.state_dict().items()}
    for _ in range(2):
        torch.manual_seed(1)
        network = ObjectnessNetwork(trained.stem, ObjectnessHead())
        train(network, discs(8, seed=0), dataclasses.replace(SETTINGS, steps=3))
        weights.append(network.head.state_dict())
        assert not network.head.training
        assert not any(weight.requires_grad for weight in network.parameters() if weight.ndim > 2)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    after = trained.stem.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Stills of two splits, and a model without a head."""
    for name in ("train_0000000", "train_0000001", "test_0000002"):
        write_stills(tmp_path / f"stills/{name}.npz", discs(4, seed=int(name[-1])))
    tiny = SIZES["egovideo_tiny"]
    vision = dataclasses.replace(tiny.vision, image_size=32)
    torch.manual_seed(0)
    model = EgoVideo(dataclasses.replace(tiny, vision=vision, text=dataclasses.replace(tiny.text, layers=1)))
    model.save_pretrained(tmp_path / "run/model")
    return tmp_path


def test_the_command_adds_the_head_and_changes_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "out"
    settings = [f"data={folder}", f"init={folder}/run", f"out={out}", "steps=2", "batch=4"]
    main(settings)
    assert "learnt from 8 stills; intersection over union on 4 of split test" in capsys.readouterr().out
    before, after = (EgoVideo.from_pretrained(where / "model") for where in (folder / "run", out))
    own = before.state_dict()
    weights = after.state_dict()
    assert all(torch.equal(own[name], weights[name]) for name in own)
    assert after.config == dataclasses.replace(before.config, objectness=True)
    report = json.loads((out / "objectness.json").read_text())
    assert (report["learnt"], report["stills"], set(report["iou"])) == (8, 4, set(CLASSES))
    assert report["settings"]["steps"] == 2
    assert load_encoder(f"egovideo_tiny@{out}:objects").dim == 784
    main([*settings, f"init={out}", f"out={folder}/again"])
    again = EgoVideo.from_pretrained(folder / "again/model").state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights), "the head starts anew"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["steps=0"], "steps must be at least 1, got 0"),
        (["learning_rate=0"], "learning_rate must be above 0"),
        (["smallest=50"], "smallest must be a multiple of 16 from 32 to 112, got 50"),
        (["init=nowhere"], "init=nowhere is no folder: `python -m pretrain.train out=...` makes one"),
        (["data=nowhere"], "nowhere has no stills of split train: python -m pretrain.sim"),
        (["device=nowhere"], "device"),
        (["step=3"], "unknown config key 'step'; did you mean 'steps'"),
    ],
)
def test_a_wrong_setting_is_one_line(
    overrides: list[str], message: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([f"data={folder}", f"init={folder}/run", f"out={folder}/out", *overrides])
    assert stop.value.code == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line]
    assert line.startswith("pretrain.objectness: ")
    assert message in line


def test_a_loss_that_is_not_finite_ends_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pretrain.objectness._WEIGHTS", (math.nan,) * len(CLASSES))
    with pytest.raises(SystemExit) as stop:
        main([f"data={folder}", f"init={folder}/run", f"out={folder}/out", "steps=2", "batch=4"])
    assert stop.value.code == 1
    assert "pretrain.objectness: the loss is not finite: lower learning_rate" in capsys.readouterr().err
    assert not (folder / "out/model").exists()


def test_a_model_without_a_convolutional_stem_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny = SIZES["egovideo_tiny"]
    vision = dataclasses.replace(tiny.vision, image_size=32, stem="linear")
    EgoVideo(dataclasses.replace(tiny, vision=vision)).save_pretrained(folder / "linear")
    with pytest.raises(SystemExit):
        main([f"data={folder}", f"init={folder}/linear", f"out={folder}/out"])
    assert "stem 'linear' has none" in capfd.readouterr().err
