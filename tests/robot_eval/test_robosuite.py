from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import mujoco
import numpy as np
import pytest
from episodes import play
from gymnasium.utils.env_checker import check_env

from robot_eval.environment import EnvSettings, RobotEnv
from robot_eval.experts.robosuite import EXPERTS, nearest_turn, pointing_down
from robot_eval.suites import load_suite, make_env

SUITE = load_suite("robosuite")
SCRIPTED = tuple(sorted(EXPERTS))


@cache
def env_of(task: str) -> RobotEnv:
    """Environments take seconds to build: one per task serves the tests that do not need a fresh one."""
    return fresh(task)


def fresh(task: str, **settings: object) -> RobotEnv:
    values = {"camera": "agentview", "render_size": 64, "picture_size": 64, **settings}
    return make_env(EnvSettings("robosuite", task, **values))


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    for task in SUITE.tasks:
        env_of(task).close()


def test_the_tasks_are_robomimics_and_more() -> None:
    assert set(SUITE.tasks) == {"Can", "Door", "Lift", "Square", "Stack", "ToolHang", "Transport"}
    assert SUITE.horizon == 400
    assert SUITE.horizons == {"Transport": 700, "ToolHang": 700}
    assert SUITE.control_hz == 20


@pytest.mark.parametrize("task", SUITE.tasks)
def test_every_task_makes_an_environment(task: str) -> None:
    env = env_of(task)
    observation, info = env.reset(seed=1)
    assert info == {}
    arms = 2 if task == "Transport" else 1
    assert env.action_space.shape == (7 * arms,)
    assert observation["proprio"].shape == (9 * arms,)
    assert np.array_equal(
        observation["state"], np.concatenate([observation["proprio"], observation["object"]])
    )
    assert env.observation_space.contains(observation)
    after, _, _, _, info = env.step(np.zeros(7 * arms, np.float32))
    assert env.observation_space.contains(after)
    assert not info["success"]
    assert env.render().std() > 10


def test_proprioception_is_what_robomimics_policies_feel() -> None:
    env = env_of("Lift")
    observation, _ = env.reset(seed=2)
    parts = [observation[f"robot0_{name}"] for name in ("eef_pos", "eef_quat", "gripper_qpos")]
    assert [len(part) for part in parts] == [3, 4, 2]
    assert np.array_equal(observation["proprio"], np.concatenate(parts))


@pytest.mark.parametrize("task", ["Lift", "Door"])
def test_a_seed_decides_the_episode_whatever_came_before(task: str) -> None:
    used, other = env_of(task), fresh(task)
    play(used, 1, 12)
    assert np.array_equal(play(used, 5, 12)[0], play(other, 5, 12)[0])
    assert not np.array_equal(play(used, 5, 0)[0], play(used, 6, 0)[0])
    other.close()


@pytest.mark.parametrize("task", SUITE.tasks)
def test_layouts_differ_from_seed_to_seed(task: str) -> None:
    layouts = [env_of(task).reset(seed=seed)[0]["object"] for seed in range(4)]
    assert len(np.unique(layouts, axis=0)) == 4


@pytest.mark.parametrize("task", SCRIPTED)
def test_the_experts_succeed(task: str) -> None:
    env, rng = env_of(task), np.random.default_rng(0)
    env.reset(seed=3)
    for _ in range(SUITE.short_horizon):
        action = env.expert_action()
        assert env.action_space.contains(action)
        *_, info = env.step(action + 0.1 * rng.standard_normal(action.shape).astype(np.float32))
        if info["success"]:
            return
    pytest.fail(f"{task} was not done in {SUITE.short_horizon} steps")


@pytest.mark.slow
@pytest.mark.parametrize("task", SCRIPTED)
def test_the_experts_succeed_in_nine_of_ten(task: str) -> None:
    env = env_of(task)
    done = 0
    for seed in range(50):
        env.reset(seed=seed)
        done += any(env.step(env.expert_action())[4]["success"] for _ in range(SUITE.short_horizon))
    assert done >= 45


@pytest.mark.parametrize("task", ["ToolHang", "Transport"])
def test_tasks_without_an_expert_say_so(task: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"{task} has no scripted expert.*published"):
        env_of(task).expert_action()


def test_collision_shapes_are_not_drawn() -> None:
    env = env_of("Square")
    assert not (env._model.geom_group == 0).any()
    env.reset(seed=0)
    before = env.render()
    peg = [g for g in range(env._model.ngeom) if env._model.body(env._model.geom_bodyid[g]).name == "peg1"]
    hidden = [g for g in peg if env._model.geom_group[g] > 2]
    env._model.geom_rgba[hidden] = (0, 1, 0, 1)
    assert np.array_equal(env.render(), before)


def test_higher_in_the_world_is_higher_in_the_picture() -> None:
    env = env_of("Lift")
    env.reset(seed=0)
    cube = [g for g in range(env._model.ngeom) if env._model.geom(g).name == "cube_g0_vis"]
    address = env._model.joint("cube_joint0").qposadr[0]

    def row() -> float:
        mujoco.mj_forward(env._model, env._data)
        colours = env._model.geom_rgba[cube].copy()
        plain = env.render().astype(int)
        env._model.geom_rgba[cube] = (0, 1, 0, 1)
        painted = env.render().astype(int)
        env._model.geom_rgba[cube] = colours
        rows, _ = np.nonzero(np.abs(painted - plain).sum(-1) > 30)
        return float(rows.mean())

    low = row()
    env._data.qpos[address + 2] += 0.1
    assert row() < low - 3


@pytest.mark.parametrize("variation", ["train", "unseen"])
def test_looks_vary(variation: str) -> None:
    env = fresh("Lift", variation=variation)
    env.reset(seed=1)
    first = env.render()
    env.reset(seed=2)
    assert np.abs(first.astype(int) - env.render()).mean() > 5
    env.reset(seed=1)
    assert np.array_equal(env.render(), first)
    env.close()


def test_a_camera_that_this_task_lacks_is_named() -> None:
    with pytest.raises(ValueError, match=r"Can has no camera 'sideview', only .*'agentview'"):
        fresh("Can", camera="sideview")


def test_gymnasiums_own_check_passes() -> None:
    check_env(env_of("Lift"), skip_render_check=True)


def test_the_model_file_is_the_models_xml() -> None:
    assert "<mujoco" in (env_of("Lift").model_file or "")


@pytest.mark.parametrize("opening", [0.0, 1.0, -2.5])
def test_a_hand_that_points_down(opening: float) -> None:
    rotation = pointing_down(opening)
    assert np.allclose(rotation.T @ rotation, np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert np.allclose(rotation[:, 2], [0, 0, -1])
    assert np.arctan2(rotation[1, 0], rotation[0, 0]) == pytest.approx(opening)


@pytest.mark.parametrize(
    ("angle", "reference", "symmetry", "expected"),
    [(0.1, 0.0, np.pi, 0.1), (3.0, 0.0, np.pi, 3.0 - np.pi), (0.0, 1.6, np.pi / 2, np.pi / 2)],
)
def test_the_nearest_turn(angle: float, reference: float, symmetry: float, expected: float) -> None:
    assert nearest_turn(angle, reference, symmetry) == pytest.approx(expected)
