"""The whole pipeline: good rows are processed, bad ones listed, and a kill costs nothing finished."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hydra import compose, initialize_config_module

from egorep.video_files import write_mp4
from pretrain.data.narrations import read_narrations
from pretrain.hod.check import CheckSettings
from pretrain.hod.cli import COMMAND, main
from pretrain.hod.contact import ContactOptions
from pretrain.hod.motion import MotionSettings
from pretrain.hod.narrate import NarrateSettings
from pretrain.hod.pipeline import Plan, run
from pretrain.hod.stages import ARRAYS, NarrateStage, TrackStage
from pretrain.hod.tracking import TrackingOptions

FPS, SECONDS, SIDE = 30, 4, 64


def right_hand_at(frame: int) -> float:
    """Left edge of the right hand's box, 0..1: it goes to the left over the video."""
    return 0.7 - 0.5 * frame / (FPS * SECONDS)


def detections() -> dict[str, Any]:
    """What a detector would have stored of a video, in the layout of the precomputed detector."""
    frames = []
    for frame in range(FPS * SECONDS):
        x = right_hand_at(frame) * SIDE
        hand = {"bbox": [x, 30, x + 16, 60], "score": 0.9, "side": 1, "state": 0}
        frames.append({"second": frame / FPS, "hand_dets": [hand], "obj_dets": []})
    return {"width": SIDE, "height": SIDE, "frames": frames}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two good videos of three rows each, and rows that are bad in every way."""
    folder = tmp_path / "source"
    (folder / "videos").mkdir(parents=True)
    (folder / "detections").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (FPS * SECONDS, SIDE, SIDE, 3), np.uint8)
    for video in ("a", "b"):
        write_mp4(folder / f"videos/{video}.mp4", picture, FPS)
        (folder / f"detections/{video}.json").write_text(json.dumps(detections()))
    (folder / "videos/cut.mp4").write_bytes((folder / "videos/a.mp4").read_bytes()[:2000])
    (folder / "videos/nothing.mp4").touch()
    (folder / "videos/text.mp4").write_text("not a video")
    rows = [
        *(("a", s, s + 1.5, "C moves the red cup") for s in (0, 1, 2)),
        ("cut", 0, 1, "C moves the red cup"),
        ("nothing", 0, 1, "C moves the red cup"),
        ("text", 0, 1, "C moves the red cup"),
        ("gone", 0, 1, "C moves the red cup"),
        ("a", 90, 92, "C moves the red cup"),
        ("a", 2, 1, "C moves the red cup"),
        ("a", "soon", 2, "C moves the red cup"),
        ("a", 0, 2, "#unsure"),
        *(("b", s, s + 1.5, "C lifts, with care, the lid") for s in (0, 1, 2)),
    ]
    with (folder / "narrations.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "start_second", "end_second", "text", "kitchen"])
        writer.writerows((*row, "P01") for row in rows)
    return folder


def plan_of(data: Path, out: Path, **changed: Any) -> Plan:
    out.mkdir(exist_ok=True)
    options = {"path": str(data / "detections")}
    narrations = read_narrations(data, column="text")
    tracks = TrackStage(
        out / "stages", narrations, "precomputed", options, 8, TrackingOptions(), ContactOptions()
    )
    narrate = NarrateStage(tracks, "template", {}, MotionSettings(), NarrateSettings())
    settings = {"shard": 2, "workers": 2, "engine": "local", "least_quality": 0.3, "least_egocentric": 0.0}
    return Plan(narrate, out, len(narrations), **{**settings, **changed})


def table_of(out: Path, name: str = "hod.csv") -> list[dict[str, str]]:
    with (out / name).open(newline="") as file:
        return list(csv.DictReader(file))


def tracks_of(out: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(out / "tracks.zarr", mode="r")
    return {name: np.asarray(group[name]) for name in ARRAYS}


def test_good_rows_become_hod_data_and_bad_ones_are_listed_with_reasons(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = run(plan_of(data, out))
    rows = table_of(out)
    assert [row["video_id"] for row in rows] == list("aaabbb")
    assert summary.rows == 6
    assert all("right hand" in row["caption"] and "left" in row["caption"] for row in rows)
    assert {row["text"] for row in rows} == {"C moves the red cup", "C lifts, with care, the lid"}
    assert {row["kitchen"] for row in rows} == {"P01"}, "columns of the source pass through"
    assert {row["source"] for row in rows} == {"template"}
    skipped = {int(row["row"]): (row["stage"], row["reason"]) for row in table_of(out, "skipped.csv")}
    assert sorted(skipped) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert skipped[8] == ("table", "ends at 1 s, not after its start at 2 s")
    assert skipped[9][0] == "table"
    assert skipped[10] == ("narrations", "no original narration")
    for row, word in ((3, "cut"), (4, "nothing"), (5, "text"), (6, "gone"), (7, "a.mp4")):
        assert skipped[row][0] == "tracks"
        assert word in skipped[row][1]
    assert len(summary.skipped) == 8
    assert summary.rates.keys() == {"tracks", "narrations"}


def test_tracks_stand_in_the_order_of_the_table(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_of(data, out))
    tracks, rows = tracks_of(out), table_of(out)
    assert tracks["boxes"].shape == (6, 8, 5, 4)
    for i, row in enumerate(rows):
        start, end = float(row["start_second"]), float(row["end_second"])
        seconds = tracks["seconds"][i]
        assert start < seconds[0] < seconds[-1] < end
        expected = [right_hand_at(round(second * FPS)) for second in seconds]
        assert np.allclose(tracks["boxes"][i, :, 1, 0], expected, atol=0.03)
        assert np.isnan(tracks["boxes"][i, :, 0]).all(), "no left hand: missing, not zero"


def test_the_result_is_a_data_set_like_its_source(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_of(data, out))
    hod = read_narrations(out, "hod.csv")
    assert not hod.rejected
    assert hod[0].path.is_file()
    assert "right hand" in hod[0].texts[0]
    assert read_narrations(out, "hod.csv", column="text")[0].texts == ("C moves the red cup",)


def test_a_second_run_does_nothing_again_and_another_narrator_keeps_the_tracks(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    plan = plan_of(data, out)
    first = run(plan)
    again = run(plan)
    assert again.rates == {}
    assert again.counts == first.counts
    assert again.skipped == first.skipped
    other = NarrateStage(plan.tracks, "template", {}, MotionSettings(far=0.2), NarrateSettings())
    changed = Plan(other, out, plan.rows, 2, 2, "local", 0.3, 0.0)
    assert run(changed).rates.keys() == {"narrations"}


def test_rows_below_the_least_quality_are_kept_and_not_accepted(data: Path, tmp_path: Path) -> None:
    strict = run(plan_of(data, tmp_path / "out", least_quality=1.0))
    assert (strict.rows, strict.accepted) == (6, 0)
    assert {row["accepted"] for row in table_of(tmp_path / "out")} == {"0"}


class Deadly(TrackStage):
    """Its process dies on the fifth row."""

    def tracks_of(self, row: int) -> Any:
        if row == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().tracks_of(row)


def test_a_row_that_kills_its_process_costs_that_row(data: Path, tmp_path: Path) -> None:
    plan = plan_of(data, tmp_path / "out", shard=3)
    deadly = Deadly(**{name: getattr(plan.tracks, name) for name in TrackStage.__dataclass_fields__})
    narrate = NarrateStage(deadly, "template", {}, MotionSettings(), NarrateSettings())
    summary = run(Plan(narrate, plan.out, plan.rows, 3, 2, "local", 0.3, 0.0))
    assert summary.rows == 6
    reasons = {row: reason for row, _, reason in summary.skipped}
    assert "its process died" in reasons[4]
    assert "cut.mp4" in reasons[3], "its neighbour keeps its own reason"


def command(data: Path, out: Path, *more: str) -> list[str]:
    options = f"detector_options={{path:{data}/detections}}"
    return ["-m", "pretrain.hod", f"data={data}", f"out={out}", "detector=precomputed", options, *more]


@pytest.mark.slow
def test_a_killed_run_ends_like_one_that_was_not(data: Path, tmp_path: Path) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for finished in (1, 3):
        process = subprocess.Popen(
            [sys.executable, *command(data, killed, "shard=1")],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(list(killed.glob("stages/*/*.npz"))) < finished:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for out in (killed, undisturbed):
        result = subprocess.run(
            [sys.executable, *command(data, out, "shard=1")], capture_output=True, text=True, check=False
        )
        assert result.returncode == 1, "rows were skipped"
        assert "skipped 8 rows" in result.stdout
    for name in ("hod.csv", "skipped.csv"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()
    for name, array in tracks_of(undisturbed).items():
        np.testing.assert_array_equal(tracks_of(killed)[name], array, err_msg=name)


@pytest.mark.slow
def test_ray_makes_the_same(data: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    run(plan_of(data, here))
    run(plan_of(data, there, engine="ray"))
    assert (here / "hod.csv").read_bytes() == (there / "hod.csv").read_bytes()
    for name, array in tracks_of(here).items():
        np.testing.assert_array_equal(tracks_of(there)[name], array, err_msg=name)


def test_the_config_spells_out_the_defaults_of_the_code() -> None:
    with initialize_config_module(COMMAND.module, version_base="1.3"):
        config = compose(COMMAND.config)
    check = {**asdict(CheckSettings()), "required": list(CheckSettings().required)}
    assert dict(config.tracking) == asdict(TrackingOptions())
    assert dict(config.contact) == asdict(ContactOptions())
    assert dict(config.motion) == asdict(MotionSettings())
    assert {**config.check, "required": list(config.check.required)} == check
    assert config.attempts == NarrateSettings().attempts


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["detector=mediapip"], "unknown detector 'mediapip'; did you mean 'mediapipe'"),
        (["narrator=templat"], "unknown narrator 'templat'; did you mean 'template'"),
        (["detector=groundtruth", "detector_options=null"], "which EgoSim writes"),
        (["engine=spark"], "unknown engine 'spark'"),
        (["frames=1"], "frames must be at least 2, got 1"),
        (["least_quality=2"], "least_quality must lie in 0..1"),
        (["data=/nowhere"], "data=/nowhere is not a folder"),
        (["traking.noise=1"], "unknown config key 'traking.noise'; did you mean 'tracking.noise'"),
        (["tracking.noise=-1"], "noise of tracking wants a number of at least 0"),
        (["narrator_options={colour:red}"], "option of narrator 'template'"),
    ],
)
def test_a_wrong_setting_is_one_line_before_any_work(
    overrides: list[str], message: str, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(
            [
                f"data={data}",
                f"out={tmp_path}/out",
                "detector=precomputed",
                f"detector_options={{path:{data}/detections}}",
                *overrides,
            ]
        )
    assert stop.value.code == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line]
    assert line.startswith("pretrain.hod: ")
    assert message in line
    assert not (tmp_path / "out/stages").exists()
