"""Draws the pictures of the docs.

python docs/make_images.py                  # docs/images/variation_<suite>.png of every suite
python docs/make_images.py runs/table_none docs/images/success.png     # the main plot of a run
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import matplotlib.image
import numpy as np

from robot_eval.looks import default_settings
from robot_eval.report import save_figure
from robot_eval.suites import list_suites, make_env
from robot_eval.variation import VARIATIONS

SEED, SIDE = 12, 160


def variation_sheet(suite: str, path: Path) -> None:
    """One row per variation, one column per task, the same layouts."""
    small = {
        dataclasses.replace(s, render_size=SIDE, picture_size=SIDE): None for s in default_settings(suite)
    }
    rows = []
    for variation in VARIATIONS:
        pictures = []
        for settings in (s for s in small if s.variation == variation):
            env = make_env(settings)
            env.reset(seed=SEED)
            pictures.append(env.render())
            env.close()
        rows.append(np.concatenate(pictures, axis=1))
    matplotlib.image.imsave(path, np.concatenate(rows))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        save_figure(sys.argv[1], sys.argv[2])
    else:
        for name in list_suites():
            variation_sheet(name, Path(__file__).parent / "images" / f"variation_{name}.png")
