"""Vectorised rollouts: many simulators in lock step, all their pictures encoded in one batch a step."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from egorep import Encoder
from robot_eval.environment import Observation
from robot_eval.inputs import InputWindow, PolicyInputs
from robot_eval.simulators import Simulator, SimulatorCrashError

_logger = logging.getLogger(__name__)
_MAX_CRASHES = 3


class Actor(Protocol):
    """Anything that maps inputs (B, D) to actions (B, A) row by row, as `robot_eval.policies.base.Policy`."""

    @property
    def looks(self) -> int | None:
        """At how many pictures of an episode it looks, from the first; None: at all."""
        ...

    def begin(self, seed: int) -> Any:
        """What it remembers of an episode that begins."""
        ...

    def act(self, inputs: npt.NDArray[np.float32], memories: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Actions for inputs; a memory for each row."""
        ...


@dataclass(frozen=True)
class EpisodeRules:
    """When an episode ends.

    Attributes:
        horizon: control steps at most.
        hold: ends an episode once the task has stayed achieved for so many steps; 0 runs it to the horizon.
    """

    horizon: int
    hold: int


@dataclass(frozen=True)
class EpisodeResult:
    """One finished episode.

    Attributes:
        seed: of the episode.
        success_any: the task was achieved at some step.
        success_last: it was achieved at the last step.
        strict_any, strict_last: likewise, by the strict measure (`RobotEnv.step`).
        steps: taken.
        pictures: (T, H, W, 3) uint8, of recorded episodes.
    """

    seed: int
    success_any: bool
    success_last: bool
    strict_any: bool
    strict_last: bool
    steps: int
    pictures: npt.NDArray[np.uint8] | None


@dataclass
class _Episode:
    seed: int
    window: InputWindow
    memory: Any
    recording: bool
    successes: list[bool] = field(default_factory=list)
    strict: list[bool] = field(default_factory=list)
    pictures: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    command: tuple[Any, ...] = ()
    observation: Observation = field(default_factory=dict)
    features: npt.NDArray[np.float32] | None = None

    def take(self, answer: Any) -> None:
        """Note what the simulator answered to `command`."""
        if self.command[0] == "reset":
            self.observation = answer
        else:
            self.observation, success, strict = answer
            self.successes.append(success)
            self.strict.append(strict)
        if self.recording:
            self.pictures.append(self.observation["picture"])

    def finished(self, rules: EpisodeRules) -> bool:
        if len(self.successes) >= rules.horizon:
            return True
        return rules.hold > 0 and len(self.successes) >= rules.hold and all(self.successes[-rules.hold :])

    def result(self) -> EpisodeResult:
        pictures = np.stack(self.pictures) if self.recording else None
        return EpisodeResult(
            self.seed,
            any(self.successes),
            self.successes[-1],
            any(self.strict),
            self.strict[-1],
            len(self.successes),
            pictures,
        )


