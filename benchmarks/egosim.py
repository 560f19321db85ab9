"""Filming EgoSim: ours against MuJoCo's own renderer for the same pictures and boxes, in one run.

The peer makes a `mujoco.Renderer` a clip, draws colours, then a segmentation, and finds boxes in that. Times
are CPU times, so that other work on the machine counts little. Mesa draws in the thread that asks, as in the
processes that make clips.

    python benchmarks/egosim.py
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np

from pretrain.sim.clip import Plan, film, plan
from pretrain.sim.dataset import write_clip
from pretrain.sim.filming import Filmer

SEEDS = range(100, 106)


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds that the work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def peer(played: Plan) -> list[np.ndarray]:
    """Boxes of both hands and all geoms, as one would first write it."""
    stage = played.stage
    model, data = stage.scene.model, mujoco.MjData(stage.scene.model)
    renderer = mujoco.Renderer(model, 224, 224)
    boxes = []
    for frame in stage.frames:
        data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = frame.qpos, frame.mocap_pos, frame.mocap_quat
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        renderer.update_scene(data, stage.scene.camera)
        renderer.render()
        renderer.enable_segmentation_rendering()
        number, kind = np.moveaxis(renderer.render(), -1, 0)
        renderer.disable_segmentation_rendering()
        for skin in range(model.nskin):
            rows, columns = np.nonzero((kind == int(mujoco.mjtObj.mjOBJ_SKIN)) & (number == skin))
            if len(rows):
                boxes.append(np.array([columns.min(), rows.min(), columns.max(), rows.max()]))
    renderer.close()
    return boxes


def main() -> None:
    """Print frames per CPU second of each step, and the ratio of the two ways to film."""
    os.environ.setdefault("LP_NUM_THREADS", "0")
    plans: list[Plan] = []
    planning = seconds(lambda: plans.extend(plan(seed, "train") for seed in SEEDS))
    frames = sum(len(played.stage.frames) for played in plans)
    ours, theirs, writing = [], [], []
    with Filmer() as filmer, tempfile.TemporaryDirectory() as folder:
        film(plans[0], filmer)
        for played in plans:
            length = len(played.stage.frames)
            theirs.append(seconds(lambda played=played: peer(played)) / length)
            clips = []
            ours.append(
                seconds(lambda played=played, clips=clips: clips.append(film(played, filmer))) / length
            )
            writing.append(seconds(lambda clips=clips: write_clip(Path(folder), "clip", clips[0])) / length)
    print(f"{frames} frames of {len(plans)} clips; frames per CPU second:")
    for name, value in (
        ("plan", planning / frames),
        ("film", statistics.mean(ours)),
        ("film, MuJoCo's renderer", statistics.mean(theirs)),
        ("write", statistics.mean(writing)),
        ("plan, film and write", planning / frames + statistics.mean(ours) + statistics.mean(writing)),
    ):
        print(f"  {name}: {1 / value:.0f}")
    ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
    print(
        f"filming: {statistics.median(ratios):.2f} times as fast (clips: {min(ratios):.2f}-{max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
