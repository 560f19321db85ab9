"""How well it must be seen where things stand: success of policies that misread it.

Meta-World's policies on proprioception and on where objects and goal are, without a picture. In every episode
all of one coordinate is read with the same error, as a look misleads a reader for as long as it lasts: in
demonstrations, which policies learn to discount, and in rollouts. Errors are Gaussian, of the size at which
the best linear reading of where things stand at the beginning has an R2 of so much: the scale of
`benchmarks/layouts.py`. An R2 of 0 tells nothing beside proprioception.

    python benchmarks/misreading.py data/robot_eval
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hydra import compose, initialize_config_module
from layouts import LEAST_SPREAD
from tqdm import tqdm

from egorep import load_encoder
from egorep.cores import cores
from egorep.intervals import Interval, mean_interval
from robot_eval.cloning import Training, clone
from robot_eval.config import COMMAND, RunConfig, TaskName, parse
from robot_eval.demos import DemoSet, collect
from robot_eval.environment import StateEntries
from robot_eval.inputs import PolicyInputs
from robot_eval.intervals import cluster_wilson
from robot_eval.policies.base import Demonstrations, InputShape, Policy
from robot_eval.rollout import EpisodeRules, Rollouts
from robot_eval.seeds import episode_seeds
from robot_eval.simulators import simulators
from robot_eval.stats import format_cell
from robot_eval.suites import load_suite

READINGS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)  # R2
PROPRIO = 4  # of the state's first entries

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """What is read of a state: entries of it, off by as much in all of an episode.

    Attributes:
        entries: (D,) of the state.
        errors: (D,) standard deviations, in metres; infinite: the entry is read as 0.
    """

    entries: npt.NDArray[np.int64]
    errors: npt.NDArray[np.float64]

    def error(self, seed: int) -> Floats:
        """(D,) of the episode with this seed."""
        drawn = np.random.default_rng((seed, 3)).standard_normal(len(self.errors))
        return (drawn * np.where(np.isfinite(self.errors), self.errors, 0)).astype(np.float32)

    def read(self, states: Floats, errors: Floats) -> Floats:
        """(N, D) of states (N, S) and errors (N, D) or (D,)."""
        return np.where(np.isfinite(self.errors), states[:, self.entries] + errors, 0).astype(np.float32)


@dataclass(frozen=True)
class Misreader:
    """A policy that sees the state through a `Reading`, for `Rollouts`."""

    policy: Policy
    reading: Reading
    looks: int | None = None

    def begin(self, seed: int) -> tuple[Floats, Any]:
        """The episode's error, and what the policy remembers."""
        return self.reading.error(seed), self.policy.begin(seed)

    def act(self, inputs: Floats, memories: Sequence[tuple[Floats, Any]]) -> Floats:
        """(B, A) of states (B, S)."""
        errors, remembered = zip(*memories, strict=True)
        return self.policy.act(self.reading.read(inputs, np.stack(errors)), remembered)


def reading(known: StateEntries, states: Sequence[Floats], r2: float) -> Reading:
    """Where things stand is read with this R2; proprioception without error.

    Args:
        known: which entries of the state are objects and goal.
        states: (T, S) of each demonstration, whose layouts say how much there is to tell.
        r2: 0 to 1; of a coordinate with spread s, errors of s sqrt(1 / r2 - 1) leave so much.
    """
    places = np.array([*known.objects, *known.goal])
    # The second step: at the first, Meta-World has not placed everything yet.
    spread = np.std([episode[1, places] for episode in states], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(spread > LEAST_SPREAD, spread * np.sqrt(1 / np.float64(r2) - 1), 0)
    return Reading(np.array([*range(PROPRIO), *places]), np.concatenate([np.zeros(PROPRIO), errors]))


def trained(run: RunConfig, demos: DemoSet, seen: Reading, seed: int) -> Policy:
    """A policy that learnt from demonstrations, each read with an error of its own."""
    states, actions = ([demo.read(key) for demo in demos.demos] for key in ("obs/state", "actions"))
    inputs = [seen.read(rows, seen.error(episode)) for episode, rows in enumerate(states)]
    data = Demonstrations(
        torch.from_numpy(np.concatenate(inputs)),
        torch.from_numpy(np.concatenate(actions)),
        tuple(len(rows) for rows in actions),
    )
    shape, steps = InputShape((), inputs[0].shape[1]), run.protocol.budget.total
    (checkpoint,) = clone(Training(run.cloned, shape, run.protocol.optimiser, [steps], seed), data)
    return checkpoint.policy


def judged(run: RunConfig, name: TaskName, episodes: int) -> Iterator[tuple[float, list[bool]]]:
    """For each R2 and policy, whether the policy has succeeded at the end of each episode."""
    demos = collect(run.recipe(name, run.policy_seeds[0]), Path(run.data) / "demos", run.workers)
    states = [demo.read("obs/state") for demo in demos.demos]
    known = load_suite(name.suite).entries(name.task)
    jobs = [(reading(known, states, r2), seed, r2) for r2 in READINGS for seed in run.policy_seeds]
    with ThreadPoolExecutor(cores()) as threads:
        learnt = list(threads.map(lambda job: trained(run, demos, *job[:2]), jobs))
    rules = EpisodeRules(run.horizon(name), run.protocol.hold)
    with simulators(run.settings(name, run.variation), run.workers) as pool:
        rollouts = Rollouts(pool, load_encoder("oracle"), PolicyInputs("state"), rules)
        for (seen, seed, r2), policy in zip(jobs, learnt, strict=True):
            results = rollouts.run(Misreader(policy, seen), episode_seeds("held_out", seed, episodes))
            yield r2, [result.success_last for result in results]


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="`data` of robot_eval")
    parser.add_argument("--demos", type=int, default=25, help="that policies learn from")
    parser.add_argument("--seeds", type=int, default=3, help="policies of each kind")
    parser.add_argument("--episodes", type=int, default=30, help="of each policy")
    given = parser.parse_args()
    torch.set_num_threads(1)  # policies side by side are the parallelism
    words = [f"data={given.data}", f"out={given.data}", f"demos={given.demos}", f"seeds={given.seeds}"]
    with initialize_config_module(COMMAND.module, version_base="1.3"):
        run = parse(compose(COMMAND.config, words))
    rates: dict[float, list[Interval]] = {r2: [] for r2 in READINGS}
    for name in tqdm(run.chosen, unit="task", disable=None):
        found: dict[float, list[list[bool]]] = {r2: [] for r2 in READINGS}
        for r2, row in judged(run, name, given.episodes):
            found[r2].append(row)
        for r2, rows in found.items():
            rates[r2].append(cluster_wilson(rows))
    heads = ["R2", *(name.task for name in run.chosen), "mean"]
    sys.stdout.write(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|\n")
    for r2, cells in rates.items():
        texts = map(format_cell, [*cells, mean_interval(cells)])
        sys.stdout.write(f"| {r2:g} | {' | '.join(texts)} |\n")


if __name__ == "__main__":
    main()
