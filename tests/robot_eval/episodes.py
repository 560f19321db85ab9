"""Episodes as the suites' tests play them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robot_eval.environment import RobotEnv


def play(
    env: RobotEnv, seed: int, steps: int, act: Callable[[RobotEnv], np.ndarray] | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Everything that is felt, and the first and last picture; the expert acts unless another is given."""
    observation, _ = env.reset(seed=seed)
    path, pictures = [np.concatenate([observation["state"], env.simulator_state])], [env.render()]
    for _ in range(steps):
        observation, *_ = env.step(act(env) if act else env.expert_action())
        path.append(np.concatenate([observation["state"], env.simulator_state]))
    return np.stack(path), [*pictures, env.render()]
