"""The transformer block of both towers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from timm.layers import Attention, DropPath, Mlp, get_act_layer
from torch import nn


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a residual.

    Args:
        width: of a token.
        heads: of the attention.
        norm_eps: of both LayerNorms.
        activation: of the MLP, "gelu" or "quick_gelu".
        drop_path: share of samples whose residual branches are dropped in training.
    """

    def __init__(
        self, width: int, heads: int, norm_eps: float, activation: str, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, num_heads=heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, hidden_features=4 * width, act_layer=get_act_layer(activation))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: torch.Tensor, is_causal: bool = False) -> torch.Tensor:
        """(B, N, C) to (B, N, C); a causal block shows each token only what stands before it."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), is_causal=is_causal))
        mixed: torch.Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return mixed


def init_block(block: Block, layers: int) -> None:
    """CLIP's initialisation (Radford et al. 2021): residual branches shrink with the depth of the tower."""
    width = block.attn.proj.in_features
    residual = width**-0.5 * (2 * layers) ** -0.5
    nn.init.normal_(block.attn.qkv.weight, std=width**-0.5)
    nn.init.normal_(block.attn.proj.weight, std=residual)
    nn.init.normal_(block.mlp.fc1.weight, std=(2 * width) ** -0.5)
    nn.init.normal_(block.mlp.fc2.weight, std=residual)
    for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
        nn.init.zeros_(layer.bias)


@contextmanager
def without_gradient(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside, `parameters` learn nothing, while gradients still pass through what they compute."""
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
