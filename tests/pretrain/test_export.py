from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_egovideo import save_small_egovideo

from egorep import load_encoder
from egorep.models.egovideo import EgoVideo
from egorep.models.text import tokens_of
from pretrain.export import export

TEXTS = ["C opens the drawer with the left hand", "C pours milk"]


def test_what_is_written_is_small_and_says_the_same(tmp_path: Path) -> None:
    whole = save_small_egovideo(tmp_path / "whole")
    export(EgoVideo.from_pretrained(whole), TEXTS, tmp_path / "small")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (whole, tmp_path / "small")]
    assert sizes[1] < sizes[0] / 4
    before, after = (
        load_encoder("egovideo_tiny", checkpoint=folder) for folder in (whole, tmp_path / "small")
    )
    clips = torch.randint(0, 256, (2, 4, 32, 32, 3), generator=torch.Generator().manual_seed(0)).byte()
    assert after(clips).dtype == torch.float32
    assert torch.allclose(before(clips), after(clips), atol=0.02, rtol=0.02)
    assert torch.allclose(before.text(TEXTS), after.text(TEXTS), atol=5e-3)
    assert torch.isfinite(after.text(["an unknown word"])).all()


def test_a_model_that_knows_few_tokens_keeps_them(tmp_path: Path) -> None:
    model = EgoVideo.from_pretrained(save_small_egovideo(tmp_path / "whole"))
    export(model, TEXTS, tmp_path / "small")
    small = EgoVideo.from_pretrained(tmp_path / "small")
    export(small, ["C juggles quietly"], tmp_path / "again")
    again = EgoVideo.from_pretrained(tmp_path / "again")
    assert again.config.text.tokens == small.config.text.tokens
    own = small.state_dict()
    assert all(torch.equal(own[name].half(), value.half()) for name, value in again.state_dict().items())


def test_numbers_that_half_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    model = EgoVideo.from_pretrained(save_small_egovideo(tmp_path / "whole"))
    with torch.no_grad():
        model.visual.norm_post.weight[0] = 1e6
    with pytest.raises(ValueError, match=r"half precision cannot hold visual\.norm_post\.weight"):
        export(model, TEXTS, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def _data(folder: Path) -> Path:
    (folder / "videos").mkdir(parents=True)
    rows = [("a", 0, 1, TEXTS[0], "train"), ("b", 0, 1, "C juggles quietly", "test")]
    for name, *_ in rows:
        (folder / "videos" / f"{name}.mp4").touch()
    with (folder / "narrations.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "start_second", "end_second", "text", "split"])
        writer.writerows(rows)
    return folder


def test_the_command_keeps_the_words_of_training(tmp_path: Path) -> None:
    run, data, out = tmp_path / "run", _data(tmp_path / "data"), tmp_path / "out"
    save_small_egovideo(run / "model")
    settings = [f"run={run}", f"data={data}", f"out={out}"]
    done = subprocess.run(
        [sys.executable, "-m", "pretrain.export", *settings], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "tokens of 1 narrations" in done.stdout
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert EgoVideo.from_pretrained(out).config.text.tokens == tokens_of(TEXTS[:1])


def test_no_such_run_is_one_line(tmp_path: Path) -> None:
    settings = [f"run={tmp_path / 'no'}", f"data={_data(tmp_path / 'data')}", f"out={tmp_path / 'out'}"]
    done = subprocess.run(
        [sys.executable, "-m", "pretrain.export", *settings], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "is no folder: `python -m pretrain.train out=...` makes one" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
