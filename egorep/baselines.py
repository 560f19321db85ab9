"""The encoders that robot-learning papers compare with, from the files that their authors publish.

    names                       network                   parameters        pooled features
    r3m_resnet18, 34, 50        ResNet-18, 34, 50         11, 21, 24 M      mean of the last map
    vc1_base, large             ViT-B/16, L/16            86, 303 M         class token
    mvp_small, base, large      ViT-S/16, B/16, L/16      22, 86, 303 M     class token
    voltron_vcond_small, base   ViT-S/16, B/16, gated     29, 114 M         mean of the patch tokens
    theia_tiny, small, base     DeiT-Ti/16, S/16, B/16    5.5, 22, 86 M     mean of the patch tokens

Numbers are those of the authors' own code. All normalise by ImageNet's mean and deviation. R3M, VC-1 and
Theia resize to 256 and crop 224 from the centre, and MVP crops to suit its robot's camera; `Preprocessing`
says why the whole picture is resized here.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from timm.layers import GluMlp
from timm.models.vision_transformer import Block
from torch import nn

from egorep.backbones import Backbone, Built, Features, TimmBackbone
from egorep.preprocessing import Preprocessing
from egorep.weights_files import load_strictly, read_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# What the authors of Voltron feed where there is no text, as DistilBERT's vocabulary numbers it: a class
# token, and padding up to 20.
NO_TEXT = (101, *[0] * 19)
VOLTRON_GRID = (14, 14)  # patches of 16 in a picture of 224 pixels

Weights = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Spelling:
    """How a release names its weights.

    Attributes:
        wrapping: the name under which its file holds them; a file of nothing but weights is read as well.
        prefix: what the names of the encoder's weights begin with.
        left_out: pattern of names that are no part of the encoder: heads, decoders, language models.
        renamed: patterns and their replacements, applied in turn to what follows the prefix; the results are
            the network's names.
    """

    wrapping: str
    prefix: str = ""
    left_out: str = "$"
    renamed: tuple[tuple[str, str], ...] = ()

    def read(self, checkpoint: Path) -> Weights:
        """The weights in `checkpoint`, under the network's names.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: `read_weights` refuses the file, or it holds no weights by name.
        """
        content = read_weights(checkpoint)
        inside = content.get(self.wrapping, content)
        if not isinstance(inside, Mapping) or not all(isinstance(name, str) for name in inside):
            raise ValueError(f"file {str(checkpoint)!r} holds no weights by name under {self.wrapping!r}")
        kept = {name: weight for name, weight in inside.items() if not re.match(self.left_out, name)}
        return _fuse_attention({self._network_name(name): weight for name, weight in kept.items()})

    def _network_name(self, name: str) -> str:
        if not name.startswith(self.prefix):
            return f"{name} (outside {self.prefix!r})"
        own = name.removeprefix(self.prefix)
        for pattern, replacement in self.renamed:
            own = re.sub(pattern, replacement, own)
        return own


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An encoder whose authors publish its weights as a file; call it with that file.

    Attributes:
        name: as in `BASELINES`.
        published: the paper, and the repository that links the file.
        network: makes the network in the file, untrained.
        spelling: how the file names its weights.
        preprocessing: as documented with them.
        backbone: of the network.
    """

    name: str
    published: str
    network: Callable[[], nn.Module]
    spelling: Spelling
    preprocessing: Preprocessing
    backbone: Callable[[Any], Backbone] = TimmBackbone

    def __call__(self, checkpoint: Path | None) -> Built:
        """Build the encoder with the weights in `checkpoint`; untrained from None.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file cannot be read without running code, or its weights are not this encoder's;
                lists every name that is missing, unexpected or of another shape.
        """
        network = self.network()
        if checkpoint is not None:
            weights = self.spelling.read(checkpoint)
            load_strictly(network, weights, f"checkpoint {str(checkpoint)!r} of encoder {self.name!r}")
        backbone = self.backbone(network)
        backbone.architecture = f"{self.name} on {backbone.architecture}"  # which leaves out MVP's heads
        return backbone, self.preprocessing


class TheiaBackbone(TimmBackbone):
    """Theia's DeiT; pooled features are the mean of the patch tokens.

    Its teachers are told from the patch tokens alone, so that nothing ever trained what the class token says.
    """

    def forward(self, pixels: torch.Tensor) -> Features:
        """Features of (N, 3, 224, 224) normalised pixels."""
        tokens = super().forward(pixels).tokens
        return Features(tokens.mean((1, 2)), tokens)


