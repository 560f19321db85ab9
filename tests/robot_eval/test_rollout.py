from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import pytest
import torch
from metaworld.policies import ENV_POLICY_MAP

from egorep.backbones import Backbone, Features
from egorep.encoder import BlindEncoder, Encoder
from egorep.preprocessing import Preprocessing
from robot_eval.environment import EnvSettings
from robot_eval.inputs import PolicyInputs
from robot_eval.rollout import EpisodeResult, EpisodeRules, Rollouts
from robot_eval.simulators import Simulator, SimulatorCrashError, simulators

SETTINGS = EnvSettings("metaworld", "button-press-v3", "corner2", render_size=64, picture_size=64)
SEEDS = [11, 12, 13, 14]
STATE = PolicyInputs("state")
BLIND = BlindEncoder("oracle", "state")


class Expert:
    """The suite's expert, from the full state; `before` is called with the number of the step."""

    looks = None

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        self.steps = 0
        self._before = before
        self._policy = ENV_POLICY_MAP[SETTINGS.task]()

    def begin(self, seed: int) -> None:
        return None

    def act(self, inputs: np.ndarray, memories: list[None]) -> np.ndarray:
        self.steps += 1
        self._before(self.steps)
        rows = [self._policy.get_action(row.astype(np.float64)) for row in inputs]
        return np.clip(np.stack(rows), -1, 1).astype(np.float32)


class Looking:
    """Acts on what is seen: every action depends on the picture."""

    looks: int | None = None

    def __init__(self) -> None:
        self.widths: set[int] = set()

    def begin(self, seed: int) -> None:
        return None

    def act(self, inputs: np.ndarray, memories: list[None]) -> np.ndarray:
        self.widths.add(inputs.shape[1])
        return np.sin(37.0 * inputs[:, :4])


class Quarters(Backbone):
    """Means of the quarters of a picture; of a clip, of its oldest frame and of its newest."""

    architecture = "quarters"

    def __init__(self, num_frames: int = 1) -> None:
        super().__init__()
        self.num_frames = num_frames

    def forward(self, pixels: torch.Tensor) -> Features:
        clips = pixels if pixels.ndim == 5 else pixels[:, None]
        tokens = clips.unflatten(-1, (2, -1)).unflatten(-3, (2, -1)).mean((2, 4, 6))  # (N, T, 2, 2)
        ends = tokens[:, [0, -1]] if self.num_frames > 1 else tokens
        return Features(ends.flatten(1), tokens[..., None].squeeze(1))


def quarters(num_frames: int = 1) -> Encoder:
    return Encoder("quarters", Quarters(num_frames), Preprocessing(64, (0.0,) * 3, (1.0,) * 3, "bilinear"))


@pytest.fixture(scope="module")
def pool() -> Iterator[Sequence[Simulator]]:
    with simulators(SETTINGS, 3) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(pool: Sequence[Simulator]) -> list[EpisodeResult]:
    return Rollouts(pool, BLIND, STATE, EpisodeRules(80, 3)).run(Expert(), SEEDS)


def test_results_do_not_depend_on_the_number_of_simulators(
    pool: Sequence[Simulator], undisturbed: list[EpisodeResult]
) -> None:
    ready: list[int] = []
    alone = Rollouts(pool[:1], BLIND, STATE, EpisodeRules(80, 3), ready.append).run(Expert(), SEEDS)
    assert alone == undisturbed
    assert ready == [1] * len(SEEDS)
    assert [result.seed for result in alone] == SEEDS
    assert all(result.success_any and result.success_last for result in alone)
    assert len({result.steps for result in alone}) > 1, "episodes end at their own steps"
    reverse = Rollouts(pool, BLIND, STATE, EpisodeRules(80, 3)).run(Expert(), SEEDS[::-1])
    assert reverse == undisturbed[::-1]


def test_what_is_seen_does_not_depend_on_the_number_of_simulators(pool: Sequence[Simulator]) -> None:
    inputs = PolicyInputs("picture", frames=3)
    actor = Looking()
    runs = [
        Rollouts(pool[:count], quarters(), inputs, EpisodeRules(12, 0)).run(actor, SEEDS, record=SEEDS)
        for count in (1, 3)
    ]
    assert actor.widths == {3 * 4 + 4}
    for one, three in zip(*runs, strict=True):
        assert np.array_equal(one.pictures, three.pictures)
        assert not np.array_equal(one.pictures[0], one.pictures[-1])
    assert not np.array_equal(runs[0][0].pictures, runs[0][1].pictures)


