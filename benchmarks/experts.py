"""How often a suite's experts succeed: by the suite's own measure, and by the strict one.

    python benchmarks/experts.py robosuite agentview Lift Can Square Stack Door

Fifty episodes a task, seeds from 0 on, which no demonstration and no evaluation uses, without noise and with
the quick protocol's on the executed actions. An episode ends once the task has stayed strictly done for ten
steps, or after the suite's short horizon.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from robot_eval.environment import EnvSettings, RobotEnv
from robot_eval.suites import load_suite, make_env

EPISODES, HOLD, NOISES = 50, 10, (0.0, 0.1)


def episode(env: RobotEnv, seed: int, noise: float, horizon: int) -> tuple[bool, int | None]:
    """Whether the suite's measure was ever met, and after how many steps the strict one stayed met."""
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    met, held = False, 0
    for step in range(horizon):
        action = env.expert_action()
        *_, info = env.step(action + noise * rng.standard_normal(action.shape).astype(np.float32))
        met |= info["success"]
        held = held + 1 if info["strict_success"] else 0
        if held == HOLD:
            return met, step + 1 - HOLD
    return met, None


def judge(suite: str, camera: str, task: str, noise: float) -> str:
    """One row of the table."""
    env = make_env(EnvSettings(suite, task, camera))
    horizon = load_suite(suite).short_horizon
    outcomes = [episode(env, seed, noise, horizon) for seed in range(EPISODES)]
    steps = [taken for _, taken in outcomes if taken is not None]
    mean = f"{np.mean(steps):.0f}" if steps else "-"
    loose = sum(met for met, _ in outcomes)
    return f"| {task} | {noise} | {loose} | {len(steps)} | {mean} |"


def main() -> None:
    """Print the table, a row as soon as it is known."""
    suite, camera, *tasks = sys.argv[1:]
    print(f"| {suite} | noise | success of {EPISODES} | strict success | mean steps |\n|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        jobs = [pool.submit(judge, suite, camera, task, noise) for task in tasks for noise in NOISES]
        for job in jobs:
            print(job.result(), flush=True)


if __name__ == "__main__":
    main()
