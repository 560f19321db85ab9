"""A perceptron on proprioception and on what an episode's first pictures tell of the poses to come.

Few demonstrations, each of its own look, are few examples of where things stand, and a network that learns to
see and to act from them at once learns them by heart: it trusts what it sees as it never may on a new look.
Here the two are apart.

- **Reading.** Demonstrations themselves tell what a first picture should tell: where the hand will go. Ridge
  regression (Hoerl and Kennard 1970) reads each coordinate of their key poses from features. Leaving out one
  demonstration after the other says how well each is read where it was not learnt; what is not read is left
  out, and of the rest the main directions are kept (reduced-rank regression, Izenman 1975).
- **Acting.** The perceptron is trained on the truth, shrunk and blurred anew at every step as readings of new
  pictures will be. It learns how far they can be trusted, and where pictures tell nothing it is the policy on
  proprioception alone.

Pictures are read as an episode begins and not again: what moves later by itself is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from robot_eval.policies.base import (
    ClonedPolicy,
    Demonstrations,
    Floats,
    InputShape,
    as_rows,
    one_by_one,
    spread,
)
from robot_eval.policies.mlp import MLPPolicy, MLPSettings

LOOK = 2  # the step whose picture is read; at the first, Meta-World does not show everything in its place
# R2 below which a coordinate, or a direction, is left out. Of 25 demonstrations whose pictures tell nothing,
# one coordinate in eighteen is read that well by chance from 40 features, and none in 3,200 from 784.
LEAST_READ = 0.2
_STRENGTHS = torch.logspace(
    -4, 2, 19, dtype=torch.float64
)  # of the ridge, in mean squared lengths of features


@dataclass
class KeyposesSettings(MLPSettings):
    """Sizes of the head.

    Attributes:
        directions: how many numbers are read from pictures, at most.
    """

    directions: int

    def check(self) -> None:
        """Raise a ValueError where a setting cannot be."""
        super().check()
        if self.directions < 1:
            raise ValueError(f"policy.directions must be at least 1, got {self.directions}")


@dataclass(frozen=True)
class Readable:
    """What can be read of N demonstrations.

    Attributes:
        truth: (N, K) each direction's value, in its own deviations.
        r2: (K,) of readings of demonstrations that were left out, 0 to 1; 0: left out of readings.
    """

    truth: Tensor
    r2: Tensor

    def blurred(self, episodes: Tensor, generator: torch.Generator) -> Tensor:
        """(B, K) readings of (B,) demonstrations as they might come of new pictures.

        Given a standard normal y, its best linear prediction with an R2 of r has the distribution of
        r y + sqrt(r (1 - r)) e, where e is standard normal, too.
        """
        truth = self.truth[episodes]
        noise = torch.randn(truth.shape, generator=generator)
        return self.r2 * truth + (self.r2 * (1 - self.r2)).sqrt() * noise


class Reader(nn.Module):
    """Features to what they tell of key poses, each direction in deviations of the demonstrations'.

    Args:
        dim: D.
        directions: K.
    """

    mean: Tensor
    weights: Tensor

    def __init__(self, dim: int, directions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("weights", torch.zeros(dim, directions))

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to (B, K)."""
        return (features - self.mean) @ self.weights

    def fit(self, features: Tensor, poses: Tensor) -> Readable:
        """Learn to read.

        Args:
            features: (N, D), of the picture of each demonstration.
            poses: (N, Q) key poses. Each entry counts in its own deviations: where the hand closes may vary
                less than where it passes, and matter more.
        """
        mean, deviations = spread(features.double())
        centred = torch.where(deviations.isfinite(), features - mean, 0)
        squares, basis = torch.linalg.eigh(centred @ centred.T)
        squares = squares.clamp_min(0)
        middle, scale = spread(poses.double())
        entries = (poses - middle) / scale
        strengths = _STRENGTHS * (squares.mean() if centred.any() else 1.0)
        guesses = torch.stack([_left_out(squares, basis, strength, entries) for strength in strengths])
        lost = (entries - guesses).square().mean(1)
        best = lost.argmin(0)
        read = scale.isfinite() & (lost.amin(0) <= 1 - LEAST_READ)
        guessed = guesses[best, :, torch.arange(len(best))].T * read
        directions = torch.linalg.svd(guessed, full_matrices=False)[2][: self.weights.shape[1]]
        truth, told = (entries * read) @ directions.T, guessed @ directions.T
        known = truth.std(0, correction=0)
        r2 = torch.where(known > 0, 1 - (truth - told).square().mean(0) / known.square(), 0)
        r2 = torch.where(r2 >= LEAST_READ, r2, 0)
        ridge = basis @ ((basis.T @ entries) / (squares[:, None] + strengths[best]))
        unit = torch.where(r2 > 0, 1 / known, 0)
        self.mean.copy_(mean)
        self.weights.zero_()
        self.weights[:, : len(directions)] = (centred.T @ (ridge * read)) @ directions.T * unit
        return Readable(self._padded(truth * unit), self._padded(r2))

    def _padded(self, values: Tensor) -> Tensor:
        """(..., k) with zeros up to (..., K): few demonstrations have fewer directions."""
        return functional.pad(values, (0, self.weights.shape[1] - values.shape[-1])).float()


