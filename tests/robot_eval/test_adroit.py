from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from episodes import play
from gymnasium.utils.env_checker import check_env

from robot_eval.environment import EnvSettings, RobotEnv
from robot_eval.experts.adroit import EXPERTS
from robot_eval.suites import list_suites, load_suite, make_env

Open = Callable[..., RobotEnv]

SUITE = load_suite("adroit")
PROPRIO = {"door": 28, "hammer": 26, "pen": 24, "relocate": 30}
STATE = {"door": 40, "hammer": 46, "pen": 45, "relocate": 39}


def settings(task: str, **changes: object) -> EnvSettings:
    values = {"suite": "adroit", "task": task, "camera": "vil_camera", "render_size": 64, "picture_size": 64}
    return EnvSettings(**{**values, **changes})


@pytest.fixture(scope="module")
def open_adroit() -> Iterator[Open]:
    opened: list[RobotEnv] = []

    def make(task: str, **changes: object) -> RobotEnv:
        opened.append(make_env(settings(task, **changes)))
        return opened[-1]

    yield make
    for env in opened:
        env.close()


def act(env: RobotEnv, rng: np.random.Generator) -> np.ndarray:
    if env.settings.task in EXPERTS:
        return env.expert_action()
    return rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)


def watched(env: RobotEnv, seed: int, steps: int) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return play(env, seed, steps, lambda env: act(env, rng))


def perform(env: RobotEnv, seed: int, noise: float, hold: int = 10) -> tuple[bool, bool]:
    """Whether the expert gets the task done and keeps it so, by the suite's measure and strictly."""
    rng = np.random.default_rng((seed, 2))
    env.reset(seed=seed)
    held = np.zeros(2, int)
    best = held
    for _ in range(SUITE.horizon):
        clean = env.expert_action()
        info = env.step(clean + noise * rng.standard_normal(clean.shape).astype(np.float32))[4]
        held = (held + 1) * np.array([info["success"], info["strict_success"]])
        best = np.maximum(best, held)
        if held.min() >= hold:
            break
    return bool(best[0] >= hold), bool(best[1] >= hold)


def test_the_suite_has_four_tasks() -> None:
    assert "adroit" in list_suites()
    assert SUITE.tasks == ("door", "hammer", "pen", "relocate")
    assert set(EXPERTS) <= set(SUITE.tasks)


@pytest.mark.parametrize("task", SUITE.tasks)
def test_every_task_makes_an_environment(open_adroit: Open, task: str) -> None:
    env = open_adroit(task)
    observation, info = env.reset(seed=1)
    assert info == {}
    assert observation["proprio"].shape == (PROPRIO[task],)
    assert observation["state"].shape == (STATE[task],)
    assert env.observation_space.contains(observation)
    assert np.array_equal(env.simulator_state, np.concatenate([env._data.qpos, env._data.qvel]))
    after, *_ = env.step(env.action_space.sample())
    assert env.observation_space.contains(after)
    assert np.isfinite(after["state"]).all()
    assert np.allclose(after["proprio"], env._data.qpos[: PROPRIO[task]], atol=1e-6)


@pytest.mark.parametrize("task", SUITE.tasks)
@pytest.mark.parametrize("camera", SUITE.cameras)
def test_every_task_can_be_seen(open_adroit: Open, task: str, camera: str) -> None:
    env = open_adroit(task, camera=camera, variation="unseen")
    env.reset(seed=1)
    picture = env.render()
    assert picture.shape == (64, 64, 3)
    assert picture.std() > 10


@pytest.mark.parametrize("task", SUITE.tasks)
def test_a_seed_decides_the_episode_whatever_came_before(open_adroit: Open, task: str) -> None:
    used, fresh = open_adroit(task, variation="train"), open_adroit(task, variation="train")
    for seed in (1, 2):
        watched(used, seed, 60)
    path, pictures = watched(used, 5, 40)
    expected_path, expected_pictures = watched(fresh, 5, 40)
    assert np.array_equal(path, expected_path)
    assert np.array_equal(pictures, expected_pictures)
    assert not np.array_equal(path, watched(fresh, 6, 40)[0])


@pytest.mark.parametrize("task", SUITE.tasks)
def test_layouts_differ_from_seed_to_seed(open_adroit: Open, task: str) -> None:
    env = open_adroit(task)
    layouts = [env.reset(seed=seed)[0]["state"] for seed in range(5)]
    assert len(np.unique(layouts, axis=0)) == 5


