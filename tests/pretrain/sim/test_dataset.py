"""EgoSim on disk: the layout, going on after a stop, and what a failing clip costs."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from pretrain.data.skipping import TooManySkippedError
from pretrain.sim import dataset
from pretrain.sim.actions import Action
from pretrain.sim.clip import Clip, Segment
from pretrain.sim.dataset import ACTION, ROW, Recipe, make, write_clip, write_narrations
from pretrain.sim.truth import Truth, read_truth

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def some_clip(seed: int, frames: int = 40) -> Clip:
    numbers = np.random.default_rng(seed)

    def array(*shape: int) -> np.ndarray:
        return numbers.normal(size=(frames, *shape)).astype(np.float32)

    truth = Truth(
        fps=30,
        size=32,
        hand_boxes=array(2, 4),
        object_boxes=array(3, 4),
        object_ids=np.full((frames, 3), -1, np.int16),
        keypoints_camera=array(2, 21, 3),
        wrists=array(2, 7),
        contact=np.zeros((frames, 2, 1), bool),
        camera=array(7),
        intrinsics=np.eye(3, dtype=np.float32),
        objects=("action 0",),
        kinds=("cup",),
        colours=("red",),
    )
    action = Action("lift", "left", "action 0", "cup", "red", "", "", "", "up", "normal", "success", 5)
    segments = (
        Segment(0.1, 0.5, 'C lifts the cup, "high"', action),
        Segment(0.5, frames / 30, "C lifts the cup", action),
    )
    return Clip(seed, "train", numbers.integers(0, 256, (frames, 32, 32, 3), np.uint8), segments, truth, {})


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "narrations.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_longer_list_of_clips_begins_like_a_shorter_one_and_keeps_the_shares() -> None:
    recipe = Recipe(7, SHARES)
    jobs = list(recipe.clips(100))
    assert jobs[:13] == list(recipe.clips(13))
    assert Counter(job.split for job in jobs) == {"train": 80, "validation": 10, "test": 10}
    assert [job.seed for job in jobs] == list(range(7, 107))
    assert len({job.video_id for job in jobs}) == 100


def test_verbs_take_turns_within_each_split() -> None:
    jobs = list(Recipe(0, SHARES, ("lift", "pour")).clips(40))
    for split in SHARES:
        verbs = [job.verb for job in jobs if job.split == split]
        assert verbs == list(islice(["lift", "pour"] * 20, len(verbs)))


def test_clips_are_chunks_of_fifteen_seconds_and_rows_with_the_action(tmp_path: Path) -> None:
    write_clip(tmp_path, "b", some_clip(2, frames=470))
    write_clip(tmp_path, "a", some_clip(1))
    assert write_narrations(tmp_path) == 4
    chunks = sorted((tmp_path / "videos/b").iterdir())
    assert [chunk.name for chunk in chunks] == ["0000.mp4", "0001.mp4"]
    assert [len(decoded(chunk)) for chunk in chunks] == [450, 20]
    rows = rows_of(tmp_path)
    assert list(rows[0]) == [*ROW, *ACTION]
    assert [row["video_id"] for row in rows] == ["a", "a", "b", "b"]
    assert rows[0]["text"] == 'C lifts the cup, "high"'
    assert (rows[0]["verb"], rows[0]["object"], rows[0]["direction"]) == ("lift", "action 0", "up")
    assert (float(rows[2]["start_second"]), float(rows[3]["end_second"])) == (
        0.1,
        pytest.approx(470 / 30, abs=1e-3),
    )


def test_ground_truth_reads_as_it_was_written(tmp_path: Path) -> None:
    clip = some_clip(3)
    write_clip(tmp_path, "a", clip)
    truth = read_truth(tmp_path / "truth/a.npz")
    for name in Truth.__dataclass_fields__:
        assert np.array_equal(getattr(truth, name), getattr(clip.truth, name)), name
    assert truth.keypoints.shape == (40, 2, 21, 2)
    assert np.isnan(truth.keypoints[truth.keypoints_camera[..., 2] < 0]).all(), "behind the eye"


def test_missing_and_damaged_ground_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.npz is missing: only videos of EgoSim"):
        read_truth(tmp_path / "a.npz")
    write_clip(tmp_path, "a", some_clip(3))
    path = tmp_path / "truth/a.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"a\.npz is no ground truth of EgoSim, or damaged"):
        read_truth(path)


def test_another_recipe_is_refused_and_more_clips_are_not(tmp_path: Path) -> None:
    recipe = Recipe(0, SHARES)
    assert make(tmp_path, recipe, 0, workers=1).made == 0
    assert make(tmp_path, recipe, 0, workers=1).kept == 0
    with pytest.raises(ValueError, match="holds clips made with seed=0, not 1: give another out"):
        make(tmp_path, Recipe(1, SHARES), 0, workers=1)


def test_finished_clips_are_kept_and_leftovers_of_a_kill_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(0, SHARES)
    jobs = list(recipe.clips(4))
    for job in jobs[:3]:
        write_clip(tmp_path, job.video_id, some_clip(job.seed))
    leftover = tmp_path / f"videos/{jobs[3].video_id}/.0000.mp4.99.tmp"
    leftover.parent.mkdir()
    leftover.touch()
    asked = []

    def stand_in(function, items, workers, timeout):
        for job in items:
            asked.append(job)
            write_clip(tmp_path, job.video_id, some_clip(job.seed))
            yield job, (40, {"pour": 2})

    monkeypatch.setattr(dataset, "in_processes", stand_in)
    summary = make(tmp_path, recipe, 4, workers=1)
    assert asked == [jobs[3]]
    assert (summary.made, summary.kept, summary.frames, dict(summary.redrawn)) == (1, 3, 40, {"pour": 2})
    assert not leftover.exists()
    assert [row["video_id"] for row in rows_of(tmp_path)] == [job.video_id for job in jobs for _ in "ab"]


def test_one_failing_clip_is_reported_and_many_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {3}

    def stand_in(function, items, workers, timeout):
        for index, job in enumerate(items):
            if index in bad:
                yield job, RuntimeError("its process died with exit code -9")
                continue
            write_clip(tmp_path, job.video_id, some_clip(job.seed, frames=2))
            yield job, (2, {})

    monkeypatch.setattr(dataset, "in_processes", stand_in)
    summary = make(tmp_path, Recipe(0, SHARES), 6, workers=1)
    assert (summary.made, summary.skipped.skipped) == (5, 1)
    assert "validation_0000003 (seed 3, validation)" in summary.skipped.summary()
    assert "died with exit code -9" in summary.skipped.summary()
    bad |= set(range(20))
    with pytest.raises(TooManySkippedError):
        make(tmp_path, Recipe(0, SHARES), 30, workers=1)
    assert len({row["video_id"] for row in rows_of(tmp_path)}) == 5, "what is finished is in the table"


def run(folder: Path, clips: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pretrain.sim", f"out={folder}", f"clips={clips}", "workers=2"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_files(tmp_path: Path) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for finished in (1, 3):
        process = run(killed, 5)
        while len(list(killed.glob("truth/*.npz"))) < finished:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for folder in (killed, undisturbed):
        output, _ = run(folder, 5).communicate()
        assert "skipped none" in output, output
    videos = sorted(path.relative_to(undisturbed) for path in undisturbed.glob("videos/*/*"))
    assert sorted(path.relative_to(killed) for path in killed.glob("videos/*/*")) == videos
    for video in videos:
        assert np.array_equal(decoded(killed / video), decoded(undisturbed / video))
    assert (killed / "narrations.csv").read_bytes() == (undisturbed / "narrations.csv").read_bytes()
    for path in undisturbed.glob("truth/*.npz"):
        one, other = read_truth(path), read_truth(killed / "truth" / path.name)
        for name in Truth.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
