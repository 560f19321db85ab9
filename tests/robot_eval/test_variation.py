from __future__ import annotations

import dataclasses
from collections.abc import Callable

import mujoco
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from robot_eval.environment import RobotEnv
from robot_eval.variation import (
    CHANGES,
    PATTERNS,
    RANGES,
    VARIATIONS,
    Ranges,
    SceneParts,
    SceneVariation,
    Starts,
)

Open = Callable[..., RobotEnv]
VARYING = ("train", "unseen")
# What each change of looks writes into the model; distractors stand beside it.
WRITES = {
    "camera": {"cam_pos", "cam_quat"},
    "light": {"light_dir", "light_diffuse"},
    "texture": {"geom_rgba", "tex_data"},
    "distractors": set(),
    "starts": set(),
}
_PARTS = SceneParts((0.0, 0.6, 0.1), {}, "base", (), ())


@pytest.fixture(scope="module")
def envs(open_env: Open) -> dict[str, RobotEnv]:
    return {kind: open_env(variation=kind) for kind in VARIATIONS}


def picture(env: RobotEnv, seed: int) -> np.ndarray:
    env.reset(seed=seed)
    return env.render()


def looks(env: RobotEnv) -> dict[str, np.ndarray]:
    model = env._model
    names = ("cam_pos", "cam_quat", "light_dir", "light_diffuse", "geom_rgba", "tex_data")
    return {name: getattr(model, name).copy() for name in names}


@pytest.mark.parametrize("kind", VARIATIONS)
def test_a_seed_repeats_its_picture(envs: dict[str, RobotEnv], kind: str) -> None:
    first = picture(envs[kind], 3)
    assert not np.array_equal(picture(envs[kind], 4), first)
    assert np.array_equal(picture(envs[kind], 3), first)


@pytest.mark.parametrize("kind", [*VARYING, *CHANGES])
def test_a_reused_environment_looks_like_a_fresh_one(
    envs: dict[str, RobotEnv], open_env: Open, kind: str
) -> None:
    fresh = open_env(variation=kind)
    expected = picture(fresh, 3)
    for seed in (11, 12, 13):
        envs[kind].reset(seed=seed)
        envs[kind].step(envs[kind].expert_action())
    assert np.array_equal(picture(envs[kind], 3), expected)
    assert all(np.array_equal(value, looks(fresh)[name]) for name, value in looks(envs[kind]).items())


@pytest.mark.parametrize("kind", VARYING)
def test_the_first_picture_shows_the_episodes_own_camera_and_lights(
    envs: dict[str, RobotEnv], kind: str
) -> None:
    env = envs[kind]
    fixed = np.flatnonzero(env._model.cam_bodyid == 0)

    def shown() -> list[np.ndarray]:
        data = env._data
        return [data.cam_xpos[fixed].copy(), data.cam_xmat[fixed].copy(), data.light_xdir.copy()]

    env.reset(seed=3)
    at_reset = shown()
    mujoco.mj_forward(env._model, env._data)
    assert all(np.array_equal(before, after) for before, after in zip(at_reset, shown(), strict=True))


def test_seeds_differ_in_looks_and_not_only_in_layout(envs: dict[str, RobotEnv]) -> None:
    for kind in VARYING:
        seen = []
        for seed in range(4):
            envs[kind].reset(seed=seed)
            seen.append(looks(envs[kind]))
        for name in seen[0]:
            assert not np.array_equal(seen[0][name], seen[1][name]), name
    assert np.abs(picture(envs["train"], 3).astype(int) - picture(envs["none"], 3)).mean() > 3
    assert np.abs(picture(envs["unseen"], 3).astype(int) - picture(envs["none"], 3)).mean() > 3


