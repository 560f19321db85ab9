"""robomimic's own scripts as they are, on today's packages.

    python -m egorep.robomimic_scripts train --config bc.json --dataset demos.hdf5

The first argument names a script of `robomimic.scripts`, all others are the script's own. Configs may name
`EgorepCore` (`egorep.robomimic`).
"""

from __future__ import annotations

import importlib
import pkgutil
import runpy
import sys
from collections.abc import Sequence

from egorep.names import unknown
from egorep.shims import import_robosuite, stand_in_for_mujoco_py


def run(script: str, arguments: Sequence[str]) -> None:
    """Run a script of robomimic.

    Args:
        script: its name in `robomimic.scripts`.
        arguments: the script's own.

    Raises:
        ValueError: there is no such script; the message names the nearest.
        ImportError: robomimic is not installed; the message says how to install it.
    """
    # Registers EgorepCore. It also loads triton, which after the first picture of a software renderer is a
    # segmentation fault (`robot_eval` says why): so before robosuite.
    importlib.import_module("egorep.robomimic")
    scripts = importlib.import_module("robomimic.scripts").__path__
    names = [module.name for module in pkgutil.iter_modules(scripts)]
    if script not in names:
        raise unknown("script of robomimic", script, names)
    stand_in_for_mujoco_py()
    import_robosuite()
    sys.argv = [script, *arguments]
    runpy.run_module(f"robomimic.scripts.{script}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(__doc__)
    try:
        run(sys.argv[1], sys.argv[2:])
    except ValueError as error:
        sys.exit(str(error))
