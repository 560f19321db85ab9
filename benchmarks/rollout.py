"""Rollouts: ours against the naive loop, in one run.

Naive is what a first script does: the suite's own renderer with its defaults, one environment, one picture
at a time through torch. Ours: simulators in processes, the fast look, all pictures encoded together.

    python benchmarks/rollout.py
"""

from __future__ import annotations

import os
import statistics
import time

STEPS, REPEATS = 60, 5
TASK, CAMERA = "hammer-v3", "corner2"


def naive() -> float:
    """Control steps per second of the naive loop."""
    import numpy as np
    import torch
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

    from egorep import load_encoder

    encoder = load_encoder("efficientnet_lite0")
    make = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{TASK}-goal-observable"]
    env = make(seed=0, render_mode="rgb_array", camera_name=CAMERA, width=224, height=224)
    env.reset()
    encoder(env.render()[None].copy())
    began = time.perf_counter()
    for _ in range(STEPS):
        env.step(np.zeros(4, np.float32))
        with torch.no_grad():
            encoder(env.render()[None].copy())
    return STEPS / (time.perf_counter() - began)


class Still:
    """A policy that does nothing, for free."""

    def act(self, inputs):
        """Zeros (B, 4)."""
        import numpy as np

        return np.zeros((len(inputs), 4), np.float32)


def ours(rollouts, episodes: int) -> float:
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
        pairs = []
        for _ in range(REPEATS):
            torch.set_num_threads(threads)
            slow = naive()
            torch.set_num_threads(1)  # as `robot_eval` does
            pairs.append((slow, ours(rollouts, count)))
    ratio = statistics.median(fast / slow for slow, fast in pairs)
    print(f"naive {statistics.median(slow for slow, _ in pairs):7.1f} steps/s")
    print(f"ours  {statistics.median(fast for _, fast in pairs):7.1f} steps/s")
    print(f"ratio {ratio:7.1f} (median of {REPEATS} pairs, {TASK}, 224 px, efficientnet_lite0)")


if __name__ == "__main__":
    main()
