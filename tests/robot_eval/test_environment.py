from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import pytest

from robot_eval.environment import EnvSettings, RobotEnv
from robot_eval.looks import default_settings
from robot_eval.suites import list_suites, load_suite, make_env

Open = Callable[..., RobotEnv]
# A task of each suite, whose expert is quick to be done.
PLACES = {
    "adroit": ("relocate", "vil_camera"),
    "franka_kitchen": ("sdoor_open", "left"),
    "metaworld": ("drawer-open-v3", "corner2"),
    "robosuite": ("Lift", "agentview"),
}


@pytest.fixture(scope="module")
def env(open_env: Open) -> RobotEnv:
    return open_env()


def test_pictures_are_centre_crops(open_env: Open, env: RobotEnv) -> None:
    cropped = open_env(picture_size=48)
    for each in (env, cropped):
        each.reset(seed=1)
    whole, part = env.render(), cropped.render()
    assert whole.shape == (64, 64, 3)
    assert np.array_equal(part, whole[8:56, 8:56])


def test_a_picture_before_the_first_reset_is_upright(open_env: Open) -> None:
    fresh = open_env()
    up = fresh._data.cam_xmat[fresh._camera_ids[0]].reshape(3, 3)[:, 1]
    assert up[2] > 0.5


def test_unseeded_episodes_follow_from_the_last_seed(env: RobotEnv) -> None:
    def goals() -> list[np.ndarray]:
        env.reset(seed=4)
        return [env.reset()[0]["state"][-3:] for _ in range(3)]

    first = goals()
    assert np.array_equal(first, goals())
    assert not np.array_equal(first[0], first[1])


def test_reset_options_are_refused(env: RobotEnv) -> None:
    with pytest.raises(ValueError, match="no reset options"):
        env.reset(options={"looks": "nice"})


@pytest.mark.parametrize("shape", [(3,), (5,), (1, 4), ()])
def test_actions_of_another_shape_are_refused(env: RobotEnv, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        env.step(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_actions_that_are_not_finite_are_refused(env: RobotEnv, value: float) -> None:
    before = env.simulator_state
    with pytest.raises(ValueError, match="finite action"):
        env.step(np.array([0, value, 0, 0], np.float32))
    assert np.array_equal(env.simulator_state, before)


def test_actions_are_clipped_to_the_action_space(env: RobotEnv) -> None:
    states = []
    for size in (1.0, 100.0):
        env.reset(seed=2)
        env.step(np.array([size, -size, size, size], np.float32))
        states.append(env.simulator_state)
    assert np.array_equal(*states)


def test_episodes_do_not_end_by_themselves(env: RobotEnv) -> None:
    env.reset(seed=2)
    for _ in range(520):  # the suite's own limit is 500
        _, reward, terminated, truncated, info = env.step(env.expert_action())
        assert not terminated
        assert not truncated
        assert reward == float(info["success"])
    assert info["success"] is True


def test_closing_frees_the_renderer_and_a_later_picture_makes_another(open_env: Open) -> None:
    env = open_env()
    env.reset(seed=1)
    first = env.render()
    env.close()
    env.close()
    assert np.array_equal(env.render(), first)


def test_rendering_leaves_the_simulation_alone(env: RobotEnv) -> None:
    ends = []
    for rendering in (False, True):
        env.reset(seed=3)
        for _ in range(20):
            if rendering:
                env.render()
            env.step(env.expert_action())
        ends.append(env.simulator_state)
    assert np.array_equal(*ends)


def test_cameras_are_rolled_and_not_mirrored(env: RobotEnv) -> None:
    model = env._model
    for camera in range(model.ncam):
        if model.cam_bodyid[camera]:
            continue
        axes = np.empty(9)
        mujoco.mju_quat2Mat(axes, model.cam_quat[camera])
        right, up, back = axes.reshape(3, 3).T
        assert up[2] >= -1e-6, model.camera(camera).name
        assert np.allclose(np.cross(right, up), back, atol=1e-9)
        assert abs(right[2]) < 0.15, "the horizon is level"


def succeeds(env: RobotEnv) -> bool:
    """Whether the expert gets there by the strict measure, from where the robot is."""
    horizon = load_suite(env.settings.suite).short_horizon
    return any(env.step(env.expert_action())[4]["strict_success"] for _ in range(horizon))


def touched(env: RobotEnv) -> set[tuple[int, int]]:
    """Geoms of the robot, each with one that is not its own but touches it."""
    own, contacts = set(env._variation._robot_geoms), env._data.contact[: env._data.ncon]
    pairs = [(contact.geom1, contact.geom2) for contact in contacts if contact.dist < 0]
    return {(a, b) for a, b in pairs if (a in own) != (b in own)}


@pytest.mark.parametrize("suite", list_suites())
def test_other_starts_are_in_the_seed_touch_nothing_and_leave_the_task_possible(
    suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, fresh, plain = (
        make_env(EnvSettings(suite, *PLACES[suite], variation=each)) for each in ("starts", "starts", "none")
    )
    touches: list[set[tuple[int, int]]] = []
    inner = env._step_task

    def watched(action: np.ndarray) -> bool:
        done = inner(action)
        touches.append(touched(env))
        assert not done
        return done

    for seed in (3, 4):
        monkeypatch.setattr(env, "_step_task", watched)
        began = env.reset(seed=seed)[0]["proprio"]
        monkeypatch.setattr(env, "_step_task", inner)
        assert touches
        assert not any(touches)
        assert np.abs(began - plain.reset(seed=seed)[0]["proprio"]).max() > 0.01
        assert succeeds(env), seed
    assert np.array_equal(fresh.reset(seed=4)[0]["proprio"], began), "whatever came before"


@pytest.mark.slow
@pytest.mark.parametrize("suite", list_suites())
def test_experts_succeed_from_other_starts(suite: str) -> None:
    for settings in {each.task: each for each in default_settings(suite)}.values():
        env = make_env(EnvSettings(suite, settings.task, settings.camera, variation="starts"))
        done = 0
        for seed in range(7000, 7020):
            env.reset(seed=seed)
            done += succeeds(env)
        assert done >= 18, settings.task
