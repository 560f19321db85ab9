"""The edges of dependencies, in one place: what other packages do on import that ours must not suffer from.

Each function names the fault it is about; `tests/egorep/test_shims.py` notices when an update has mended it.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from types import ModuleType, SimpleNamespace


def import_robosuite() -> ModuleType:
    """`robosuite`, without what its import does to the process.

    robosuite 1.5.2 warns on every import about macros, models and a whole-body controller that are optional,
    reports each configuration file that it reads, and sets the environment variable MUJOCO_GL to "egl", which
    takes the choice of a renderer from whoever renders: on machines without EGL, OSMesa is never tried.
    """
    logging.getLogger("robosuite_logs").addFilter(_errors_only)
    chosen = os.environ.get("MUJOCO_GL")
    try:
        return importlib.import_module("robosuite")
    finally:
        if chosen is None:
            os.environ.pop("MUJOCO_GL", None)
        else:
            os.environ["MUJOCO_GL"] = chosen


def stand_in_for_mujoco_py() -> None:
    """Let robomimic's environments for robosuite be imported without mujoco_py.

    robomimic 0.3.0 (`robomimic.envs.env_robosuite`) imports mujoco_py, which binds MuJoCo 2.1 and installs
    beside nothing else, for the one exception after which its rollouts go on. robosuite has simulated with
    MuJoCo's own package since 1.4; the name is given to what that raises.
    """
    error = importlib.import_module("mujoco").FatalError
    module = ModuleType("mujoco_py")
    module.builder = SimpleNamespace(MujocoException=error)  # type: ignore[attr-defined]
    sys.modules["mujoco_py"] = module


def quiet_gymnasium_robotics() -> None:
    """Keep `gymnasium_robotics` from writing to standard error whenever it is imported.

    gymnasium-robotics 1.4.2 tells through farama-notifications that rewards of Adroit's dense variants
    changed in 1.2.1, in every process, whatever of the package is used. We use no rewards.
    """
    try:
        notifications = importlib.import_module("farama_notifications").notifications
    except ModuleNotFoundError:  # no suite of theirs is installed
        return
    notifications.pop("gymnasium_robotics", None)


def _errors_only(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
