"""Filming EgoSim: ours against MuJoCo's own renderer for the same pictures and boxes, in one run.

The peer makes a `mujoco.Renderer`, and with it an OpenGL context, a clip, draws colours, then a segmentation,
and finds boxes in that. Times are CPU times, so that other work on the machine counts little. Mesa draws in
the thread that asks, as in the processes that make clips.

    python benchmarks/egosim.py
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

# MuJoCo's own renderer draws with what this says when MuJoCo is imported, and so does ours.
os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco
import numpy as np
import numpy.typing as npt

from pretrain.sim.clip import Clip, Plan, film, plan
from pretrain.sim.dataset import write_clip
from pretrain.sim.filming import Filmer

SEEDS = range(100, 106)

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and the CPU seconds that it takes."""
    began = time.process_time()
    done = work()
    return done, time.process_time() - began


def peer(played: Plan) -> list[npt.NDArray[np.int64]]:
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


def ours(played: Plan) -> tuple[Clip, float]:
    """A clip, and CPU seconds of filming it; a process makes its `Filmer` once, so that does not count."""
    with Filmer() as filmer:
        return timed(partial(film, played, filmer))


def main() -> None:
    """Print frames per CPU second of each step, and the ratio of the two ways to film."""
    os.environ.setdefault("LP_NUM_THREADS", "0")
    plans, planning = timed(lambda: [plan(seed, "train") for seed in SEEDS])
    frames = sum(len(played.stage.frames) for played in plans)
    filming, theirs, writing = [], [], []
    ours(plans[0])
    with tempfile.TemporaryDirectory() as folder:
        for played in plans:
            length = len(played.stage.frames)
            theirs.append(timed(partial(peer, played))[1] / length)
            clip, seconds = ours(played)
            filming.append(seconds / length)
            writing.append(timed(partial(write_clip, Path(folder), "clip", clip))[1] / length)
    print(f"{frames} frames of {len(plans)} clips; frames per CPU second:")
    for name, value in (
        ("plan", planning / frames),
        ("film", statistics.mean(filming)),
        ("film, MuJoCo's renderer", statistics.mean(theirs)),
        ("write", statistics.mean(writing)),
        ("plan, film and write", planning / frames + statistics.mean(filming) + statistics.mean(writing)),
    ):
        print(f"  {name}: {1 / value:.0f}")
    ratios = [their / our for their, our in zip(theirs, filming, strict=True)]
    print(
        f"filming: {statistics.median(ratios):.2f} times as fast (clips: {min(ratios):.2f}-{max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
