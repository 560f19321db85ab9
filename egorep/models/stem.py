"""A convolutional stem: tokens of patches by the first stages of EfficientNet-Lite0."""

from __future__ import annotations

import itertools
import math
from typing import Any

import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from egorep.efficientnet_lite import LITE_MEAN, LITE_STD, efficientnet_lite0_classifier
from egorep.preprocessing import CLIP_MEAN, CLIP_STD

_STAGES = 5  # of seven: a sixteenth of the picture's sides, 112 channels
_LEVELS = (2, 3, 5)  # stages after which they are a quarter, an eighth and a sixteenth
_CHANNELS = 112


class ConvolutionalStem(nn.Module):
    """Pictures to a token for each patch of 16 pixels: frozen convolutions, then a projection that learns.

    A transformer that starts from nothing needs millions of pictures to tell edges and textures apart; behind
    the first stages of a network of photographs it learns from thousands ("Early convolutions help
    transformers see better", Xiao et al. 2021, and the hybrids of Dosovitskiy et al. 2021). The stages stay
    as they are, without gradient. Their batch norms, which always go by their stored statistics, are folded
    into the convolutions, which saves passes over the maps.

    Args:
        width: of a token.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.stages = _folded(timm.create_model("tf_efficientnet_lite0"))
        self.project = nn.Linear(_CHANNELS, width)
        # Pixels arrive normalised as CLIP's.
        clip_mean, clip_std = _per_channel(CLIP_MEAN), _per_channel(CLIP_STD)
        lite_mean, lite_std = _per_channel(LITE_MEAN), _per_channel(LITE_STD)
        self.register_buffer("scale", clip_std / lite_std, persistent=False)
        self.register_buffer("shift", (clip_mean - lite_mean) / lite_std, persistent=False)
        self.first.requires_grad_(False)
        self.stages.requires_grad_(False)
        nn.init.normal_(self.project.weight, std=math.sqrt(1 / _CHANNELS))
        nn.init.zeros_(self.project.bias)

    def load_imagenet(self) -> None:
        """Take the weights that Google trained on ImageNet."""
        first, stages = _folded(efficientnet_lite0_classifier())
        self.first.load_state_dict(first.state_dict())
        self.stages.load_state_dict(stages.state_dict())

    def levels(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, S, S) pixels, normalised as CLIP's, to maps of 24, 40 and 112 channels.

        Returns:
            (N, 24, S / 4, S / 4), (N, 40, S / 8, S / 8) and (N, 112, S / 16, S / 16).
        """
        pixels = (pictures * self.scale + self.shift).contiguous(memory_format=torch.channels_last)
        cells = self.first(pixels)
        found = []
        for start, stop in itertools.pairwise((0, *_LEVELS)):
            cells = self.stages[start:stop](cells)
            found.append(cells)
        return found

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) pixels, normalised as CLIP's, to (N, (S / 16) ** 2, width)."""
        tokens: torch.Tensor = self.project(self.levels(pictures)[-1].flatten(2).transpose(1, 2))
        return tokens


def _folded(network: Any) -> tuple[nn.Sequential, nn.Sequential]:
    """The first convolution and the stages of timm's EfficientNet, each batch norm inside its convolution."""
    first = nn.Sequential(network.conv_stem, network.bn1)
    stages = network.blocks[:_STAGES]
    for layers in (first, *(block for stage in stages for block in stage)):
        _fold_norms(layers.eval())
    return first, nn.Sequential(*stages)


def _fold_norms(layers: nn.Module) -> None:
    """Fold each batch norm into the convolution before it; what stays in its place is its activation."""
    before: tuple[str, nn.Conv2d] | None = None
    for name, layer in list(layers.named_children()):
        if isinstance(layer, nn.Conv2d):
            before = name, layer
        elif isinstance(layer, BatchNormAct2d):
            assert before is not None
            layers.register_module(before[0], fuse_conv_bn_eval(before[1], layer))
            layers.register_module(name, layer.act)


def _per_channel(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values)[:, None, None]
