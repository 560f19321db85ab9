"""Published files, made here in the published layout: read, restored, filmed, and learnt from."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from egorep import load_encoder
from egorep.cache import frames_fingerprint
from robot_eval.cloning import Optimiser, Training, clone
from robot_eval.demos import DemoSet, read_demos
from robot_eval.environment import EnvSettings
from robot_eval.inputs import PolicyInputs
from robot_eval.policies import PolicyConfig
from robot_eval.policies.base import Demonstrations, InputShape
from robot_eval.policies.mlp import MLPSettings
from robot_eval.published import published_demos
from robot_eval.seeds import FIRST_DEMO_SEED
from robot_eval.simulators import Simulator, SimulatorCrashError
from robot_eval.suites import make_env

SETTINGS = EnvSettings("robosuite", "Lift", "agentview", render_size=64, picture_size=64)
STEPS = 6
# As robomimic's files for robosuite 1.4 have it.
ENV_ARGS = {
    "env_name": "Lift",
    "env_version": "1.4.1",
    "type": 1,
    "env_kwargs": {
        "has_renderer": False,
        "use_camera_obs": False,
        "control_freq": 20,
        "controller_configs": {"type": "OSC_POSE", "control_delta": True, "impedance_mode": "fixed"},
        "robots": ["Panda"],
        "reward_shaping": False,
    },
}


@dataclass
class Episode:
    """What an environment of ours showed live."""

    states: np.ndarray
    actions: np.ndarray
    pictures: np.ndarray
    restored: np.ndarray
    observations: dict[str, np.ndarray]
    model_file: str


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    env = make_env(SETTINGS)
    played = []
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        rows = []
        for _ in range(STEPS):
            action = env.expert_action()
            rows.append((env.simulator_state, action, env.render(), observation))
            observation, *_ = env.step(action)
        states, actions, pictures, seen = zip(*rows, strict=True)
        restored = []
        for state in states:
            env.restore(state)
            restored.append(env.render())
        observations = {key: np.stack([step[key] for step in seen]) for key in seen[0]}
        arrays = (np.stack(part) for part in (states, actions, pictures, restored))
        played.append(Episode(*arrays, observations, env.model_file))
    return played


def old(model_file: str) -> str:
    """The model as robosuite 1.4 wrote it elsewhere: other paths, and grippers that do not name their arm."""
    elsewhere = re.sub(r'file="[^"]*/robosuite/', 'file="/home/robot/robosuite/robosuite/', model_file)
    return elsewhere.replace("gripper0_right_finger", "gripper0_finger")


def cube_first(episode: Episode) -> tuple[str, np.ndarray]:
    """An old model whose cube comes before the robot, and the episode's states in its order."""
    model = ElementTree.fromstring(old(episode.model_file))
    bodies = model.find("worldbody")
    (cube,) = (body for body in bodies.findall("body") if body.find("joint[@name='cube_joint0']") is not None)
    bodies.remove(cube)
    bodies.insert(0, cube)
    time, positions, velocities = np.split(episode.states, [1, 17], axis=1)
    parts = [time, positions[:, 9:], positions[:, :9], velocities[:, 9:], velocities[:, :9]]
    return ElementTree.tostring(model, encoding="unicode"), np.hstack(parts)


