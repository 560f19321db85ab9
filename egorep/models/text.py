"""The text tower: CLIP's causal transformer, read at the end-of-text token."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from egorep.models.block import Block, init_block
from egorep.models.config import EgoVideoConfig, TextConfig

_NORM_EPS = 1e-5  # in the release and in CLIP alike


class TextTower(nn.Module):
    """Token ids to one feature a text.

    Args:
        config: of the whole model.

    Attributes:
        gradient_checkpointing: compute blocks twice instead of keeping their activations.
        rows: of the embedding by the id of a token, -1 where it has none; None where every id is its row.
    """

    rows: torch.Tensor | None

    def __init__(self, config: EgoVideoConfig) -> None:
        super().__init__()
        text = config.text
        self.gradient_checkpointing = False
        known = text.vocabulary if text.tokens is None else len(text.tokens)
        self.token_embedding = nn.Embedding(known, text.width)
        self.register_buffer("rows", _rows(text), persistent=False)
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
        rows = ids if self.rows is None else self.rows[ids]
        tokens = self.token_embedding(rows) + self.position[: ids.shape[1]]
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, True, use_reentrant=False)
            else:
                tokens = block(tokens, is_causal=True)
        result: torch.Tensor = self.norm_final(tokens[torch.arange(len(ids), device=ids.device), ends])
        return result


def _rows(text: TextConfig) -> torch.Tensor | None:
    if text.tokens is None:
        return None
    rows = torch.full((text.vocabulary,), -1)  # the embedding refuses it: a token that is not known
    rows[list(text.tokens)] = torch.arange(len(text.tokens))
    return rows


def tokenize(
    texts: Sequence[str], context_length: int, tokens: tuple[int, ...] | None = None
) -> torch.Tensor:
    """CLIP's byte-pair tokens of N texts: (N, context_length) int64, padded with 0, longer texts cut.

    Args:
        texts: any.
        context_length: L.
        tokens: `TextConfig.tokens` of the model that reads them.
    """
    ids: torch.Tensor = _tokenizer(context_length, tokens)(list(texts))
    return ids


def tokens_of(texts: Iterable[str]) -> tuple[int, ...]:
    """`TextConfig.tokens` that read `texts` as all of CLIP's tokens do, and any other text in parts.

    They are all tokens of `texts`, those that these are merged from, and every single byte.
    """
    tokenizer = _tokenizer(0, None)
    parts = {"".join(pair): pair for pair in tokenizer.bpe_ranks}
    ids = {id_ for text in texts for id_ in tokenizer.encode(text)}
    waiting = [tokenizer.decoder[id_] for id_ in ids]
    while waiting:
        for part in parts.get(waiting.pop(), ()):
            if tokenizer.encoder[part] not in ids:
                ids.add(tokenizer.encoder[part])
                waiting.append(part)
    single = {id_ for token, id_ in tokenizer.encoder.items() if token not in parts}
    return tuple(sorted(ids | single))


@functools.cache
def _tokenizer(context_length: int, tokens: tuple[int, ...] | None) -> Any:
    # Seconds to import and a tenth of one to make: policies need no text, and callers ask again and again.
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=context_length)
    if tokens is not None:
        known = set(tokens)
        tokenizer.bpe_ranks = {
            pair: rank
            for pair, rank in tokenizer.bpe_ranks.items()
            if tokenizer.encoder["".join(pair)] in known
        }
    return tokenizer