def test_an_encoder_of_clips_sees_the_past_of_its_own_episode(pool: Sequence[Simulator]) -> None:
    """Whatever the number of simulators; features equal those of the recorded episode."""

    class Watching(Looking):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[np.ndarray] = []

        def begin(self, seed: int) -> None:
            return None

        def act(self, inputs: np.ndarray, memories: list[None]) -> np.ndarray:
            self.seen.append(inputs[:, :8].copy())
            return super().act(inputs, memories)

    encoder, inputs, rules = quarters(num_frames=3), PolicyInputs("picture"), EpisodeRules(9, 0)
    alone, actors = Watching(), [Looking(), Looking()]
    [episode] = Rollouts(pool[:1], encoder, inputs, rules, stride=2).run(alone, [13], record=[13])
    assert episode.pictures is not None
    expected = encoder.encode_episode(episode.pictures[:-1], stride=2)
    assert np.array_equal(np.concatenate(alone.seen), expected.numpy())
    assert not np.array_equal(expected[4, :4], expected[4, 4:]), "the oldest frame differs from the newest"
    runs = [
        Rollouts(pool[:count], encoder, inputs, rules, stride=2).run(actor, SEEDS, record=SEEDS)
        for count, actor in zip((1, 3), actors, strict=True)
    ]
    for one, three in zip(*runs, strict=True):
        assert np.array_equal(one.pictures, three.pictures)
    assert np.array_equal(runs[0][2].pictures, episode.pictures)


@pytest.mark.parametrize("observing", ["state", "picture"])
def test_recorded_episodes_have_a_picture_before_each_step_and_one_at_the_end(
    pool: Sequence[Simulator], observing: str
) -> None:
    encoder, inputs, actor = BLIND, STATE, Expert()
    if observing == "picture":
        encoder, inputs, actor = quarters(), PolicyInputs("picture"), Looking()
    first, second, third = Rollouts(pool, encoder, inputs, EpisodeRules(7, 0)).run(
        actor, [11, 12, 13], record={12}
    )
    assert first.pictures is None
    assert third.pictures is None
    assert second.pictures.shape == (7 + 1, 64, 64, 3)
    assert second.pictures.dtype == np.uint8
    assert np.array_equal(second.pictures[0], pool[0].call("reset", 12, True)["picture"])


def test_the_horizon_and_holding_end_episodes(
    pool: Sequence[Simulator], undisturbed: list[EpisodeResult]
) -> None:
    def run(horizon: int, hold: int) -> EpisodeResult:
        (result,) = Rollouts(pool, BLIND, STATE, EpisodeRules(horizon, hold)).run(Expert(), SEEDS[:1])
        return result

    once = run(80, 1)
    assert once.success_any
    assert once.success_last
    assert undisturbed[0].steps == once.steps + 2, "three steps in a row, the first included"
    to_the_end = run(80, 0)
    assert to_the_end.steps == 80
    assert to_the_end.success_any
    just_in_time = run(once.steps, 3)
    assert (just_in_time.steps, just_in_time.success_any, just_in_time.success_last) == (
        once.steps,
        True,
        True,
    )
    too_short = run(once.steps - 1, 3)
    assert (too_short.steps, too_short.success_any, too_short.success_last) == (once.steps - 1, False, False)


def test_a_policy_that_stops_looking_is_drawn_nothing_more(pool: Sequence[Simulator]) -> None:
    """It keeps the features of its last look; recorded episodes are drawn to the end, and go the same."""

    class Glancing(Looking):
        looks = 2

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[np.ndarray] = []

        def act(self, inputs: np.ndarray, memories: list[None]) -> np.ndarray:
            self.seen.append(inputs[:, :4].copy())
            return super().act(inputs, memories)

    encoder, inputs, rules = quarters(), PolicyInputs("picture", proprio=False), EpisodeRules(6, 0)
    encoded: list[int] = []
    encoder.backbone.register_forward_pre_hook(lambda _, given: encoded.append(len(given[0])))
    glancing = Glancing()
    [recorded] = Rollouts(pool[:1], encoder, inputs, rules).run(glancing, [13], record=[13])
    assert sum(encoded) == 2
    assert recorded.pictures is not None
    expected = encoder(recorded.pictures[:2]).numpy()
    np.testing.assert_array_equal(glancing.seen[0], expected[:1])
    assert not np.array_equal(expected[0], expected[1])
    for later in glancing.seen[1:]:
        np.testing.assert_array_equal(later, expected[1:])

    asked: list[bool] = []

    class Asked:
        def __init__(self, simulator: Simulator) -> None:
            self._simulator = simulator

        def send(self, command: str, argument: object, picture: bool) -> None:
            asked.append(picture)
            self._simulator.send(command, argument, picture)

        def __getattr__(self, name: str) -> object:
            return getattr(self._simulator, name)

    again = Glancing()
    Rollouts([cast("Simulator", Asked(pool[0]))], encoder, inputs, rules).run(again, [13])
    assert asked == [True, True, *[False] * 5]
    np.testing.assert_array_equal(np.stack(again.seen), np.stack(glancing.seen))


