"""robomimic's own tools on robosuite demonstrations of ours: its environment, its training, its rollouts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from robot_eval.demos import DemoRecipe, DemoSet, collect
from robot_eval.environment import EnvSettings
from robot_eval.suites import load_suite, make_env

SETTINGS = EnvSettings("robosuite", "Lift", "agentview", render_size=84, picture_size=84)
LOW_DIM = ["robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"]


def run(*arguments: str | Path) -> str:
    """Output of `python` with arguments, or an assertion with its errors."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("task", load_suite("robosuite").tasks)
def test_environment_arguments_are_json_for_robomimics_robosuite(task: str) -> None:
    suite = load_suite("robosuite")
    arguments = suite.env_args(EnvSettings("robosuite", task, "agentview", picture_size=84))
    assert json.loads(json.dumps(arguments)) == arguments
    assert arguments["type"] == 1
    assert arguments["env_version"].count(".") == 2
    assert arguments["env_kwargs"]["control_freq"] == suite.control_hz
    assert arguments["env_kwargs"]["camera_names"] == ["agentview"]
    assert arguments["env_kwargs"]["camera_heights"] == arguments["env_kwargs"]["camera_widths"] == 84


def test_actions_move_both_arms_of_transport_in_the_worlds_frame() -> None:
    # Its published demonstrations do; the arms face each other, so their own frames differ.
    env = make_env(EnvSettings("robosuite", "Transport", "agentview", render_size=64, picture_size=64))
    before, _ = env.reset(seed=0)
    action = np.zeros(14, np.float32)
    action[[0, 7]] = 1.0
    for _ in range(5):
        after, *_ = env.step(action)
    for arm in ("robot0", "robot1"):
        moved = after[f"{arm}_eef_pos"] - before[f"{arm}_eef_pos"]
        assert moved[0] > 0.03
        assert np.abs(moved[1:]).max() < 0.02


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> DemoSet:
    recipe = DemoRecipe(SETTINGS, count=2, noise=0.1, horizon=200, hold=2)
    return collect(recipe, tmp_path_factory.mktemp("demos"), workers=2)


RESTORE = """
import json, sys
import h5py, numpy
import egorep.robomimic
from egorep.shims import import_robosuite, stand_in_for_mujoco_py
stand_in_for_mujoco_py()
import_robosuite()
from robomimic.utils import env_utils, file_utils
env = env_utils.create_env_for_data_processing(
    env_meta=file_utils.get_env_metadata_from_dataset(sys.argv[1]), camera_names=["agentview"],
    camera_height=84, camera_width=84, reward_shaping=False,
)
env.reset()
sizes = [float(size) for size in env.env.cube.size]
with h5py.File(sys.argv[1]) as file:
    demo = file["data/demo_0"]
    seen = env.reset_to({"model": demo.attrs["model_file"], "states": demo["states"][-1]})
    success = bool(env.is_success()["task"])
numpy.savez(sys.argv[2], sizes=sizes, success=success, **seen)
"""


@pytest.mark.slow
def test_robomimics_environment_is_ours_and_sees_upright_pictures(demos: DemoSet, tmp_path: Path) -> None:
    run("-c", RESTORE, demos.path, tmp_path / "seen.npz")
    seen = np.load(tmp_path / "seen.npz")
    with h5py.File(demos.path) as file:
        ours = {key: values[-1] for key, values in file["data/demo_0/obs"].items()}
    for key in [*LOW_DIM, "object"]:
        assert np.allclose(seen[key], ours[key], atol=2e-3)
    picture, theirs = ours["agentview_image"].astype(int), seen["agentview_image"].astype(int)
    # Another look, but the same picture the same way up.
    assert np.abs(picture - theirs).mean() < 6
    assert np.abs(picture - theirs[::-1]).mean() > 30
    assert seen["success"]
    assert np.array_equal(seen["sizes"], make_env(SETTINGS)._env.cube.size)  # type: ignore[attr-defined]


def config(folder: Path, *, pictures: bool) -> Path:
    """Behaviour cloning for 2 epochs of 3 steps, with a rollout of 3 steps; robomimic's defaults else."""
    modalities: dict[str, Any] = {"low_dim": LOW_DIM if pictures else [*LOW_DIM, "object"]}
    observation: dict[str, Any] = {"modalities": {"obs": modalities}}
    if pictures:
        modalities["rgb"] = ["agentview_image"]
        core = {"encoder": "random/timm/test_vit", "checkpoint": None, "pool": "cls"}
        observation["encoder"] = {"rgb": {"core_class": "EgorepCore", "core_kwargs": core}}
    settings = {
        "algo_name": "bc",
        "experiment": {
            "name": "lift",
            "epoch_every_n_steps": 3,
            "save": {"every_n_epochs": 2},
            "rollout": {"n": 1, "horizon": 3, "rate": 2, "warmstart": 0},
            "render_video": False,
        },
        "train": {"output_dir": str(folder / "runs"), "num_epochs": 2, "batch_size": 8, "cuda": False},
        "observation": observation,
    }
    path = folder / "bc.json"
    path.write_text(json.dumps(settings))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [False, True])
def test_robomimics_scripts_train_and_roll_out(demos: DemoSet, tmp_path: Path, pictures: bool) -> None:
    scripts = "-m", "egorep.robomimic_scripts"
    trained = run(*scripts, "train", "--config", config(tmp_path, pictures=pictures), "--dataset", demos.path)
    assert "finished run successfully!" in trained
    assert "rollout: env=Lift, horizon=3" in trained
    (agent,) = tmp_path.glob("runs/lift/*/models/model_epoch_2*.pth")
    rollouts = tmp_path / "rollouts.hdf5"
    arguments = ["--n_rollouts", "2", "--horizon", "3", "--seed", "0", "--dataset_path", str(rollouts)]
    rolled = run(*scripts, "run_trained_agent", "--agent", agent, *arguments)
    assert '"Horizon": 3.0' in rolled
    with h5py.File(rollouts) as file:
        assert file["data/demo_1/actions"].shape == (3, 7)
        assert file["data/demo_1/states"].shape == (3, 32)
