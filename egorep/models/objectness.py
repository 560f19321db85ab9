"""A map of where objects are, from the stages of the convolutional stem."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from egorep.models.stem import ConvolutionalStem

# What each place is of; a picture that is mirrored exchanges the hands.
CLASSES = ("background", "left hand", "right hand", "object")
MIRRORED = (0, 2, 1, 3)

_LEVELS = (24, 40, 112)  # channels of the stem's maps of stride 4, 8 and 16
_WIDTH = 64
_DILATIONS = (1, 2, 4)
_SURROUND = 1.5  # cells of the map: deviation of the Gaussian that its surroundings are weighted with
_REACH = 8  # cells that it reaches, each way


class ObjectnessHead(nn.Module):
    """Maps of the stem to what each place of a picture is of, in cells of 4 x 4 pixels.

    The stem's early stages tell edges and textures apart and where exactly they are, its late ones what they
    are part of (hypercolumns, Hariharan et al. 2015). Three dilated convolutions (Yu and Koltun 2016) learn
    from outlines what of it bounds things.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (sum(_LEVELS), *[_WIDTH] * (len(_DILATIONS) - 1))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, _WIDTH, 3, padding=dilation, dilation=dilation, bias=False)
            for width, dilation in zip(widths, _DILATIONS, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(_WIDTH) for _ in _DILATIONS)
        self.classify = nn.Conv2d(_WIDTH, len(CLASSES), 1)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """The stem's maps, of which the first is (N, 24, h, w), to (N, 4, h, w) logits of `CLASSES`."""
        size = levels[0].shape[-2:]
        coarser = [functional.interpolate(level, size=size, mode="bilinear") for level in levels[1:]]
        cells = torch.cat([levels[0], *coarser], 1)
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            found = functional.relu(norm(convolution(cells)))
            cells = found if index == 0 else cells + found
        logits: torch.Tensor = self.classify(cells)
        return logits


class ObjectnessNetwork(nn.Module):
    """Pictures to maps of objectness: a stem and the head behind it.

    Args:
        stem: of an EgoVideo; shared, not copied.
        head: behind it.
    """

    surround: torch.Tensor

    def __init__(self, stem: ConvolutionalStem, head: ObjectnessHead) -> None:
        super().__init__()
        self.stem = stem
        self.head = head
        steps = torch.arange(-_REACH, _REACH + 1)
        weights = torch.exp(-(steps**2) / (2 * _SURROUND**2))
        weights = weights / weights.sum()
        self.register_buffer("surround", torch.outer(weights, weights)[None, None], persistent=False)

    def logits(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) pixels, normalised as CLIP's, to (N, 4, S / 4, S / 4) logits of `CLASSES`."""
        logits: torch.Tensor = self.head(self.stem.levels(pictures))
        return logits

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) pixels, normalised as CLIP's, to (N, S / 8, S / 8) contrast of objectness, -1 .. 1.

        How much more likely a place is of an object than its surroundings are: what is everywhere in a
        picture, such as a texture that is taken for things, tells of no place.
        """
        objects = self.logits(pictures).softmax(1)[:, CLASSES.index("object"), None]
        cells = functional.avg_pool2d(objects, 2)
        padded = functional.pad(cells, (_REACH,) * 4, mode="replicate")
        return (cells - functional.conv2d(padded, self.surround))[:, 0]
