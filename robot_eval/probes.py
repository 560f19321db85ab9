"""What the features of demonstrations know: where hand and objects are, what moves, and where the hand goes.

Probes (`egorep.probing`) read these from what a policy sees of the pictures, in demonstrations alone, and ask
the suite's `entries` where the truth stands in the state. Demonstrations record no contacts: that an object
moves stands for that it is held or pushed. From the same they read what the expert does. The encoder `state`
is proprioception, which policies have anyway; `imitation` is the expert's action read from both together, of
`oracle` from the full state.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from egorep import probing
from egorep.probing import Score, Target
from robot_eval.demos import content_key
from robot_eval.environment import StateEntries
from robot_eval.probe_results import TARGETS, Probed, ProbeRow
from robot_eval.suites import load_suite

_logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]

AHEAD_SECONDS = 0.25
_INSTANTS = 40  # of a demonstration at most: neighbouring frames say nearly the same, and probes take longer
_LEAST = 1e-3  # standard deviation, metres or rad, below which a target does not vary


@dataclass(frozen=True)
class Questions:
    """What probes ask of a task's demonstrations.

    Attributes:
        steps: of each demonstration, the steps that are looked at.
        demos: (N,) of every such step the number of its demonstration.
        targets: that vary, each over the N steps: `hand` (3 metres an arm), `object` (metres or rad),
            `object moves`, `direction`, where the hand goes within the next quarter of a second (metres),
            `layout`, where objects and goal were when the demonstration began (metres or rad), and `action`,
            the expert's (the suite's own units).
    """

    steps: list[npt.NDArray[np.int64]]
    demos: npt.NDArray[np.int64]
    targets: list[Target]

    def answers(self, known: Sequence[Floats], targets: Sequence[Target]) -> list[Score]:
        """What probes read of targets from what is `known`, (T, D) of each demonstration."""
        if not targets:
            return []
        seen = np.concatenate([rows[at] for rows, at in zip(known, self.steps, strict=True)])
        return probing.probe(seen, targets, self.demos, probing.grouped_folds(self.demos))


def questions(
    states: Sequence[Floats], actions: Sequence[Floats], entries: StateEntries, control_hz: float
) -> Questions:
    """What to ask of demonstrations.

    Args:
        states: (T, S) of each demonstration.
        actions: (T, A) of each.
        entries: of the state.
        control_hz: control steps per second.
    """
    ahead = max(1, round(AHEAD_SECONDS * control_hz))
    steps = [_steps(len(state), ahead) for state in states]
    hand, objects, placed = list(entries.hand), list(entries.objects), [*entries.objects, *entries.goal]
    speeds = [_speeds(state[:, objects].astype(np.float64), control_hz) for state in states]
    pairs = list(zip(states, steps, strict=True))
    found: dict[str, list[npt.NDArray[Any]]] = {
        "hand": [state[at][:, hand] for state, at in pairs],
        "object": [state[at][:, objects] for state, at in pairs],
        "object moves": [speed[at] > entries.moving for speed, at in zip(speeds, steps, strict=True)],
        "direction": [state[at + ahead][:, hand] - state[at][:, hand] for state, at in pairs],
        "layout": [np.tile(state[0, placed], (len(at), 1)) for state, at in pairs],
        "action": [done[at] for done, at in zip(actions, steps, strict=True)],
    }
    targets = [Target(name, np.concatenate(parts)) for name, parts in found.items()]
    return Questions(
        steps,
        np.repeat(np.arange(len(steps)), [len(at) for at in steps]),
        [target for target in targets if _varies(target.values)],
    )


def _steps(length: int, ahead: int) -> npt.NDArray[np.int64]:
    """Equally far apart, each with a step before it and `ahead` steps after it."""
    last = length - 1 - ahead
    if last < 1:
        return np.empty(0, np.int64)
    return np.unique(np.linspace(1, last, min(last, _INSTANTS)).round().astype(np.int64))


def _speeds(objects: npt.NDArray[np.float64], control_hz: float) -> npt.NDArray[np.float64]:
    """(T,) of the fastest object, from the step before to the step after; per second."""
    size = 3 if objects.shape[1] % 3 == 0 else 1
    apart = objects.reshape(len(objects), -1, size)
    moves = np.zeros(apart.shape[:2])
    moves[1:-1] = np.linalg.norm(apart[2:] - apart[:-2], axis=-1)
    return moves.max(axis=1) * control_hz / 2


def _varies(values: npt.NDArray[Any]) -> bool:
    if values.dtype == np.bool_:
        return bool(values.any() and not values.all())
    return values.size > 0 and float(np.sqrt(values.var(axis=0).mean())) > _LEAST


@dataclass(frozen=True)
class ProbeUnit(Probed):
    """The probes of one encoder on one task's demonstrations."""

    @property
    def key(self) -> str:
        """Hash of everything that decides what is found."""
        suite = load_suite(self.suite)
        asked = {**asdict(suite.entries(self.task)), "ahead": AHEAD_SECONDS, "control_hz": suite.control_hz}
        return content_key({**asdict(self), "asked": asked, "targets": TARGETS, "version": probing.VERSION})

    def rows(
        self,
        features: Sequence[Floats] | None,
        inputs: Sequence[Floats],
        states: Sequence[Floats],
        actions: Sequence[Floats],
    ) -> list[ProbeRow]:
        """Probe features.

        Args:
            features: (T, D) of each demonstration, what a policy sees of the pictures, or proprioception in
                their place; None of an encoder that gives the full state, in which all would be found.
            inputs: (T, I) of each demonstration, all that a policy sees.
            states: (T, S) of each demonstration.
            actions: (T, A) of each demonstration.

        Returns:
            A row for each target that varies and each kind of probe. None of fewer than
            `egorep.probing.FOLDS` demonstrations that last long enough to see where the hand goes.
        """
        suite = load_suite(self.suite)
        asked = questions(states, actions, suite.entries(self.task), suite.control_hz)
        episodes = len(np.unique(asked.demos))
        if episodes < probing.FOLDS or not asked.targets:
            _logger.debug("%s/%s: %d demonstrations are too few to probe", self.suite, self.task, episodes)
            return []
        expert = [replace(target, name="imitation") for target in asked.targets if target.name == "action"]
        scores = [] if features is None else asked.answers(features, asked.targets)
        scores += asked.answers(inputs, expert)
        return [
            ProbeRow(
                **asdict(self),
                target=target,
                probe=kind,
                measure=measure,
                estimate=interval.estimate,
                low=interval.low,
                high=interval.high,
                instants=len(asked.demos),
                episodes=episodes,
            )
            for target, kind, measure, interval in scores
        ]
