"""What stands between a policy and its pictures, in place of one encoder of one camera.

Pictures of several cameras stand side by side in one, from left to right as in `EnvSettings.cameras`.
"""

from __future__ import annotations

import torch
from torch import nn

from egorep.encoder import Encoder
from egorep.preprocessing import as_clips


class Views(Encoder):
    """One encoder for the pictures of several cameras, or for pictures that stand still."""

    def __init__(self, encoder: Encoder, count: int, *, still: bool = False) -> None:
        """For `count` cameras: features of each, one after the other.

        Args:
            encoder: looks at every picture by itself.
            count: of cameras.
            still: an encoder of clips sees the newest picture alone, as a clip that stands still.
        """
        nn.Module.__init__(self)
        self.encoder = encoder
        self.name = encoder.name
        self.pool = encoder.pool
        self.num_frames = 1 if still else encoder.num_frames
        self.image_size = encoder.image_size
        height, width, channels = encoder.grid
        self.grid = (count * height, width, channels)
        self.dim = count * encoder.dim
        self.fingerprint = f"{encoder.fingerprint}-{count}{'-still' if still else ''}"
        self._count = count
        self.register_buffer("_anchor", torch.empty(0, device=encoder.device), persistent=False)
        self.train(False)

    def forward(self, frames: object) -> torch.Tensor:
        """(B, H, count * W, 3) pictures or (B, T, H, count * W, 3) clips to (B, count * D) float32.

        Raises:
            TypeError, ValueError, FloatingPointError: as every encoder does.
        """
        views = as_clips(frames).chunk(self._count, dim=3)
        return torch.cat([self.encoder(view) for view in views], dim=-1)

    def remember(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, H, count * W, 3) pictures to (N, count, ...)."""
        views = pictures.chunk(self._count, dim=2)
        return torch.stack([self.encoder.remember(view) for view in views], dim=1)

    def recall(self, windows: torch.Tensor) -> torch.Tensor:
        """(N, T, count, ...) to (N, count * D) float32."""
        return torch.cat([self.encoder.recall(view) for view in windows.unbind(2)], dim=-1)


class Pixels(Encoder):
    """Every picture as one vector, for policies that have their encoder inside.

    It resizes nothing: the policy was trained on this size.
    """

    def __init__(self, size: int, views: int = 1) -> None:
        """For pictures `size` pixels high, of `views` cameras, each as wide as high."""
        nn.Module.__init__(self)
        self.name = "pixels"
        self.image_size = size
        self.grid = (size, views * size, 3)
        self.dim = 3 * views * size**2
        self.pool = "none"
        self.fingerprint = f"pixels-{size}-{views}"
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def forward(self, frames: object) -> torch.Tensor:
        """(B, H, views * W, 3) uint8 to (B, H * views * W * 3) float32 in 0..255.

        Raises:
            TypeError: `frames` is no uint8 array.
            ValueError: `frames` has a wrong shape or size.
        """
        clips = as_clips(frames)
        if clips.shape[1:4] != (1, *self.grid[:2]):
            raise ValueError(
                f"this policy was trained on pictures {self.grid[:2]} (height, width), "
                f"got {tuple(clips.shape[2:4])}"
            )
        return clips.flatten(1).float()


def seen_by(encoder: Encoder, cameras: int, *, still: bool) -> Encoder:
    """The encoder for pictures of so many cameras; `encoder` itself where nothing is to be changed."""
    still = still and encoder.num_frames > 1
    if encoder.observation != "picture" or (cameras == 1 and not still):
        return encoder
    return Views(encoder, cameras, still=still)
