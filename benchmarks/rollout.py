"""Rollouts: ours against the naive loop, in one run.

Naive is what a first script does: the suite's own renderer with its defaults, one environment, one picture
at a time through torch. Ours: simulators in processes, the fast look, all pictures encoded together.

    python benchmarks/rollout.py
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # what imports MuJoCo waits until `main` has said how it draws
    from robot_eval.rollout import Rollouts

STEPS, REPEATS = 60, 5
TASK, CAMERA = "hammer-v3", "corner2"


def naive(side: int) -> float:
    """Control steps per second of the naive loop with pictures of `side` pixels."""
    import gymnasium
    import metaworld  # noqa: F401 - registers its environments

    from egorep import load_encoder

    encoder = load_encoder("efficientnet_lite0")
    env: gymnasium.Env[Any, Any] = gymnasium.make(
        "Meta-World/MT1",
        env_name=TASK,
        seed=0,
        render_mode="rgb_array",
        camera_name=CAMERA,
        width=side,
        height=side,
    )
    env.reset()
    encoder(np.array([env.render()]))
    began = time.perf_counter()
    for _ in range(STEPS):
        env.step(np.zeros(4, np.float32))
        encoder(np.array([env.render()]))
    rate = STEPS / (time.perf_counter() - began)
    env.close()
    return rate


class Still:
    """A policy that does nothing, for free."""

    looks: int | None = None

    def begin(self, seed: int) -> None:
        """It remembers nothing."""

    def act(self, inputs: npt.NDArray[np.float32], memories: Sequence[None]) -> npt.NDArray[np.float32]:  # noqa: ARG002
        """Zeros (B, 4)."""
        return np.zeros((len(memories), 4), np.float32)


def ours(rollouts: Rollouts, episodes: int) -> float:
    """Control steps per second of vectorised rollouts."""
    began = time.perf_counter()
    results = rollouts.run(Still(), range(episodes))
    return sum(result.steps for result in results) / (time.perf_counter() - began)


def main() -> None:
    """Alternate the two and print the ratio of each pair."""
    import torch

    from egorep import load_encoder
    from robot_eval.environment import EnvSettings
    from robot_eval.inputs import PolicyInputs
    from robot_eval.rollout import EpisodeRules, Rollouts
    from robot_eval.simulators import simulators

    os.environ.setdefault("MUJOCO_GL", "egl")
    count = 2 * (os.cpu_count() or 1)
    encoder = load_encoder("efficientnet_lite0", engine="openvino")
    threads = torch.get_num_threads()
    with simulators(EnvSettings("metaworld", TASK, CAMERA), count) as pool:
        rollouts = Rollouts(pool, encoder, PolicyInputs("picture"), EpisodeRules(STEPS, 0))
        ours(rollouts, count)
        rates: dict[str, list[float]] = {"suite's default, 480 px": [], "naive at 224 px": [], "ours": []}
        for _ in range(REPEATS):
            torch.set_num_threads(threads)
            rates["suite's default, 480 px"].append(naive(480))
            rates["naive at 224 px"].append(naive(224))
            torch.set_num_threads(1)  # as `robot_eval` does
            rates["ours"].append(ours(rollouts, count))
    for name, values in rates.items():
        ratio = statistics.median(fast / slow for slow, fast in zip(values, rates["ours"], strict=True))
        print(f"{name:24} {statistics.median(values):6.1f} steps/s, ours is {ratio:.1f} times that")


if __name__ == "__main__":
    main()
