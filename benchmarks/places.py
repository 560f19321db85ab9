"""How precisely places must be seen for pictures to be of use, and how precisely encoders tell them.

On demonstrations that `robot_eval` filmed under varied looks, a linear map reads the expert's action
(`imitation`, docs/probes.md) from proprioception and, in turn,

- true places of hand, objects and goal in the picture, each coordinate off by so many of 224 pixels;
- features of encoders, all of them and their principal components alone (`policy=pca`).

Of encoders it also tells by how many pixels a linear map from features misses the hand and the first object.

    python -m robot_eval variation=train encoders=[egovideo_tiny:grid,state] probes=only
    python benchmarks/places.py data/robot_eval egovideo_tiny:grid efficientnet_lite0
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import mujoco
import numpy as np
import numpy.typing as npt
import torch

from egorep import load_encoder, probing
from egorep.cache import FeatureCache
from egorep.encoder import Encoder
from egorep.probing import Target
from robot_eval.demos import DemoSet, read_demos
from robot_eval.environment import EnvSettings
from robot_eval.policies.pca import Components
from robot_eval.probes import Questions, questions
from robot_eval.suites import load_suite, make_env
from robot_eval.units import frame_stride

SUITE = "metaworld"
PIXELS = 224
ERRORS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
COUNTS = (32, 64)
CLIP_SECONDS = 1.0  # as in configs/robot_eval/config.yaml

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Demonstrations of one task.

    Attributes:
        settings: of the environment in which they were filmed.
        demos: the demonstrations.
    """

    settings: EnvSettings
    demos: DemoSet

    def read(self, key: str) -> list[npt.NDArray[np.float32]]:
        """An array of every demonstration."""
        return [demo.read(key) for demo in self.demos.demos]

    @cached_property
    def asked(self) -> Questions:
        """What is asked of which steps."""
        suite = load_suite(SUITE)
        entries = suite.entries(self.settings.task)
        return questions(self.read("obs/state"), self.read("actions"), entries, suite.control_hz)

    def looked_at(self, rows: Sequence[npt.NDArray[np.float32]]) -> Floats:
        """The (N, D) steps that are looked at, of (T, D) rows of each demonstration."""
        steps = [row[at] for row, at in zip(rows, self.asked.steps, strict=True)]
        return np.concatenate(steps).astype(np.float64)

    @cached_property
    def proprio(self) -> Floats:
        """(N, P) proprioception."""
        return self.looked_at(self.read("obs/proprio"))

    @cached_property
    def places(self) -> Floats:
        """(N, P, 2) pixels from the picture's middle: the hand, objects, the goal."""
        entries = load_suite(SUITE).entries(self.settings.task)
        points = [*entries.hand, *entries.objects, *entries.goal]
        env = make_env(self.settings)
        seen = []
        with h5py.File(self.demos.path) as file:
            seeds = [int(file[f"data/{demo.name}"].attrs["seed"]) for demo in self.demos.demos]
        for seed, states, at in zip(seeds, self.read("obs/state"), self.asked.steps, strict=True):
            env.reset(seed=seed)  # which gives the camera its place in this demonstration
            seen.append(projected(env._model, self.settings.camera, states[at][:, points]))
        env.close()
        return np.concatenate(seen)

    def imitation(self, seen: Floats, components: int | None = None) -> float:
        """R2 of the expert's action, read from what is seen and proprioception; the mean over folds.

        Args:
            seen: (N, D).
            components: take so many principal components of it, those of the part that is learnt from.
        """
        action = next(target for target in self.asked.targets if target.name == "action")
        scores = []
        for fold in probing.grouped_folds(self.asked.demos):
            learnt = np.concatenate([fold.train, fold.select])
            reduced = seen if components is None else _components(seen, learnt, components)
            inputs = np.concatenate([reduced, self.proprio], axis=1)
            scores.append(_linear(inputs, [action], self.asked.demos, [fold])[0])
        return float(np.mean(scores))

    def missed(self, features: Floats) -> tuple[float, float]:
        """Pixels (root mean square) by which a linear map misses the hand and the first object."""
        targets = [Target(str(place), self.places[:, place]) for place in (0, 1)]
        folds = probing.grouped_folds(self.asked.demos)
        r2 = _linear(features, targets, self.asked.demos, folds)
        hand, thing = (
            float(np.sqrt(1 - score)) * spread for score, spread in zip(r2, self.strays, strict=True)
        )
        return hand, thing

    @property
    def strays(self) -> tuple[float, float]:
        """Pixels (root mean square) by which the hand and the first object are away from their mean."""
        hand, thing = np.sqrt(self.places[:, :2].var(axis=0).sum(axis=1)).tolist()
        return hand, thing