def write(path: Path, episodes: list[Episode]) -> Path:
    """Episodes in the layout of `low_dim_v141.hdf5`."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(ENV_ARGS, indent=4)
        data.attrs["total"] = STEPS * len(episodes)
        for index, episode in enumerate(episodes):
            demo = data.create_group(f"demo_{index}")
            demo.attrs["num_samples"] = STEPS
            demo.attrs["model_file"] = old(episode.model_file)
            demo["states"] = episode.states
            demo["actions"] = episode.actions.astype(np.float64)
            demo["rewards"] = np.zeros(STEPS)
            demo["dones"] = np.zeros(STEPS, np.int64)
            for key, values in episode.observations.items():
                if key not in ("proprio", "state"):
                    demo[f"obs/{key}"] = demo[f"next_obs/{key}"] = values.astype(np.float64)
        names = [f"demo_{index}" for index in range(len(episodes))]
        for key, chosen in {"train": names[1:], "valid": names[:1], "20_percent": names[2:]}.items():
            file[f"mask/{key}"] = np.array(chosen, dtype="S8")
    return path


@pytest.fixture
def published(tmp_path: Path, episodes: list[Episode]) -> Path:
    return write(tmp_path / "low_dim_v141.hdf5", episodes)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, episodes: list[Episode]) -> Path:
    """One file with a model in another order, and with a bad demonstration."""
    path = write(tmp_path_factory.mktemp("published") / "low_dim_v141.hdf5", episodes)
    with h5py.File(path, "a") as file:
        model, states = cube_first(episodes[1])
        file["data/demo_1"].attrs["model_file"] = model
        file["data/demo_1/states"][...] = states
        file["data/demo_2/states"][3, 5] = np.nan
        # Pictures of another look are not ours to learn from.
        file["data/demo_0/obs/agentview_image"] = np.zeros((STEPS, 64, 64, 3), np.uint8)
    return path


@pytest.fixture(scope="module")
def demos(file: Path) -> DemoSet:
    ready: list[int] = []
    made = published_demos(file, SETTINGS, file.parent / "demos", workers=2, progress=ready.append)
    assert sum(ready) == 3
    return made


def test_states_are_filmed_and_observed_in_our_simulator(demos: DemoSet, episodes: list[Episode]) -> None:
    for demo, episode in zip(demos.demos, [episodes[index] for index in (0, 1, 3)], strict=True):
        assert np.array_equal(demo.read("states"), episode.states)
        assert np.array_equal(demo.read("actions"), episode.actions)
        frames = demo.frames()
        assert np.array_equal(frames, episode.restored)
        assert np.array_equal(frames[0], episode.pictures[0])
        assert frames_fingerprint(frames) == demo.fingerprint
        # A robosuite step ends with the pose of a few milliseconds before.
        assert np.abs(frames.astype(int) - episode.pictures).mean() < 1
        for key in ("proprio", "state", "object", "robot0_eef_pos"):
            assert np.allclose(demo.read(f"obs/{key}"), episode.observations[key], atol=2e-3)


def test_bad_demonstrations_are_left_out_and_counted(
    demos: DemoSet, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert demos.discarded == 1
    with h5py.File(demos.path) as made:
        assert [int(demo.attrs["seed"]) - FIRST_DEMO_SEED for demo in made["data"].values()] == [0, 1, 3]
        assert json.loads(made["data"].attrs["env_args"])["env_name"] == "Lift"
        assert made["data"].attrs["frame_hash"]
    again = published_demos(file, SETTINGS, file.parent / "other", workers=1, count=2, filter_key="train")
    assert [frames_fingerprint(demo.frames()) for demo in again.demos] == [
        d.fingerprint for d in demos.demos[1:]
    ]
    assert "demo_2 is left out: no steps, or actions or states that are not finite" in caplog.text
    assert "1 of 3 demonstrations are left out" in caplog.text


def test_a_file_is_converted_once(demos: DemoSet, file: Path) -> None:
    folder = file.parent / "demos"
    before = demos.path.stat()
    assert published_demos(file, SETTINGS, folder, workers=0) == demos == read_demos(demos.path)
    after = demos.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not list(folder.rglob("*.parts"))


def test_a_policy_learns_from_it(demos: DemoSet) -> None:
    encoder, inputs = load_encoder("random/timm/test_vit"), PolicyInputs("picture")
    rows = [
        inputs.of_episode(encoder(demo.frames()).numpy(), demo.read("obs/proprio"), demo.read("obs/state"))
        for demo in demos.demos
    ]
    x, y = np.concatenate(rows), np.concatenate([demo.read("actions") for demo in demos.demos])
    data = Demonstrations(torch.from_numpy(x), torch.from_numpy(y), tuple(map(len, rows)))
    head = PolicyConfig("head", "mlp", "features", MLPSettings([32], "tanh", batch_norm=True))
    points = list(
        clone(Training(head, InputShape((), x.shape[1]), Optimiser(1e-3, 6, "constant"), [30, 60], 0), data)
    )
    assert points[-1].policy.act(x, [None] * len(x)).shape == y.shape
    assert points[-1].loss < points[0].loss


def crashing_once(call: Callable[..., Any]) -> Callable[..., Any]:
    crashes: list[str] = []

    def crash(simulator: Simulator, command: str, *arguments: Any) -> Any:
        if command == "film" and not crashes:
            crashes.append(command)
            simulator.close()
            raise SimulatorCrashError("killed")
        return call(simulator, command, *arguments)

    return crash


def test_a_conversion_that_stopped_goes_on_where_it_was(
    demos: DemoSet,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stop(ready: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        published_demos(file, SETTINGS, tmp_path, workers=1, progress=stop)
    parts = sorted(tmp_path.rglob("*.parts/*.hdf5"))
    assert parts
    with h5py.File(parts[0], "a") as part:
        part["demo"].attrs["mark"] = "made before the stop"
    monkeypatch.setattr(Simulator, "call", crashing_once(Simulator.call))
    resumed = published_demos(file, SETTINGS, tmp_path, workers=1)
    assert "killed; starting it again" in caplog.text
    assert resumed.fingerprint == demos.fingerprint
    assert resumed.discarded == demos.discarded
    with h5py.File(resumed.path) as made:
        assert [name for name, demo in made["data"].items() if "mark" in demo.attrs] == ["demo_0"]


def test_pictures_of_the_file_are_taken_where_they_show_what_ours_would(
    published: Path, tmp_path: Path
) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (STEPS, 64, 64, 3), dtype=np.uint8)
    with h5py.File(published, "a") as file:
        file["data/demo_0/obs/agentview_image"] = stored
    paper = replace(SETTINGS, render="paper")
    made = published_demos(published, paper, tmp_path, workers=1, filter_key="valid")
    assert np.array_equal(made.demos[0].frames(), stored)
    assert made.demos[0].read("obs/proprio").shape == (STEPS, 9)


def env_args(**changes: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file["data"].attrs["env_args"] = json.dumps({**ENV_ARGS, **changes})

    return change


def nothing(file: h5py.File) -> None:
    """The file is fine; what is asked of it is not."""


def absolute(file: h5py.File) -> None:
    parts = {"arms": {"right": {"type": "OSC_POSE", "input_type": "absolute"}}}
    controllers = {"type": "BASIC", "body_parts": parts}
    env_args(env_kwargs={**ENV_ARGS["env_kwargs"], "controller_configs": controllers})(file)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda file: file.move("data", "episodes"), {}, "/ has no 'data'"),
        (lambda file: file["data"].attrs.pop("env_args"), {}, "no 'env_args'"),
        (lambda file: file.move("data/demo_0", "data/traj"), {}, "demo_0 and so on, not 'traj'"),
        (env_args(env_name="PickPlaceCan"), {}, "demonstrations of Can, not of Lift"),
        (env_args(env_name="NutAssemblyRound"), {}, "unknown robosuite task .* 'NutAssemblySquare'"),
        (env_args(env_kwargs={"control_freq": 10}), {}, "10 control steps a second, but policies act at 20"),
        (absolute, {}, "absolute poses, but policies here give moves"),
        (nothing, {"filter_key": "trian"}, "unknown filter key 'trian'; did you mean 'train'"),
        (lambda file: file.pop("mask"), {"filter_key": "train"}, "/ has no 'mask'"),
        (nothing, {"count": 5}, "has 4 demonstrations, 5 are wanted"),
        (
            nothing,
            {"settings": replace(SETTINGS, suite="metaworld", task="hammer-v3")},
            "robosuite's, not metaworld's",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused_before_any_work(
    published: Path, change: Callable[[h5py.File], None], arguments: dict[str, Any], message: str
) -> None:
    with h5py.File(published, "a") as file:
        change(file)
    with pytest.raises(ValueError, match=message):
        published_demos(
            published, **{"settings": SETTINGS, "folder": published.parent, "workers": 0, **arguments}
        )


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*missing\.hdf5"):
        published_demos(tmp_path / "missing.hdf5", SETTINGS, tmp_path, workers=0)
    (tmp_path / "page.hdf5").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="no HDF5 file"):
        published_demos(tmp_path / "page.hdf5", SETTINGS, tmp_path, workers=0)


def test_where_no_demonstration_fits_the_error_says_why(
    published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with h5py.File(published, "a") as file:
        first, second, third, fourth = (file[f"data/demo_{index}"] for index in range(4))
        for demo, key, values in (
            (first, "actions", np.zeros((STEPS, 4))),
            (second, "states", np.zeros((STEPS, 45))),
        ):
            del demo[key]
            demo[key] = values
        del second.attrs["model_file"]
        del third["states"]
        fourth["obs/robot0_eef_pos"][...] += 0.1
    with pytest.raises(
        ValueError, match=r"0 good demonstrations of 4, 4 are wanted; demo_0: actions of shape"
    ):
        published_demos(published, SETTINGS, tmp_path, workers=1)
    assert (
        "states of shape (6, 45), but our model has 32 numbers a state: most likely another version"
        in caplog.text
    )
    assert "/data/demo_2 has no 'states'" in caplog.text
    assert "robot0_eef_pos is up to 0.17 m from where its states put our robot" in caplog.text


def run_on(published: str, folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    size = ["protocol.render_size=64", "protocol.picture_size=64", "protocol.horizon=4"]
    budget = ["protocol.budget.total=4", "protocol.budget.evaluate_every=4", "demos=2", "seeds=1"]
    judged = ["protocol.episodes=1", "protocol.held_out_episodes=1", "videos=false", "num_envs=1"]
    command = [sys.executable, "-m", "robot_eval", "suite=robosuite", "tasks=[Lift]", "encoders=[state]"]
    given = [f"published={{{published}}}", f"out={folder}/out", f"data={folder}/data"]
    return subprocess.run(
        [*command, *size, *budget, *judged, *given, *overrides], capture_output=True, text=True, check=False
    )


def test_a_run_learns_from_a_published_file(published: Path, tmp_path: Path) -> None:
    done = run_on(f"Lift: {published}", tmp_path, "filter_key=train")
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert set(rows["demos"]) == {2}
    assert set(rows["task"]) == {"Lift"}


@pytest.mark.parametrize(
    ("task", "file", "overrides", "words"),
    [
        ("Lift", None, ["demos=9"], ["4 demonstrations", "demos=9"]),
        ("Lift", None, ["filter_key=trian"], ["unknown filter key 'trian'", "'train'"]),
        ("Lifft", None, [], ["'Lifft'", "'Lift'"]),
        ("Lift", "missing.hdf5", [], ["no file missing.hdf5"]),
    ],
)
def test_a_run_refuses_what_a_file_cannot_give_before_any_work(
    published: Path, tmp_path: Path, task: str, file: str | None, overrides: list[str], words: list[str]
) -> None:
    refused = run_on(f"{task}: {file or published}", tmp_path, *overrides)
    assert refused.returncode != 0
    line = refused.stderr.strip().splitlines()[-1]
    assert line.startswith("robot_eval: ")
    assert all(word in line for word in words), line
    assert not (tmp_path / "data" / "demos").exists()
