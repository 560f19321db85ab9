"""Result rows as a run would leave them, from a known rate per encoder and task."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from robot_eval.results import EvaluationRow

RATES = {
    "egovideo_tiny": {"assembly-v3": 0.7, "hammer-v3": 0.6, "drawer-open-v3": 1.0},
    "random": {"assembly-v3": 0.15, "hammer-v3": 0.4, "drawer-open-v3": 1.0},
    "state": {"assembly-v3": 0.05, "hammer-v3": 0.2, "drawer-open-v3": 1.0},
}


def make_row(**changes: Any) -> EvaluationRow:
    row = EvaluationRow(
        encoder="egovideo_tiny",
        encoder_fingerprint="3f1c09ab77de",
        suite="metaworld",
        task="assembly-v3",
        policy="mlp",
        protocol="egorep",
        seed=0,
        train_variation="train",
        variation="train",
        render="egl 224x224",
        camera="corner2",
        checkpoint=1000,
        role="checkpoint",
        success_rule="any",
        episode_seeds=[10, 11, 12, 13],
        success_any=[True, True, True, False],
        success_last=[True, False, True, False],
        episode_steps=[80, 100, 90, 500],
        demos=25,
        demos_fingerprint="d3m0",
        demos_discarded=1,
        frame_hash="9f0e",
        train_loss=0.01,
        train_seconds=12.5,
        rollout_seconds=7.25,
        restarts=0,
        versions={"mujoco": "3.3.0", "metaworld": "3.1.1"},
    )
    return replace(row, **changes)


def with_outcomes(row: EvaluationRow, outcomes: list[bool], first_seed: int = 0) -> EvaluationRow:
    return replace(
        row,
        success_any=list(outcomes),
        success_last=list(outcomes),
        episode_seeds=list(range(first_seed, first_seed + len(outcomes))),
        episode_steps=[100] * len(outcomes),
    )


def make_suites(loose: bool = True) -> list[EvaluationRow]:
    """A run over two suites: three tasks of Meta-World, and a task of the kitchen.

    Args:
        loose: the kitchen's own measure counts episodes that the strict one does not.
    """
    rows = [row for row in make_run(episodes=10, checkpoints=2) if row.variation == "train"]
    kitchen = []
    for row in rows:
        if row.task == "assembly-v3":
            strict = [
                success and (index % 2 == 0 or not loose) for index, success in enumerate(row.success_any)
            ]
            kitchen.append(
                replace(
                    row,
                    suite="franka_kitchen",
                    task="micro_open",
                    camera="left",
                    horizon=50,
                    strict_any=strict,
                    strict_last=strict,
                )
            )
    return rows + kitchen


# Of ten episodes; what fails under a change is among what succeeds without. `state` sees no picture.
SUCCEEDED = {
    "seeing": {"none": 8, "camera": 3, "starts": 6},
    "state": {"none": 5, "camera": 5, "starts": 2},
}


def make_changes(places: Sequence[tuple[str, str]] = (("metaworld", "hammer-v3"),)) -> list[EvaluationRow]:
    """Policies that learnt under "none", three seeds each, judged under it and under two single changes.

    Args:
        places: suites and tasks, on all of which the same succeeds.
    """
    rows = []
    for (suite, task), seed, (encoder, judged) in itertools.product(places, range(3), SUCCEEDED.items()):
        base = make_row(suite=suite, task=task, encoder=encoder, encoder_fingerprint=encoder, seed=seed)
        for variation, count in judged.items():
            row = replace(base, role="held_out", train_variation="none", variation=variation)
            rows.append(with_outcomes(row, [True] * count + [False] * (10 - count), first_seed=1000))
    return rows


def make_run(episodes: int = 20, seeds: int = 3, checkpoints: int = 4) -> list[EvaluationRow]:
    """A full run: every encoder and task, checkpoints, held out under the train and the unseen variation."""
    rows = []
    for encoder, tasks in RATES.items():
        for task, rate in tasks.items():
            for seed in range(seeds):
                generator = np.random.default_rng(zlib.crc32(f"{encoder}/{task}/{seed}".encode()))
                fingerprint = f"{zlib.crc32(encoder.encode()):08x}"
                base = make_row(encoder=encoder, encoder_fingerprint=fingerprint, task=task, seed=seed)
                for index in range(1, checkpoints + 1):
                    step = replace(base, checkpoint=5000 * index, train_seconds=30.0 * index)
                    reached = rate * min(1.0, 0.4 + 0.6 * index / checkpoints)
                    rows.append(with_outcomes(step, list(map(bool, generator.random(episodes) < reached))))
                for variation, factor in (("train", 1.0), ("unseen", 0.6 if rate < 1 else 1.0)):
                    judged = replace(
                        base, role="held_out", variation=variation, checkpoint=5000 * checkpoints
                    )
                    outcomes = list(map(bool, generator.random(episodes) < rate * factor))
                    rows.append(with_outcomes(judged, outcomes, first_seed=1000))
    return rows
