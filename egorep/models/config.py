"""What decides an EgoVideo's architecture, and the sizes that have a name."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

ACTIVATIONS = ("gelu", "quick_gelu")
ADAPTERS = ("temporal", "spatial_temporal", "none")
STEMS = ("linear", "efficientnet_lite0")


@dataclass(frozen=True)
class VisionConfig:
    """The vision tower.

    Attributes:
        image_size: side of the square pictures, pixels; a multiple of `patch_size`.
        patch_size: side of a patch, pixels.
        width: of a token.
        layers, heads: of the transformer.
        num_frames: length of the temporal table; clips of another length resize it.
        norm_eps: of every LayerNorm: 1e-6 in the release, 1e-5 in CLIP.
        stem: what makes tokens of patches: "linear" (a projection, as in the release), or
            "efficientnet_lite0" (the frozen first stages of that network, for patches of 16).
    """

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    num_frames: int
    norm_eps: float = 1e-6
    stem: str = "linear"

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise ValueError(f"stem is {self.stem!r}; choose from {', '.join(map(repr, STEMS))}")
        if self.stem == "efficientnet_lite0" and self.patch_size != 16:
            raise ValueError(f"stem 'efficientnet_lite0' makes patches of 16 pixels, got {self.patch_size}")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} must be a multiple of patch_size {self.patch_size}"
            )
        _check_heads("vision", self.width, self.heads)

    @property
    def grid(self) -> int:
        """Patches along one side of a picture."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class TextConfig:
    """The text tower.

    Attributes:
        width: of a token.
        layers, heads: of the transformer.
        context_length: tokens of a text, at most.
        vocabulary: tokens there are; CLIP's by default.
        tokens: ids, rising, of those among CLIP's tokens that this model knows; None: all. A text is then
            split into these alone, in the worst case into bytes (`egorep.models.text.tokens_of`).
    """

    width: int
    layers: int
    heads: int
    context_length: int = 77
    vocabulary: int = 49408
    tokens: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check_heads("text", self.width, self.heads)
        if self.tokens is None:
            return
        rises = all(one < other for one, other in itertools.pairwise(self.tokens))
        if not (rises and self.tokens and self.tokens[0] >= 0 and self.tokens[-1] < self.vocabulary):
            raise ValueError(f"tokens must be rising ids below {self.vocabulary}")


@dataclass(frozen=True)
class EgoVideoConfig:
    """One EgoVideo.

    Attributes:
        vision, text: its towers.
        joint_dim: of the space that video and text share.
        slow_frames: frames of the slow pathway.
        fast_frames: frames of the fast pathway, with adapters; None for a model without one.
        adapter: of the fast pathway: "temporal", the released form, "spatial_temporal", as in the paper's
            figure, or "none", which tells what the others are good for.
        activation: "gelu" (the release), or "quick_gelu" (CLIP as OpenAI trained it).
        objectness: with a head that maps where objects are, behind a convolutional stem; no part of what
            the towers give.
    """

    vision: VisionConfig
    text: TextConfig
    joint_dim: int
    slow_frames: int = 4
    fast_frames: int | None = None
    adapter: str = "temporal"
    activation: str = "gelu"
    # Not part of `repr`, which says what the towers' weights mean.
    objectness: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        for name, value, valid in (
            ("adapter", self.adapter, ADAPTERS),
            ("activation", self.activation, ACTIVATIONS),
        ):
            if value not in valid:
                raise ValueError(f"{name} is {value!r}; choose from {', '.join(map(repr, valid))}")
        if self.objectness and self.vision.stem == "linear":
            raise ValueError(
                "objectness is read from the stages of a convolutional stem, and stem 'linear' has none"
            )
        if self.fast_frames is not None and self.fast_frames < self.slow_frames:
            raise ValueError(f"fast_frames {self.fast_frames} are fewer than slow_frames {self.slow_frames}")

    @property
    def num_frames(self) -> int:
        """Frames of a clip: the fast pathway's, or the slow one's where there is no other."""
        return self.fast_frames or self.slow_frames


def _check_heads(tower: str, width: int, heads: int) -> None:
    if width % heads:
        raise ValueError(f"{tower} width {width} must be a multiple of its heads, {heads}")


# base and large are the paper's. tiny and small are ours: half of ViT-Ti behind a convolutional stem, at
# 112 px, runs on a CPU beside a robot and learns from a few thousand clips; ViT-S at 224 px costs a quarter
# of base.
SIZES: Mapping[str, EgoVideoConfig] = {
    "egovideo_tiny": EgoVideoConfig(
        VisionConfig(112, 16, 192, 6, 3, 4, stem="efficientnet_lite0"), TextConfig(256, 4, 4), 256
    ),
    "egovideo_small": EgoVideoConfig(VisionConfig(224, 16, 384, 12, 6, 4), TextConfig(384, 8, 6), 384),
    "egovideo_base": EgoVideoConfig(VisionConfig(224, 16, 768, 12, 12, 4), TextConfig(512, 12, 8), 512),
    "egovideo_large": EgoVideoConfig(VisionConfig(336, 14, 1024, 24, 16, 4), TextConfig(768, 12, 12), 512),
}
