"""One thread, for several waste time waiting on a busy machine; small environments; fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import torch
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

    from robot_eval.environment import RobotEnv


class _UnfinishedFiles(LoadFileScheduling):
    """Of a worker that dies, only the files it had not finished are handed to others.

    xdist 3.8 hands out all that it ever had; a worker that gets only finished ones never asks for more, and
    the run waits for ever.
    """

    def remove_node(self, node: WorkerController) -> str | None:
        files = self.assigned_work[node]
        self.assigned_work[node] = {file: tests for file, tests in files.items() if not all(tests.values())}
        return super().remove_node(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """xdist's own scheduler, or the one above in its place."""
    return _UnfinishedFiles(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _captured_streams_stay_open() -> Iterator[None]:
    """absl logs to the stream of its import, pytest's here, and closes it when Hydra sets up its logs."""
    yield
    if "absl.logging" in sys.modules:
        sys.modules["absl.logging"].get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(scope="module")
def open_env() -> Iterator[Callable[..., RobotEnv]]:
    """Makes Meta-World environments of 64 px pictures, closed at the end of the module."""
    from robot_eval.environment import EnvSettings
    from robot_eval.suites import make_env

    opened: list[RobotEnv] = []

    def make(task: str = "drawer-open-v3", **settings: Any) -> RobotEnv:
        small = {"camera": "corner2", "render_size": 64, "picture_size": 64, **settings}
        opened.append(make_env(EnvSettings("metaworld", task, **small)))
        return opened[-1]

    yield make
    for env in opened:
        env.close()


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script in a fresh interpreter without the settings that choose a renderer, save those given."""

    def run(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        chosen_here = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "MUJOCO_EGL_DEVICE_ID")
        environment = {name: value for name, value in os.environ.items() if name not in chosen_here}
        return subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return run