def test_without_variation_the_model_is_left_alone(envs: dict[str, RobotEnv]) -> None:
    env = envs["none"]
    before = looks(env)
    original = ALL_V3_ENVIRONMENTS["drawer-open-v3"]().model
    for name in set(before) - {"cam_quat"}:  # cameras are set upright, nothing else
        assert np.array_equal(before[name], getattr(original, name)), name
    picture(env, 5)
    variation = SceneVariation(env._model, _PARTS, "none")
    variation.apply(np.random.default_rng(0))
    assert all(np.array_equal(value, looks(env)[name]) for name, value in before.items())
    assert variation.decor == ()
    assert variation.changed_textures == []


def test_what_changes_lies_within_the_ranges(envs: dict[str, RobotEnv]) -> None:
    centre = np.array(_PARTS.look_at)
    plain = envs["none"]._model
    camera = envs["none"]._camera_ids[0]
    offset = plain.cam_pos[camera] - centre
    for kind in VARYING:
        ranges = RANGES[kind]
        for seed in range(6):
            envs[kind].reset(seed=seed)
            moved = envs[kind]._model.cam_pos[camera] - centre
            change = abs(np.linalg.norm(moved) / np.linalg.norm(offset) - 1)
            assert ranges.distance[0] - 1e-9 <= change <= ranges.distance[1] + 1e-9
            turn = abs(np.rad2deg(np.arctan2(moved[1], moved[0]) - np.arctan2(offset[1], offset[0])))
            assert ranges.azimuth[0] - 1e-6 <= turn <= ranges.azimuth[1] + 1e-6
            rise = abs(
                np.rad2deg(
                    np.arcsin(moved[2] / np.linalg.norm(moved))
                    - np.arcsin(offset[2] / np.linalg.norm(offset))
                )
            )
            assert ranges.elevation[0] - 1e-6 <= rise <= ranges.elevation[1] + 1e-6
            decor = envs[kind]._variation.decor
            assert ranges.count[0] <= len(decor) <= ranges.count[1]
            assert {solid.shape for solid in decor} <= set(ranges.shapes)


# How many distractors there are is the one thing that is no look.
@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Ranges) if f.name != "count"])
def test_nothing_of_unseen_is_seen_in_training(field: str) -> None:
    train, unseen = (getattr(RANGES[kind], field) for kind in VARYING)
    if isinstance(train[0], float):
        assert train[0] < train[1]
        assert unseen[0] < unseen[1]
        assert train[1] < unseen[0] or unseen[1] < train[0]
    else:
        assert train
        assert unseen
        assert set(train).isdisjoint(unseen)
    if field == "patterns":
        assert set(train) | set(unseen) == set(PATTERNS)


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_are_shares_of_two_colours(name: str) -> None:
    rows, columns = np.mgrid[0:64, 0:64] / 64
    drawn = np.clip(PATTERNS[name](np.random.default_rng(0), rows, columns), 0, 1)
    assert drawn.shape == (64, 64)
    assert drawn.std() > 0.01


@pytest.mark.parametrize("task", ["drawer-open-v3", "assembly-v3"])
def test_the_physics_stays_as_it_is(open_env: Open, task: str) -> None:
    paths = {}
    for kind in [each for each in VARIATIONS if each != "starts"]:
        env = open_env(task, variation=kind)
        observation, _ = env.reset(seed=7)
        path = [np.concatenate([*observation.values(), env.simulator_state])]
        for _ in range(60):
            observation, *_ = env.step(env.expert_action())
            path.append(np.concatenate([*observation.values(), env.simulator_state]))
        paths[kind] = np.stack(path)
        assert np.ptp(paths[kind], axis=0).max() > 0.05, "something moved"
    assert all(np.array_equal(path, paths["none"]) for path in paths.values())


def test_distractors_are_seen_and_touch_nothing(envs: dict[str, RobotEnv]) -> None:
    env, plain = envs["unseen"], envs["none"]
    with_them = picture(env, 2)
    assert env._variation.decor
    assert env._model.ngeom == plain._model.ngeom
    assert env._model.nbody == plain._model.nbody
    plain.reset(seed=2)
    assert env._data.ncon == plain._data.ncon
    decor, env._variation.decor = env._variation.decor, ()
    without = env.render()
    env._variation.decor = decor
    assert not np.array_equal(with_them, without)


