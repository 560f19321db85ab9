"""Pictures in: the one input contract of every encoder, and the way from uint8 RGB to a network's input."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

Array = np.ndarray[Any, Any]

# Of CLIP, and of the release of EgoVideo, whose configuration names it ("norm_style: clip").
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

WANTED = "encoders take uint8 RGB, channels last: pictures (B, H, W, 3) or clips (B, T, H, W, 3)"


def as_clips(frames: object) -> torch.Tensor:
    """Check pictures against the input contract, and give them a time axis.

    Args:
        frames: uint8 RGB in 0..255, numpy or torch, pictures (B, H, W, 3) or clips (B, T, H, W, 3), of any
            strides.

    Returns:
        (B, T, H, W, 3) uint8 on the device of `frames`; T is 1 for pictures.

    Raises:
        TypeError: not an array, or not uint8; names the call that converts it.
        ValueError: empty, of another rank, or not RGB in the last place; names the call that converts it.
    """
    if not isinstance(frames, np.ndarray | torch.Tensor):
        raise TypeError(
            f"{WANTED}; got a {type(frames).__name__}: np.stack(pictures) makes an array of pictures"
        )
    _check_dtype(frames)
    _check_shape(tuple(frames.shape), "torch" if isinstance(frames, torch.Tensor) else "numpy")
    tensor = frames if isinstance(frames, torch.Tensor) else _from_numpy(frames)
    return tensor[:, None] if tensor.ndim == 4 else tensor


def middle_frames(available: int, count: int) -> list[int]:
    """Indices of `count` of `available` frames: the middle of each of `count` equal parts.

    Of 16 frames, 4 are 2, 6, 10 and 14. Where fewer are available than wanted, frames repeat.
    """
    return [(2 * part + 1) * available // (2 * count) for part in range(count)]


def _check_dtype(frames: Array | torch.Tensor) -> None:
    if frames.dtype in (np.uint8, torch.uint8):
        return
    if isinstance(frames, torch.Tensor):
        floating, cast = frames.is_floating_point(), ".to(torch.uint8)"
    else:
        floating, cast = np.issubdtype(frames.dtype, np.floating), ".astype(np.uint8)"
    if floating:
        how = f"if they lie in 0..1, multiply by 255 and cast: (frames * 255).round(){cast}"
    else:
        how = f"if they lie in 0..255, cast: frames{cast}"
    raise TypeError(f"{WANTED}; got dtype {frames.dtype}: {how}")


def _check_shape(shape: tuple[int, ...], library: str) -> None:
    got = f"{WANTED}; got shape {shape}"
    if len(shape) == 3:
        raise ValueError(f"{got}, a single picture: frames[None] makes it a batch of one")
    if len(shape) not in (4, 5):
        raise ValueError(
            f"{got}, of rank {len(shape)}: frames.reshape(-1, H, W, 3) makes it a batch of pictures"
        )
    if 0 in shape:
        raise ValueError(f"{got}, which is empty: give at least one picture")
    if shape[-1] == 3:
        return
    if shape[-3] == 3:
        torch_call = "frames.permute(0, 2, 3, 1)" if len(shape) == 4 else "frames.permute(0, 1, 3, 4, 2)"
        call = torch_call if library == "torch" else f"np.moveaxis(frames, {len(shape) - 3}, -1)"
        raise ValueError(f"{got}, which is channels first: {call} moves them last")
    if shape[-1] == 4:
        raise ValueError(f"{got}, which looks like RGBA: frames[..., :3] drops the alpha channel")
    repeat = "frames.repeat_interleave(3, -1)" if library == "torch" else "np.repeat(frames, 3, -1)"
    raise ValueError(f"{got}, with {shape[-1]} channels: of a grey picture (..., 1), {repeat} makes RGB")


def _from_numpy(frames: Array) -> torch.Tensor:
    # torch can neither view negative strides nor, without a warning, read-only memory.
    if min(frames.strides) < 0 or not frames.flags.writeable:
        frames = frames.copy()
    return torch.from_numpy(frames)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From uint8 RGB of any size to the normalised square input of one network.

    Attributes:
        image_size: side of the square input, pixels.
        mean: per channel, on the scale 0..1.
        std: per channel, on the scale 0..1.
        interpolation: "bicubic", "bilinear", "nearest", ... as documented for the network.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Resize the short side to `image_size`, crop the centre square, normalise.

        Evaluation recipes for ImageNet zoom in first (timm's `crop_pct`), for its subject stands in the
        middle. In control, grippers and objects enter at the border of the picture, so there is no zoom here:
        of a square picture all is kept, and of another only what lies beyond the centre square is lost.

        Args:
            frames: (..., H, W, 3) in 0..255, uint8 or, where they were changed before, floating.

        Returns:
            (..., 3, image_size, image_size) float32 on the device of `frames`.
        """
        pixels: torch.Tensor = frames.movedim(-1, -3).float() / 255
        if min(pixels.shape[-2:]) != self.image_size:
            mode = InterpolationMode(self.interpolation)
            # Bicubic overshoots at edges; pictures resized as bytes, as in training, saturate.
            pixels = transforms.resize(pixels, [self.image_size], mode, antialias=True).clamp(0, 1)
        pixels = transforms.center_crop(pixels, [self.image_size, self.image_size])
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1)
        return (pixels - mean) / std
