"""The vision tower: a ViT in which all patches of all frames attend to each other."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal, NamedTuple

import torch
from timm.layers import PatchEmbed
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from egorep.models.adapter import MotionAdapter
from egorep.models.block import Block, init_block, without_gradient
from egorep.models.config import EgoVideoConfig, VisionConfig
from egorep.models.stem import ConvolutionalStem

Pathway = Literal["slow", "fast"]

_SLOWEST = 100.0  # how much slower the slowest of the waves of positions is than the fastest


class VisionFeatures(NamedTuple):
    """What the tower says about B clips.

    Attributes:
        classes: (B, C), the class token after the final norm.
        patches: (B, T, P, C), the patch tokens after the final norm; P = h * w, fewer under patch dropout.
        places: (B, P) int64, where in the grid they are, row by row; the same in every frame.
    """

    classes: torch.Tensor
    patches: torch.Tensor
    places: torch.Tensor


class VisionTower(nn.Module):
    """Clips of normalised pixels to class and patch tokens.

    Both pathways share everything but the adapters, which only the fast one passes.

    Args:
        config: of the whole model.
        drop_path: of the last block; it grows linearly from 0 over the blocks.
        patch_dropout: share of the patches that training leaves out, at the same places of every frame, so
            that the adapters still see each place move through time.

    Attributes:
        gradient_checkpointing: compute blocks twice instead of keeping their activations.

    Raises:
        ValueError: patch dropout together with the spatial adapter, which needs whole pictures.
    """

    def __init__(self, config: EgoVideoConfig, *, drop_path: float = 0.0, patch_dropout: float = 0.0) -> None:
        super().__init__()
        vision = config.vision
        if patch_dropout and config.fast_frames and config.adapter == "spatial_temporal":
            raise ValueError(
                "patch_dropout leaves gaps in pictures, which the spatial_temporal adapter needs whole"
            )
        self.grid = vision.grid
        self.patch_dropout = patch_dropout
        self.gradient_checkpointing = False
        self.patch_embed = (
            ConvolutionalStem(vision.width)
            if vision.stem == "efficientnet_lite0"
            else PatchEmbed(
                img_size=vision.image_size, patch_size=vision.patch_size, embed_dim=vision.width, bias=False
            )
        )
        scale = vision.width**-0.5
        self.class_token = nn.Parameter(scale * torch.randn(vision.width))
        self.position = nn.Parameter(torch.cat([scale * torch.randn(1, vision.width), _places(vision)]))
        self.time = nn.Parameter(_waves(vision.num_frames, vision.width))
        self.norm_pre = nn.LayerNorm(vision.width, eps=vision.norm_eps)
        rates = torch.linspace(0, drop_path, vision.layers).tolist()
        self.blocks = nn.ModuleList(
            Block(vision.width, vision.heads, vision.norm_eps, config.activation, rate) for rate in rates
        )
        adapted = config.fast_frames is not None and config.adapter != "none"
        spatial = config.adapter == "spatial_temporal"
        self.adapters = nn.ModuleList(MotionAdapter(vision.width, spatial=spatial) for _ in rates if adapted)
        self.norm_post = nn.LayerNorm(vision.width, eps=vision.norm_eps)
        for block in self.blocks:
            assert isinstance(block, Block)
            init_block(block, vision.layers)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """All parameters but those of the adapters."""
        adapters = {id(parameter) for parameter in self.adapters.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in adapters]

    def forward(
        self, clips: torch.Tensor, pathway: Pathway = "slow", *, freeze_backbone: bool = False
    ) -> VisionFeatures:
        """Encode clips.

        Args:
            clips: (B, T, 3, S, S) normalised pixels; any T.
            pathway: "fast" passes the adapters.
            freeze_backbone: only the adapters learn from this pass. Gradients still flow through the frozen
                blocks, to the adapters of earlier ones.
        """
        return self.encode(self.patches(clips), pathway, freeze_backbone=freeze_backbone)

    def patches(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, T, 3, S, S) normalised pixels to (B, T, P, C): what each patch of each frame shows by itself.

        Both pathways see the same, so it is computed once for both.
        """
        tokens: torch.Tensor = self.patch_embed(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return tokens

    def encode(
        self, patches: torch.Tensor, pathway: Pathway = "slow", *, freeze_backbone: bool = False
    ) -> VisionFeatures:
        """Encode what `patches` gave, (B, T, P, C); otherwise as `forward`."""
        frozen = self.backbone_parameters() if freeze_backbone else []
        with without_gradient(frozen):
            tokens, grid, places = self._embed(patches.detach() if freeze_backbone else patches)
        for index in range(len(self.blocks)):
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(
                    self._layer, index, tokens, grid, pathway, freeze_backbone, use_reentrant=False
                )
            else:
                tokens = self._layer(index, tokens, grid, pathway, freeze_backbone)
        with without_gradient(frozen):
            tokens = self.norm_post(tokens)
        return VisionFeatures(tokens[:, 0], tokens[:, 1:].unflatten(1, (grid[0], -1)), places)

    def _embed(self, patches: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int, int], torch.Tensor]:
        batch, time = patches.shape[:2]
        patches = patches + self.position[1:] + self._time_table(time)[:, None]
        grid = (time, self.grid, self.grid)
        places = torch.arange(self.grid**2, device=patches.device).expand(batch, -1)
        if self.training and self.patch_dropout:
            places = _kept_places(places, self.patch_dropout)
            patches = patches.gather(2, places[:, None, :, None].expand(-1, time, -1, patches.shape[-1]))
            grid = (time, patches.shape[2], 1)
        first = (self.class_token + self.position[0]).expand(batch, 1, -1)
        return self.norm_pre(torch.cat([first, patches.flatten(1, 2)], dim=1)), grid, places

    def _time_table(self, length: int) -> torch.Tensor:
        if length == len(self.time):
            return self.time
        return functional.interpolate(self.time.T[None], size=length, mode="linear")[0].T

    def _layer(
        self,
        index: int,
        tokens: torch.Tensor,
        grid: tuple[int, int, int],
        pathway: Pathway,
        freeze_backbone: bool,
    ) -> torch.Tensor:
        block = self.blocks[index]
        # In here, so that it also holds when gradient checkpointing computes the block a second time.
        with without_gradient(list(block.parameters())) if freeze_backbone else nullcontext():
            tokens = block(tokens)
        if pathway == "fast" and self.adapters:
            tokens = self.adapters[index](tokens, grid)
        return tokens


def _places(vision: VisionConfig) -> torch.Tensor:
    """(P, C): where each patch is, its row in the first half of the channels and its column in the second."""
    side = _waves(vision.grid, vision.width // 2)
    rows, columns = side[:, None].expand(-1, vision.grid, -1), side.expand(vision.grid, -1, -1)
    places = torch.cat([rows, columns], dim=-1).flatten(0, 1)
    return functional.pad(places, (0, vision.width - places.shape[1]))


def _waves(length: int, width: int) -> torch.Tensor:
    """(length, width) sines and cosines, from waves of six steps to such that hardly change over `length`.

    As strong as patches are. Tables that start at random must first be learnt, and few thousand clips do not
    suffice for that.
    """
    rates = _SLOWEST ** -torch.linspace(0, 1, width // 2)
    angles = torch.arange(length)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    return functional.pad(waves, (0, width - waves.shape[1]))


def _kept_places(places: torch.Tensor, dropped: float) -> torch.Tensor:
    """Of (B, P) places (1 - dropped) of each row, drawn at random: another draw per sample."""
    keep = max(1, round(places.shape[1] * (1 - dropped)))
    return torch.rand(places.shape, device=places.device).argsort(dim=1)[:, :keep]
