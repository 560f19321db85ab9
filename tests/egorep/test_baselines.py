"""Files in the format of each release, with random weights, against other networks than ours."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import timm
import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from egorep import list_encoders, load_encoder, registry
from egorep.baselines import BASELINES, VoltronNetwork
from egorep.registry import validate_encoder_name

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5,) * 3, (0.5,) * 3)
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

Weights = dict[str, torch.Tensor]
# Normalised pixels to pooled features and tokens.
Features = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def drawn(**shapes: tuple[int, ...]) -> Weights:
    return {name.replace("__", "."): 0.1 * torch.randn(shape) for name, shape in shapes.items()}


def shaken(module: nn.Module) -> Weights:
    """Its weights, with none left at zero or one."""
    with torch.no_grad():
        for name, weight in module.state_dict().items():
            if weight.is_floating_point():
                weight.add_(
                    0.1 * torch.rand_like(weight) if "var" in name else 0.05 * torch.randn_like(weight)
                )
    return module.eval().state_dict()


class Release(NamedTuple):
    """A file as the authors publish it.

    Attributes:
        weights: by the release's names; what is no part of the encoder is there too.
        content: of the file, with `weights` inside.
        features: what the weights mean, by another network than ours.
    """

    weights: Weights
    content: object
    features: Features

    def write(self, folder: Path) -> Path:
        if self.content is self.weights:
            save_file(self.weights, folder / "model.safetensors")
            return folder / "model.safetensors"
        torch.save(self.content, folder / "model.pt")
        return folder / "model.pt"


def r3m(*_: object) -> Release:
    network = torchvision.models.resnet18()
    network.fc = nn.Identity()
    weights = {f"module.convnet.{name}": weight for name, weight in shaken(network).items()}
    weights |= drawn(
        module__lang_enc__model__embeddings__LayerNorm__bias=(8,), module__lang_rew__pred__0__bias=(4,)
    )

    def features(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = nn.Sequential(*list(network.children())[:-2])(pixels)
        return network(pixels), maps.permute(0, 2, 3, 1)

    return Release(weights, {"r3m": weights, "global_step": 3}, features)


def linear(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def attended(qkv: torch.Tensor, heads: int, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Attention of (N, L, 3 C), head by head; `mask` (L, L) is false where a query sees nothing."""
    parts = []
    for q, k, v in zip(*(part.chunk(heads, -1) for part in qkv.chunk(3, -1)), strict=True):
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        parts.append(scores.softmax(-1) @ v)
    return torch.cat(parts, -1)


def masked_autoencoder(width: int, depth: int, heads: int) -> Release:
    network = timm.create_model(
        "vit_small_patch16_224", embed_dim=width, depth=depth, num_heads=1, num_classes=0
    )
    rest = drawn(mask_token=(1, 1, 8), decoder_pos_embed=(1, 197, 8), decoder_blocks__0__norm1__bias=(8,))
    weights = {**shaken(network), **rest}

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(
            x, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-6
        )

    def features(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kernel, bias = weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"]
        x = functional.conv2d(pixels, kernel, bias, stride=16).flatten(2).transpose(1, 2)
        x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], 1) + weights["pos_embed"]
        for block in (f"blocks.{i}" for i in range(depth)):
            qkv = linear(weights, f"{block}.attn.qkv", norm(f"{block}.norm1", x))
            x = x + linear(weights, f"{block}.attn.proj", attended(qkv, heads))
            hidden = functional.gelu(linear(weights, f"{block}.mlp.fc1", norm(f"{block}.norm2", x)))
            x = x + linear(weights, f"{block}.mlp.fc2", hidden)
        x = norm("norm", x)
        return x[:, 0], x[:, 1:].unflatten(1, (14, 14))

    return Release(weights, {"model": weights, "epoch": 9}, features)


def vc1(monkeypatch: pytest.MonkeyPatch, *_: object) -> Release:
    """Two of its twelve blocks."""
    network = partial(timm.create_model, "vit_base_patch16_224", depth=2, num_classes=0)
    shortened = dataclasses.replace(BASELINES["vc1_base"], network=network)
    monkeypatch.setitem(registry._FROM_FILES, "vc1_base", shortened)
    return masked_autoencoder(width=768, depth=2, heads=12)


def mvp(*_: object) -> Release:
    return masked_autoencoder(width=384, depth=12, heads=12)


