from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_benchmarks
from small_egovideo import save_small_egovideo

from egorep import Encoder, load_encoder
from pretrain import zeroshot
from pretrain.benchmarks import features
from pretrain.benchmarks.tasks import Classification
from pretrain.data.narrations import Narrated

MAKERS = {"ek100_mir": "epic", "ek100_cls": "epic"}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a finished run of pretrain.train leaves: a folder with model/ in it."""
    folder = tmp_path_factory.mktemp("run")
    save_small_egovideo(folder / "model")
    return folder


def command(data: Path, checkpoint: Path, out: Path, *more: str) -> None:
    settings = (f"data={data}", f"checkpoint={checkpoint}", f"out={out}", "workers=0", "batch=8")
    zeroshot.main([*settings, f"hydra.run.dir={out}", "hydra/job_logging=none", *more])


@pytest.mark.parametrize("name", ["ek100_mir", "ek100_cls", "egtea", "egomcq", "egosim"])
def test_every_benchmark_runs_from_its_official_files(
    name: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = getattr(small_benchmarks, MAKERS.get(name, name))(tmp_path / "data")
    command(data, run_folder, tmp_path / "out", f"benchmark={name}")
    printed = capsys.readouterr().out
    assert "clips were read" in printed
    result = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    rows = pd.read_parquet(tmp_path / "out" / f"{name}.parquet")
    assert result["problems"] == []
    assert result["clips"] == result["clips_read"] > 0
    assert rows["measure"].tolist() == [figure["measure"] for figure in result["figures"]]
    for figure in result["figures"]:
        assert figure["low"] <= figure["estimate"] <= figure["high"]
        assert figure["measure"] in printed
    encoder = load_encoder("egovideo_tiny", checkpoint=run_folder / "model", pool="joint")
    assert set(rows["encoder_fingerprint"]) == {encoder.fingerprint}
    assert json.loads(rows["versions"][0])["torch"]


def test_the_figures_are_those_of_the_encoder(run_folder: Path, tmp_path: Path) -> None:
    data = small_benchmarks.egomcq(tmp_path / "data")
    command(data, run_folder, tmp_path / "out", "benchmark=egomcq")
    result = json.loads((tmp_path / "out" / "egomcq.json").read_text())
    encoder = load_encoder("egovideo_tiny", checkpoint=run_folder / "model", pool="joint")
    text = encoder.text(["#C C takes a cup"])
    for figure, clips, answer in zip(
        result["figures"], ([("aaa", 0.0), ("bbb", 0.0)], [("aaa", 0.0), ("aaa", 1.0)]), (1, 0), strict=True
    ):
        ends = {("aaa", 0.0): 0.8 if figure["measure"] == "inter-video" else 0.9}
        paths = {"aaa": data / "videos" / "aaa.mp4", "bbb": data / "videos" / "bbb.mp4"}
        pictures = [
            features.EvaluationClips(
                [Narrated(v, paths[v], start, ends.get((v, start), start + 0.9), ("",), 0)],
                features.clip_format(encoder),
            )[0][0]
            for v, start in clips
        ]
        scores = (encoder(np.stack(pictures)) @ text.T)[:, 0]
        assert figure["estimate"] == float(int(scores.argmax()) == answer)


def test_a_second_run_encodes_nothing(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_benchmarks.egomcq(tmp_path / "data")
    encoded = []
    whole = features.encode_clips
    monkeypatch.setattr(
        features,
        "encode_clips",
        lambda *arguments: encoded.append(whole(*arguments)) or encoded[-1],  # type: ignore[func-returns-value]
    )
    command(data, run_folder, tmp_path / "out", "benchmark=egomcq")
    first = (tmp_path / "out" / "egomcq.json").read_text()
    with monkeypatch.context() as patch:
        patch.delattr(Encoder, "text")
        command(data, run_folder, tmp_path / "out", "benchmark=egomcq")
    assert [found.encoded for found in encoded] == [4, 0]
    assert (tmp_path / "out" / "egomcq.json").read_text() == first
    other = save_small_egovideo(tmp_path / "other", seed=1)
    command(data, other, tmp_path / "out", "benchmark=egomcq")
    assert encoded[-1].encoded == 4
    video = data / "videos" / "aaa.mp4"
    small_benchmarks.square(video, (1, 2, 3), seconds=2.1)
    command(data, other, tmp_path / "out", "benchmark=egomcq")
    assert encoded[-1].encoded == 3


def test_a_missing_and_a_damaged_video_are_named_and_the_rest_is_scored(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_benchmarks.egosim(tmp_path / "data")
    shutil.rmtree(data / "videos" / "test_0")
    (data / "videos" / "test_1" / "0000.mp4").write_bytes(b"no video")
    with pytest.raises(SystemExit) as ended:
        command(data, run_folder, tmp_path / "out")
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "NOT EVALUATED: 4 entries; the figures are over 2 of 6 clips" in printed
    result = json.loads((tmp_path / "out" / "egosim.json").read_text())
    assert [problem["name"] for problem in result["problems"]] == [
        f"row {row} (test_{video})" for row, video in ((12, 0), (13, 0), (14, 1), (15, 1))
    ]
    figures = {(figure["task"], figure["measure"]): figure for figure in result["figures"]}
    assert figures["EgoSim retrieval", "mAP, video to text"]["items"] == 2
    assert figures["EgoSim motion queries", "hand"]["items"] == 2


def test_where_no_clip_is_there_it_ends_in_one_line(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_benchmarks.egtea(tmp_path / "data")
    shutil.rmtree(data / "cropped_clips")
    (data / "cropped_clips").mkdir()
    with pytest.raises(SystemExit):
        command(data, run_folder, tmp_path / "out", "benchmark=egtea")
    assert "egtea has no clip that can be evaluated; test_split1.txt line 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["benchmark=egosimm"], "egosim"),
        (["checkpoint=nowhere"], "checkpoint=nowhere does not exist"),
        (["checkpoint=null"], "give checkpoint="),
        (["encoder=r3m_resnet50", "checkpoint=null"], "needs checkpoint="),
        (["encoder=random/efficientnet_lite0", "checkpoint=null"], "shares no space with text"),
        (["benchmark.annotations=nowhere.csv"], "nowhere.csv is missing"),
        (["benchmark.videos=nowhere"], "benchmark.videos=nowhere is no folder"),
        (["benchmark.split=tset"], "test"),
        (["batches=3"], "batch"),
        (["workers=-1"], "workers=-1 is negative"),
        (["batch=0"], "max_batch must be at least 1"),
    ],
)
def test_wrong_settings_end_in_one_line(
    changes: list[str],
    message: str,
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = small_benchmarks.egosim(tmp_path / "data")
    with pytest.raises(SystemExit) as ended:
        command(data, run_folder, tmp_path / "out", *changes)
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("pretrain.zeroshot: ")
    assert message in error


def test_a_file_wants_the_name_of_its_size(run_folder: Path, tmp_path: Path) -> None:
    file = run_folder / "model" / "model.safetensors"
    with pytest.raises(zeroshot.ConfigError, match="add encoder="):
        zeroshot.EncoderChoice.of(None, str(file))
    assert zeroshot.EncoderChoice.of("egovideo_base", str(file)).checkpoint == file
    with pytest.raises(zeroshot.ConfigError, match=r"no config\.json"):
        zeroshot.EncoderChoice.of(None, str(tmp_path))


def test_a_class_is_the_mean_of_its_prompts() -> None:
    words = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.0, -1.0]}
    task = Classification("task", [], [("a", "b"), ("c",)], np.zeros(0, np.int64), {})
    scores = zeroshot.task_scores(
        task, np.array([[1.0, 0.0]]), lambda texts: np.array([words[t] for t in texts])
    )
    assert scores == pytest.approx(np.array([[0.5**0.5, 0.0]]))
