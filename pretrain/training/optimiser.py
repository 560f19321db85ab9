"""AdamW as the paper sets it, the learning rate over time, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from pretrain.training.config import TrainConfig


def trained(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def adamw(network: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over what learns in `network`, with weight decay on matrices alone.

    Biases, norms, class tokens and temperatures, which have one dimension or none, do not decay.
    """
    parameters = trained(network)
    # Scalars stand apart: sharded training leaves them whole, and one group must not mix the two kinds.
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        {"params": [p for p in parameters if p.ndim == 0], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.betas[0], config.betas[1]),
        fused=True,  # one pass over the weights instead of ten: a tenth of a step of egovideo_tiny
    )


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the steps of a run; a function of the step alone, so nothing is to be saved.

    Attributes:
        peak: the highest.
        steps: of the run.
        warmup: steps of linear rise; the first step already learns.
        shape: afterwards "constant", or "cosine" towards zero at the end.
    """

    peak: float
    steps: int
    warmup: int
    shape: str

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.shape == "constant":
            return self.peak
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak * 0.5 * (1 + math.cos(math.pi * done))


class Averaged:
    """Exponential moving average of the weights that learn.

    Early on it forgets faster, with decay (1 + n) / (10 + n) after n updates, or it would remember the
    untrained start for 1 / (1 - decay) steps.

    Args:
        network: whose weights, which may be sharded.
        decay: of the average, 0 < decay < 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = trained(network)
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            average.lerp_(parameter.detach(), share)

    @torch.no_grad()
    def take(self) -> None:
        """Replace the average by the weights as they are."""
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            average.copy_(parameter)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the network has the averaged weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            weights = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(weights)