class VoltronNetwork(nn.Module):
    """V-Cond as published, without its decoder: a vision transformer that reads language with the patches.

    It has RMSNorm, gated MLPs and scaled residuals; 20 tokens of language come from DistilBERT.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Make it untrained, `width` channels wide."""
        super().__init__()
        self.patch2embed = nn.Conv2d(3, width, kernel_size=16, stride=16)
        self.encoder_pe = nn.Parameter(0.02 * torch.randn(1, math.prod(VOLTRON_GRID), width))
        self.img_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.lang_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        # Theirs keeps the root of the mean square above 1e-8; torch's adds to the mean square.
        norm = partial(nn.RMSNorm, eps=1e-16)
        block = partial(Block, qkv_bias=True, init_values=0.1, act_layer=nn.SiLU, mlp_layer=GluMlp)
        self.encoder_blocks = nn.ModuleList(
            block(width, heads, mlp_ratio=8, norm_layer=norm)  # half of the 8 are the gates
            for _ in range(12)
        )
        self.encoder_norm = norm(width)
        self.lm = transformers.DistilBertModel(transformers.DistilBertConfig()).eval()
        self.lang2encoder = nn.Linear(self.lm.config.dim, width)

    @torch.no_grad()
    def without_text(self) -> torch.Tensor:
        """(1, 20, width): the tokens of language where there is none."""
        ids = torch.tensor([NO_TEXT])
        encoded = self.lm(ids, attention_mask=(ids > 0).long()).last_hidden_state
        return self.lang2encoder(encoded) + self.lang_token


class VoltronBackbone(Backbone):
    """V-Cond for pictures without language; it has no class token, pooled is the mean of the patch tokens.

    (Its authors pool with an attention block that they train with every task.)
    """

    architecture = "v-cond"
    positions: torch.Tensor
    language: torch.Tensor
    mask: torch.Tensor

    def __init__(self, network: VoltronNetwork) -> None:
        """Keep what depends on the picture, and the answer of the rest."""
        super().__init__()
        self.blocks: Any = network.encoder_blocks
        self.patch_embed = network.patch2embed
        self.norm = network.encoder_norm
        self.register_buffer("positions", (network.encoder_pe + network.img_token).detach())
        self.register_buffer("language", network.without_text())
        # The authors' mask is over queries: padding is seen by all, and itself looks at all alike.
        padding = torch.tensor([False] * self.positions.shape[1] + [token == 0 for token in NO_TEXT])
        self.register_buffer("mask", torch.where(padding, -1e30, 0.0)[:, None].repeat(1, len(padding)))

    def forward(self, pixels: torch.Tensor) -> Features:
        """Features of (N, 3, 224, 224) normalised pixels."""
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2) + self.positions
        tokens = torch.cat([patches, self.language.expand(len(patches), -1, -1)], 1)
        for block in self.blocks:
            tokens = block(tokens, attn_mask=self.mask)
        seen = self.norm(tokens)[:, : patches.shape[1]].unflatten(1, VOLTRON_GRID)
        return Features(seen.mean((1, 2)), seen)


