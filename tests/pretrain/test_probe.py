"""`pretrain.probe` on videos of a square that moves, with the ground truth of a hand that is the square."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_benchmarks import EGOSIM_COLUMNS, egosim_row, write_csv
from small_egovideo import save_small_egovideo

from egorep.video_files import write_mp4
from pretrain import probe
from pretrain.benchmarks import features
from pretrain.benchmarks.instants import Instants, read_instants
from pretrain.sim.truth import Truth, write_truth

FPS, SIZE, SECONDS, BOX = 10, 32, 3, 8
SPLITS = {"train": 8, "validation": 4, "test": 6}


def make_truth(places: np.ndarray, touches: np.ndarray) -> Truth:
    """A left hand whose box begins at (T, 2) pixels, and an object in it; the right one stays in a corner."""
    count = len(places)
    boxes = np.full((count, 2, 4), np.nan, np.float32)
    boxes[:, 0] = np.concatenate([places, places + BOX], axis=1)
    boxes[:, 1] = (SIZE - BOX, SIZE - BOX, SIZE, SIZE)
    keypoints = np.zeros((count, 2, 21, 3), np.float32)
    keypoints[:, 0, :, :2] = 0.01 * places[:, None]
    contact = np.zeros((count, 2, 1), bool)
    contact[:, 0, 0] = touches
    object_boxes = np.full((count, 3, 4), np.nan, np.float32)
    object_boxes[touches, 0] = boxes[touches, 0]
    return Truth(
        fps=FPS,
        size=SIZE,
        hand_boxes=boxes,
        object_boxes=object_boxes,
        object_ids=np.where(np.arange(3) == 0, np.where(touches, 0, -1)[:, None], -1).astype(np.int16),
        keypoints_camera=keypoints,
        wrists=np.zeros((count, 2, 7), np.float32),
        contact=contact,
        camera=np.zeros((count, 7), np.float32),
        intrinsics=np.eye(3, dtype=np.float32),
        objects=("red cup",),
        kinds=("cup",),
        colours=("red",),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small EgoSim: the square is red while it touches, and goes its way in a straight line."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for split, count in SPLITS.items():
        for number in range(count):
            video = f"{split}_{number}"
            start, end = rng.uniform(0, SIZE - BOX, (2, 2))
            share = np.linspace(0, 1, SECONDS * FPS)[:, None]
            places = (start + share * (end - start)).round()
            touches = share[:, 0] > 0.5 if number % 2 else share[:, 0] < 0.5
            frames = np.full((len(places), SIZE, SIZE, 3), 90, np.uint8)
            for frame, (x, y), touching in zip(frames, places.astype(int), touches, strict=True):
                frame[y : y + BOX, x : x + BOX] = (255, 0, 0) if touching else (0, 255, 0)
            write_mp4(folder / "videos" / video / "0000.mp4", frames, fps=FPS)
            (folder / "truth").mkdir(exist_ok=True)
            write_truth(folder / "truth" / f"{video}.npz", make_truth(places, touches), [])
            rows.append(egosim_row(video, 0, "C moves the cup", split, verb="move", kind="cup"))
    write_csv(folder / "narrations.csv", EGOSIM_COLUMNS, rows)
    return folder


@pytest.fixture(scope="module")
def instants(data: Path) -> Instants:
    return read_instants(data, 3)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a finished run of pretrain.train leaves."""
    folder = tmp_path_factory.mktemp("run")
    save_small_egovideo(folder / "model")
    return folder


def command(data: Path, out: Path, *more: str) -> None:
    settings = (f"data={data}", f"out={out}", "workers=0", "instants=3", "hydra/job_logging=none")
    probe.main([*settings, f"hydra.run.dir={out}", *more])


