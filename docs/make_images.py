"""Draws the pictures of the docs.

python docs/make_images.py                  # docs/images: changes.png, variation_<suite>.png of every suite
python docs/make_images.py runs/table_none docs/images/success.png     # the main plot of a run
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import numpy.typing as npt

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
