"""What is learnt on top of an encoder: a linear map, attention over its patch tokens, or all of it.

A learner turns what is known of clips into logits of classes, or into features that texts are compared with.
Only what it learns is in its state: the frozen encoder stays outside.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from egorep import Encoder
from egorep.backbones import VisionLanguageBackbone
from egorep.models.egovideo import TEMPERATURE
from pretrain import losses

_POOLING_HEADS = 64  # width of a head, as in vision transformers


class Learner(nn.Module, ABC):
    """Maps clips, and in retrieval texts, to what a task is scored from."""

    @abstractmethod
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Of B clips (B, C) logits of classes, or (B, E) L2-normalised features."""

    @abstractmethod
    def text(self, texts: torch.Tensor | Sequence[str]) -> torch.Tensor:
        """(M, E) L2-normalised features of texts."""


class LinearProbe(Learner):
    """A linear map of frozen features.

    For classification the features (N, D) are standardised as they are over the training clips. For retrieval
    there is one map for clips and one for texts; both begin as the identity, so training begins from the
    zero-shot encoder.

    Args:
        features: (N, D) of the training clips.
        classes: how many; None for retrieval.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, features: torch.Tensor, classes: int | None) -> None:
        super().__init__()
        width = features.shape[1]
        if classes is None:
            mean, deviation = torch.zeros(width), torch.ones(width)
        else:
            mean, deviation = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.head = _identity(width) if classes is None else nn.Linear(width, classes)
        self.words = _identity(width) if classes is None else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Of (B, D) features."""
        outputs: torch.Tensor = self.head((inputs - self.mean) / self.deviation)
        return outputs if self.words is None else functional.normalize(outputs, dim=-1)

    def text(self, texts: torch.Tensor | Sequence[str]) -> torch.Tensor:
        """Of (M, E) frozen features."""
        return _mapped(self.words, texts)


class AttentiveProbe(Learner):
    """A learnt query looks at the frozen patch tokens of a clip, and a linear map follows.

    As in the evaluation of V-JEPA (Bardes et al. 2024, section 4.1), with one block of cross-attention.

    Args:
        width: C of the tokens.
        classes: how many; None for retrieval.
        joint: E of the texts' features, for retrieval.
    """

    def __init__(self, width: int, classes: int | None, joint: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, width))
        heads = max(1, width // _POOLING_HEADS)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.head = nn.Linear(width, joint if classes is None else classes)
        self.words = _identity(joint) if classes is None else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Of (B, L, C) tokens."""
        tokens = self.norm(inputs)
        query = self.query.expand(len(tokens), -1, -1)
        pooled = self.attention(query, tokens, tokens, need_weights=False)[0][:, 0]
        outputs: torch.Tensor = self.head(pooled)
        return outputs if self.words is None else functional.normalize(outputs, dim=-1)

    def text(self, texts: torch.Tensor | Sequence[str]) -> torch.Tensor:
        """Of (M, E) frozen features."""
        return _mapped(self.words, texts)


class WholeModel(Learner):
    """A copy of the encoder's network, all of which learns.

    Args:
        encoder: to begin from; it stays as it is.
        classes: how many, for a linear map of the pooled features; None for retrieval, which compares the
            joint features of clips and texts.
    """

    def __init__(self, encoder: Encoder, classes: int | None) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(encoder.backbone).requires_grad_(True)
        self.preprocessing = encoder.preprocessing
        self.head = None if classes is None else nn.Linear(encoder.dim, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Of (B, T, S, S, 3) uint8 clips."""
        features = self.backbone(self.preprocessing(inputs))
        return features.joint if self.head is None else self.head(features.pooled)

    def text(self, texts: torch.Tensor | Sequence[str]) -> torch.Tensor:
        """Of M texts."""
        return cast(VisionLanguageBackbone, self.backbone).text(cast(Sequence[str], texts))


def multi_instance_nce(video: torch.Tensor, text: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    """`pretrain.losses.multi_instance_nce` at the temperature of pretraining.

    Narrations of short actions repeat: of 64 clips of EPIC-KITCHENS some have the same words.

    Args:
        video: (B, E), L2-normalised.
        text: (B, E), L2-normalised; row i is the text of clip i.
        together: (B, B) bool, whether a clip (row) and a text (column) belong together.

    Returns:
        (), at least 0, in nats.
    """
    return losses.multi_instance_nce(video @ text.T / TEMPERATURE, together)


def _identity(width: int) -> nn.Linear:
    layer = nn.Linear(width, width, bias=False)
    nn.init.eye_(layer.weight)
    return layer


def _mapped(words: nn.Linear | None, texts: torch.Tensor | Sequence[str]) -> torch.Tensor:
    assert words is not None  # only retrieval asks
    return functional.normalize(words(texts), dim=-1)
