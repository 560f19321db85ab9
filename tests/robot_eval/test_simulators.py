from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from robot_eval.environment import EnvSettings
from robot_eval.simulators import Simulator, SimulatorCrashError, Trajectory, simulators

Run = Callable[..., subprocess.CompletedProcess[str]]
SETTINGS = EnvSettings("metaworld", "drawer-open-v3", "corner2", render_size=64, picture_size=64)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with simulators(SETTINGS, 1) as pool:
        yield pool[0]


def kill(simulator: Simulator) -> None:
    os.kill(simulator.pid, signal.SIGKILL)


def test_commands_answer_with_observations(simulator: Simulator) -> None:
    observation = simulator.call("reset", 3, True)
    assert {name: value.shape for name, value in observation.items()} == {
        "proprio": (4,),
        "state": (39,),
        "picture": (64, 64, 3),
    }
    assert "picture" not in simulator.call("reset", 3, False)
    after, success, strict = simulator.call("step", np.ones(4, np.float32), True)
    assert (success, strict) == (False, False)
    assert not np.array_equal(after["state"], observation["state"])
    assert after["picture"].dtype == np.uint8


def test_the_reference_repeats_itself(simulator: Simulator) -> None:
    first = simulator.call("reference")
    simulator.call("reset", 8, True)
    assert simulator.call("reference") == first
    backend, driver = first["opengl"].split(": ", 1)
    assert backend in {"egl", "osmesa", "glfw"}
    assert driver
    assert len(first["frame_hash"]) == 16


def test_simulator_processes_load_no_torch(simulator: Simulator) -> None:
    simulator.call("reset", 3, True)
    loaded = Path(f"/proc/{simulator.pid}/maps").read_text()
    assert "libmujoco" in loaded, "the libraries of the process are seen here"
    assert "libtorch" not in loaded


def test_the_modules_of_a_simulator_import_no_torch(run_python: Run) -> None:
    script = """
import sys
import robot_eval.simulators, robot_eval.suites.metaworld
assert "mujoco" in sys.modules
assert "torch" not in sys.modules
"""
    result = run_python(script)
    assert result.returncode == 0, result.stderr


def test_the_parent_makes_no_rendering_context(run_python: Run) -> None:
    script = f"""
import sys
from robot_eval.environment import EnvSettings
from robot_eval.simulators import simulators
if __name__ == "__main__":
    with simulators({SETTINGS!r}, 1) as pool:
        assert pool[0].call("reset", 1, True)["picture"].std() > 10
    loaded = open("/proc/self/maps").read()
    assert "libmujoco" in loaded
    assert not [name for name in ("libEGL", "libOSMesa", "libLLVM") if name in loaded]
"""
    result = run_python(script)
    assert result.returncode == 0, result.stderr


def test_an_exception_inside_comes_back_and_the_process_survives(simulator: Simulator) -> None:
    pid = simulator.pid
    simulator.call("reset", 3, False)
    with pytest.raises(RuntimeError, match=r"(?s)simulator of drawer-open-v3.*Traceback.*finite action"):
        simulator.call("step", np.full(4, np.nan, np.float32), False)
    with pytest.raises(RuntimeError, match="AttributeError"):
        simulator.call("dance")
    assert simulator.call("reset", 3, False)["state"].any()
    assert simulator.pid == pid


def test_demonstrations_do_not_depend_on_what_came_before(simulator: Simulator) -> None:
    first = simulator.call("demonstrate", 5, 0.1, 150, 2)
    simulator.call("demonstrate", 6, 0.1, 150, 2)
    again = simulator.call("demonstrate", 5, 0.1, 150, 2)
    assert isinstance(first, Trajectory)
    for name in ("pictures", "simulator_state", "actions", "success"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
        assert len(getattr(first, name)) == len(first.actions)
    assert set(first.observations) == {"proprio", "state"}
    for name, values in first.observations.items():
        assert np.array_equal(values, again.observations[name]), name
        assert len(values) == len(first.actions)
    assert list(first.success[-3:]) == [False, True, True], "it ends once the task stayed achieved"
    assert simulator.call("demonstrate", 5, 0.1, 10, 2) is None, "the expert needs more than 10 steps"


def test_a_killed_process_is_told_and_replaced() -> None:
    with simulators(SETTINGS, 1) as (simulator,):
        expected = simulator.call("reset", 3, False)["state"]
        pid = simulator.pid
        kill(simulator)
        for _ in range(2):
            with pytest.raises(SimulatorCrashError, match="exit code -9"):
                simulator.call("reset", 3, False)
        assert simulator.restarts == 0
        simulator.restart()
        assert simulator.restarts == 1
        assert simulator.pid != pid
        assert np.array_equal(simulator.call("reset", 3, False)["state"], expected)

        # Killed in the middle of an answer that is too long for the pipe's buffer.
        simulator.send("demonstrate", 5, 0.0, 150, 2)
        assert simulator.connection.poll(120)
        kill(simulator)
        with pytest.raises(SimulatorCrashError):
            simulator.receive()
        simulator.restart()
        assert simulator.restarts == 2
        pid = simulator.pid
    assert not psutil.pid_exists(pid)


def test_processes_are_gone_afterwards_even_after_an_error() -> None:
    pids: list[int] = []

    def fail() -> None:
        with simulators(SETTINGS, 2) as pool:
            pids.extend(simulator.pid for simulator in pool)
            assert all(psutil.pid_exists(pid) for pid in pids)
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        fail()
    assert len(set(pids)) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)
