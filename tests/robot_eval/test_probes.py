"""What probes ask of demonstrations: by hand, and against the simulators that the states are from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from egorep.probing import Target
from robot_eval.environment import EnvSettings, RobotEnv, StateEntries, entries
from robot_eval.probe_results import ProbeRow
from robot_eval.probes import ProbeUnit, questions
from robot_eval.suites import list_suites, load_suite, make_env

HZ = 8.0  # a quarter of a second is two steps

UNIT = ProbeUnit(
    suite="metaworld",
    task="drawer-open-v3",
    train_variation="none",
    camera="corner2",
    demos=6,
    demos_fingerprint="d3m0",
    encoder="e",
    encoder_fingerprint="f1",
    encoder_seed=0,
    frames=1,
    stride=1,
)


def demo(length: int, seed: int = 0) -> np.ndarray:
    """States of hand and object, x, y, z each: the hand goes along x, the object stands, then flies up."""
    state = np.zeros((length, 6), np.float32)
    state[:, 0] = 0.1 * np.arange(length) + seed
    state[:, 3] = 0.5 * seed
    state[length // 2 :, 5] = 0.2 * np.arange(length - length // 2)
    return state


def still_actions(*states: np.ndarray) -> list[np.ndarray]:
    """Of an expert who does nothing."""
    return [np.zeros((len(state), 2), np.float32) for state in states]


def by_name(targets: list[Target]) -> dict[str, np.ndarray]:
    return {target.name: target.values for target in targets}


def test_targets_are_those_of_the_steps_that_are_looked_at() -> None:
    states = [demo(10), demo(12, seed=1)]
    asked = questions(states, still_actions(*states), StateEntries(entries(0), entries(3)), HZ)
    assert [steps.tolist() for steps in asked.steps] == [list(range(1, 8)), list(range(1, 10))]
    assert asked.demos.tolist() == [0] * 7 + [1] * 9
    found = by_name(asked.targets)
    assert list(found) == ["hand", "object", "object moves", "layout"], "the hand always goes the same way"
    assert found["hand"][:, 0] == pytest.approx(
        [0.1 * t for t in range(1, 8)] + [1 + 0.1 * t for t in range(1, 10)]
    )
    # Flies from step 5 on, and is seen to one step before and after.
    assert np.flatnonzero(found["object moves"][:7]).tolist() == [4, 5, 6]
    assert found["layout"].tolist() == [[0, 0, 0]] * 7 + [[0.5, 0, 0]] * 9, "as they began"
    with_goal = questions(
        states, still_actions(*states), StateEntries(entries(0), entries(3), goal=(1, 2, 0)), HZ
    )
    assert by_name(with_goal.targets)["layout"][-1].tolist() == [0.5, 0, 0, 0, 0, 1]
    actions = [state[:, :2] + 1 for state in states]
    expert = by_name(questions(states, actions, StateEntries(entries(0), entries(3)), HZ).targets)["action"]
    assert expert[7:].tolist() == actions[1][1:10].tolist()
    turning = [state * np.sign(np.sin(np.arange(len(state))))[:, None] for state in states]
    direction = by_name(
        questions(turning, still_actions(*turning), StateEntries(entries(0), entries(3)), HZ).targets
    )["direction"]
    assert direction[0] == pytest.approx(turning[0][3, :3] - turning[0][1, :3])


def test_long_demonstrations_are_looked_at_now_and_then() -> None:
    asked = questions([demo(500)], still_actions(demo(500)), StateEntries(entries(0), entries(3)), HZ)
    (steps,) = asked.steps
    assert len(steps) == 40
    assert (steps[0], steps[-1]) == (1, 497)
    assert set(np.diff(steps)) <= {12, 13}


def test_what_is_not_in_the_state_or_stands_still_is_not_asked() -> None:
    still = np.tile(demo(10)[:1], (10, 1))
    assert questions([still], still_actions(still), StateEntries(entries(0), entries(3)), HZ).targets == []
    assert [
        target.name
        for target in questions([demo(10)], still_actions(demo(10)), StateEntries((), entries(3)), HZ).targets
    ] == [
        "object",
        "object moves",
    ]


def test_a_joint_is_an_object_of_one_number() -> None:
    state = np.zeros((10, 1), np.float32)
    state[5:, 0] = np.arange(5)
    found = by_name(questions([state], still_actions(state), StateEntries((), (0,), moving=0.1), HZ).targets)
    assert found["object"].shape == (7, 1)
    assert np.flatnonzero(found["object moves"]).tolist() == [4, 5, 6]


def test_rows_say_what_is_known_and_few_demonstrations_have_none() -> None:
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(30, 39)).astype(np.float32) for _ in range(6)]
    actions = [state[:, :4] for state in states]
    features = [state[:, :7] for state in states]
    rows = UNIT.rows(features, features, states, actions)
    targets = {"hand", "object", "direction", "layout", "action", "imitation"}
    assert {row.target for row in rows} == targets, "everything always moves"
    linear = {row.target: row for row in rows if row.probe == "linear"}
    assert linear["hand"].estimate > 0.98
    assert linear["direction"].estimate < 0.9, "the state does not know where the hand goes"
    assert (linear["hand"].episodes, linear["hand"].instants) == (6, 6 * 9)
    assert linear["action"].estimate > 0.98
    assert UNIT.rows(features[:4], features[:4], states[:4], actions[:4]) == []


def test_imitation_is_read_from_all_that_a_policy_sees() -> None:
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(30, 39)).astype(np.float32) for _ in range(6)]
    actions = [state[:, :4] for state in states]

    def linear(rows: list[ProbeRow]) -> dict[str, float]:
        return {row.target: row.estimate for row in rows if row.probe == "linear"}

    half, other = ([state[:, part] for state in states] for part in (slice(0, 2), slice(2, 4)))
    both = [np.concatenate(parts, axis=1) for parts in zip(half, other, strict=True)]
    found = linear(UNIT.rows(half, both, states, actions))
    assert found["action"] == pytest.approx(0.5, abs=0.1)
    assert found["imitation"] > 0.98
    assert linear(UNIT.rows(None, states, states, actions)).keys() == {"imitation"}
    still = [np.zeros_like(action) for action in actions]
    assert UNIT.rows(None, states, states, still) == []


def test_all_that_decides_rows_is_in_the_key() -> None:
    others = [
        replace(UNIT, task="hammer-v3"),
        replace(UNIT, demos_fingerprint="other"),
        replace(UNIT, encoder_fingerprint="f2"),
        replace(UNIT, frames=3),
        replace(UNIT, stride=20),
    ]
    assert len({unit.key for unit in [UNIT, *others]}) == 6
    assert replace(UNIT).key == UNIT.key


# Bodies and sites of the models, by suite and task: hands, then objects.
PLACES = {
    ("metaworld", "drawer-open-v3"): (["hand"], []),  # its handle has no name
    ("metaworld", "hammer-v3"): (["hand"], ["hammer", "nail_link"]),
    ("metaworld", "stick-pull-v3"): (["hand"], ["stick", "insertion"]),
    ("metaworld", "bin-picking-v3"): (["hand"], ["obj"]),
    ("metaworld", "assembly-v3"): (["hand"], ["RoundNut-8"]),
    ("robosuite", "Lift"): (["gripper0_right_grip_site"], ["cube_main"]),
    ("robosuite", "Can"): (["gripper0_right_grip_site"], ["Can_main"]),
    ("robosuite", "Square"): (["gripper0_right_grip_site"], ["SquareNut_main"]),
    ("robosuite", "Stack"): (["gripper0_right_grip_site"], ["cubeA_main", "cubeB_main"]),
    ("robosuite", "Door"): (["gripper0_right_grip_site"], ["Door_handle"]),
    ("robosuite", "ToolHang"): (
        ["gripper0_right_grip_site"],
        ["stand_base", "frame_intersection_site", "tool_root"],
    ),
    ("robosuite", "Transport"): (
        ["gripper0_right_grip_site", "gripper1_right_grip_site"],
        ["payload_root", "trash_main", "transport_start_bin_lid_handle"],
    ),
    ("adroit", "door"): (["S_grasp"], ["S_handle"]),
    ("adroit", "hammer"): (["S_grasp"], ["Object", "S_target"]),
    ("adroit", "pen"): ([], ["Object"]),
    ("adroit", "relocate"): (["S_grasp"], ["Object"]),
}
CAMERAS = {"metaworld": "corner2", "robosuite": "agentview", "adroit": "vil_camera", "franka_kitchen": "left"}


def state_of(suite: str, task: str) -> tuple[RobotEnv, np.ndarray]:
    """An environment a few random steps into an episode, and its state."""
    env = make_env(EnvSettings(suite, task, CAMERAS[suite], render_size=64, picture_size=64))
    env.reset(seed=3)
    env.action_space.seed(0)
    for _ in range(4):
        observation, *_ = env.step(0.3 * env.action_space.sample())
    return env, observation["state"]


def place(env: RobotEnv, name: str) -> np.ndarray:
    """Of a body, site or geom by its name."""
    for kind, places in (("site", "site_xpos"), ("body", "xpos"), ("geom", "geom_xpos")):
        names = [getattr(env._model, kind)(each).name for each in range(getattr(env._model, f"n{kind}"))]
        if name in names:
            return np.asarray(getattr(env._data, places)[names.index(name)])
    raise AssertionError(f"the model has no {name}")


@pytest.mark.parametrize(("suite", "task"), list(PLACES))
def test_entries_are_where_hands_and_objects_are(suite: str, task: str) -> None:
    env, state = state_of(suite, task)
    found, (hands, objects) = load_suite(suite).entries(task), PLACES[suite, task]
    origin = place(env, "target") if task == "relocate" else np.zeros(3)
    for indices, names in ((found.hand, hands), (found.objects, objects)):
        for start, name in enumerate(names):
            said = state[list(indices[3 * start : 3 * start + 3])]
            assert said + origin == pytest.approx(place(env, name), abs=2e-3), name
    assert len(found.hand) == 3 * len(hands)
    assert not objects or len(found.objects) == 3 * len(objects)
    env.close()


@pytest.mark.parametrize("task", load_suite("franka_kitchen").tasks)
def test_in_the_kitchen_the_object_is_the_joint_that_is_to_be_moved(task: str) -> None:
    env, state = state_of("franka_kitchen", task)
    found = load_suite("franka_kitchen").entries(task)
    assert state[list(found.hand)] == pytest.approx(place(env, "end_effector"), abs=1e-5)
    (joint,) = found.objects
    env._data.qpos[env._joint.qposadr[0]] = 0.123
    assert env._observe()["state"][joint] == pytest.approx(0.123)


def test_only_the_tasks_with_a_second_object_say_so() -> None:
    """All but three of Meta-World's tasks have zeros where a second object would stand."""
    for task in ("door-open-v3", "peg-insert-side-v3", "shelf-place-v3"):
        env, state = state_of("metaworld", task)
        assert not state[11:14].any()
        assert load_suite("metaworld").entries(task).objects == entries(4)
        env.close()


@pytest.mark.parametrize("task", ["assembly-v3", "drawer-open-v3"])
def test_the_goal_of_a_task_is_in_the_state(task: str) -> None:
    env, state = state_of("metaworld", task)
    goal = load_suite("metaworld").entries(task).goal
    assert state[list(goal)] == pytest.approx(env._env.unwrapped._target_pos)
    env.close()


@pytest.mark.parametrize("suite", list_suites())
def test_every_task_of_a_suite_has_entries(suite: str) -> None:
    loaded = load_suite(suite)
    for task in loaded.tasks:
        found = loaded.entries(task)
        assert len(found.hand) % 3 == 0
        assert len(found.objects) == 1 or len(found.objects) % 3 == 0
        assert len(set(found.hand) | set(found.objects)) == len(found.hand) + len(found.objects)