def voltron(monkeypatch: pytest.MonkeyPatch, *_: object) -> Release:
    """An eighth of its width, and a small language model."""
    width, words = 48, {"vocab_size": 128, "dim": 24, "n_heads": 2, "n_layers": 2, "hidden_dim": 48}
    narrow = dataclasses.replace(BASELINES["voltron_vcond_small"], network=partial(VoltronNetwork, width, 6))
    monkeypatch.setattr(transformers, "DistilBertConfig", partial(transformers.DistilBertConfig, **words))
    monkeypatch.setitem(registry._FROM_FILES, "voltron_vcond_small", narrow)
    language = transformers.DistilBertModel(transformers.DistilBertConfig())
    weights = {f"lm.{name}": weight for name, weight in shaken(language).items()}
    weights |= drawn(
        patch2embed__proj__weight=(width, 3, 16, 16),
        patch2embed__proj__bias=(width,),
        encoder_pe=(1, 196, width),
        img_token=(1, 1, width),
        lang_token=(1, 1, width),
        lang2encoder__weight=(width, 24),
        lang2encoder__bias=(width,),
        encoder_norm__g=(width,),
    )
    for i in range(12):
        block = drawn(
            pre_norm_attn__g=(width,),
            attn__qkv__weight=(3 * width, width),
            attn__qkv__bias=(3 * width,),
            attn__proj__weight=(width, width),
            attn__proj__bias=(width,),
            layer_scale_attn__gamma=(width,),
            pre_norm_mlp__g=(width,),
            mlp__0__project__weight=(8 * width, width),
            mlp__0__project__bias=(8 * width,),
            mlp__2__weight=(width, 4 * width),
            mlp__2__bias=(width,),
            layer_scale_mlp__gamma=(width,),
        )
        # Large, so that every block counts; at ten times, twelve blocks round to 1e-5 on some processors.
        weights |= {f"encoder_blocks.{i}.{name}": 6 * weight for name, weight in block.items()}
    weights |= drawn(mask_token=(1, 1, 8), decoder_pe=(1, 196, 8), encoder2decoder__bias=(8,))
    weights["lm.embeddings.position_ids"] = torch.arange(512)[None]

    def norm(gain: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x / x.square().mean(-1, keepdim=True).sqrt() * gain

    def features(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kernel, bias = weights["patch2embed.proj.weight"], weights["patch2embed.proj.bias"]
        patches = functional.conv2d(pixels, kernel, bias, stride=16).flatten(2).transpose(1, 2)
        is_class = torch.arange(20)[None] == 0
        said = language(101 * is_class, attention_mask=is_class.long()).last_hidden_state
        text = linear(weights, "lang2encoder", said) + weights["lang_token"]
        patches = patches + weights["encoder_pe"] + weights["img_token"]
        x = torch.cat([patches, text.expand(len(patches), -1, -1)], 1)
        queries = torch.cat([torch.ones(1, 196, dtype=torch.bool), is_class], 1)[0, :, None]
        for block in (f"encoder_blocks.{i}" for i in range(12)):
            qkv = linear(weights, f"{block}.attn.qkv", norm(weights[f"{block}.pre_norm_attn.g"], x))
            seen = linear(weights, f"{block}.attn.proj", attended(qkv, 6, queries))
            x = x + seen * weights[f"{block}.layer_scale_attn.gamma"]
            hidden = linear(weights, f"{block}.mlp.0.project", norm(weights[f"{block}.pre_norm_mlp.g"], x))
            value, gate = hidden.chunk(2, -1)
            made = linear(weights, f"{block}.mlp.2", value * functional.silu(gate))
            x = x + made * weights[f"{block}.layer_scale_mlp.gamma"]
        tokens = norm(weights["encoder_norm.g"], x)[:, :196]
        return tokens.mean(1), tokens.unflatten(1, (14, 14))

    return Release(weights, [weights, {"state": {}, "param_groups": [{"lr": 1e-3, "params": [0]}]}], features)


def theia(_: pytest.MonkeyPatch, folder: Path) -> Release:
    config = transformers.ViTConfig(
        hidden_size=192, num_attention_heads=3, intermediate_size=768, layer_norm_eps=1e-12
    )
    network = transformers.ViTModel(config, add_pooling_layer=False)
    shaken(network)
    network.save_pretrained(folder / "deit")  # which knows the names that files have
    saved = load_file(folder / "deit" / "model.safetensors")
    weights = {f"backbone.model.{name}": weight for name, weight in saved.items()}
    weights |= drawn(translator__translator_heads__facebook_sam__adapter__0__bias=(8,))

    def features(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = network(pixels).last_hidden_state[:, 1:]
        return tokens.mean(1), tokens.unflatten(1, (14, 14))

    return Release(weights, weights, features)


MAKERS = {
    "r3m_resnet18": r3m,
    "vc1_base": vc1,
    "mvp_small": mvp,
    "voltron_vcond_small": voltron,
    "theia_tiny": theia,
}
INTERPOLATION = {
    "r3m": "bilinear",
    "vc1": "bicubic",
    "mvp": "bilinear",
    "voltron": "bilinear",
    "theia": "bicubic",
}
HAS_CLASS_TOKEN = ("vc1_base", "mvp_small")


@pytest.fixture
def release(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    torch.manual_seed(0)
    return MAKERS[name](monkeypatch, tmp_path)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return bool(torch.linalg.norm(ours - theirs) < 1e-5 * torch.linalg.norm(theirs))


@pytest.mark.parametrize("name", MAKERS)
def test_features_are_those_of_the_release(
    name: str, release: Release, tmp_path: Path, pictures: np.ndarray
) -> None:
    encoder = load_encoder(name, checkpoint=release.write(tmp_path))
    preprocessing = encoder.preprocessing
    assert (preprocessing.mean, preprocessing.std) == IMAGENET
    assert preprocessing.interpolation == INTERPOLATION[name.partition("_")[0]]
    assert encoder.image_size == 224

    with torch.no_grad():
        pooled, tokens = release.features(preprocessing(torch.from_numpy(pictures[:2])))
    z = encoder(pictures[:2])
    assert z.shape == (2, encoder.dim)
    assert close(z, pooled)
    assert close(encoder.tokens(pictures[:2])[:, 0], tokens)
    assert not close(z[:1], z[1:])
    assert close(z, tokens.mean((1, 2))) == (name not in HAS_CLASS_TOKEN)


@pytest.mark.parametrize("name", MAKERS)
def test_frozen_and_the_same_every_time(
    name: str, release: Release, tmp_path: Path, pictures: np.ndarray
) -> None:
    path = release.write(tmp_path)
    encoder, again = load_encoder(name, checkpoint=path), load_encoder(name, checkpoint=str(path))
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert again.fingerprint == encoder.fingerprint
    assert torch.equal(again(pictures[1:2]), encoder(pictures[:2])[1:])


@pytest.mark.parametrize("name", MAKERS)
def test_untrained(name: str, release: Release) -> None:
    prints = [load_encoder(f"random/{name}", seed=seed).fingerprint for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


# A name in the file and in the network: of a weight to leave out, and of one to cut.
SPELLED = {
    "r3m_resnet18": ("module.convnet.bn1.bias", "bn1.bias", "module.convnet.conv1.weight", "conv1.weight"),
    "vc1_base": ("norm.bias", "norm.bias", "pos_embed", "pos_embed"),
    "mvp_small": ("cls_token", "cls_token", "blocks.7.mlp.fc1.weight", "blocks.7.mlp.fc1.weight"),
    "voltron_vcond_small": (
        "encoder_blocks.3.pre_norm_mlp.g",
        "encoder_blocks.3.norm2.weight",
        "lm.embeddings.word_embeddings.weight",
        "lm.embeddings.word_embeddings.weight",
    ),
    "theia_tiny": (
        "backbone.model.encoder.layer.1.output.dense.bias",
        "blocks.1.mlp.fc2.bias",
        "backbone.model.embeddings.position_embeddings",
        "pos_embed",
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_misfits_are_listed_in_one_error(name: str, release: Release, tmp_path: Path) -> None:
    left_out, missing, cut, misshaped = SPELLED[name]
    shape = tuple(release.weights[cut].shape)
    del release.weights[left_out]
    release.weights[cut] = release.weights[cut][..., :-1].clone()
    release.weights["stray"] = torch.zeros(2)
    path = release.write(tmp_path)
    with pytest.raises(ValueError, match="does not fit") as raised:
        load_encoder(name, checkpoint=path)
    said = str(raised.value)
    assert said.startswith(
        f"checkpoint {str(path)!r} of encoder {name!r} does not fit the network, missing: "
    )
    assert f"missing: {missing}; unexpected: stray" in said
    assert said.endswith(f"; misshaped: {misshaped} {(*shape[:-1], shape[-1] - 1)} instead of {shape}")


def test_theia_with_other_queries_than_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = theia(monkeypatch, tmp_path)
    attention = "backbone.model.encoder.layer.0.attention.attention"
    release.weights[f"{attention}.query.weight"] = torch.zeros(8, 192)
    del release.weights[f"{attention}.key.bias"]
    with pytest.raises(
        ValueError, match=r"attn\.qkv\.bias, blocks\.0\.attn\.qkv\.weight; unexpected: "
    ) as raised:
        load_encoder("theia_tiny", checkpoint=release.write(tmp_path))
    for name in ("q.weight", "k.weight", "v.weight", "q.bias", "v.bias"):
        assert f"blocks.0.attn.{name}" in str(raised.value)


def test_weights_of_another_network(tmp_path: Path) -> None:
    """torchvision's own, which would fit in shape, are not R3M's."""
    network = torchvision.models.resnet18()
    network.fc = nn.Identity()
    torch.save(network.state_dict(), tmp_path / "resnet18.pt")
    with pytest.raises(ValueError, match=r"conv1\.weight \(outside 'module\.convnet\.'\)"):
        load_encoder("r3m_resnet18", checkpoint=tmp_path / "resnet18.pt")


def test_files_of_nothing_but_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a file can be saved anew where it holds more than tensors."""
    release = r3m()
    expected = load_encoder("r3m_resnet18", checkpoint=release.write(tmp_path)).fingerprint
    save_file(release.weights, tmp_path / "anew.safetensors")
    assert load_encoder("r3m_resnet18", checkpoint=tmp_path / "anew.safetensors").fingerprint == expected


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "r3m.pt"
    torch.save({"r3m": r3m().weights, "config": Hostile(made)}, path)
    with pytest.raises(ValueError, match=r"r3m\.pt.*mkdir.*torch\.save its tensors alone"):
        load_encoder("r3m_resnet18", checkpoint=path)
    assert not made.exists()


@pytest.mark.parametrize("inside", [[1, 2], "weights", {0: torch.zeros(1)}])
def test_files_without_weights_by_name(inside: object, tmp_path: Path) -> None:
    torch.save({"r3m": inside}, tmp_path / "r3m.pt")
    with pytest.raises(ValueError, match=r"r3m\.pt' holds no weights by name under 'r3m'"):
        load_encoder("r3m_resnet18", checkpoint=tmp_path / "r3m.pt")


@pytest.mark.parametrize("name", BASELINES)
def test_without_a_file_the_error_says_who_publishes_it(name: str) -> None:
    for call in (load_encoder, validate_encoder_name):
        with pytest.raises(ValueError, match=rf"checkpoint=.*arXiv.*'random/{name}'"):
            call(name)
    assert name not in list_encoders()
    assert f"random/{name}" not in list_encoders()
    validate_encoder_name(f"random/{name}")


def test_names_and_files_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'r3m_resnet50'"):
        load_encoder("r3m_resnet5")
    with pytest.raises(ValueError, match="did you mean 'random/vc1_base'"):
        load_encoder("random/vc1_bas")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        load_encoder("vc1_base", checkpoint=tmp_path / "nowhere.pt")
    with pytest.raises(ValueError, match="brings its own weights"):
        load_encoder("random/vc1_base", checkpoint=tmp_path / "nowhere.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dim", "side", "millions"),
    [
        ("r3m_resnet18", 512, 7, 11.2),
        ("r3m_resnet34", 512, 7, 21.3),
        ("r3m_resnet50", 2048, 7, 23.5),
        ("vc1_base", 768, 14, 85.8),
        ("vc1_large", 1024, 14, 303.3),
        ("mvp_small", 384, 14, 21.7),
        ("mvp_base", 768, 14, 85.8),
        ("mvp_large", 1024, 16, 303.4),
        ("voltron_vcond_small", 384, 14, 28.7),
        ("voltron_vcond_base", 768, 14, 114.0),
        ("theia_tiny", 192, 14, 5.5),
        ("theia_small", 384, 14, 21.7),
        ("theia_base", 768, 14, 85.8),
    ],
)
def test_sizes(name: str, dim: int, side: int, millions: float, pictures: np.ndarray) -> None:
    encoder = load_encoder(f"random/{name}")
    tokens = encoder.tokens(pictures[:1])
    assert (encoder.dim, tuple(tokens.shape)) == (dim, (1, 1, side, side, dim))
    assert encoder.image_size == (256 if name == "mvp_large" else 224)
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize(
    ("name", "image_size", "constants", "tokens"),
    [
        pytest.param(
            "vit_small_patch14_dinov2.lvd142m", 518, IMAGENET, (37, 37, 384), marks=pytest.mark.slow
        ),
        ("vit_small_patch16_dinov3.lvd1689m", 256, IMAGENET, (16, 16, 384)),
        pytest.param(
            "vit_base_patch16_siglip_224.v2_webli", 224, HALVES, (14, 14, 768), marks=pytest.mark.slow
        ),
        pytest.param("vit_base_patch16_224.mae", 224, IMAGENET, (14, 14, 768), marks=pytest.mark.slow),
        ("vit_base_patch32_clip_224.openai", 224, OPENAI, (7, 7, 768)),
    ],
)
def test_timm_models_that_papers_compare_with(
    name: str, image_size: int, constants: tuple, tokens: tuple[int, ...], pictures: np.ndarray
) -> None:
    encoder = load_encoder(f"random/timm/{name}")
    preprocessing = encoder.preprocessing
    assert (preprocessing.mean, preprocessing.std) == constants
    assert (preprocessing.image_size, preprocessing.interpolation) == (image_size, "bicubic")
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert encoder.tokens(pictures[:1]).shape == (1, 1, *tokens)
    assert encoder.dim == tokens[-1]
    again = load_encoder(f"random/timm/{name}")
    assert again.fingerprint == encoder.fingerprint
    assert torch.equal(again(pictures[:1]), encoder(pictures[:1]))