class Rollouts:
    """Runs policies on one encoder's view of one environment.

    Results depend on the policy and the episodes' seeds alone: not on the number of simulators, on the order
    in which episodes end, or on a simulator that had to be restarted.

    Args:
        pool: simulators of one environment.
        encoder: of the pictures.
        inputs: how observations become the policy's input.
        rules: when an episode ends.
        progress: called with 1 after each episode.
        stride: control steps between the frames that an encoder of clips looks at.
    """

    def __init__(
        self,
        pool: Sequence[Simulator],
        encoder: Encoder,
        inputs: PolicyInputs,
        rules: EpisodeRules,
        progress: Callable[[int], None] | None = None,
        *,
        stride: int = 1,
    ) -> None:
        self._pool = pool
        self._encoder = encoder
        self._inputs = inputs
        self._rules = rules
        self._stride = stride
        self._progress = progress
        self._crashes: dict[int, int] = {}

    def run(self, policy: Actor, seeds: Sequence[int], record: Collection[int] = ()) -> list[EpisodeResult]:
        """One episode per seed, in the order of `seeds`.

        Args:
            policy: what acts.
            seeds: of the episodes; distinct.
            record: seeds of the episodes whose pictures are kept.

        Raises:
            RuntimeError: one episode crashed its simulator again and again, or an environment raised.
            ValueError: an observation is not finite.
        """
        self._crashes.clear()
        self._policy = policy
        # Simulators are taken in order, so those beyond the number of episodes never run.
        self._stream = self._encoder.stream(max(1, min(len(self._pool), len(seeds))), self._stride)
        waiting, results = deque(seeds), dict[int, EpisodeResult]()
        running: dict[Simulator, _Episode] = {}
        while waiting or running:
            self._begin(waiting, running, record)
            self._collect(running)
            for simulator in [s for s, episode in running.items() if episode.finished(self._rules)]:
                result = running.pop(simulator).result()
                results[result.seed] = result
                if self._progress is not None:
                    self._progress(1)
            if running:
                self._act(running)
        return [results[seed] for seed in seeds]

    def _begin(
        self, waiting: deque[int], running: dict[Simulator, _Episode], record: Collection[int]
    ) -> None:
        for simulator in self._pool:
            if simulator not in running and waiting:
                seed = waiting.popleft()
                running[simulator] = self._episode(seed, seed in record)
                self._send(simulator, running[simulator], "reset", seed)

    def _episode(self, seed: int, recording: bool) -> _Episode:
        return _Episode(seed, InputWindow(self._inputs), self._policy.begin(seed), recording)

    def _send(self, simulator: Simulator, episode: _Episode, command: str, argument: Any) -> None:
        coming = 0 if command == "reset" else len(episode.successes) + 1
        episode.command = (command, argument, self._looked_at(coming) or episode.recording)
        simulator.send(*episode.command)

    def _collect(self, running: dict[Simulator, _Episode]) -> None:
        for simulator in list(running):
            answer = None
            while answer is None:
                try:
                    answer = simulator.receive()
                except SimulatorCrashError as crash:
                    running[simulator] = self._again(simulator, running[simulator], crash)
            running[simulator].take(answer)

    def _again(self, simulator: Simulator, episode: _Episode, crash: SimulatorCrashError) -> _Episode:
        """Restart the simulator and the episode with it; the restart is counted by the simulator."""
        seed = episode.seed
        self._crashes[seed] = self._crashes.get(seed, 0) + 1
        if self._crashes[seed] >= _MAX_CRASHES:
            raise RuntimeError(f"episode {seed} crashed its simulator {_MAX_CRASHES} times") from crash
        _logger.warning("episode %d: %s; starting it again", seed, crash)
        simulator.restart()
        fresh = self._episode(seed, episode.recording)
        self._send(simulator, fresh, "reset", seed)
        return fresh

    def _looked_at(self, step: int) -> bool:
        """Whether the policy looks at the picture of an episode's observation `step`, counted from 0."""
        looks = self._policy.looks
        return self._inputs.observes == "picture" and (looks is None or step < looks)

    def _act(self, running: dict[Simulator, _Episode]) -> None:
        self._encode(running)
        episodes = list(running.values())
        inputs = np.stack(
            [
                episode.window.push(
                    episode.features, episode.observation["proprio"], episode.observation["state"]
                )
                for episode in episodes
            ]
        )
        actions = self._policy.act(inputs, [episode.memory for episode in episodes])
        for (simulator, episode), action in zip(running.items(), actions, strict=True):
            self._send(simulator, episode, "step", action)

    def _encode(self, running: dict[Simulator, _Episode]) -> None:
        """Give each episode that is looked at its features; the others keep those that they have.

        An episode's row in the stream is its simulator's place in the pool.
        """
        shown = {
            self._pool.index(simulator): episode
            for simulator, episode in running.items()
            if self._looked_at(len(episode.successes))
        }
        if not shown:
            return
        rows = list(shown)
        pictures = [episode.observation["picture"] for episode in shown.values()]
        frames = np.zeros((self._stream.num_envs, *pictures[0].shape), np.uint8)
        frames[rows] = pictures
        new, begun = (np.zeros(len(frames), np.bool_) for _ in range(2))
        new[rows] = True
        begun[rows] = [not episode.successes for episode in shown.values()]
        self._stream.reset(begun)
        features = self._stream(frames, new).cpu().numpy()
        for row, episode in shown.items():
            episode.features = features[row]
