"""Random changes to training clips, the same for all frames of a clip. Words and boxes follow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from pretrain.data.flip import flip_clip, flip_text
from pretrain.data.motion import Motion, Window

Frames = npt.NDArray[np.uint8]

# The narrowest and widest shape of a crop, width to height: milder than ImageNet's 3/4 and 4/3, for hands and
# objects keep their shape.
_ASPECTS = (0.8, 1.25)


class Example(NamedTuple):
    """A clip with what is said and known about it.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        text: its narration.
        motion: of hands and objects in it.
    """

    frames: Frames
    text: str
    motion: Motion


def draw_window(height: int, width: int, least: float, rng: np.random.Generator) -> Window:
    """A random part of a picture, about square.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        least: smallest area, as a share of the largest square in the picture's; 1 gives that square, from
            the middle.
        rng: decides.
    """
    short = min(height, width)
    if least == 1:
        left, top = (width - short) / 2, (height - short) / 2
        return Window(left / width, top / height, short / width, short / height)
    side = short * np.sqrt(rng.uniform(least, 1))
    stretch = np.sqrt(np.exp(rng.uniform(*np.log(_ASPECTS))))
    across, down = min(side * stretch, width), min(side / stretch, height)
    left, top = rng.uniform(0, width - across), rng.uniform(0, height - down)
    return Window(left / width, top / height, across / width, down / height)


def crop(example: Example, window: Window, size: int) -> Example:
    """The part of the clip in `window`, resized to a square of `size` pixels."""
    height, width = example.frames.shape[1:3]
    top, left = round(window.top * height), round(window.left * width)
    down, across = max(1, round(window.height * height)), max(1, round(window.width * width))
    whole_pixels = Window(left / width, top / height, across / width, down / height)
    # Copied first: frames of a decoder may be read-only or reversed, which torch cannot view.
    part = np.ascontiguousarray(example.frames[:, top : top + down, left : left + across])
    resized = transforms.resize(
        torch.from_numpy(part).movedim(-1, 1), [size, size], InterpolationMode.BICUBIC, antialias=True
    )
    frames: Frames = np.ascontiguousarray(resized.movedim(1, -1).numpy())
    return example._replace(frames=frames, motion=example.motion.cropped(whole_pixels))


def mirror(example: Example) -> Example:
    """The example in a mirror, or as it is where its words cannot be mirrored for sure."""
    text = flip_text(example.text)
    if text is None:
        return example
    return Example(flip_clip(example.frames), text, example.motion.mirrored())


def jitter(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """Change brightness, contrast and saturation by factors in 1 - strength to 1 + strength."""
    pictures = torch.from_numpy(frames).movedim(-1, 1)
    changes = (transforms.adjust_brightness, transforms.adjust_contrast, transforms.adjust_saturation)
    for change, factor in zip(changes, rng.uniform(1 - strength, 1 + strength, len(changes)), strict=True):
        pictures = change(pictures, factor)
    changed: Frames = np.ascontiguousarray(pictures.movedim(1, -1).numpy())
    return changed
