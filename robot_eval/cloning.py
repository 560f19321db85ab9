"""Behaviour cloning on cached features: mean squared error, Adam, evaluation points on the way."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from egorep.files import replacing
from robot_eval.policies.mlp import MLPConfig, MLPPolicy


@dataclass
class Budget:
    """How long a policy trains.

    Attributes:
        unit: `steps` of the optimiser, or `epochs` over the demonstrations.
        total: of them.
        evaluate_every: a checkpoint stands at each multiple of it; it divides `total`.
    """

    unit: str
    total: int
    evaluate_every: int

    def checkpoints(self, samples: int, batch_size: int) -> list[int]:
        """The checkpoints in optimiser steps; the last is the end of training."""
        scale = 1 if self.unit == "steps" else -(-samples // batch_size)
        return [n * scale for n in range(self.evaluate_every, self.total + 1, self.evaluate_every)]


@dataclass
class Optimiser:
    """Adam's settings.

    Attributes:
        lr: learning rate at the start.
        batch_size: of a minibatch.
        schedule: `constant`, or `cosine`: the learning rate falls to zero over the whole budget.
    """

    lr: float
    batch_size: int
    schedule: str


@dataclass(frozen=True)
class Checkpoint:
    """A policy at one point of its training.

    Attributes:
        step: optimiser steps so far.
        policy: do not keep it beyond the next iteration: it goes on training.
        loss: mean squared error over the steps since the last checkpoint.
    """

    step: int
    policy: MLPPolicy
    loss: float


# Layers draw their weights from torch's one global generator; policies may train side by side in threads.
_global_generator = threading.Lock()


SCHEDULES = ("constant", "cosine")


def _constant(_: int) -> float:
    return 1.0


def _cosine(total: int) -> Callable[[int], float]:
    return lambda step: 0.5 * (1.0 + math.cos(math.pi * step / total))


def _batches(samples: int, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Endless shuffled minibatches of indices; each pass over the samples is a permutation."""
    while True:
        yield from torch.randperm(samples, generator=generator).split(min(size, samples))


def clone(
    inputs: npt.NDArray[np.float32],
    actions: npt.NDArray[np.float32],
    config: MLPConfig,
    optimiser: Optimiser,
    budget: Budget,
    seed: int,
) -> Iterator[Checkpoint]:
    """Train one policy and yield it at each checkpoint, in eval mode.

    Args:
        inputs: (N, D).
        actions: (N, A), what the expert did.
        config: the head.
        optimiser: Adam's settings.
        budget: how long.
        seed: of initialisation and order of the data; the same seed gives the same policy.
    """
    with _global_generator, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = MLPPolicy(inputs.shape[1], actions.shape[1], config)
    x, y = torch.from_numpy(inputs), torch.from_numpy(actions)
    policy.fit_normaliser(x)
    adam = torch.optim.Adam(policy.parameters(), lr=optimiser.lr, fused=True)
    checkpoints = budget.checkpoints(len(x), optimiser.batch_size)
    decay = _cosine(checkpoints[-1]) if optimiser.schedule == "cosine" else _constant
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, decay)
    batches = _batches(len(x), optimiser.batch_size, torch.Generator().manual_seed(seed))
    step = 0
    for checkpoint in checkpoints:
        policy.train()
        total, since = torch.zeros(()), step
        while step < checkpoint:
            batch = next(batches)
            if len(batch) == 1 and len(x) > 1:  # batch norm has no variance of a single sample
                batch = torch.cat([batch, next(batches)])
            loss = torch.nn.functional.mse_loss(policy(x[batch]), y[batch])
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            schedule.step()
            total += loss.detach()
            step += 1
        policy.eval()
        yield Checkpoint(step, policy, float(total / (step - since)))


def save_policy(path: Path, policy: MLPPolicy, metadata: dict[str, Any]) -> None:
    """Write a policy with its normaliser, atomically; `metadata` is stored beside the weights as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file(policy.state_dict(), temporary, metadata={"egorep": json.dumps(metadata, sort_keys=True)})


def load_policy(path: Path) -> tuple[MLPPolicy, dict[str, Any]]:
    """A policy in eval mode, and the metadata that was saved with it."""
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, Any] = json.loads(file.metadata()["egorep"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    config = MLPConfig(**metadata["head"])
    policy = MLPPolicy(metadata["input_dim"], metadata["action_dim"], config)
    policy.load_state_dict(weights)
    return policy.eval(), metadata
