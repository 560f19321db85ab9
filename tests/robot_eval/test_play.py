"""A policy is played from its run's folder alone: the same episodes end as the run's table says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hydra import compose, initialize_config_module

from egorep.commands import typed
from robot_eval.play import COMMAND, PlayConfig, check, checkpoint_of, choose, trained_policies
from robot_eval.results import read_results

SETTINGS = [
    "tasks=[button-press-v3]",
    "demos=2",
    "seeds=[4,5]",
    "num_envs=2",
    "protocol.render_size=64",
    "protocol.picture_size=64",
    "protocol.horizon=60",
    "protocol.demo_hold=3",
    "protocol.optimiser.batch_size=16",
    "protocol.budget.total=20",
    "protocol.budget.evaluate_every=10",
    "protocol.episodes=1",
    "protocol.held_out_episodes=2",
]
# A chunk, a recurrent state, and an encoder inside the policy.
POLICIES = {
    "diffusion": ["policy=diffusion", "policy.widths=[16]", "encoders=[random/timm/test_vit,state]"],
    "bc_rnn_gmm": ["policy=bc_rnn_gmm", "policy.algo.rnn.hidden_dim=16", "encoders=[state]"],
    "pictures": [
        "policy=bc",
        "policy.sees=pictures",
        "policy.algo.actor_layer_dims=[16]",
        "encoders=[random/timm/test_vit]",
        "seeds=[4]",
        "protocol.budget.total=2",
        "protocol.budget.evaluate_every=1",
    ],
    "tokens": [
        "policy=attentive",
        "policy.width=16",
        "policy.heads=2",
        "encoders=[random/timm/test_vit]",
        "seeds=[4]",
    ],
}


def python(*arguments: str, fails: bool = False) -> str:
    """What a command printed; where it `fails`, what it said was wrong."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == (2 if fails else 0), done.stderr[-3000:]
    return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations and features of all runs; no run's folder refers to it."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module", params=POLICIES)
def run(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, moved to another place."""
    folder = tmp_path_factory.mktemp(request.param)
    python("robot_eval", *SETTINGS, *POLICIES[request.param], f"out={folder}/out", f"data={data}")
    return Path(shutil.move(folder / "out", folder / "elsewhere"))


def config(run: Path, **changes: object) -> PlayConfig:
    with initialize_config_module(COMMAND.module, version_base="1.3"):
        words = {"run": run, "task": "button-press-v3", **changes}
        return typed(compose(COMMAND.config, [f"{key}={value}" for key, value in words.items()]), PlayConfig)


def film(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_the_runs_own_episodes_are_played_again(run: Path, tmp_path: Path) -> None:
    rows = read_results(run)
    rows = rows[(rows["role"] == "held_out") & (rows["seed"] == 4)]
    for row in rows.to_dict("records"):
        words = [f"run={run}", "task=button-press-v3", f"encoder={row['encoder']}", f"video={tmp_path}/a.mp4"]
        told = python("robot_eval.play", *words, f"first_episode={row['episode_seeds'][0]}")
        [(won, steps)] = re.findall(r"episode 5004000: (success|failure) after (\d+) steps", told)
        assert won == ("success" if row["success_last"][0] else "failure")
        assert int(steps) == row["episode_steps"][0]
        assert f"step {row['checkpoint']}\n" in told
        ours, theirs = film(tmp_path / "a.mp4").astype(int), film(run / row["video"]).astype(int)
        assert ours.shape == theirs.shape
        # Compressed for other speeds, they differ all along; another episode's drift apart by 3 and more.
        apart = np.abs(ours - theirs).mean((1, 2, 3))
        assert abs(apart[-5:].mean() - apart[:5].mean()) < 1


@pytest.mark.parametrize("run", ["tokens"], indirect=True)
def test_a_video_shows_every_step_of_every_episode(run: Path, tmp_path: Path) -> None:
    words = [f"run={run}", "task=metaworld/button-press-v3", "checkpoint=last"]
    told = python("robot_eval.play", *words, "variation=unseen", f"video={tmp_path}/deep/out.mp4")
    [steps] = map(int, re.findall(r"after (\d+) steps", told))
    assert film(tmp_path / "deep" / "out.mp4").shape == (steps + 1, 64, 64, 3)
    assert f"video: {tmp_path}/deep/out.mp4" in told


@pytest.mark.parametrize("run", ["diffusion"], indirect=True)
@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"task": "hammer-v3"}, ["hammer-v3", "metaworld/button-press-v3"]),
        ({}, ["encoder must say which", "random/timm/test_vit", "state"]),
        ({"encoder": "stat"}, ["'stat'", "'state'"]),
        ({"encoder": "state", "seed": 3}, ["seed=3", "[4, 5]"]),
        ({"encoder": "state", "checkpoint": 7}, ["checkpoint=7", "best, last", "[10, 20]"]),
        ({"encoder": "state", "video": "out.avi"}, [".mp4"]),
        ({"encoder": "state", "variation": "unsen"}, ["unsen", "unseen"]),
        ({"encoder": "state", "episodes": 0}, ["episodes"]),
    ],
)
def test_what_cannot_be_played_is_refused(run: Path, changes: dict[str, object], errors: list[str]) -> None:
    wanted = config(run, **changes)

    def find() -> int:
        check(wanted)
        return checkpoint_of(choose(trained_policies(run), wanted), wanted.checkpoint, run)

    with pytest.raises(ValueError, match=re.escape(errors[0])) as error:
        find()
    for word in errors:
        assert word in str(error.value)


@pytest.mark.parametrize("run", ["diffusion"], indirect=True)
def test_the_lowest_seed_is_played_and_a_checkpoint_can_be_chosen(run: Path) -> None:
    policy = choose(trained_policies(run), config(run, encoder="state"))
    assert (policy.metadata["seed"], policy.steps) == (4, (10, 20))
    assert [checkpoint_of(policy, asked, run) for asked in ("last", 10)] == [20, 10]
    assert choose(trained_policies(run), config(run, encoder="state", seed=5)).metadata["seed"] == 5


def test_a_folder_without_policies_is_refused_in_one_line(tmp_path: Path) -> None:
    [line] = python("robot_eval.play", f"run={tmp_path}", "task=hammer-v3", fails=True).splitlines()
    assert "holds no policy that can be played" in line


@pytest.mark.parametrize("run", ["tokens"], indirect=True)
def test_another_encoder_is_refused(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    for path in copy.glob("policies/*/*.safetensors"):
        content = path.read_bytes()
        path.write_bytes(content.replace(b'\\"seed\\": 4', b'\\"seed\\": 3'))
    told = python("robot_eval.play", f"run={copy}", "task=button-press-v3", "checkpoint=last", fails=True)
    assert "is not the one that the policy was trained on" in told
