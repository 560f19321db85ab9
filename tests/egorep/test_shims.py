"""The shims, and whether what they are for is still so: each import in a fresh interpreter."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import egl_probe
import pytest

from egorep import robomimic_scripts


def source(module: str) -> str:
    """Of a module that is not imported for it."""
    package, *rest = module.split(".")
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.joinpath(*rest).with_suffix(".py").read_text()


def outcome(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


IMPORT_ENVIRONMENT = "import robomimic.envs.env_robosuite as module; print(module.mujoco_py.__name__)"


def test_robomimics_environment_still_wants_mujoco_py_for_one_name() -> None:
    uses = [
        line.strip() for line in source("robomimic.envs.env_robosuite").splitlines() if "mujoco_py" in line
    ]
    assert uses == ["import mujoco_py", "return (mujoco_py.builder.MujocoException)"]
    bare = outcome(IMPORT_ENVIRONMENT)
    assert "No module named 'mujoco_py'" in bare.stderr
    shim = "from egorep.shims import stand_in_for_mujoco_py as stand_in; stand_in();"
    survives = "e = module.EnvRobosuite.rollout_exceptions.fget(None); print(issubclass(e, Exception))"
    with_shim = outcome(f"{shim} {IMPORT_ENVIRONMENT}; {survives}")
    assert with_shim.stdout.split()[-2:] == ["mujoco_py", "True"], with_shim.stderr


REPORT_RENDERER = "import os; print(repr(os.environ.get('MUJOCO_GL')))"


def test_robosuite_still_takes_the_choice_of_a_renderer() -> None:
    assert 'os.environ["MUJOCO_GL"] = "egl"' in source("robosuite.utils.binding_utils")
    bare = outcome(f"import robosuite; {REPORT_RENDERER}")
    assert bare.stdout == "'egl'\n"
    assert "WARNING" in bare.stderr


@pytest.mark.parametrize("chosen", [{}, {"MUJOCO_GL": "osmesa"}])
def test_our_import_of_robosuite_leaves_it_alone_and_is_silent(chosen: dict[str, str]) -> None:
    shimmed = outcome(
        f"from egorep.shims import import_robosuite; print(import_robosuite().__name__); {REPORT_RENDERER}",
        **chosen,
    )
    assert shimmed.stdout == f"robosuite\n{chosen.get('MUJOCO_GL')!r}\n"
    assert "robosuite" not in shimmed.stderr


def test_egl_probe_answers_without_a_gpu() -> None:
    # robomimic asks it before robosuite renders; it was built, or would raise.
    assert isinstance(egl_probe.get_available_devices(), list)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="without triton nothing can go wrong")
def test_scripts_find_triton_loaded_before_robosuite() -> None:
    code = """
import sys, egorep.shims, egorep.robomimic_scripts as scripts
scripts.import_robosuite = lambda: print("triton first:", "triton" in sys.modules)
scripts.run("get_dataset_info", ["--help"])
"""
    ran = outcome(code)
    assert "triton first: True" in ran.stdout, ran.stderr
    assert "--filter_key" in ran.stdout


def test_an_unknown_script_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown script of robomimic 'tain'; did you mean 'train'"):
        robomimic_scripts.run("tain", [])


def test_gymnasium_robotics_still_writes_to_standard_error() -> None:
    bare = outcome("import gymnasium_robotics")
    assert "reward functions were updated" in bare.stderr
    quiet = outcome("from egorep.shims import quiet_gymnasium_robotics as q; q(); import gymnasium_robotics")
    assert (quiet.stderr, quiet.returncode) == ("", 0)
