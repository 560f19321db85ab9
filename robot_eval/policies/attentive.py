"""Attentive pooling over patch tokens, then a perceptron: the same head on the tokens of every encoder.

Sources: multi-head attention pooling by one learnt query, as Voltron (Karamcheti et al. 2023) and MPI (Zeng
et al. 2024) put on top of frozen tokens; timm's `AttentionPoolLatent` computes it. Ours adds two things:
channels are standardised on the training demonstrations, and cells get learnt positions, for the cells of a
convolutional map do not know where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn

from robot_eval.policies.base import Demonstrations, InputShape, RegressingPolicy, Standardiser
from robot_eval.policies.mlp import check_layers, perceptron


@dataclass
class AttentiveSettings:
    """Sizes of the head.

    Attributes:
        width: of a token after its projection; tokens of all encoders get the same.
        heads: of the attention; a divisor of `width`.
        hidden: widths of the perceptron's hidden layers; none: a linear layer, as in MPI.
        activation: `tanh` or `relu`.
    """

    width: int
    heads: int
    hidden: list[int]
    activation: str

    def check(self) -> None:
        """Raise a ValueError where a setting cannot be."""
        check_layers(self.hidden, self.activation)
        if self.heads < 1 or self.width < 1 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")


class AttentivePolicy(RegressingPolicy):
    """Looks at tokens through one query, and at all else directly.

    Args:
        shape: of the inputs; `visual` is (cells, C), or () for a policy that sees no picture.
        action_dim: A.
        settings: sizes.
    """

    def __init__(self, shape: InputShape, action_dim: int, settings: AttentiveSettings) -> None:
        super().__init__(shape, action_dim)
        self.standardise_other = Standardiser(shape.other)
        pooled = 0
        if shape.visual:
            cells, channels = shape.visual
            self.standardise = Standardiser(channels)
            self.project = nn.Linear(channels, settings.width)
            self.position = nn.Parameter(torch.randn(cells, settings.width) * settings.width**-0.5)
            self.pool = AttentionPoolLatent(settings.width, num_heads=settings.heads)
            pooled = settings.width
        self.layers = nn.Sequential(
            *perceptron(pooled + shape.other, settings.hidden, action_dim, settings.activation)
        )

    def fit(self, data: Demonstrations) -> None:
        """Standardise like `data` from now on: channels over all cells, all else by itself."""
        tokens, other = self.shape.split(data.inputs)
        self.standardise_other.fit(other)
        if self.shape.visual:
            self.standardise.fit(tokens.flatten(0, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Actions (B, A) for inputs (B, D)."""
        tokens, other = self.shape.split(inputs)
        seen = [self.standardise_other(other)]
        if self.shape.visual:
            cells = self.project(self.standardise(tokens)) + self.position
            seen.insert(0, self.pool(cells))
        return cast(Tensor, self.layers(torch.cat(seen, dim=-1)))
