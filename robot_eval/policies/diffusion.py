"""A diffusion policy: chunks of actions, denoised under what was seen, executed a part at a time.

Source: Chi et al. 2023, "Diffusion Policy": the convolutional network (section III.A, appendix), action
horizons, min-max normalised actions, averaged weights, a cosine noise schedule in training and DDIM in
control. The noise schedules are diffusers'. Ours sees standardised features and proprioception.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from torch.nn import functional

from robot_eval.policies.base import (
    ClonedPolicy,
    Demonstrations,
    Floats,
    InputShape,
    Standardiser,
    as_rows,
    one_by_one,
)

_KERNEL = 5  # of the convolutions over time
_GROUPS = 8  # of their GroupNorm
_TIME_WIDTH = 64  # of the description of a diffusion step
_EMA_WARMUP = 10  # steps: the average forgets the initialisation quickly


@dataclass
class DiffusionSettings:
    """Sizes of the policy.

    Attributes:
        observed: steps that it looks at, the newest among them.
        horizon: actions that are denoised together, from the oldest observed step on; a multiple of
            2 ** (len(widths) - 1).
        executed: of them, from the newest observed step on, before it looks again.
        widths: channels of the U-Net, from the finest level to the coarsest; multiples of 8.
        noise_steps: of the diffusion in training.
        denoise_steps: of DDIM in control.
        ema: decay of the averaged weights that act.
    """

    observed: int
    horizon: int
    executed: int
    widths: list[int]
    noise_steps: int
    denoise_steps: int
    ema: float

    def check(self) -> None:
        """Raise a ValueError where a setting cannot be."""
        least = min(self.observed, self.horizon, self.executed, self.noise_steps, self.denoise_steps)
        if least < 1:
            raise ValueError("observed, horizon, executed, noise_steps and denoise_steps must be at least 1")
        if not self.widths or any(width < 1 or width % _GROUPS for width in self.widths):
            raise ValueError(f"widths must be multiples of {_GROUPS}, got {list(self.widths)}")
        if self.horizon % 2 ** (len(self.widths) - 1):
            raise ValueError(
                f"horizon {self.horizon} must be a multiple of {2 ** (len(self.widths) - 1)}, "
                f"for {len(self.widths)} widths halve it {len(self.widths) - 1} times"
            )
        if self.executed > self.horizon - self.observed + 1:
            raise ValueError(
                f"executed {self.executed} is more than is denoised from the newest step on: "
                f"horizon {self.horizon} - observed {self.observed} + 1"
            )
        if self.denoise_steps > self.noise_steps:
            raise ValueError(
                f"denoise_steps {self.denoise_steps} are more than noise_steps {self.noise_steps}"
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in 0..1, 1 excluded, got {self.ema}")


@dataclass
class _Memory:
    """Of one episode: what was seen lately, and actions that are yet to be executed."""

    rng: np.random.Generator
    seen: deque[Tensor]
    planned: list[Floats] = field(default_factory=list)


class DiffusionPolicy(ClonedPolicy):
    """Denoises a chunk of actions, executes its beginning, and looks again.

    Args:
        shape: of the inputs.
        action_dim: A.
        settings: sizes.
    """

    low: Tensor
    high: Tensor

    def __init__(self, shape: InputShape, action_dim: int, settings: DiffusionSettings) -> None:
        super().__init__(shape, action_dim)
        self._settings = settings
        self._steps = 0
        self.standardise = Standardiser(shape.dim)
        self.register_buffer("low", -torch.ones(action_dim))
        self.register_buffer("high", torch.ones(action_dim))
        self.network = _UNet(action_dim, settings.observed * shape.dim, settings.widths)
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self._schedule = DDIMScheduler(
            num_train_timesteps=settings.noise_steps, beta_schedule="squaredcos_cap_v2", clip_sample=True
        )
        self._schedule.set_timesteps(settings.denoise_steps)

    def fit(self, data: Demonstrations) -> None:
        """Standardise inputs like those of `data`, and take the range of its actions for -1..1."""
        self.standardise.fit(data.inputs)
        self.low.copy_(data.actions.min(0).values)
        self.high.copy_(data.actions.max(0).values)

    def loss(self, data: Demonstrations, steps: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of the noise in noisy chunks."""
        settings = self._settings
        window = data.window(steps, settings.observed - 1, settings.horizon - settings.observed)
        seen = self.standardise(data.inputs[window[:, : settings.observed]]).flatten(1)
        chunks = self._normalised(data.actions[window])
        noise = torch.randn(chunks.shape, generator=generator)
        times = torch.randint(settings.noise_steps, (len(steps),), generator=generator)
        noisy = self._schedule.add_noise(chunks, noise, cast(torch.IntTensor, times))
        return functional.mse_loss(self.network(noisy, times, seen), noise)

    @torch.no_grad()
    def advance(self) -> None:
        """Average the weights."""
        self._steps += 1
        decay = min(self._settings.ema, self._steps / (_EMA_WARMUP + self._steps))
        for average, weight in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)

    def begin(self, seed: int) -> _Memory:
        """Nothing is seen and nothing planned."""
        return _Memory(np.random.default_rng(seed), deque(maxlen=self._settings.observed))

    @torch.inference_mode()
    def act(self, inputs: Floats, memories: Sequence[Any]) -> Floats:
        """Actions (B, A): the next of each episode's plan, a new one where it has come to its end."""
        self.eval()
        for row, memory in zip(self.standardise(as_rows(inputs)), memories, strict=True):
            memory.seen.append(row)
        lost = [memory for memory in memories if not memory.planned]
        if lost:
            self._plan(lost)
        return np.stack([memory.planned.pop(0) for memory in memories])

    def _plan(self, memories: Sequence[_Memory]) -> None:
        settings = self._settings
        shape = (settings.horizon, self.action_dim)
        noise = np.stack([memory.rng.normal(size=shape) for memory in memories]).astype(np.float32)
        # Before the first step stands the first step, as in training.
        seen = [
            torch.cat([memory.seen[0]] * (settings.observed - len(memory.seen)) + list(memory.seen))
            for memory in memories
        ]
        rows = torch.cat([torch.from_numpy(noise).flatten(1), torch.stack(seen)], dim=1)
        chunks = one_by_one(self._denoise, rows)[:, settings.observed - 1 :][:, : settings.executed]
        for memory, chunk in zip(memories, chunks.numpy(), strict=True):
            memory.planned = list(chunk)

    def _denoise(self, rows: Tensor) -> Tensor:
        """Noise and what was seen, (B, horizon * A + ...), to chunks of actions (B, horizon, A)."""
        size = self._settings.horizon * self.action_dim
        chunks, seen = rows[:, :size].unflatten(1, (-1, self.action_dim)), rows[:, size:]
        for time in self._schedule.timesteps:
            noise = self.averaged(chunks, time.expand(len(rows)), seen)
            chunks = self._schedule.step(noise, int(time), chunks).prev_sample
        return (chunks + 1) / 2 * (self.high - self.low) + self.low

    def _normalised(self, actions: Tensor) -> Tensor:
        span = self.high - self.low
        # A constant action is at -1, and comes back as it was.
        return 2 * (actions - self.low) / torch.where(span > 0, span, 1.0) - 1


