"""Simulation suites behind one interface: one file per suite, named as in a config."""

from __future__ import annotations

import importlib
import pkgutil

from egorep.names import unknown
from egorep.shims import quiet_gymnasium_robotics
from robot_eval.environment import EnvSettings, RobotEnv, Suite

quiet_gymnasium_robotics()  # before a suite imports it


def list_suites() -> list[str]:
    """Names of the suites, one per file of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_suite(name: str) -> Suite:
    """The suite called `name`.

    Raises:
        ValueError: there is none; the message names the nearest.
        ImportError: its simulator is not installed; the message says how to install it.
    """
    if name not in list_suites():
        raise unknown("suite", name, list_suites())
    try:
        suite: Suite = importlib.import_module(f"{__name__}.{name}").SUITE
    except ModuleNotFoundError as error:
        raise ImportError(f"suite {name!r} needs {error.name}: pip install 'egorep[sim]'") from error
    return suite


def make_env(settings: EnvSettings) -> RobotEnv:
    """The environment that `settings` describe.

    Raises:
        ValueError: unknown suite, task or camera (with the nearest names), or a crop larger than the picture.
    """
    suite = load_suite(settings.suite)
    if settings.task not in suite.tasks:
        raise unknown(f"{suite.name} task", settings.task, suite.tasks)
    for camera in settings.cameras:
        if camera not in suite.cameras:
            raise unknown(f"{suite.name} camera", camera, suite.cameras)
    if not 0 < settings.picture_size <= settings.render_size:
        raise ValueError(
            f"picture_size {settings.picture_size} must lie between 1 and render_size {settings.render_size}"
        )
    return suite.make(settings)
