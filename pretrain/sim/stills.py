"""Stills of what was played on a stage: pictures of many looks and views, with outlines of what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

from egorep.files import replacing
from pretrain.sim.clip import Plan
from pretrain.sim.filming import FIRST, UNSEEN, Filmer, restore
from pretrain.sim.looks import View, Wardrobe, draw_view
from pretrain.sim.scene import PICTURE_SIZE, Scene
from pretrain.sim.seeds import stable_rng
from pretrain.sim.shapes import SEEN_GROUP
from pretrain.sim.splits import Split

STILL_SIZE = PICTURE_SIZE // 2  # pixels: each is the mean of four that were drawn
OUTLINE_SIZE = STILL_SIZE // 4

_ELSEWHERE = 0.6  # share of stills that another camera sees than the wearer's
_BACKDROP_STANDS = 0.4  # metres: cameras nearer to the wearer than this have the room behind the table
_STRIDE = PICTURE_SIZE // OUTLINE_SIZE

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Stills:
    """N pictures, and whose each place of them is.

    Attributes:
        pictures: (N, 112, 112, 3) uint8 RGB.
        outlines: (N, 28, 28) uint8 index into `egorep.models.objectness.CLASSES` of what the middle of each
            4 x 4 pixels shows.
    """

    pictures: Pixels
    outlines: Pixels


def film_stills(plan: Plan, count: int, filmer: Filmer) -> Stills:
    """`count` moments of what was played, each in a look of its own; the same for the same plan.

    Args:
        plan: its stage's model is changed for good: film its clip before.
        count: at least 1.
        filmer: open in this thread.
    """
    rng = stable_rng("stills", plan.split, plan.seed)
    scene = plan.stage.scene
    pictures = np.empty((count, STILL_SIZE, STILL_SIZE, 3), np.uint8)
    outlines = np.empty((count, OUTLINE_SIZE, OUTLINE_SIZE), np.uint8)
    wardrobe, data = Wardrobe(scene), mujoco.MjData(scene.model)
    backdrop = _backdrop(scene.model)
    canvas = filmer.canvas(plan.stage)
    drawn = np.empty((PICTURE_SIZE, PICTURE_SIZE, 3), np.uint8)
    try:
        for index in range(count):
            wardrobe.dress(rng)
            canvas.upload_textures()
            restore(scene, data, plan.stage.frames[int(rng.integers(len(plan.stage.frames)))])
            view = draw_view(rng) if rng.uniform() < _ELSEWHERE else None
            _turn_camera(scene, data, view)
            # Beyond the table, walls and what stands before them would hide all else.
            stands = view is None or view.at[1] < _BACKDROP_STANDS
            scene.model.geom_group[backdrop] = SEEN_GROUP if stands else UNSEEN
            owners = canvas.draw(data, drawn)
            pictures[index] = drawn.reshape(STILL_SIZE, 2, STILL_SIZE, 2, 3).mean((1, 3))
            middles = owners[_STRIDE // 2 :: _STRIDE, _STRIDE // 2 :: _STRIDE]
            outlines[index] = np.minimum(middles, FIRST)  # whichever object it is
    finally:
        canvas.close()
    return Stills(pictures, outlines)


def write_stills(path: Path, stills: Stills) -> None:
    """Write stills, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, pictures=stills.pictures, outlines=stills.outlines)


def read_stills(folder: Path, split: Split) -> Stills:
    """All stills of a split that `python -m pretrain.sim stills=...` wrote; they are held in memory.

    Raises:
        FileNotFoundError: `folder` has none of that split.
        ValueError: a file is damaged or not of EgoSim.
    """
    paths = sorted((folder / "stills").glob(f"{split}_*.npz"))
    if not paths:
        raise FileNotFoundError(
            f"{folder} has no stills of split {split}: python -m pretrain.sim out={folder} stills=6"
        )
    parts = [_read(path) for path in paths]
    return Stills(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _read(path: Path) -> Sequence[Pixels]:
    try:
        with np.load(path) as file:
            pictures, outlines = file["pictures"], file["outlines"]
    except Exception as error:  # zip and NumPy each raise their own
        raise ValueError(f"{path} holds no stills of EgoSim, or is damaged: {error}") from error
    if pictures.shape[1:] != (STILL_SIZE, STILL_SIZE, 3) or len(pictures) != len(outlines):
        raise ValueError(f"{path} holds pictures {pictures.shape} with outlines {outlines.shape}")
    return pictures, outlines


def _turn_camera(scene: Scene, data: mujoco.MjData, view: View | None) -> None:
    """See `data` from `view`; None: with the wearer's eyes."""
    scene.model.cam_fovy[scene.camera] = scene.recipe.head.fovy if view is None else view.fovy
    if view is not None:
        data.cam_xpos[scene.camera], data.cam_xmat[scene.camera] = view.at, view.axes.ravel()


def _backdrop(model: mujoco.MjModel) -> list[int]:
    """Ids of the walls, and of what hangs and stands before them."""
    names = [(geom, model.geom(geom).name) for geom in range(model.ngeom)]
    return [geom for geom, name in names if name.endswith(" wall") or name.startswith("background#")]
