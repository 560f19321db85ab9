"""What every policy is: inputs to actions, with a memory for each episode, learnt from demonstrations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from egorep.probing import LIMIT

Floats = npt.NDArray[np.float32]

# A dimension whose spread is below this share of its mean is rounding noise.
_LEAST_SPREAD = 1e-5


@dataclass(frozen=True)
class InputShape:
    """What a policy's input vector is made of: first what comes from pictures, then all else.

    Attributes:
        visual: shape of the first part before it was flattened: (D,) features, (cells, C) tokens or
            (H, W, 3) pixels in 0..255; () for a policy that sees no picture.
        other: numbers in the second part: proprioception, or the simulator's state.
    """

    visual: tuple[int, ...]
    other: int

    @property
    def visual_dim(self) -> int:
        """Numbers in the first part."""
        return int(np.prod(self.visual)) if self.visual else 0

    @property
    def dim(self) -> int:
        """Numbers in all."""
        return self.visual_dim + self.other

    def split(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, dim) to the visual part, (B, *visual) or (B, 0), and the other one, (B, other)."""
        visual, other = inputs.split([self.visual_dim, self.other], dim=-1)
        return visual.unflatten(-1, self.visual) if self.visual else visual, other


@dataclass(frozen=True)
class PictureSource:
    """How a policy on pictures sees them.

    Attributes:
        encoder, pool, seed: of the frozen encoder, as for `load_encoder`.
        cameras: whose pictures stand side by side in the input, from left to right.
    """

    encoder: str
    pool: str
    seed: int
    cameras: tuple[str, ...]

    @property
    def keys(self) -> list[str]:
        """Of the pictures in robomimic's observations."""
        return [f"{camera}_image" for camera in self.cameras]


@dataclass(frozen=True)
class Demonstrations:
    """What policies learn from: the steps of all episodes, one after the other.

    Attributes:
        inputs: (N, D) float32.
        actions: (N, A) float32, what the expert did.
        lengths: steps of each episode; their sum is N.
    """

    inputs: Tensor
    actions: Tensor
    lengths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.actions)

    def window(self, steps: Tensor, before: int, after: int) -> Tensor:
        """Indices of the steps around others, within their episodes.

        Args:
            steps: (B,) indices.
            before: how many come before each.
            after: how many come after.

        Returns:
            (B, before + 1 + after) int64; past an end of the episode stands its first or last step.
        """
        lengths = torch.tensor(self.lengths)
        ends = lengths.cumsum(0)
        episode = torch.searchsorted(ends, steps, right=True)
        around = steps[:, None] + torch.arange(-before, after + 1)
        first, last = (ends - lengths)[episode, None], ends[episode, None] - 1
        return around.clamp(min=first, max=last)


def spread(values: Tensor) -> tuple[Tensor, Tensor]:
    """(D,) means and standard deviations of (N, D) values; infinite ones where rounding alone varies."""
    mean, std = values.mean(0), values.std(0, correction=0)
    return mean, torch.where(std > _LEAST_SPREAD * mean.abs(), std, torch.inf)


class Standardiser(nn.Module):
    """Numbers in deviations from the mean of the demonstrations, held within `LIMIT`.

    Untrained networks give features as small as 1e-9, which a later normalisation's epsilon would erase; and
    a feature that a few demonstrations show a little of stands hundreds of deviations away where a new scene
    shows it, and would drown all others.

    Args:
        dim: D.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, values: Tensor) -> None:
        """Standardise like `values` (N, D) from now on; dimensions that do not vary become 0."""
        mean, std = spread(values)
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, values: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return ((values - self.mean) / self.std).clamp(-LIMIT, LIMIT)


class Policy(nn.Module, ABC):
    """Maps inputs to actions.

    Args:
        shape: of the inputs.
        action_dim: A.

    Attributes:
        shape, action_dim: as given.
        looks: at how many pictures of an episode it looks, from the first; None: at all. Pictures beyond are
            not drawn: `act` is then given the features of the last one.
    """

    looks: int | None = None

    def __init__(self, shape: InputShape, action_dim: int) -> None:
        super().__init__()
        self.shape = shape
        self.action_dim = action_dim

    def begin(self, seed: int) -> Any:  # noqa: ARG002 - for policies that draw at random
        """What the policy remembers of an episode that begins now; `act` changes it.

        Args:
            seed: of the episode: all that the policy draws at random in it follows from that.
        """
        return None

    @abstractmethod
    def act(self, inputs: Floats, memories: Sequence[Any]) -> Floats:
        """The next action of several episodes; no row depends on the others.

        Args:
            inputs: (B, D).
            memories: B of them, from `begin`, one of each episode.

        Returns:
            (B, A).
        """


class ClonedPolicy(Policy):
    """A policy that our own loop trains (`robot_eval.cloning.clone`)."""

    @abstractmethod
    def fit(self, data: Demonstrations) -> None:
        """Take from the demonstrations what normalises inputs and actions; before training."""

    @abstractmethod
    def loss(self, data: Demonstrations, steps: Tensor, generator: torch.Generator) -> Tensor:
        """What training makes small, ().

        Args:
            data: all demonstrations.
            steps: (B,) indices of a minibatch.
            generator: of all that is drawn at random.
        """

    def advance(self) -> None:
        """Called after each step of the optimiser."""


class RegressingPolicy(ClonedPolicy):
    """One action for one input, by the mean squared error; it remembers nothing."""

    @abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Actions (B, A) for inputs (B, D)."""

    def loss(self, data: Demonstrations, steps: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Mean squared error of the actions."""
        return functional.mse_loss(self(data.inputs[steps]), data.actions[steps])

    @torch.inference_mode()
    def act(self, inputs: Floats, memories: Sequence[Any]) -> Floats:  # noqa: ARG002
        """Actions (B, A) for inputs (B, D)."""
        self.eval()
        actions: Floats = one_by_one(self, as_rows(inputs)).numpy()
        return actions


def one_by_one(compute: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """`compute` on (B, ...) rows, each alone.

    The last bits of a result depend on the size of a batch and on a row's place in it. So the same input
    gives the same action, whatever is evaluated beside it, and a resumed run repeats an uninterrupted one.
    """
    return torch.cat([compute(row) for row in rows.split(1)])


def as_rows(inputs: Floats) -> Tensor:
    """(B, D) as a tensor of one layout in memory, on which the last bits of a result depend."""
    return torch.from_numpy(np.array(inputs, np.float32, order="C"))