def key_poses(proprio: Tensor) -> Tensor:
    """((2 P + 1) P,) of an episode's (T, P): where each coordinate is least and greatest, and the last."""
    at = [*proprio.argmin(0).tolist(), *proprio.argmax(0).tolist(), len(proprio) - 1]
    return proprio[at].flatten()


def _left_out(squares: Tensor, basis: Tensor, strength: Tensor, values: Tensor) -> Tensor:
    """(N, Q): each row as the ridge, with a constant beside it, predicts it from the other rows.

    In closed form: a linear smoother's residuals divided by what it lacks of passing through a point. The
    smoother is given by the eigenvectors of the centred Gram matrix.
    """
    smoother = basis * (squares / (squares + strength)) @ basis.T + 1 / len(values)
    return values - (values - smoother @ values) / (1 - smoother.diag())[:, None]


@dataclass
class _Memory:
    """Of an episode: steps so far, and what was read of its pictures, (1, K)."""

    steps: int = 0
    reading: Tensor | None = None


class KeyposesPolicy(ClonedPolicy):
    """A perceptron over proprioception and readings of the first pictures.

    Without pictures it is the perceptron on what else is seen.

    Args:
        shape: of the inputs.
        action_dim: A.
        settings: sizes.

    Raises:
        ValueError: pictures without proprioception, which tells of key poses.
    """

    looks = LOOK + 1

    def __init__(self, shape: InputShape, action_dim: int, settings: KeyposesSettings) -> None:
        super().__init__(shape, action_dim)
        if shape.visual and not shape.other:
            raise ValueError(
                "policy 'keyposes' learns from proprioception what to read: set protocol.proprio=true"
            )
        count = settings.directions if shape.visual else 0
        self.reader = Reader(shape.visual_dim, count)
        self.head = MLPPolicy(InputShape((), shape.other + count), action_dim, settings)

    def fit(self, data: Demonstrations) -> None:
        """Learn to read key poses, and standardise as `data` say from now on.

        Raises:
            ValueError: a single demonstration, of which none can be left out.
        """
        if not self.shape.visual:
            self.head.fit(data)
            return
        if len(data.lengths) < 2:
            raise ValueError("policy 'keyposes' wants at least 2 demonstrations, got 1")
        visual, other = self.shape.split(data.inputs)
        pictures = torch.stack(
            [rows[min(LOOK, len(rows) - 1)].flatten() for rows in visual.split(list(data.lengths))]
        )
        self._readable = self.reader.fit(pictures, _of_each(other, data.lengths))
        self._episode = torch.repeat_interleave(torch.arange(len(data.lengths)), torch.tensor(data.lengths))
        seen = self._blurred(other, torch.arange(len(data)), torch.Generator().manual_seed(0))
        self.head.fit(Demonstrations(seen, data.actions, data.lengths))

    def _blurred(self, other: Tensor, steps: Tensor, generator: torch.Generator) -> Tensor:
        """What the head sees of (B,) steps."""
        return torch.cat([other, self._readable.blurred(self._episode[steps], generator)], dim=1)

    def loss(self, data: Demonstrations, steps: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of the actions."""
        if self.shape.visual:
            seen = self._blurred(self.shape.split(data.inputs)[1][steps], steps, generator)
        else:
            seen = data.inputs[steps]
        return functional.mse_loss(self.head(seen), data.actions[steps])

    def begin(self, seed: int) -> _Memory:  # noqa: ARG002 - nothing is drawn
        """Nothing has been read yet."""
        return _Memory()

    @torch.inference_mode()
    def act(self, inputs: Floats, memories: Sequence[Any]) -> Floats:
        """Actions (B, A) for inputs (B, D); memories keep what was read."""
        self.eval()
        seen = as_rows(inputs)
        if self.shape.visual:
            visual, other = self.shape.split(seen)
            readings = [
                self._read(row, memory)
                for row, memory in zip(visual.flatten(1).split(1), memories, strict=True)
            ]
            seen = torch.cat([other, torch.cat(readings)], dim=1)
        actions: Floats = one_by_one(self.head, seen).numpy()
        return actions

    def _read(self, row: Tensor, memory: _Memory) -> Tensor:
        if memory.reading is None or memory.steps <= LOOK:
            memory.reading = self.reader(row)
        memory.steps += 1
        return memory.reading


def _of_each(proprio: Tensor, lengths: Sequence[int]) -> Tensor:
    """(N, Q) key poses of N demonstrations."""
    return torch.stack([key_poses(rows) for rows in proprio.split(list(lengths))])
