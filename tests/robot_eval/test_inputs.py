from __future__ import annotations

import numpy as np
import pytest

from robot_eval.inputs import InputWindow, PolicyInputs

T, D, P, S = 7, 5, 4, 9


@pytest.fixture
def episode() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(T, width)).astype(np.float32) for width in (D, P, S))  # type: ignore[return-value]


@pytest.mark.parametrize("observes", ["picture", "proprio", "state"])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("proprio", [True, False])
def test_a_running_window_gives_what_a_whole_episode_gives(
    episode: tuple[np.ndarray, ...], observes: str, frames: int, proprio: bool
) -> None:
    inputs = PolicyInputs(observes, frames, proprio)
    whole = inputs.of_episode(*episode)
    window = InputWindow(inputs)
    for t in range(T):
        row = window.push(*(values[t] for values in episode))
        assert row.dtype == np.float32
        assert np.array_equal(row, whole[t])
    assert len(whole) == T


def test_one_frame_is_features_then_proprioception(episode: tuple[np.ndarray, ...]) -> None:
    features, proprio, _ = episode
    whole = PolicyInputs("picture").of_episode(*episode)
    assert np.array_equal(whole, np.concatenate([features, proprio], 1))
    without = PolicyInputs("picture", proprio=False).of_episode(*episode)
    assert np.array_equal(without, features)


def test_three_frames_are_two_differences_and_the_newest(episode: tuple[np.ndarray, ...]) -> None:
    features, proprio, _ = episode
    whole = PolicyInputs("picture", frames=3).of_episode(*episode)
    assert whole.shape == (T, 3 * D + P)
    for t in range(T):
        oldest, older, newest = (features[max(t - back, 0)] for back in (2, 1, 0))
        expected = np.concatenate([older - oldest, newest - older, newest, proprio[t]])
        assert np.array_equal(whole[t], expected)


def test_before_the_first_frame_stands_the_first_frame(episode: tuple[np.ndarray, ...]) -> None:
    features = episode[0]
    whole = PolicyInputs("picture", frames=3, proprio=False).of_episode(*episode)
    assert not whole[0, : 2 * D].any()
    assert not whole[1, :D].any()
    assert np.array_equal(whole[1, D : 2 * D], features[1] - features[0])


def test_the_future_is_not_seen(episode: tuple[np.ndarray, ...]) -> None:
    features, proprio, state = episode
    inputs = PolicyInputs("picture", frames=3)
    other = features.copy()
    other[4:] = 99
    changed, whole = inputs.of_episode(other, proprio, state), inputs.of_episode(features, proprio, state)
    assert np.array_equal(changed[:4], whole[:4])
    assert not np.array_equal(changed[4], whole[4])


def test_after_the_pictures_that_are_looked_at_stands_the_last(episode: tuple[np.ndarray, ...]) -> None:
    features, proprio, state = episode
    held = np.concatenate([features[:3], np.repeat(features[2:3], len(features) - 3, axis=0)])
    inputs = PolicyInputs("picture", frames=2)
    assert np.array_equal(
        inputs.of_episode(features[:3], proprio, state), inputs.of_episode(held, proprio, state)
    )


def test_observers_of_numbers_need_no_features(episode: tuple[np.ndarray, ...]) -> None:
    _, proprio, state = episode
    assert np.array_equal(PolicyInputs("proprio", frames=3).of_episode(None, proprio, state), proprio)
    assert np.array_equal(PolicyInputs("state", frames=3).of_episode(None, proprio, state), state)


def test_missing_features_are_refused(episode: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(ValueError, match="need features"):
        PolicyInputs("picture").of_episode(None, *episode[1:])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("observes", "what"), [("picture", "proprioception"), ("proprio", "proprioception"), ("state", "state")]
)
def test_what_is_not_finite_is_refused(
    episode: tuple[np.ndarray, ...], observes: str, what: str, value: float
) -> None:
    features, proprio, state = (values.copy() for values in episode)
    (state if observes == "state" else proprio)[3, 1] = value
    with pytest.raises(ValueError, match=f"{what} must be finite"):
        PolicyInputs(observes).of_episode(features, proprio, state)


def test_numbers_that_a_policy_does_not_see_may_be_anything(episode: tuple[np.ndarray, ...]) -> None:
    features, proprio, state = (values.copy() for values in episode)
    state[:] = np.nan
    assert np.isfinite(PolicyInputs("picture").of_episode(features, proprio, state)).all()
