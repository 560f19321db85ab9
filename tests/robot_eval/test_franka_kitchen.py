from __future__ import annotations

from collections.abc import Callable, Iterator

import mujoco
import numpy as np
import pytest
from episodes import play
from gymnasium.utils.env_checker import check_env

from robot_eval.environment import EnvSettings, RobotEnv
from robot_eval.suites import list_suites, load_suite, make_env

Open = Callable[..., RobotEnv]

SUITE = load_suite("franka_kitchen")
GOALS = {"knob1_on": -1.57, "light_on": -0.7, "sdoor_open": 0.44, "ldoor_open": -0.75, "micro_open": -1.25}
SITES = {
    "knob1_on": "knob1_site",
    "light_on": "light_site",
    "sdoor_open": "slide_site",
    "ldoor_open": "hinge_site1",
    "micro_open": "microhandle_site",
}


@pytest.fixture(scope="module")
def open_kitchen() -> Iterator[Open]:
    """Makes environments of 64 px pictures; the same one for the same settings, unless it is to be new."""
    opened: dict[EnvSettings, RobotEnv] = {}
    further: list[RobotEnv] = []

    def make(task: str, camera: str = "left", variation: str = "none", new: bool = False) -> RobotEnv:
        settings = EnvSettings("franka_kitchen", task, camera, "fast", 64, 64, variation)
        if new:
            further.append(make_env(settings))
            return further[-1]
        if settings not in opened:
            opened[settings] = make_env(settings)
        return opened[settings]

    yield make
    for env in [*opened.values(), *further]:
        env.close()


def perform(env: RobotEnv, seed: int, noise: float, hold: int) -> tuple[bool, bool]:
    """Whether the expert meets the suite's measure, and the strict one for `hold` steps."""
    rng = np.random.default_rng((seed, 2))
    env.reset(seed=seed)
    met, held = False, 0
    for _ in range(SUITE.horizon):
        clean = env.expert_action()
        assert env.action_space.contains(clean)
        info = env.step(clean + noise * rng.standard_normal(clean.shape).astype(np.float32))[4]
        assert info["success"] or not info["strict_success"]
        met |= info["success"]
        held = held + 1 if info["strict_success"] else 0
        if held == hold:
            return met, True
    return met, False


def project(env: RobotEnv, point: np.ndarray) -> tuple[float, float]:
    """Row and column, in halves of the picture: (0, 0) is its centre, row 1 its lower edge."""
    camera = env._camera_ids[0]
    right, up, back = env._data.cam_xmat[camera].reshape(3, 3).T
    offset = point - env._data.cam_xpos[camera]
    scale = np.tan(np.deg2rad(env._model.cam_fovy[camera]) / 2) * -(offset @ back)
    assert scale > 0, "behind the camera"
    return -(offset @ up) / scale, (offset @ right) / scale


def test_the_suite_has_the_five_tasks_of_r3m() -> None:
    assert "franka_kitchen" in list_suites()
    assert set(SUITE.tasks) == set(GOALS)
    assert {"left", "right"} <= set(SUITE.cameras)


@pytest.mark.parametrize("task", SUITE.tasks)
def test_every_task_makes_an_environment(open_kitchen: Open, task: str) -> None:
    env = open_kitchen(task)
    observation, info = env.reset(seed=1)
    assert info == {}
    assert observation["proprio"].shape == (9,)
    assert observation["state"].shape == (68,)
    assert env.observation_space.contains(observation)
    assert env.action_space.shape == (9,)
    assert np.array_equal(env.simulator_state, np.concatenate([env._data.qpos, env._data.qvel]))
    after, *_ = env.step(env.action_space.sample())
    assert env.observation_space.contains(after)
    assert np.allclose(after["proprio"], env._data.qpos[:9], atol=1e-6)


@pytest.mark.parametrize(("task", "variation"), [("knob1_on", "none"), ("micro_open", "train")])
def test_a_seed_decides_the_episode_whatever_came_before(
    open_kitchen: Open, task: str, variation: str
) -> None:
    used, fresh = (open_kitchen(task, variation=variation, new=new) for new in (False, True))
    play(used, 1, 40)
    path, pictures = play(used, 5, 30)
    expected_path, expected_pictures = play(fresh, 5, 30)
    assert np.array_equal(path, expected_path)
    assert np.array_equal(pictures, expected_pictures)


def test_layouts_differ_from_seed_to_seed_and_are_seen(open_kitchen: Open) -> None:
    env = open_kitchen("light_on")
    states = np.stack([env.reset(seed=seed)[0]["state"] for seed in range(5)])
    postures, places = states[:, :9], states[:, 59:62]
    for rows in (postures, places):
        assert len(np.unique(rows, axis=0)) == 5
    assert np.ptp(places, axis=0).min() > 0.01
    assert np.ptp(places, axis=0).max() < 0.1