def test_a_success_that_is_lost_counts_at_some_step_only(pool: Sequence[Simulator]) -> None:
    class LetsGo(Expert):
        def begin(self, seed: int) -> None:
            return None

        def act(self, inputs: np.ndarray, memories: list[None]) -> np.ndarray:
            actions = super().act(inputs, memories)
            return actions if self.steps < 75 else np.full_like(actions, (0, -1, 1, 0))

    (result,) = Rollouts(pool, BLIND, STATE, EpisodeRules(140, 0)).run(LetsGo(), SEEDS[:1])
    assert result.success_any
    assert not result.success_last


def test_a_killed_simulator_runs_its_episode_again(
    pool: Sequence[Simulator], undisturbed: list[EpisodeResult]
) -> None:
    def kill(step: int) -> None:
        if step == 20:
            os.kill(pool[1].pid, signal.SIGKILL)

    before = [simulator.restarts for simulator in pool]
    assert Rollouts(pool, BLIND, STATE, EpisodeRules(80, 3)).run(Expert(kill), SEEDS) == undisturbed
    assert [simulator.restarts for simulator in pool] == [before[0], before[1] + 1, before[2]]


class DyingSimulator:
    """Dies at every command."""

    def __init__(self) -> None:
        self.restarts = 0

    def send(self, command: str, *arguments: object) -> None:
        pass

    def receive(self) -> object:
        raise SimulatorCrashError("simulator process ended with exit code -9")

    def restart(self) -> None:
        self.restarts += 1


def test_a_simulator_that_always_dies_is_given_up() -> None:
    dying = DyingSimulator()
    with pytest.raises(RuntimeError, match="episode 11 crashed its simulator 3 times") as raised:
        Rollouts([dying], BLIND, STATE, EpisodeRules(5, 0)).run(Expert(), [11])
    assert not isinstance(raised.value, SimulatorCrashError)
    assert dying.restarts == 2


class BrokenSimulator(DyingSimulator):
    """Its physics diverges at the second step."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part
        self._sent = 0

    def send(self, command: str, *arguments: object) -> None:
        self._sent += 1
        self._command = command

    def receive(self) -> object:
        observation = {"proprio": np.zeros(4, np.float32), "state": np.zeros(39, np.float32)}
        observation["picture"] = np.zeros((64, 64, 3), np.uint8)
        if self._sent == 3:
            observation[self._part][0] = np.nan
        return observation if self._command == "reset" else (observation, False, False)


@pytest.mark.parametrize(
    ("part", "inputs"),
    [("state", STATE), ("proprio", PolicyInputs("proprio")), ("proprio", PolicyInputs("picture"))],
)
def test_an_observation_that_is_not_finite_is_an_error(part: str, inputs: PolicyInputs) -> None:
    rollouts = Rollouts([BrokenSimulator(part)], quarters(), inputs, EpisodeRules(5, 0))
    with pytest.raises(ValueError, match="must be finite"):
        rollouts.run(Looking(), [11])


def test_an_action_that_is_not_finite_is_an_error(pool: Sequence[Simulator]) -> None:
    class Lost:
        looks = None

        def begin(self, seed: int) -> None:
            return None

        def act(self, inputs: np.ndarray, memories: list[None]) -> np.ndarray:
            return np.full((len(inputs), 4), np.nan, np.float32)

    with pytest.raises(RuntimeError, match="finite action"):
        Rollouts(pool[:1], BLIND, STATE, EpisodeRules(5, 0)).run(Lost(), [11])


def test_no_seeds_give_no_results(pool: Sequence[Simulator]) -> None:
    assert Rollouts(pool, BLIND, STATE, EpisodeRules(5, 0)).run(Expert(), []) == []