@pytest.mark.parametrize("variation", ["none", "unseen"])
def test_layouts_do_not_depend_on_looks(open_adroit: Open, variation: str) -> None:
    env = open_adroit("relocate", variation=variation)
    env.reset(seed=3)
    assert np.allclose(env._model.body("Object").pos[:2], env._data.body("Object").xpos[:2])
    plain = open_adroit("relocate")
    assert np.array_equal(env.reset(seed=4)[0]["state"], plain.reset(seed=4)[0]["state"])


@pytest.mark.parametrize("task", SUITE.tasks)
def test_doing_nothing_does_not_succeed(open_adroit: Open, task: str) -> None:
    env = open_adroit(task)
    env.reset(seed=3)
    nothing = np.zeros(env.action_space.shape, np.float32)
    assert not any(env.step(nothing)[4]["success"] for _ in range(50))


@pytest.mark.parametrize("task", sorted(EXPERTS))
def test_the_experts_succeed(open_adroit: Open, task: str) -> None:
    env = open_adroit(task)
    for seed in (3, 4):
        assert perform(env, seed, noise=0.0) == (True, True), seed


@pytest.mark.parametrize("task", sorted(EXPERTS))
def test_experts_answer_the_state_alone(open_adroit: Open, task: str) -> None:
    env = open_adroit(task)
    env.reset(seed=3)
    for _ in range(70):
        action = env.expert_action()
        assert env.action_space.contains(action)
        assert np.array_equal(action, env.expert_action()), "asking twice changes nothing"
        env.step(action)


@pytest.mark.parametrize("task", sorted(set(SUITE.tasks) - set(EXPERTS)))
def test_tasks_without_an_expert_say_so(open_adroit: Open, task: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"{task}.*no expert.*relocate"):
        open_adroit(task).expert_action()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "noise", "least"),
    [("door", 0.0, 45), ("door", 0.03, 42), ("relocate", 0.0, 48), ("relocate", 0.05, 42)],
)
def test_experts_succeed_on_fifty_seeds(open_adroit: Open, task: str, noise: float, least: int) -> None:
    env = open_adroit(task)
    outcomes = np.array([perform(env, seed, noise) for seed in range(1000, 1050)])
    assert (outcomes[:, 0] >= outcomes[:, 1]).all()
    assert outcomes[:, 0].sum() >= least


def test_strictly_relocated_is_within_five_centimetres(open_adroit: Open) -> None:
    env = open_adroit("relocate")
    env.reset(seed=3)
    for distance, expected in ((0.04, (True, True)), (0.08, (True, False)), (0.12, (False, False))):
        # The ball starts where it is put, and so near in time it has not fallen.
        target = env._data.site("target").xpos.copy()
        start = env._model.body("Object").pos
        env._data.qpos[30:33] = target + distance * np.eye(3)[0] - start
        env._data.qvel[:] = 0.0
        info = env.step(np.zeros(30, np.float32))[4]
        assert (info["success"], info["strict_success"]) == expected


def test_a_pen_that_turns_past_the_target_is_not_strictly_done(open_adroit: Open) -> None:
    env = open_adroit("pen")
    for speed, expected in ((0.0, (True, True)), (6.0, (True, False))):
        env.reset(seed=3)
        env._model.body("target").quat = env._data.body("Object").xquat
        env._data.qvel[-3] = speed
        info = env.step(np.zeros(24, np.float32))[4]
        assert (info["success"], info["strict_success"]) == expected


@pytest.mark.parametrize("task", SUITE.tasks)
def test_pictures_are_upright(open_adroit: Open, task: str) -> None:
    env = open_adroit(task)
    env.reset(seed=1)
    right, up, back = env._data.cam_xmat[env._camera_ids[0]].reshape(3, 3).T
    assert up[2] > 0.5
    assert np.allclose(np.cross(right, up), back)
    # Painted green, the palm is seen where the camera's geometry puts it.
    picture = env.render()
    palm = env._model.body("palm").id
    geoms = np.flatnonzero(env._model.geom_bodyid == palm)
    env._model.geom_rgba[geoms] = (0, 1, 0, 1)
    rows, columns = np.nonzero(np.abs(env.render().astype(int) - picture).sum(-1) > 30)
    assert len(rows) >= 3
    offset = env._data.xpos[palm] - env._data.cam_xpos[env._camera_ids[0]]
    scale = np.tan(np.deg2rad(env._model.cam_fovy[env._camera_ids[0]]) / 2) * -(offset @ back)
    expected = (-(offset @ up) / scale, (offset @ right) / scale)
    seen = (2 * rows.mean() / 63 - 1, 2 * columns.mean() / 63 - 1)
    assert np.allclose(seen, expected, atol=0.15), (seen, expected)


@pytest.mark.parametrize("task", SUITE.tasks)
def test_gymnasiums_own_check_passes(open_adroit: Open, task: str) -> None:
    check_env(open_adroit(task), skip_render_check=True)