def test_a_change_changes_one_thing_and_leaves_the_rest(envs: dict[str, RobotEnv]) -> None:
    plain = envs["none"]
    for kind in CHANGES:
        env = envs[kind]
        for seed in range(3):
            plain.reset(seed=seed)
            env.reset(seed=seed)
            before, after = looks(plain), looks(env)
            changed = {name for name in before if not np.array_equal(before[name], after[name])}
            assert changed == WRITES[kind], (kind, seed)
            bright = [each._model.vis.headlight.diffuse.copy() for each in (plain, env)]
            assert np.array_equal(*bright) == (kind != "light")
            assert bool(env._variation.decor) == (kind == "distractors")
            assert bool(env._variation.changed_textures) == (kind == "texture")
            assert not np.array_equal(env.render(), plain.render()), (kind, seed)


def test_a_change_is_drawn_from_the_unseen_ranges(envs: dict[str, RobotEnv]) -> None:
    env, unseen = envs["distractors"], RANGES["unseen"]
    for seed in range(5):
        env.reset(seed=seed)
        decor = env._variation.decor
        assert unseen.count[0] <= len(decor) <= unseen.count[1]
        assert {solid.shape for solid in decor} <= set(unseen.shapes)
    plain, moved = envs["none"], envs["camera"]
    offsets = [each._model.cam_pos[each._camera_ids[0]] - np.array(_PARTS.look_at) for each in (plain, moved)]
    change = abs(np.linalg.norm(offsets[1]) / np.linalg.norm(offsets[0]) - 1)
    assert unseen.distance[0] <= change <= unseen.distance[1]


def test_one_change_does_not_depend_on_how_the_others_are_drawn(
    open_env: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lights() -> np.ndarray:
        env = open_env(variation="light")
        env.reset(seed=3)
        return looks(env)["light_dir"]

    before = lights()
    other = dataclasses.replace(RANGES["unseen"], azimuth=(1.0, 2.0), patterns=("plain",), count=(9, 9))
    monkeypatch.setitem(RANGES, "unseen", other)  # type: ignore[arg-type]
    assert np.array_equal(lights(), before)


def test_other_starts_move_the_robot_and_nothing_else(envs: dict[str, RobotEnv]) -> None:
    env, plain = envs["starts"], envs["none"]
    hands = []
    for seed in range(6):
        there = env.reset(seed=seed)[0]["state"]
        plain.reset(seed=seed)
        usual = plain.step(np.array([0, 0, 0, -1], np.float32))[0]["state"]  # the suite settles with a step
        assert np.linalg.norm(there[:3] - usual[:3]) > 0.01
        assert np.allclose(there[3:18], usual[3:18], atol=2e-3), "gripper and objects stay"
        assert np.array_equal(there[-3:], usual[-3:]), "so does the goal"
        assert env._data.time == 0.0, "the episode begins now"
        hands.append(there[:3])
    assert len(np.unique(hands, axis=0)) == 6


def test_a_start_is_one_action_within_its_limits_for_a_while() -> None:
    starts = Starts(np.array([-0.5, 0.0, -1.0]), np.array([0.5, 1.0, -1.0]), (0.1, 0.2), 80)
    drawn = [starts.draw(np.random.default_rng(seed)) for seed in range(50)]
    actions, steps = np.stack([action for action, _ in drawn]), [steps for _, steps in drawn]
    assert (actions >= starts.low).all()
    assert (actions <= starts.high).all()
    assert actions.dtype == np.float32
    assert len(np.unique(actions[:, :2])) == 100
    assert min(steps) >= 8
    assert max(steps) <= 16
    assert dataclasses.replace(starts, control_hz=1).draw(np.random.default_rng(0))[1] == 1


def test_an_unknown_robot_body_is_refused(envs: dict[str, RobotEnv]) -> None:
    parts = dataclasses.replace(_PARTS, robot_body="spaceship")
    with pytest.raises(ValueError, match="no body 'spaceship'"):
        SceneVariation(envs["none"]._model, parts, "train")
