"""The text tower: CLIP's causal transformer, read at the end-of-text token."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from egorep.models.block import Block, init_block
from egorep.models.config import EgoVideoConfig

_NORM_EPS = 1e-5  # in the release and in CLIP alike


class TextTower(nn.Module):
    """Token ids to one feature a text.

    Args:
        config: of the whole model.

    Attributes:
        gradient_checkpointing: compute blocks twice instead of keeping their activations.
    """

    def __init__(self, config: EgoVideoConfig) -> None:
        super().__init__()
        text = config.text
        self.gradient_checkpointing = False
        self.token_embedding = nn.Embedding(text.vocabulary, text.width)
        self.position = nn.Parameter(torch.empty(text.context_length, text.width))
        self.blocks = nn.ModuleList(
            Block(text.width, text.heads, _NORM_EPS, config.activation) for _ in range(text.layers)
        )
        self.norm_final = nn.LayerNorm(text.width, eps=_NORM_EPS)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position, std=0.01)
        for block in self.blocks:
            assert isinstance(block, Block)
            init_block(block, text.layers)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, L) token ids, the largest of a row marking the end of its text, to (B, C)."""
        ends = ids.argmax(dim=1)
        # Nothing looks ahead, so what is behind the last end of a text changes nothing.
        ids = ids[:, : int(ends.max()) + 1]
        tokens = self.token_embedding(ids) + self.position[: ids.shape[1]]
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, True, use_reentrant=False)
            else:
                tokens = block(tokens, is_causal=True)
        result: torch.Tensor = self.norm_final(tokens[torch.arange(len(ids), device=ids.device), ends])
        return result


def tokenize(texts: Sequence[str], context_length: int) -> torch.Tensor:
    """CLIP's byte-pair tokens of N texts: (N, context_length) int64, padded with 0, longer texts cut."""
    ids: torch.Tensor = _tokenizer(context_length)(list(texts))
    return ids


@functools.cache
def _tokenizer(context_length: int) -> Any:
    # Seconds to import and a tenth of one to make: policies need no text, and callers ask again and again.
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=context_length)
