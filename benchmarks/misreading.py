"""How well it must be seen where things stand: success of policies that misread it.

Meta-World's policies on proprioception and on where objects and goal are, without a picture. In every episode
all of one coordinate is read with the same error, as a look misleads a reader for as long as it lasts: in
demonstrations, which policies learn to discount, and in rollouts. Errors are Gaussian, of the size at which
the best linear reading of where things stand at the beginning has an R2 of so much: the scale of
`benchmarks/layouts.py`. An R2 of 0 tells nothing beside proprioception.

    python -m robot_eval encoders=[state] probes=only        # collects the demonstrations
    python benchmarks/misreading.py data/robot_eval
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from egorep import load_encoder
from egorep.cores import cores
from egorep.intervals import mean_interval
from robot_eval.cloning import Optimiser, Training, clone
from robot_eval.demos import DemoSet, read_demos
from robot_eval.environment import EnvSettings
from robot_eval.inputs import PolicyInputs
from robot_eval.intervals import cluster_wilson
from robot_eval.policies import PolicyConfig
from robot_eval.policies.base import Demonstrations, InputShape, Policy
from robot_eval.rollout import EpisodeRules, Rollouts
from robot_eval.simulators import simulators
from robot_eval.suites import load_suite
from robot_eval.units import episode_seeds

SUITE = "metaworld"
TASKS = ("assembly-v3", "bin-picking-v3", "button-press-v3", "drawer-open-v3", "hammer-v3")
READINGS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)  # R2
CAMERA = "corner2"  # nobody looks
PROPRIO = 4  # of the state's first entries
LEAST_SPREAD = 1e-3  # metres: an entry that varies less is the same in all layouts
# As in configs/robot_eval/protocol/quick.yaml and policy/r3m.yaml.
HEAD = {
    "name": "r3m",
    "kind": "mlp",
    "sees": "features",
    "hidden": [256, 256],
    "activation": "tanh",
    "batch_norm": True,
}
OPTIMISER = Optimiser(1e-3, 128, "cosine")
STEPS, HOLD = 5000, 10

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

    def begin(self, seed: int) -> tuple[Floats, Any]:
        """The episode's error, and what the policy remembers."""
        return self.reading.error(seed), self.policy.begin(seed)

    def act(self, inputs: Floats, memories: Sequence[tuple[Floats, Any]]) -> Floats:
        """(B, A) of states (B, S)."""
        errors, remembered = zip(*memories, strict=True)
        return self.policy.act(self.reading.read(inputs, np.stack(errors)), remembered)


def demonstrations(data: Path, task: str, count: int) -> DemoSet:
    """Those of a task as it is, as `robot_eval` collects them.

    Raises:
        FileNotFoundError: there are none.
    """
    for path in sorted((data / "demos" / SUITE / task).glob("*.hdf5")):
        with h5py.File(path) as file:
            variation = json.loads(file["data"].attrs["recipe"])["settings"]["variation"]
        demos = read_demos(path)
        if variation == "none" and len(demos.demos) == count:
            return demos
    raise FileNotFoundError(
        f"{data} has no {count} demonstrations of {task} without variation: "
        f"python -m robot_eval encoders=[state] demos={count} probes=only collects them"
    )


def reading(task: str, states: Sequence[Floats], r2: float) -> Reading:
    """Where things stand is read with this R2; proprioception without error.

    Args:
        task: decides which entries of the state are objects and goal.
        states: (T, S) of each demonstration, whose layouts say how much there is to tell.
        r2: 0 to 1; of a coordinate with spread s, errors of s sqrt(1 / r2 - 1) leave so much.
    """
    known = load_suite(SUITE).entries(task)
    places = np.array([*known.objects, *known.goal])
    # The second step: at the first, Meta-World has not placed everything yet.
    spread = np.std([episode[1, places] for episode in states], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(spread > LEAST_SPREAD, spread * np.sqrt(1 / np.float64(r2) - 1), 0)
    return Reading(np.array([*range(PROPRIO), *places]), np.concatenate([np.zeros(PROPRIO), errors]))


def trained(demos: DemoSet, seen: Reading, seed: int) -> Policy:
    """A policy that learnt from demonstrations, each read with an error of its own."""
    states, actions = ([demo.read(key) for demo in demos.demos] for key in ("obs/state", "actions"))
    inputs = [seen.read(rows, seen.error(episode)) for episode, rows in enumerate(states)]
    data = Demonstrations(
        torch.from_numpy(np.concatenate(inputs)),
        torch.from_numpy(np.concatenate(actions)),
        tuple(len(rows) for rows in actions),
    )
    shape = InputShape((), inputs[0].shape[1])
    training = Training(PolicyConfig.read(HEAD), shape, OPTIMISER, [STEPS], seed)
    (checkpoint,) = clone(training, data)
    return checkpoint.policy


def judged(task: str, demos: DemoSet, policies: int, episodes: int) -> Iterator[tuple[float, list[bool]]]:
    """For each R2 and policy, whether the policy has succeeded at the end of each episode."""
    states = [demo.read("obs/state") for demo in demos.demos]
    jobs = [(r2, reading(task, states, r2), seed) for r2 in READINGS for seed in range(policies)]
    with ThreadPoolExecutor(cores()) as threads:
        learnt = list(threads.map(lambda job: trained(demos, *job[1:]), jobs))
    rules = EpisodeRules(load_suite(SUITE).short_horizon, HOLD)
    with simulators(EnvSettings(SUITE, task, CAMERA), 2 * cores()) as pool:
        rollouts = Rollouts(pool, load_encoder("oracle"), PolicyInputs("state"), rules)
        for (r2, seen, seed), policy in zip(jobs, learnt, strict=True):
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
    os.environ.setdefault("MUJOCO_GL", "egl")
    sets = {task: demonstrations(given.data, task, given.demos) for task in TASKS}
    found: dict[tuple[str, float], list[list[bool]]] = {}
    for task, demos in tqdm(sets.items(), unit="task", disable=None):
        for r2, row in judged(task, demos, given.seeds, given.episodes):
            found.setdefault((task, r2), []).append(row)
    sys.stdout.write(f"| R2 | {' | '.join(TASKS)} | mean |\n{'|---' * (len(TASKS) + 2)}|\n")
    for r2 in READINGS:
        rates = [cluster_wilson(found[task, r2]) for task in TASKS]
        cells = [
            f"{one.estimate:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in [*rates, mean_interval(rates)]
        ]
        sys.stdout.write(f"| {r2:g} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
