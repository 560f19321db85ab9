"""The heads of R3M and CortexBench: batch norm, then a multilayer perceptron that regresses actions.

Sources: R3M (Nair et al. 2022, evaluation code: batch norm, 256-256, tanh) and CortexBench (Majumdar et al.
2023, configs: batch norm, 256-256-256, ReLU). Ours adds one thing: inputs are standardised on the training
demonstrations first, because untrained networks give features as small as 1e-9, which batch norm's epsilon
would erase, and held within `LIMIT` deviations, because a feature that a few demonstrations show a little of
stands hundreds of deviations away where a new scene shows it, and would drown all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}

# Rows are computed in blocks of one fixed size: the same input then gives the same action, bit for bit,
# whatever else is evaluated beside it, so a resumed run repeats an uninterrupted one.
_BLOCK = 8
# In deviations of the training demonstrations. Ridge regression from features of varied scenes to positions
# does better with it than without (`benchmarks/standardising.py`).
LIMIT = 5.0
# A dimension whose spread is below this share of its mean is rounding noise.
_LEAST_SPREAD = 1e-5


@dataclass(frozen=True)
class MLPConfig:
    """Sizes of the head.

    Attributes:
        hidden: widths of the hidden layers.
        activation: `tanh` or `relu`.
        batch_norm: normalise the standardised inputs once more, per batch, as both papers do.
    """

    hidden: Sequence[int]
    activation: str
    batch_norm: bool


class MLPPolicy(nn.Module):
    """Inputs (B, D) to actions (B, A); carries the normaliser of its inputs.

    Args:
        input_dim: D.
        action_dim: A.
        config: sizes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, input_dim: int, action_dim: int, config: MLPConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("std", torch.ones(input_dim))
        layers: list[nn.Module] = [nn.BatchNorm1d(input_dim)] if config.batch_norm else []
        width = input_dim
        for hidden in config.hidden:
            layers += [nn.Linear(width, hidden), ACTIVATIONS[config.activation]()]
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, action_dim))

    def fit_normaliser(self, inputs: Tensor) -> None:
        """Standardise like `inputs` (N, D) from now on; dimensions that do not vary become 0."""
        mean, std = inputs.mean(0), inputs.std(0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > _LEAST_SPREAD * mean.abs(), std, torch.inf))

    def forward(self, inputs: Tensor) -> Tensor:
        """Actions (B, A) for inputs (B, D)."""
        standardised = (inputs - self.mean) / self.std
        return cast(Tensor, self.layers(standardised.clamp(-LIMIT, LIMIT)))

    @torch.inference_mode()
    def act(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Actions (B, A) for inputs (B, D); a row's result does not depend on the other rows."""
        self.eval()
        rows = torch.from_numpy(np.array(inputs, np.float32, order="C"))
        padding = -len(rows) % _BLOCK
        blocks = torch.nn.functional.pad(rows, (0, 0, 0, padding)).split(_BLOCK)
        actions: npt.NDArray[np.float32] = torch.cat([self(block) for block in blocks])[: len(rows)].numpy()
        return actions