class _UNet(nn.Module):
    """Noisy chunks (B, T, A), diffusion steps (B,) and what was seen (B, D) to the noise, (B, T, A)."""

    def __init__(self, action_dim: int, seen_dim: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(_TIME_WIDTH, 4 * _TIME_WIDTH), nn.Mish())
        condition = 4 * _TIME_WIDTH + seen_dim
        fine = [action_dim, *widths[:-1]]
        self.down = nn.ModuleList(
            _Residual(before, width, condition) for before, width in zip(fine, widths, strict=True)
        )
        self.shrink = nn.ModuleList(nn.Conv1d(width, width, 3, stride=2, padding=1) for width in widths[:-1])
        self.middle = _Residual(widths[-1], widths[-1], condition)
        self.grow = nn.ModuleList(
            nn.ConvTranspose1d(below, width, 4, stride=2, padding=1)
            for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.up = nn.ModuleList(_Residual(2 * width, width, condition) for width in widths[-2::-1])
        self.last = nn.Conv1d(widths[0], action_dim, 1)

    def forward(self, chunks: Tensor, times: Tensor, seen: Tensor) -> Tensor:
        condition = torch.cat([self.time(_waves(times)), seen], dim=1)
        values, skipped = chunks.transpose(1, 2), []
        for level, block in enumerate(self.down):
            values = block(values, condition)
            if level < len(self.shrink):
                skipped.append(values)
                values = self.shrink[level](values)
        values = self.middle(values, condition)
        for grow, block in zip(self.grow, self.up, strict=True):
            values = block(torch.cat([grow(values), skipped.pop()], dim=1), condition)
        return cast(Tensor, self.last(values).transpose(1, 2))


class _Residual(nn.Module):
    """Two convolutions over time, the first scaled and shifted by the condition (FiLM)."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(inputs, outputs), _convolution(outputs, outputs)
        self.film = nn.Linear(condition, 2 * outputs)
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[..., None].chunk(2, dim=1)
        return cast(Tensor, self.second(self.first(values) * (1 + scale) + shift) + self.skip(values))


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv1d(inputs, outputs, _KERNEL, padding=_KERNEL // 2)
    return nn.Sequential(convolution, nn.GroupNorm(_GROUPS, outputs), nn.Mish())


def _waves(times: Tensor) -> Tensor:
    """Diffusion steps (B,) as sines and cosines (B, _TIME_WIDTH)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(_TIME_WIDTH // 2) / (_TIME_WIDTH // 2 - 1))
    angles = times[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
