from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from episodes import play
from gymnasium.utils.env_checker import check_env

from robot_eval.environment import EnvSettings, RobotEnv
from robot_eval.suites import list_suites, load_suite, make_env

Open = Callable[..., RobotEnv]

TASKS = load_suite("metaworld").tasks
FIVE = ("assembly-v3", "bin-picking-v3", "button-press-v3", "drawer-open-v3", "hammer-v3")


def settings(task: str = "drawer-open-v3", **changes: object) -> EnvSettings:
    values = {"suite": "metaworld", "task": task, "camera": "corner2", "render_size": 64, "picture_size": 64}
    return EnvSettings(**{**values, **changes})


def test_there_are_fifty_tasks() -> None:
    assert len(TASKS) == len(set(TASKS)) == 50
    assert set(FIVE) < set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_makes_an_environment(task: str) -> None:
    env = make_env(settings(task))
    observation, info = env.reset(seed=1)
    assert info == {}
    assert observation["proprio"].shape == (4,)
    assert observation["state"].shape == (39,)
    assert env.observation_space.contains(observation)
    assert observation["state"][-3:].any(), "the goal is seen"
    action = env.expert_action()
    assert env.action_space.contains(action)
    after, *_ = env.step(action)
    assert env.observation_space.contains(after)
    assert np.isfinite(after["state"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_be_seen(open_env: Open, task: str) -> None:
    for variation in ("none", "unseen"):
        env = open_env(task, variation=variation)
        env.reset(seed=1)
        picture = env.render()
        assert picture.shape == (64, 64, 3)
        assert picture.std() > 10
        env.close()


@pytest.mark.parametrize("task", ["assembly-v3", "drawer-open-v3", "bin-picking-v3"])
def test_a_seed_decides_the_episode_whatever_came_before(open_env: Open, task: str) -> None:
    used, fresh = open_env(task), open_env(task)
    for seed in (1, 2):
        play(used, seed, 110)
    path, pictures = play(used, 5, 80)
    expected_path, expected_pictures = play(fresh, 5, 80)
    assert np.array_equal(path, expected_path)
    assert np.array_equal(pictures, expected_pictures)
    assert not np.array_equal(path, play(fresh, 6, 80)[0])


@pytest.mark.parametrize("task", ["assembly-v3", "button-press-v3", "drawer-open-v3"])
def test_goals_differ_from_seed_to_seed(open_env: Open, task: str) -> None:
    env = open_env(task)
    goals = [env.reset(seed=seed)[0]["state"][-3:] for seed in range(5)]
    assert len(np.unique(goals, axis=0)) == 5


@pytest.mark.parametrize("task", FIVE)
def test_layouts_differ_from_seed_to_seed(open_env: Open, task: str) -> None:
    env = open_env(task)
    layouts = [env.reset(seed=seed)[0]["state"] for seed in range(5)]
    assert len(np.unique(layouts, axis=0)) == 5


@pytest.mark.parametrize("task", FIVE)
def test_the_experts_succeed(open_env: Open, task: str) -> None:
    env = open_env(task)
    for seed in (3, 4, 5):
        env.reset(seed=seed)
        successes = [env.step(env.expert_action())[4]["success"] for _ in range(200)]
        assert any(successes), f"seed {seed}"
        assert not successes[0], "not from the start"


def test_doing_nothing_does_not_succeed(open_env: Open) -> None:
    for task in FIVE:
        env = open_env(task)
        env.reset(seed=3)
        assert not any(env.step(np.zeros(4, np.float32))[4]["success"] for _ in range(50)), task


def project(env: RobotEnv, point: np.ndarray) -> tuple[float, float]:
    """Row and column, in halves of the picture: (0, 0) is its centre, row 1 its lower edge."""
    camera = env._camera_ids[0]
    right, up, back = env._data.cam_xmat[camera].reshape(3, 3).T
    offset = point - env._data.cam_xpos[camera]
    scale = np.tan(np.deg2rad(env._model.cam_fovy[camera]) / 2) * -(offset @ back)
    assert scale > 0, "behind the camera"
    return -(offset @ up) / scale, (offset @ right) / scale


def test_corner2_is_upright_and_not_mirrored(open_env: Open) -> None:
    env = open_env()
    env.reset(seed=1)
    hand = env._data.body("hand").xpos.copy()
    row, column = project(env, hand)
    higher = project(env, hand + np.array([0, 0, 0.2]))
    assert higher[0] < row - 0.05, "what is higher in the world is higher in the picture"
    assert abs(higher[1] - column) < 0.1
    right, up, back = env._data.cam_xmat[env._camera_ids[0]].reshape(3, 3).T
    assert np.allclose(np.cross(right, up), back)
    # The picture agrees with the projection: painted green, a link of the arm is seen where it should be.
    picture = env.render()
    base = [
        g for g in range(env._model.ngeom) if env._model.body(env._model.geom_bodyid[g]).name == "right_l2"
    ]
    colours = env._model.geom_rgba[base].copy()
    env._model.geom_rgba[base] = (0, 1, 0, 1)
    painted = env.render()
    env._model.geom_rgba[base] = colours
    rows, columns = np.nonzero(np.abs(painted.astype(int) - picture).sum(-1) > 30)
    assert len(rows) > 10
    seen = (2 * rows.mean() / 63 - 1, 2 * columns.mean() / 63 - 1)
    expected = project(env, env._data.geom_xpos[base].mean(0))
    assert np.allclose(seen, expected, atol=0.2), (seen, expected)
    assert np.abs(expected).max() > 0.2, "off the centre, so that a mirrored picture would be found out"


def test_gymnasiums_own_check_passes(open_env: Open) -> None:
    # The suite's action space is float32 within -1..1; pictures are checked elsewhere.
    check_env(open_env(), skip_render_check=True)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    assert "metaworld" in list_suites()
    with pytest.raises(ValueError, match=r"unknown suite 'metawrld'.*'metaworld'"):
        make_env(settings(suite="metawrld"))
    with pytest.raises(ValueError, match=r"unknown metaworld task 'drawer-opn-v3'.*'drawer-open-v3'"):
        make_env(settings("drawer-opn-v3"))
    with pytest.raises(ValueError, match=r"unknown metaworld camera 'corner22'.*'corner2'"):
        make_env(settings(camera="corner22"))


@pytest.mark.parametrize("size", [0, -1, 65])
def test_crops_lie_within_the_picture(size: int) -> None:
    with pytest.raises(ValueError, match=f"picture_size {size}"):
        make_env(settings(picture_size=size))
