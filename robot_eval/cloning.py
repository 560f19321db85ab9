"""Behaviour cloning on cached features: Adam, evaluation points on the way, and policies on disk."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from egorep.files import replacing
from robot_eval.policies import PolicyConfig
from robot_eval.policies.base import ClonedPolicy, Demonstrations, InputShape, PictureSource, Policy


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
        loss: the policy's own, its mean over the steps since the last checkpoint.
    """

    step: int
    policy: Policy
    loss: float


@dataclass(frozen=True)
class Training:
    """One policy to train; all of it can be handed to another process.

    Attributes:
        policy: what it is.
        shape: of its inputs.
        optimiser: Adam's settings.
        checkpoints: rising numbers of optimiser steps; the last is the end.
        seed: of initialisation and order of the data; the same seed gives the same policy.
        pictures: how it sees them, where it trains on pictures.
    """

    policy: PolicyConfig
    shape: InputShape
    optimiser: Optimiser
    checkpoints: Sequence[int]
    seed: int
    pictures: PictureSource | None = None

    @property
    def description(self) -> dict[str, Any]:
        """What the policy is made of, for `save_policy`."""
        return {
            "config": self.policy.to_dict(),
            "shape": asdict(self.shape),
            "pictures": None if self.pictures is None else asdict(self.pictures),
        }

    def build(self, action_dim: int) -> Policy:
        """The policy, fresh: the same for the same seed."""
        more = {} if self.pictures is None else {"pictures": self.pictures}
        with seeded(self.seed):
            return self.policy.build(self.shape, action_dim, **more)


# Layers draw their weights from torch's one global generator; policies may train side by side in threads.
_global_generator = threading.Lock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's global generator is this thread's, and starts at `seed`."""
    with _global_generator, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


SCHEDULES = ("constant", "cosine")


def schedule(optimiser: Optimizer, kind: str, steps: int) -> LambdaLR:
    """The learning rate over a whole training of `steps`; `kind` is one of `SCHEDULES`."""
    return LambdaLR(optimiser, _cosine(steps) if kind == "cosine" else _constant)


def _constant(_: int) -> float:
    return 1.0


def _cosine(total: int) -> Callable[[int], float]:
    return lambda step: 0.5 * (1.0 + math.cos(math.pi * step / total))


def _batches(samples: int, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Endless shuffled minibatches of indices; each pass over the samples is a permutation."""
    while True:
        yield from torch.randperm(samples, generator=generator).split(min(size, samples))


def clone(training: Training, data: Demonstrations) -> Iterator[Checkpoint]:
    """Train one policy and yield it at each checkpoint, in eval mode.

    Args:
        training: what to train; a kind that is a `ClonedPolicy`.
        data: what the expert saw and did.
    """
    policy = training.build(data.actions.shape[1])
    assert isinstance(policy, ClonedPolicy)
    policy.fit(data)
    settings = training.optimiser
    learning = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(learning, lr=settings.lr, fused=True)
    rate = schedule(adam, settings.schedule, training.checkpoints[-1])
    # Noise has a generator of its own, so that a policy that draws some sees the same order of the data.
    noise = torch.Generator().manual_seed(training.seed)
    batches = _batches(len(data), settings.batch_size, torch.Generator().manual_seed(training.seed))
    step = 0
    for checkpoint in training.checkpoints:
        policy.train()
        total, since = torch.zeros(()), step
        while step < checkpoint:
            batch = next(batches)
            if len(batch) == 1 and len(data) > 1:  # batch norm has no variance of a single sample
                batch = torch.cat([batch, next(batches)])
            loss = policy.loss(data, batch, noise)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            rate.step()
            policy.advance()
            total += loss.detach()
            step += 1
        policy.eval()
        yield Checkpoint(step, policy, float(total / (step - since)))


def clone_with_robomimic(training: Training, data: Demonstrations | Path) -> Iterator[Checkpoint]:
    """Let robomimic train a policy, otherwise as `clone`. It draws from torch's global generator throughout.

    Args:
        training: what to train; of kind `robomimic`.
        data: what the expert saw and did: cached features, or the file of demonstrations with the pictures.
    """
    from robot_eval.policies.robomimic import RobomimicPolicy, train

    settings, seed = training.optimiser, training.seed
    policy = training.build(data.actions.shape[1] if isinstance(data, Demonstrations) else _actions(data))
    assert isinstance(policy, RobomimicPolicy)
    adam = policy.algo.optimizers["policy"]
    for group in adam.param_groups:
        group["lr"] = settings.lr
    rate = schedule(adam, settings.schedule, training.checkpoints[-1])
    adam.register_step_post_hook(lambda *_: rate.step())
    losses = train(policy, data, settings.batch_size, training.checkpoints, seed)
    with seeded(seed):
        for step, loss in zip(training.checkpoints, losses, strict=True):
            policy.eval()
            yield Checkpoint(step, policy, loss)


def _actions(demos: Path) -> int:
    with h5py.File(demos) as file:
        return int(file["data/demo_0/actions"].shape[1])


def save_policy(path: Path, policy: Policy, metadata: dict[str, Any]) -> None:
    """Write a policy with its normaliser, atomically; `metadata` is stored beside the weights as JSON.

    Args:
        path: of the file.
        policy: what to write.
        metadata: anything; `load_policy` needs "policy", which is `Training.description`, and "action_dim".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Networks of robomimic hold some tensors twice, which safetensors refuses.
    weights = {name: weight.detach().clone() for name, weight in policy.state_dict().items()}
    with replacing(path) as temporary:
        # Its own way to write a file would leave it to the owner alone, whatever the umask says.
        temporary.write_bytes(save(weights, metadata={"egorep": json.dumps(metadata, sort_keys=True)}))


def load_policy(path: Path) -> tuple[Policy, dict[str, Any]]:
    """A policy in eval mode, and the metadata that was saved with it.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: robomimic is not installed, and the policy is of it.
        FileNotFoundError, ConnectionError, ValueError: a policy on pictures, whose encoder cannot be had or
            is another now.
    """
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, Any] = json.loads(file.metadata()["egorep"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    built = metadata["policy"]
    shape = InputShape(tuple(built["shape"]["visual"]), built["shape"]["other"])
    more = {} if built["pictures"] is None else {"pictures": PictureSource(**built["pictures"])}
    with seeded(0):
        policy = PolicyConfig.read(built["config"]).build(shape, metadata["action_dim"], **more)
    policy.load_state_dict(weights)
    return policy.eval(), metadata
