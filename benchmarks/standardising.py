"""Why policies hold standardised features within limits: what varied scenes do to a feature's scale.

Ridge regression from an encoder's features to the simulator's state, on scenes with varied looks that are no
demonstration and no evaluation, with and without the limit; the mean R2 over the state on other scenes.

    python benchmarks/standardising.py [task]
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
import torch

from egorep import load_encoder
from egorep.probing import LIMIT
from robot_eval.environment import EnvSettings
from robot_eval.suites import make_env
from robot_eval.variation import VariationName

SCENES, TRAINING = 200, 140
FIRST_SEED = 9_000_000
RIDGES = (10.0, 100.0, 1e3, 1e4)
VARIATIONS: tuple[VariationName, ...] = ("none", "train")
ENCODERS = ("efficientnet_lite0", "random/efficientnet_lite0")


def scenes(task: str, variation: VariationName) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Pictures (N, 224, 224, 3) and states (N, S) somewhere in the first half of the expert's way."""
    env = make_env(EnvSettings("metaworld", task, "corner2", variation=variation))
    rng = np.random.default_rng(0)
    pictures, states = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + SCENES):
        observation, _ = env.reset(seed=seed)
        for _ in range(rng.integers(0, 40)):
            action = env.expert_action()
            noise = 0.3 * rng.standard_normal(action.shape)
            observation, *_ = env.step(action + noise.astype(np.float32))
        pictures.append(env.render())
        states.append(observation["state"])
    env.close()
    return np.stack(pictures), np.stack(states).astype(np.float64)


def r2(features: npt.NDArray[np.float64], states: npt.NDArray[np.float64], limit: float) -> float:
    """Of ridge regression, at its best strength, on the scenes that it was not fitted on."""
    states = states[:, states[:TRAINING].std(0) > 1e-3]
    mean, std = features[:TRAINING].mean(0), features[:TRAINING].std(0)
    x = ((features - mean) / np.where(std > 1e-5 * np.abs(mean), std, np.inf)).clip(-limit, limit)
    fit, test = x[:TRAINING], x[TRAINING:]
    centre = states[:TRAINING].mean(0)
    scores = []
    for ridge in RIDGES:
        weights = np.linalg.solve(fit @ fit.T + ridge * np.eye(TRAINING), states[:TRAINING] - centre)
        error = states[TRAINING:] - centre - test @ fit.T @ weights
        scores.append(float(np.mean(1 - (error**2).mean(0) / states[TRAINING:].var(0))))
    return max(scores)


def main() -> None:
    """Print one line per kind of scene and encoder."""
    task = sys.argv[1] if len(sys.argv) > 1 else "button-press-v3"
    torch.set_num_threads(1)
    encoders = {name: load_encoder(name, engine="openvino") for name in ENCODERS}
    for variation in VARIATIONS:
        pictures, states = scenes(task, variation)
        for name, encoder in encoders.items():
            features = encoder(pictures).numpy().astype(np.float64)
            free, held = (r2(features, states, limit) for limit in (np.inf, LIMIT))
            print(f"{task} {variation:6} {name:28} R2 {free:.2f}, within {LIMIT:g} deviations {held:.2f}")


if __name__ == "__main__":
    main()
