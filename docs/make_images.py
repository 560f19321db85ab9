"""Draws the pictures of the docs, in docs/images.

python docs/make_images.py                    # changes.png, objects.png, variation_<suite>.png of every suite
python docs/make_images.py runs/table_none docs/images/success.png  # the main plot of a run
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import numpy.typing as npt

from egorep import load_encoder
from robot_eval.environment import EnvSettings
from robot_eval.looks import default_settings
from robot_eval.report import save_figure
from robot_eval.suites import list_suites, make_env
from robot_eval.variation import CHANGES, SCENES

SEED, SIDE = 12, 160
# A task of each suite with its camera, as in configs/robot_eval/experiment/robustness.yaml.
PLACES = (
    ("metaworld", "bin-picking-v3", "corner2"),
    ("robosuite", "Lift", "agentview"),
    ("franka_kitchen", "sdoor_open", "left"),
    ("adroit", "door", "vil_camera"),
)
OBJECT_TASKS = ("assembly-v3", "bin-picking-v3", "button-press-v3", "drawer-open-v3", "hammer-v3")
MOST = 0.6  # contrast of objectness that is drawn brightest


def variation_sheet(suite: str, path: Path) -> None:
    """One row per variation, one column per task, the same layouts."""
    small = {
        dataclasses.replace(s, render_size=SIDE, picture_size=SIDE): None for s in default_settings(suite)
    }
    rows = []
    for variation in SCENES:
        pictures = [first_picture(settings) for settings in small if settings.variation == variation]
        rows.append(np.concatenate(pictures, axis=1))
    matplotlib.image.imsave(path, np.concatenate(rows))


def changes_sheet(path: Path) -> None:
    """One row per suite; one column without a change and one per change, the same layouts."""
    sheet = [
        [
            first_picture(EnvSettings(*place, render_size=SIDE, picture_size=SIDE, variation=change))
            for change in ("none", *CHANGES)
        ]
        for place in PLACES
    ]
    matplotlib.image.imsave(path, np.concatenate([np.concatenate(row, axis=1) for row in sheet]))


def objects_sheet(path: Path) -> None:
    """Tasks of Meta-World in columns: as it is, its map of objects, under `unseen`, the map of that."""
    encoder = load_encoder("egovideo_tiny:objects")
    columns = []
    for task in OBJECT_TASKS:
        column = []
        for variation in ("none", "unseen"):
            picture = first_picture(EnvSettings("metaworld", task, "corner2", variation=variation))
            cells = encoder.tokens(picture[None])[0, 0, :, :, 0].numpy()
            shown = matplotlib.colormaps["magma"](np.clip(cells / MOST, 0, 1), bytes=True)[..., :3]
            column += [picture, shown.repeat(8, axis=0).repeat(8, axis=1)]
        columns.append(np.concatenate(column))
    matplotlib.image.imsave(path, np.concatenate(columns, axis=1)[::2, ::2])


def first_picture(settings: EnvSettings) -> npt.NDArray[np.uint8]:
    """Of the episode that the docs show."""
    env = make_env(settings)
    env.reset(seed=SEED)
    picture = env.render()
    env.close()
    return picture


if __name__ == "__main__":
    if len(sys.argv) == 3:
        save_figure(sys.argv[1], sys.argv[2])
    else:
        images = Path(__file__).parent / "images"
        for name in list_suites():
            variation_sheet(name, images / f"variation_{name}.png")
        changes_sheet(images / "changes.png")
        objects_sheet(images / "objects.png")