def test_clips_are_seconds_an_equal_time_apart(instants: Instants) -> None:
    assert len(instants.clips) == 3 * sum(SPLITS.values())
    own = [clip for clip in instants.clips if clip.video_id == "test_0"]
    assert [(clip.start, clip.end) for clip in own] == [(0.25, 1.25), (1.0, 2.0), (1.625, 2.625)]
    assert {split: int((instants.splits == split).sum()) // 3 for split in SPLITS} == SPLITS


def test_what_is_true_is_that_of_the_middle_and_of_first_and_last_picture(
    data: Path, instants: Instants
) -> None:
    with np.load(data / "truth" / "test_1.npz") as truth:
        boxes, contact, points = truth["hand_boxes"], truth["contact"], truth["keypoints_camera"]
    row = next(place for place, clip in enumerate(instants.clips) if clip.video_id == "test_1") + 1
    left, top, right, bottom = boxes[15, 0]  # of the clip from 1 s to 2 s
    assert instants.hands[row, 0] == pytest.approx([(left + right) / 2 / SIZE, (top + bottom) / 2 / SIZE])
    assert instants.hands[row, 1] == pytest.approx((SIZE - BOX / 2) / SIZE)
    assert instants.contact[row].tolist() == [bool(contact[15, 0, 0]), False]
    assert instants.directions[row, 0] == pytest.approx(points[20, 0, 0] - points[10, 0, 0])
    for hand, touching, place in zip(instants.hands, instants.contact, instants.objects, strict=True):
        assert touching[0] != np.isnan(place).any()
        assert not touching[0] or place == pytest.approx(hand[0])


def test_a_clip_in_which_a_hand_comes_or_goes_does_not_ask_where_it_is(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "truth").mkdir(parents=True)
    (folder / "videos" / "test_0").mkdir(parents=True)
    places = np.tile(np.arange(30.0)[:, None] % 20, (1, 2))
    truth = make_truth(places, np.ones(30, bool))
    truth.hand_boxes[20, 0] = np.nan
    truth.object_ids[25, 1] = 0  # the other hand touches something, too
    write_truth(folder / "truth" / "test_0.npz", truth, [])
    write_csv(folder / "narrations.csv", EGOSIM_COLUMNS, [egosim_row("test_0", 0, "C waits", "test")])
    found = read_instants(folder, 3)
    assert np.isnan(found.hands[:, 0, 0]).tolist() == [False, True, False]
    assert not np.isnan(found.objects[:2]).any()


def test_questions_are_asked_of_what_is_known_and_was_read(instants: Instants) -> None:
    read = np.ones(len(instants.clips), bool)
    read[0] = False
    left, right, thing = instants.questions(read)
    assert [target.name for target in left.targets] == ["left hand", "left contact", "left direction"]
    sizes = [3 * count for count in SPLITS.values()]
    assert [len(part) for part in left.fold] == [sizes[0] - 1, *sizes[1:]]
    assert right.rows.tolist() == left.rows.tolist() == list(range(1, len(read)))
    assert len(thing.rows) == instants.contact[read, 0].sum()
    read[instants.splits == "validation"] = False
    with pytest.raises(ValueError, match="left hand: split validation has no clip"):
        list(instants.questions(read))
    assert instants.fingerprint != read_instants(instants.clips[0].path.parents[1], 2).fingerprint


def test_encoders_are_probed_side_by_side(
    data: Path,
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"egovideo_tiny@{run_folder}", "random/timm/test_vit"]
    command(data, tmp_path, f"encoders=[{','.join(names)}]", "pool=mean")
    printed = capsys.readouterr().out
    assert "all 54 clips were read" in printed
    result = json.loads((tmp_path / "probes.json").read_text())
    rows = pd.read_parquet(tmp_path / "probes.parquet")
    assert rows["encoder"].drop_duplicates().tolist() == names
    assert len(rows) == len(result["figures"]) == 2 * 7 * 2
    assert len(set(rows["target"])) == 7
    assert set(rows["probe"]) == {"linear", "mlp"}
    still = rows["target"].str.startswith("right")
    assert rows.loc[still, "estimate"].isna().all(), "it stands still, and touches nothing"
    rows = rows[~still]
    assert (rows["low"] <= rows["estimate"]).all()
    assert (rows["estimate"] <= rows["high"]).all()
    assert set(rows.loc[rows["target"] == "left hand", "clips"]) == {3 * SPLITS["test"]}
    assert set(rows["videos"]) == {SPLITS["test"]}
    contact = rows[(rows["target"] == "left contact") & (rows["encoder"] == names[1])]
    assert contact["estimate"].max() > 0.8, "red is told from green"
    with monkeypatch.context() as patch:
        patch.setattr(features, "_encode", lambda *arguments: (dict.fromkeys(arguments[1]), []))
        command(data, tmp_path, f"encoders=[{','.join(names)}]", "pool=mean")
    assert json.loads((tmp_path / "probes.json").read_text()) == result, "what was encoded is kept"
    assert capsys.readouterr().out.splitlines()[0].startswith("EgoSim, pool mean, judged on up to 18 clips")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["encoders=[efficientnet_lite1]"], "efficientnet_lite0"),
        (["encoders=[state]"], "looks at no picture"),
        (["encoders=[]"], "distinct names, at least one"),
        (["encoders=[state,state]"], "distinct names, at least one"),
        (["encoders=[egovideo_tiny@nowhere]"], "checkpoint=nowhere does not exist"),
        (["encoders=[r3m_resnet50]"], "needs checkpoint="),
        (["instants=0"], "instants=0: give at least 1"),
        (["workers=-1"], "workers=-1 is negative"),
        (["pool=clss"], "cls"),
        (["instant=3"], "instants"),
        (["data=nowhere"], "nowhere"),
    ],
)
def test_wrong_settings_end_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(data, tmp_path, "encoders=[random/timm/test_vit]", *changes)
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("pretrain.probe: ")
    assert message in error


def test_missing_truth_and_videos_that_are_too_short_are_told(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "truth").mkdir(parents=True)
    (folder / "videos" / "test_0").mkdir(parents=True)
    write_csv(folder / "narrations.csv", EGOSIM_COLUMNS, [egosim_row("test_0", 0, "C waits", "test")])
    with pytest.raises(FileNotFoundError, match=r"test_0\.npz is missing"):
        read_instants(folder, 1)
    write_truth(folder / "truth" / "test_0.npz", make_truth(np.zeros((5, 2)), np.zeros(5, bool)), [])
    with pytest.raises(ValueError, match="test_0 is shorter than a clip of 1 s"):
        read_instants(folder, 1)
