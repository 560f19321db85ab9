"""Draws the pictures of the docs.

python docs/make_images.py                  # docs/images/variation.png
python docs/make_images.py runs/table_none docs/images/success.png     # the main plot of a run
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.image
import numpy as np

from robot_eval.environment import EnvSettings
from robot_eval.report import save_figure
from robot_eval.suites import make_env
from robot_eval.variation import VARIATIONS

TASKS = ("assembly-v3", "bin-picking-v3", "button-press-v3", "drawer-open-v3", "hammer-v3")
SEED = 12


def variation_sheet(path: Path) -> None:
    """One row per variation, one column per task, the same layouts."""
    rows = []
    for variation in VARIATIONS:
        pictures = []
        for task in TASKS:
            env = make_env(EnvSettings("metaworld", task, "corner2", variation=variation))
            env.reset(seed=SEED)
            pictures.append(env.render())
            env.close()
        rows.append(np.concatenate(pictures, axis=1))
    matplotlib.image.imsave(path, np.concatenate(rows))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        save_figure(sys.argv[1], sys.argv[2])
    else:
        variation_sheet(Path(__file__).parent / "images" / "variation.png")