def _fuse_attention(weights: Weights) -> Weights:
    """Join matrices for queries, keys and values, where a release keeps them apart: timm has them in one.

    What does not fit together stays apart, for strict loading to name.
    """
    fused = dict(weights)
    for name in weights:
        parts = [name.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if ".attn.q." in name and len({_shape(weights.get(part)) for part in parts}) == 1:
            fused[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat([fused.pop(part) for part in parts])
    return fused


def _shape(weight: object) -> tuple[int, ...] | None:
    return tuple(weight.shape) if isinstance(weight, torch.Tensor) else None


def _timm(architecture: str, **changes: Any) -> Callable[[], nn.Module]:
    return partial(timm.create_model, architecture, num_classes=0, **changes)


def _preprocessing(interpolation: str, image_size: int = 224) -> Preprocessing:
    return Preprocessing(image_size, IMAGENET_MEAN, IMAGENET_STD, interpolation)


def _r3m() -> Iterator[Baseline]:
    """R3M: torchvision's ResNets, trained as part of a model with a language encoder and its reward."""
    spelling = Spelling("r3m", "module.convnet.", left_out=r"module\.lang_(enc|rew)\.")
    for size in (18, 34, 50):
        yield Baseline(
            f"r3m_resnet{size}",
            "R3M (arXiv 2203.12601), facebookresearch/r3m on GitHub",
            _timm(f"resnet{size}"),
            spelling,
            _preprocessing("bilinear"),
        )


# What masked autoencoders have beside their encoder; the releases keep some of it.
_MASKED_AUTOENCODER = Spelling("model", left_out="mask_token|decoder_")


def _vc1() -> Iterator[Baseline]:
    """VC-1: masked autoencoders of egocentric, manipulation and navigation videos and of ImageNet."""
    for size in ("base", "large"):
        yield Baseline(
            f"vc1_{size}",
            "VC-1 (arXiv 2303.18240), facebookresearch/eai-vc on GitHub",
            _timm(f"vit_{size}_patch16_224"),
            _MASKED_AUTOENCODER,
            _preprocessing("bicubic"),
        )


def _mvp() -> Iterator[Baseline]:
    """MVP: masked autoencoders of 0.7 (small) or 4.5 million pictures, most of hands and objects."""
    # 12 heads, where the ViT-S of others has 6: no shape tells.
    changes = {"small": {"num_heads": 12}, "base": {}, "large": {"img_size": 256}}
    for size, change in changes.items():
        yield Baseline(
            f"mvp_{size}",
            "MVP (arXiv 2203.06173 and 2210.03109), ir413/mvp on GitHub",
            _timm(f"vit_{size}_patch16_224", **change),
            _MASKED_AUTOENCODER,
            _preprocessing("bilinear", image_size=change.get("img_size", 224)),
        )


def _voltron() -> Iterator[Baseline]:
    """Voltron's V-Cond: masked autoencoders of Something-Something v2, told what happens in a picture."""
    spelling = Spelling(
        "0",  # its file is a list of weights and optimiser
        left_out=r"mask_token|decoder_|encoder2decoder\.|lm\.embeddings\.position_ids",
        renamed=(
            (r"^patch2embed\.proj\.", "patch2embed."),
            (r"\.pre_norm_attn\.g$", ".norm1.weight"),
            (r"\.pre_norm_mlp\.g$", ".norm2.weight"),
            (r"^encoder_norm\.g$", "encoder_norm.weight"),
            (r"\.layer_scale_attn\.", ".ls1."),
            (r"\.layer_scale_mlp\.", ".ls2."),
            (r"\.mlp\.0\.project\.", ".mlp.fc1."),
            (r"\.mlp\.2\.", ".mlp.fc2."),
        ),
    )
    for size, width, heads in (("small", 384, 6), ("base", 768, 12)):
        yield Baseline(
            f"voltron_vcond_{size}",
            "Voltron (arXiv 2302.12766), siddk/voltron-robotics on GitHub",
            partial(VoltronNetwork, width, heads),
            spelling,
            _preprocessing("bilinear"),
            VoltronBackbone,
        )


def _theia() -> Iterator[Baseline]:
    """Theia: DeiTs distilled from CLIP, Depth Anything, DINOv2, SAM and ViT (the "cddsv" release)."""
    spelling = Spelling(
        "model",
        "backbone.model.",
        left_out=r"translator\.",
        renamed=(
            (r"^embeddings\.cls_token$", "cls_token"),
            (r"^embeddings\.position_embeddings$", "pos_embed"),
            (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
            (r"^encoder\.layer\.", "blocks."),
            (r"\.layernorm_before\.", ".norm1."),
            (r"\.layernorm_after\.", ".norm2."),
            (r"^layernorm\.", "norm."),
            (r"\.attention\.attention\.([qkv])(uery|ey|alue)\.", r".attn.\1."),
            (r"\.attention\.output\.dense\.", ".attn.proj."),
            (r"\.intermediate\.dense\.", ".mlp.fc1."),
            (r"\.output\.dense\.", ".mlp.fc2."),
        ),
    )
    norm = partial(nn.LayerNorm, eps=1e-12)  # of transformers' DeiT; timm's has 1e-6
    for size in ("tiny", "small", "base"):
        yield Baseline(
            f"theia_{size}",
            f"Theia (arXiv 2407.20179), theaiinstitute/theia-{size}-patch16-224-cddsv on Hugging Face",
            _timm(f"deit_{size}_patch16_224", norm_layer=norm),
            spelling,
            _preprocessing("bicubic"),
            TheiaBackbone,
        )


# By name; each takes the file, or None for untrained weights, and gives the network and its preprocessing.
BASELINES: dict[str, Baseline] = {
    baseline.name: baseline for family in (_r3m, _vc1, _mvp, _voltron, _theia) for baseline in family()
}