def test_starts_stay_within_the_joints_ends(open_kitchen: Open) -> None:
    env = open_kitchen("light_on")
    low, high = env._model.jnt_range[:9].T
    for seed in range(20):
        joints = env.reset(seed=seed)[0]["state"][:9]
        assert np.array_equal(joints, np.clip(joints, low - 1e-6, high + 1e-6))


@pytest.mark.parametrize("task", SUITE.tasks)
def test_doing_nothing_does_not_succeed(open_kitchen: Open, task: str) -> None:
    env = open_kitchen(task)
    env.reset(seed=3)
    assert not any(env.step(np.zeros(9, np.float32))[4]["success"] for _ in range(20))


@pytest.mark.parametrize("task", SUITE.tasks)
def test_the_strict_measure_asks_for_more(open_kitchen: Open, task: str) -> None:
    env = open_kitchen(task)
    env.reset(seed=0)
    met = []
    for opening in np.linspace(0.0, 1.5, 61) * GOALS[task]:
        env._data.qpos[env._joint.qposadr[0]] = opening
        success = env._left < 0.3
        met.append((success, env._strictly_done(success)))
    loose, strict = np.array(met).T
    assert not (strict & ~loose).any()
    assert 0 < strict.sum() <= loose.sum()
    assert strict[40], "at the goal"
    assert not loose[0], "not from the start"


@pytest.mark.parametrize("task", SUITE.tasks)
def test_the_experts_succeed(open_kitchen: Open, task: str) -> None:
    env = open_kitchen(task)
    for seed, noise in ((100, 0.0), (101, 0.1)):
        assert perform(env, seed, noise, hold=3) == (True, True), (seed, noise)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("task", SUITE.tasks)
def test_the_experts_nearly_always_succeed(open_kitchen: Open, task: str, noise: float) -> None:
    env = open_kitchen(task)
    results = [perform(env, seed, noise, hold=10) for seed in range(50)]
    met, strictly = np.sum(results, axis=0)
    assert met >= strictly >= 45, (met, strictly)


def test_experts_answer_the_state_alone(open_kitchen: Open) -> None:
    env, other = (open_kitchen("sdoor_open", new=new) for new in (False, True))
    other.reset(seed=1)
    for _ in range(3):
        other.step(other.expert_action())
    for each in (env, other):
        each.reset(seed=2)
    for _ in range(5):
        env.step(env.expert_action())
    other._data.qpos[:], other._data.qvel[:] = env._data.qpos, env._data.qvel
    mujoco.mj_forward(other._model, other._data)
    assert np.array_equal(env.expert_action(), other.expert_action())


@pytest.mark.parametrize("camera", SUITE.cameras)
def test_cameras_are_upright_and_show_hand_and_object(open_kitchen: Open, camera: str) -> None:
    env = open_kitchen("micro_open", camera=camera)
    env.reset(seed=1)
    hand = env._data.site("end_effector").xpos.copy()
    higher, lower = project(env, hand + np.array([0.0, 0.0, 0.2])), project(env, hand)
    assert higher[0] < lower[0] - 0.05, "what is higher in the world is higher in the picture"
    assert abs(higher[1] - lower[1]) < 0.1
    points = [hand, *(env._data.site(site).xpos for site in SITES.values())]
    assert all(np.abs(project(env, point)).max() < 1 for point in points)


def test_it_can_be_seen_from_every_camera(open_kitchen: Open) -> None:
    for camera in SUITE.cameras:
        env = open_kitchen("micro_open", camera=camera)
        env.reset(seed=1)
        picture = env.render()
        assert picture.shape == (64, 64, 3)
        assert picture.std() > 10


def test_what_variation_paints_is_what_shows(open_kitchen: Open) -> None:
    env = open_kitchen("micro_open", variation="unseen", new=True)
    env.reset(seed=1)
    assert {part: len(ids) for part, ids in env._variation._textures.items()} == {
        "table": 1,
        "floor": 1,
        "walls": 2,
    }
    painted = env.render().astype(int)
    for texture in env._variation.changed_textures:
        if texture not in env._variation._skybox:
            start, size = (
                env._model.tex_adr[texture],
                3 * env._model.tex_height[texture] * env._model.tex_width[texture],
            )
            env._model.tex_data[start : start + size] = 0
    env._renderer.upload_textures(env._variation.changed_textures)
    assert np.abs(env.render() - painted).mean() > 3


def test_gymnasiums_own_check_passes(open_kitchen: Open) -> None:
    check_env(open_kitchen("light_on", new=True), skip_render_check=True)
