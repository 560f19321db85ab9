from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from egorep.cache import frames_fingerprint
from robot_eval.demos import Beginning, DemoRecipe, DemoSet, collect, read_demos
from robot_eval.environment import EnvSettings
from robot_eval.seeds import FIRST_DEMO_SEED
from robot_eval.suites import load_suite, make_env

SETTINGS = EnvSettings("metaworld", "button-press-v3", "corner2", render_size=64, picture_size=64)
# At this noise and horizon some of the first episodes fail.
RECIPE = DemoRecipe(SETTINGS, count=3, noise=0.3, horizon=70, hold=2)

COLLECT = """
import sys, pathlib
from robot_eval.demos import DemoRecipe, collect
from robot_eval.environment import EnvSettings
if __name__ == "__main__":
    recipe = {recipe!r}
    collect(recipe, pathlib.Path(sys.argv[1]), workers=1)
"""


def started(recipe: DemoRecipe, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", COLLECT.format(recipe=recipe), str(folder)])


def content(path: Path) -> dict[str, object]:
    """Everything in a file: attributes, and arrays as bytes."""
    found: dict[str, object] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        found[name] = dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            found[f"{name}[]"] = (item.dtype.str, item.shape, item[()].tobytes())

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> DemoSet:
    ready: list[int] = []
    made = collect(RECIPE, tmp_path_factory.mktemp("demos"), workers=2, progress=ready.append)
    assert sum(ready) == RECIPE.count
    return made


def test_files_tell_with_which_look_they_were_filmed(demos: DemoSet) -> None:
    env = make_env(SETTINGS)
    env.reset(seed=0)
    assert demos.frame_hash == hashlib.blake2b(env.render().tobytes(), digest_size=8).hexdigest()
    env.close()


def test_files_have_robomimics_layout(demos: DemoSet) -> None:
    with h5py.File(demos.path) as file:
        data = file["data"]
        assert set(data) == {"demo_0", "demo_1", "demo_2"}
        assert data.attrs["total"] == sum(data[name].attrs["num_samples"] for name in data)
        arguments = json.loads(data.attrs["env_args"])
        assert arguments["env_name"] == "button-press-v3"
        assert isinstance(arguments["type"], int)
        assert EnvSettings(**arguments["env_kwargs"]) == SETTINGS
        for demo in data.values():
            steps = demo.attrs["num_samples"]
            shapes = {
                "obs/corner2_image": (steps, 64, 64, 3),
                "obs/proprio": (steps, 4),
                "obs/state": (steps, 39),
                "actions": (steps, 4),
                "rewards": (steps,),
                "dones": (steps,),
            }
            assert {name: demo[name].shape for name in shapes} == shapes
            assert len(demo["states"]) == steps
            assert demo["obs/corner2_image"].dtype == np.uint8
            assert demo["rewards"][-2:].tolist() == [1, 1]
            assert demo["rewards"][-3] == 0
            assert demo["dones"][:].tolist() == [0] * (steps - 1) + [1]


def test_reading_gives_what_was_written(demos: DemoSet) -> None:
    assert demos == read_demos(demos.path)
    assert len(demos.demos) == 3
    with h5py.File(demos.path) as file:
        seeds = [int(file[f"data/{demo.name}"].attrs["seed"]) for demo in demos.demos]
    assert seeds == sorted(set(seeds))
    assert seeds[0] >= FIRST_DEMO_SEED
    for demo in demos.demos:
        assert frames_fingerprint(demo.frames()) == demo.fingerprint
        assert len(demo.frames()) == len(demo.read("actions"))


def test_failed_episodes_are_discarded_and_counted(demos: DemoSet) -> None:
    with h5py.File(demos.path) as file:
        seeds = [int(demo.attrs["seed"]) for demo in file["data"].values()]
    assert demos.discarded > 0
    assert demos.discarded == max(seeds) - FIRST_DEMO_SEED + 1 - 3


def test_demonstrations_may_begin_with_another_seed(demos: DemoSet, tmp_path: Path) -> None:
    other = dataclasses.replace(RECIPE, first_seed=FIRST_DEMO_SEED + 1000, count=2)
    made = collect(other, tmp_path, workers=2)
    with h5py.File(made.path) as file:
        seeds = [int(demo.attrs["seed"]) for demo in file["data"].values()]
        assert json.loads(file["data"].attrs["recipe"])["first_seed"] == FIRST_DEMO_SEED + 1000
    assert min(seeds) >= FIRST_DEMO_SEED + 1000
    assert not {demo.fingerprint for demo in made.demos} & {demo.fingerprint for demo in demos.demos}
    with h5py.File(demos.path) as file:  # so that files older than the field keep their names
        assert "first_seed" not in json.loads(file["data"].attrs["recipe"])


def test_a_beginning_is_the_first_pictures(demos: DemoSet) -> None:
    demo = demos.demos[0]
    beginning = Beginning(demo, 3)
    assert np.array_equal(beginning.frames(), demo.frames()[:3])
    assert len(Beginning(demo, 10_000).frames()) == len(demo.frames())
    names = {demo.fingerprint, beginning.fingerprint, Beginning(demo, 4).fingerprint}
    assert len(names) == 3


def test_labels_are_the_experts_own_actions_where_noise_was_executed(demos: DemoSet) -> None:
    env = make_env(SETTINGS)
    for demo in demos.demos:
        with h5py.File(demo.path) as file:
            seed = int(file[f"data/{demo.name}"].attrs["seed"])
        actions, states = demo.read("actions"), demo.read("states")
        assert np.abs(actions).max() <= 1.0
        env.reset(seed=seed)
        assert np.array_equal(env.simulator_state, states[0])
        rng = np.random.default_rng((seed, 2))
        for t, action in enumerate(actions):
            assert np.array_equal(env.simulator_state, states[t])
            assert np.array_equal(env.expert_action(), action)
            env.step(action + RECIPE.noise * rng.standard_normal(4).astype(np.float32))
        env.reset(seed=seed)
        for action in actions:
            env.step(action)
        assert not np.allclose(env.simulator_state, states[-1], atol=1e-3), "noise was executed"


def test_the_number_of_workers_decides_nothing_and_finished_sets_are_not_made_again(
    demos: DemoSet, tmp_path: Path
) -> None:
    alone = collect(RECIPE, tmp_path, workers=1)
    assert content(alone.path) == content(demos.path)
    before = alone.path.stat()
    ready: list[int] = []
    assert collect(RECIPE, tmp_path, workers=0, progress=ready.append) == alone
    assert sum(ready) == RECIPE.count
    assert (alone.path.stat().st_ino, alone.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not list(tmp_path.rglob("*.parts"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_killed_collection_goes_on_where_it_was(demos: DemoSet, tmp_path: Path) -> None:
    process = started(RECIPE, tmp_path)
    deadline = time.monotonic() + 120
    while not (parts := list(tmp_path.rglob("*.parts/*.hdf5"))):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, "simulators end with their parent"
    parts = list(tmp_path.rglob("*.parts/*.hdf5"))
    assert not list(tmp_path.rglob(f"{RECIPE.key}.hdf5")), "killed too late"
    # A part that is made again would lose this mark.
    with h5py.File(parts[0], "a") as file:
        file["demo"].attrs["mark"] = "made before the kill"
    (parts[0].parent / f"{FIRST_DEMO_SEED + 50}.tmp").write_bytes(b"half a part")
    resumed = collect(RECIPE, tmp_path, workers=2)
    found, expected = content(resumed.path), content(demos.path)
    marked = [name for name, value in found.items() if isinstance(value, dict) and "mark" in value]
    assert len(marked) == 1
    del found[marked[0]]["mark"]
    assert found == expected


@pytest.mark.parametrize(
    "change",
    [
        {"count": 4},
        {"noise": 0.2},
        {"horizon": 71},
        {"hold": 3},
        {"settings": dataclasses.replace(SETTINGS, task="hammer-v3")},
        {"settings": dataclasses.replace(SETTINGS, variation="train")},
        {"settings": dataclasses.replace(SETTINGS, render="paper")},
        {"settings": dataclasses.replace(SETTINGS, picture_size=56)},
    ],
    ids=str,
)
def test_another_recipe_has_another_key(change: dict[str, object]) -> None:
    assert dataclasses.replace(RECIPE, **change).key != RECIPE.key
    assert dataclasses.replace(RECIPE).key == RECIPE.key


def test_another_version_of_the_simulator_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = RECIPE.key
    assert set(RECIPE.versions) >= {"metaworld", "mujoco"}
    monkeypatch.setattr("importlib.metadata.version", lambda _: "99")
    assert RECIPE.key != before


def test_two_processes_that_collect_one_set_end_with_one_good_file(demos: DemoSet, tmp_path: Path) -> None:
    processes = [started(RECIPE, tmp_path) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    (path,) = tmp_path.rglob("*.hdf5")
    assert content(path) == content(demos.path)


def test_an_expert_that_never_succeeds_is_given_up(tmp_path: Path) -> None:
    hopeless = dataclasses.replace(RECIPE, count=1, horizon=3)
    with pytest.raises(RuntimeError, match="succeeded in 0 of 12 episodes within 3 steps"):
        collect(hopeless, tmp_path, workers=1)
    assert not list(tmp_path.rglob("*.hdf5"))


def test_a_simulator_that_dies_is_replaced(demos: DemoSet, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_once(ready: int) -> None:
        if not killed:
            child = [child for child in psutil.Process().children() if child.pid not in before][-1]
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    # Multiprocessing's own helper, and what other tests left, may be among the children: not simulators.
    before = {child.pid for child in psutil.Process().children()}
    made = collect(RECIPE, tmp_path, workers=1, progress=kill_once)
    assert killed
    assert killed[0] not in before
    assert content(made.path) == content(demos.path)


def test_another_version_of_a_suite_wants_other_demonstrations(monkeypatch: pytest.MonkeyPatch) -> None:
    first = RECIPE.key
    newer = dataclasses.replace(load_suite("metaworld"), version=2)
    monkeypatch.setattr("robot_eval.demos.load_suite", lambda _: newer)
    assert RECIPE.key != first