def _linear(
    seen: Floats, targets: Sequence[Target], demos: npt.NDArray[np.int64], folds: Sequence[probing.Fold]
) -> list[float]:
    """R2 of the linear probe, for each target."""
    scores = probing.probe(seen, targets, demos, folds, kinds=("linear",))
    return [score.interval.estimate for score in scores]


def _components(seen: Floats, learnt: npt.NDArray[np.int64], count: int) -> Floats:
    """(N, count), by what is learnt from."""
    values = torch.from_numpy(seen).float()
    components = Components(values.shape[1], count)
    components.fit(values[learnt])
    return components(values).double().numpy()


def projected(model: mujoco.MjModel, camera: str, points: npt.NDArray[np.float32]) -> Floats:
    """(T, P, 2) pixels from the picture's middle, of (T, 3 P) metres in the world."""
    seen = model.camera(camera)
    turn = np.empty(9)
    mujoco.mju_quat2Mat(turn, seen.quat)
    along = (points.reshape(len(points), -1, 3) - seen.pos) @ turn.reshape(3, 3)
    focal = PIXELS / 2 / np.tan(np.deg2rad(model.cam_fovy[seen.id]) / 2)
    return focal * along[..., :2] / -along[..., 2:]


def _tasks(data: Path) -> list[Task]:
    """All tasks of the suite that were filmed under varied looks, of the newest file each."""
    tasks = []
    for folder in sorted((data / "demos" / SUITE).glob("*")):
        for path in sorted(folder.glob("*.hdf5"), key=lambda path: path.stat().st_mtime, reverse=True):
            with h5py.File(path) as file:
                settings = EnvSettings(**json.loads(file["data"].attrs["recipe"])["settings"])
            if settings.variation == "train":
                tasks.append(Task(settings, read_demos(path)))
                break
    return tasks


def _features(data: Path, encoder: Encoder, task: Task) -> Floats:
    """(N, D) of the steps that are looked at, in the windows that runs have."""
    stride = frame_stride(encoder, CLIP_SECONDS, load_suite(SUITE).control_hz)
    cache = FeatureCache(data / "features")
    return task.looked_at([cache.features(encoder, demo, stride) for demo in task.demos.demos])


def _row(name: str, scores: Sequence[float], *more: str) -> str:
    cells = [f"{score:.2f}" for score in (*scores, float(np.mean(scores)))]
    return "| " + " | ".join([name, *cells, *more]) + " |"


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="`data` of robot_eval")
    parser.add_argument("encoders", nargs="*", help="names, as for robot_eval")
    given = parser.parse_args()
    torch.set_num_threads(1)  # of many small decompositions more threads make no faster ones
    encoders = {name: load_encoder(name, engine="openvino") for name in given.encoders}
    tasks = _tasks(given.data)
    if not tasks:
        parser.error(
            f"{given.data} has no demonstrations of {SUITE} under variation=train: run robot_eval first"
        )
    heads = [*(task.settings.task for task in tasks), "mean", "hand, px", "object, px"]
    sys.stdout.write("\n".join(["| seen | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|\n"]))
    nothing = [task.imitation(np.empty((len(task.asked.demos), 0))) for task in tasks]
    sys.stdout.write(_row("proprioception alone", nothing, "", "") + "\n")
    for error in ERRORS:
        draws = np.random.default_rng(0)
        seen = [task.places + draws.normal(scale=error, size=task.places.shape) for task in tasks]
        scores = [
            task.imitation(places.reshape(len(places), -1)) for task, places in zip(tasks, seen, strict=True)
        ]
        missed = f"{error * 2**0.5:.1f}"
        sys.stdout.write(_row(f"places off by {error:g} px", scores, missed, missed) + "\n")
    for name, encoder in encoders.items():
        features = [_features(given.data, encoder, task) for task in tasks]
        pairs = list(zip(tasks, features, strict=True))
        missed_by = [f"{px:.1f}" for px in np.mean([task.missed(seen) for task, seen in pairs], axis=0)]
        sys.stdout.write(_row(name, [task.imitation(seen) for task, seen in pairs], *missed_by) + "\n")
        for count in COUNTS:
            scores = [task.imitation(seen, count) for task, seen in pairs]
            sys.stdout.write(_row(f"{name}, {count} components", scores, "", "") + "\n")
        sys.stdout.flush()
    hand, thing = np.mean([task.strays for task in tasks], axis=0)
    sys.stdout.write(f"\nIn the pictures hands stray by {hand:.0f} px, first objects by {thing:.0f}.\n")


if __name__ == "__main__":
    main()
