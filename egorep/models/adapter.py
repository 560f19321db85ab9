"""The motion adapter: what tells the fast pathway from the slow one."""

from __future__ import annotations

import math

import torch
from torch import nn


class MotionAdapter(nn.Module):
    """Mixes patch tokens over time in a bottleneck; the class token passes untouched.

    A new one is the identity. The release has the temporal convolution only. The paper's figure shows a
    spatial one in front of it, with batch norm and ReLU; here it has a residual, as the temporal one has.

    Args:
        width: C of a token; the bottleneck is half as wide.
        spatial: put the spatial convolution in front of the temporal one.
    """

    def __init__(self, width: int, *, spatial: bool) -> None:
        super().__init__()
        hidden = width // 2
        self.down = nn.Linear(width, hidden)
        self.activation = nn.GELU()
        self.spatial = _spatial_convolution(hidden) if spatial else None
        self.depthwise_time = nn.Conv1d(hidden, hidden, 3, padding=1, groups=hidden)
        self.pointwise = nn.Conv1d(hidden, hidden, 1)
        self.up = nn.Linear(hidden, width)
        self.gamma = nn.Parameter(torch.ones(1))
        self._init_weights(hidden)

    def _init_weights(self, hidden: int) -> None:
        # egovideo release: truncated normal for `down`, fan-in for the convolutions, zero for `up`.
        nn.init.trunc_normal_(self.down.weight, std=0.02)
        nn.init.normal_(self.depthwise_time.weight, std=math.sqrt(2 / 3))
        nn.init.normal_(self.pointwise.weight, std=math.sqrt(2 / hidden))
        nn.init.zeros_(self.up.weight)
        for layer in (self.down, self.depthwise_time, self.pointwise, self.up):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
        """Add motion to (B, 1 + T * h * w, C) tokens, the class token first.

        Args:
            tokens: of B clips.
            grid: (T, h, w) of the patch tokens.
        """
        patches = tokens[:, 1:]
        z = self.activation(self.down(patches)).unflatten(1, grid)
        if self.spatial is not None:
            z = z + _over_space(self.spatial, z)
        z = z + self._over_time(z)
        moved = patches + self.gamma * self.up(z.flatten(1, 3))
        return torch.cat([tokens[:, :1], moved], dim=1)

    def _over_time(self, z: torch.Tensor) -> torch.Tensor:
        batch, _, height, width, _ = z.shape
        series = z.permute(0, 2, 3, 4, 1).flatten(0, 2)  # (B h w, C, T)
        series = self.pointwise(self.depthwise_time(series))
        return series.unflatten(0, (batch, height, width)).permute(0, 4, 1, 2, 3)


def _spatial_convolution(hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(hidden, hidden, 3, padding=1), nn.BatchNorm2d(hidden), nn.ReLU())


def _over_space(convolution: nn.Module, z: torch.Tensor) -> torch.Tensor:
    pictures = convolution(z.flatten(0, 1).permute(0, 3, 1, 2))
    result: torch.Tensor = pictures.permute(0, 2, 3, 1).unflatten(0, z.shape[:2])
    return result
