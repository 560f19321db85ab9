"""A perceptron on the few directions in which features of the demonstrations vary most.

Few demonstrations, each of its own look, say little of what a thousand features are worth: whatever is
peculiar to a look tells demonstrations apart, and misleads on the next one. Principal component regression
(Massy 1965) leaves only the directions that most of the variance shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robot_eval.policies.base import Demonstrations, InputShape, Standardiser
from robot_eval.policies.mlp import MLPPolicy, MLPSettings


@dataclass
class PCASettings(MLPSettings):
    """Sizes of the head.

    Attributes:
        components: how many principal components stand for the features.
    """

    components: int

    def check(self) -> None:
        """Raise a ValueError where a setting cannot be."""
        super().check()
        if self.components < 1:
            raise ValueError(f"policy.components must be at least 1, got {self.components}")


class Components(nn.Module):
    """Principal components of standardised features, each in its own deviations.

    Args:
        dim: D.
        count: K; where features or examples give fewer, the rest is 0.
    """

    axes: Tensor

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.standardise = Standardiser(dim)
        self.register_buffer("axes", torch.zeros(dim, count))

    def fit(self, values: Tensor) -> None:
        """Take the components of `values` (N, D) from now on."""
        self.standardise.fit(values)
        axes, deviations = _principal(self.standardise(values).double(), self.axes.shape[1])
        self.axes.zero_()
        self.axes[:, : len(deviations)] = axes / deviations

    def forward(self, values: Tensor) -> Tensor:
        """(..., D) to (..., K)."""
        return self.standardise(values) @ self.axes


def _principal(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(D, k) orthonormal axes of (N, D) values and (k,) deviations along them; k at most `count`.

    By the smaller one of the two Gram matrices. Axes without deviation are left out.
    """
    centred = values - values.mean(0)
    wide = centred.shape[0] < centred.shape[1]
    squares, basis = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    squares, basis = squares.flip(0)[:count], basis.flip(1)[:, :count]
    varied = squares > squares[0] * len(squares) * torch.finfo(squares.dtype).eps
    lengths = squares[varied].sqrt()
    axes = centred.T @ basis[:, varied] / lengths if wide else basis[:, varied]
    return axes, lengths / len(values) ** 0.5


class PCAPolicy(MLPPolicy):
    """A perceptron over the components of what comes from pictures, and all else that is seen.

    Args:
        shape: of the inputs.
        action_dim: A.
        settings: sizes.
    """

    def __init__(self, shape: InputShape, action_dim: int, settings: PCASettings) -> None:
        seen = (settings.components,) if shape.visual else ()
        super().__init__(InputShape(seen, shape.other), action_dim, settings)
        self.shape = shape
        self.components = Components(shape.visual_dim, settings.components)

    def fit(self, data: Demonstrations) -> None:
        """Take components and standardise as `data` say from now on."""
        if self.shape.visual:
            self.components.fit(self.shape.split(data.inputs)[0])
        super().fit(Demonstrations(self._reduced(data.inputs), data.actions, data.lengths))

    def forward(self, inputs: Tensor) -> Tensor:
        """Actions (B, A) for inputs (B, D)."""
        return super().forward(self._reduced(inputs))

    def _reduced(self, inputs: Tensor) -> Tensor:
        if not self.shape.visual:
            return inputs
        visual, other = self.shape.split(inputs)
        return torch.cat([self.components(visual), other], dim=1)
