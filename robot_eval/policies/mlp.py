"""The heads of R3M and CortexBench: batch norm, then a multilayer perceptron that regresses actions.

Sources: R3M (Nair et al. 2022, evaluation code: batch norm, 256-256, tanh) and CortexBench (Majumdar et al.
2023, configs: batch norm, 256-256-256, ReLU). Ours adds one thing: inputs are standardised on the training
demonstrations first (`robot_eval.policies.base.Standardiser`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from egorep.names import unknown
from robot_eval.policies.base import Demonstrations, InputShape, RegressingPolicy, Standardiser

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


@dataclass
class MLPSettings:
    """Sizes of the head.

    Attributes:
        hidden: widths of the hidden layers.
        activation: `tanh` or `relu`.
        batch_norm: normalise the standardised inputs once more, per batch, as both papers do.
    """

    hidden: list[int]
    activation: str
    batch_norm: bool

    def check(self) -> None:
        """Raise a ValueError where a setting cannot be."""
        check_layers(self.hidden, self.activation)


class MLPPolicy(RegressingPolicy):
    """One perceptron over all that is seen; carries the normaliser of its inputs.

    Args:
        shape: of the inputs.
        action_dim: A.
        settings: sizes.
    """

    def __init__(self, shape: InputShape, action_dim: int, settings: MLPSettings) -> None:
        super().__init__(shape, action_dim)
        self.standardise = Standardiser(shape.dim)
        norm: list[nn.Module] = [nn.BatchNorm1d(shape.dim)] if settings.batch_norm else []
        self.layers = nn.Sequential(
            *norm, *perceptron(shape.dim, settings.hidden, action_dim, settings.activation)
        )

    def fit(self, data: Demonstrations) -> None:
        """Standardise inputs like those of `data` from now on."""
        self.standardise.fit(data.inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Actions (B, A) for inputs (B, D)."""
        return cast(Tensor, self.layers(self.standardise(inputs)))


def perceptron(inputs: int, hidden: Sequence[int], outputs: int, activation: str) -> list[nn.Module]:
    """The layers of a multilayer perceptron; without hidden ones a single linear layer."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        inputs = width
    return [*layers, nn.Linear(inputs, outputs)]


def check_layers(hidden: Sequence[int], activation: str) -> None:
    """Raise a ValueError where `perceptron` cannot be made so."""
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden widths must be at least 1, got {list(hidden)}")
