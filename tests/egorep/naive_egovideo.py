"""EgoVideo written a second time, slow, plain and in float64, from its specification alone: a reference."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Shape = tuple[int, ...]
Draw = tuple[str, Shape, float, float]  # name, shape, mean, standard deviation

VISION_EPS, TEXT_EPS = 1e-6, 1e-5
SLOW_FRAMES = 4
ROWS_AT_ONCE = 64
# OpenAI's CLIP has tables of about this size. Next to them the two eps of the norms are told apart.
TABLE_STD = 0.03


def release_state_dict(
    *,
    slow_fast: bool,
    image_size: int = 224,
    patch: int = 16,
    width: int = 768,
    layers: int = 12,
    heads: int = 12,
    text_width: int = 512,
    text_layers: int = 12,
    text_heads: int = 8,
    context: int = 77,
    vocabulary: int = 49408,
    joint: int = 512,
    frames: int | None = None,
    seed: int = 0,
    convolution: bool = False,
    attention: Literal["Wqkv", "in_proj"] = "Wqkv",
    mlp: Literal["fc", "c"] = "fc",
    module_prefix: bool = False,
) -> dict[str, Tensor]:
    """Random float32 weights under the release's names; one seed is one model, however it is spelled."""
    assert width % heads == text_width % text_heads == image_size % patch == 0
    frames = frames or (16 if slow_fast else SLOW_FRAMES)
    draws = [
        *_vision_draws((image_size // patch) ** 2, patch, width, layers, frames, joint, slow_fast),
        *_text_draws(context, vocabulary, text_width, text_layers, joint),
        ("logit_scale", (), math.log(1 / 0.07), 0.0),
    ]
    if slow_fast:
        draws.append(("slowfast_projection", (2 * joint, joint), 0.0, (2 * joint) ** -0.5))
    state = {}
    for draw in draws:
        name, tensor = draw[0], _drawn(draw, seed)
        if name == "visual.conv1.weight" and convolution:
            tensor = tensor.reshape(width, 3, patch, patch)
        state["module." * module_prefix + _spelled(name, attention, mlp)] = tensor
    return state


def _spelled(name: str, attention: str, mlp: str) -> str:
    """One of the release's two spellings of a name of ours."""
    if attention == "in_proj":
        name = name.replace("attn.Wqkv.", "attn.in_proj_")
    if mlp == "c":
        name = name.replace("mlp.fc1.", "mlp.c_fc.").replace("mlp.fc2.", "mlp.c_proj.")
    return name


def _drawn(draw: Draw, seed: int) -> Tensor:
    """The numbers depend on name, shape and seed alone, not on what was drawn before."""
    name, shape, mean, std = draw
    generator = torch.Generator().manual_seed((seed << 32) + zlib.crc32(name.encode()))
    return mean + std * torch.randn(shape, generator=generator)


def _linear_draws(name: str, fan_in: int, fan_out: int, gain: float = 1.0) -> Iterator[Draw]:
    yield f"{name}.weight", (fan_out, fan_in), 0.0, gain * fan_in**-0.5
    yield f"{name}.bias", (fan_out,), 0.0, 0.1


def _norm_draws(name: str, width: int) -> Iterator[Draw]:
    yield f"{name}.weight", (width,), 1.0, 0.2
    yield f"{name}.bias", (width,), 0.0, 0.2


def _block_draws(name: str, width: int) -> Iterator[Draw]:
    yield from _norm_draws(f"{name}.ln_1", width)
    # A sharp attention: a mean over random patches would tell the class token little about its clip.
    yield from _linear_draws(f"{name}.attn.Wqkv", width, 3 * width, gain=2.0)
    yield from _linear_draws(f"{name}.attn.out_proj", width, width, gain=0.5)
    yield from _norm_draws(f"{name}.ln_2", width)
    yield from _linear_draws(f"{name}.mlp.fc1", width, 4 * width)
    yield from _linear_draws(f"{name}.mlp.fc2", 4 * width, width, gain=0.5)


def _adapter_draws(name: str, width: int) -> Iterator[Draw]:
    hidden = width // 2
    yield from _linear_draws(f"{name}.down_proj", width, hidden)
    yield f"{name}.dwconv.weight", (hidden, 1, 3), 0.0, 3**-0.5
    yield f"{name}.dwconv.bias", (hidden,), 0.0, 0.1
    yield f"{name}.conv.weight", (hidden, hidden, 1), 0.0, hidden**-0.5
    yield f"{name}.conv.bias", (hidden,), 0.0, 0.1
    yield f"{name}.conv2d.weight", (hidden, hidden, 3, 3), 0.0, 1.0  # stored, never used
    yield f"{name}.conv2d.bias", (hidden,), 0.0, 1.0
    yield from _linear_draws(f"{name}.up_proj", hidden, width, gain=0.5)
    yield f"{name}.gamma", (1,), 0.7, 0.1


def _vision_draws(
    patches: int, patch: int, width: int, layers: int, frames: int, joint: int, adapters: bool
) -> Iterator[Draw]:
    yield "visual.class_embedding", (width,), 0.0, TABLE_STD
    yield "visual.positional_embedding", (1 + patches, width), 0.0, TABLE_STD
    yield "visual.temporal_embedding", (frames, width), 0.0, TABLE_STD
    yield "visual.conv1.weight", (width, 3 * patch**2), 0.0, TABLE_STD * (3 * patch**2) ** -0.5
    yield from _norm_draws("visual.ln_pre", width)
    for layer in range(layers):
        block = f"visual.transformer.resblocks.{layer}"
        yield from _block_draws(block, width)
        if adapters:
            yield from _adapter_draws(f"{block}.adapter", width)
            yield from _adapter_draws(f"{block}.adapter_2", width)  # stored, never used
    yield from _norm_draws("visual.ln_post", width)
    yield "visual.image_projection", (width, joint), 0.0, width**-0.5


def _text_draws(context: int, vocabulary: int, width: int, layers: int, joint: int) -> Iterator[Draw]:
    yield "textual.positional_embedding", (context, width), 0.0, TABLE_STD
    yield "textual.token_embedding.weight", (vocabulary, width), 0.0, TABLE_STD
    for layer in range(layers):
        yield from _block_draws(f"textual.transformer.resblocks.{layer}", width)
    yield from _norm_draws("textual.ln_final", width)
    yield "textual.text_projection", (width, joint), 0.0, width**-0.5


def _part(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin so, without that beginning, in one spelling and in float64."""
    respelled = {
        "attn.in_proj_weight": "attn.Wqkv.weight",
        "attn.in_proj_bias": "attn.Wqkv.bias",
        "mlp.c_fc.": "mlp.fc1.",
        "mlp.c_proj.": "mlp.fc2.",
    }
    part = {}
    for key, tensor in weights.items():
        name = key.removeprefix("module.")
        if not name.startswith(prefix):
            continue
        name = name.removeprefix(prefix)
        for theirs, ours in respelled.items():
            name = name.replace(theirs, ours)
        part[name] = tensor.to(torch.float64)
    return part


def _layers(part: Weights) -> int:
    """How many blocks a tower has."""
    blocks = {name.split(".")[2] for name in part if name.startswith("transformer.resblocks.")}
    assert blocks == {str(layer) for layer in range(len(blocks))}
    return len(blocks)


def _linear(x: Tensor, part: Weights, name: str) -> Tensor:
    return torch.einsum("...i,oi->...o", x, part[f"{name}.weight"]) + part[f"{name}.bias"]


def _norm(x: Tensor, part: Weights, name: str, eps: float) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred**2).mean(dim=-1, keepdim=True)
    return centred / (variance + eps).sqrt() * part[f"{name}.weight"] + part[f"{name}.bias"]


def _gelu(x: Tensor) -> Tensor:
    """The exact one: x times the normal distribution function."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def _attention(x: Tensor, part: Weights, name: str, heads: int, causal: bool) -> Tensor:
    """Every head of every sample by itself; the rows of Wqkv are all queries, all keys, all values."""
    samples, _, width = x.shape
    size = width // heads
    projected = _linear(x, part, f"{name}.Wqkv")
    queries, keys, values = (projected[..., i * width : (i + 1) * width] for i in range(3))
    mixed = torch.empty_like(x)
    for sample in range(samples):
        for head in range(heads):
            mine = slice(head * size, (head + 1) * size)
            query, key, value = (of[sample, :, mine].contiguous() for of in (queries, keys, values))
            mixed[sample, :, mine] = _one_head(query / math.sqrt(size), key, value, causal)
    return _linear(mixed, part, f"{name}.out_proj")


def _one_head(queries: Tensor, keys: Tensor, values: Tensor, causal: bool) -> Tensor:
    """The softmax of the scores, over the keys, mixes the values; a few queries at a time fit the cache."""
    position = torch.arange(len(queries))
    mixed = []
    for some in position.split(ROWS_AT_ONCE):
        scores = torch.einsum("qc,kc->qk", queries[some], keys)
        if causal:
            scores = scores.masked_fill(position[None, :] > some[:, None], -math.inf)
        powers = (scores - scores.amax(dim=1, keepdim=True)).exp()
        mixed.append(torch.einsum("qk,kc->qc", powers, values) / powers.sum(dim=1, keepdim=True))
    return torch.cat(mixed)


def _mlp(x: Tensor, part: Weights, name: str) -> Tensor:
    """A few tokens at a time, again for the cache alone."""
    some = x.split(ROWS_AT_ONCE, dim=1)
    return torch.cat(
        [_linear(_gelu(_linear(few, part, f"{name}.fc1")), part, f"{name}.fc2") for few in some], dim=1
    )


def _block(x: Tensor, part: Weights, name: str, heads: int, eps: float, causal: bool) -> Tensor:
    x = x + _attention(_norm(x, part, f"{name}.ln_1", eps), part, f"{name}.attn", heads, causal)
    return x + _mlp(_norm(x, part, f"{name}.ln_2", eps), part, f"{name}.mlp")


def _adapter(x: Tensor, part: Weights, name: str) -> Tensor:
    """The motion adapter on patch tokens (B, T, h, w, D)."""
    z = _gelu(_linear(x, part, f"{name}.down_proj"))
    along_time = _depthwise_time(z, part[f"{name}.dwconv.weight"], part[f"{name}.dwconv.bias"])
    pointwise = torch.einsum("...i,oi->...o", along_time, part[f"{name}.conv.weight"][:, :, 0])
    z = z + pointwise + part[f"{name}.conv.bias"]
    return x + part[f"{name}.gamma"] * _linear(z, part, f"{name}.up_proj")


def _depthwise_time(z: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    """Frame t is the sum of the taps over frames t - 1, t and t + 1; frames outside the clip are zero."""
    frames = z.shape[1]
    out = torch.zeros_like(z) + bias
    for t in range(frames):
        for tap in range(3):
            source = t + tap - 1
            if 0 <= source < frames:
                out[:, t] += taps[:, 0, tap] * z[:, source]
    return out


def _resized(table: Tensor, frames: int) -> Tensor:
    """The table (T, D) read at `frames` half-pixel centres, linearly, its ends held; never averaged over."""
    rows = []
    for t in range(frames):
        at = min(max((t + 0.5) * len(table) / frames - 0.5, 0.0), len(table) - 1.0)
        below = math.floor(at)
        above = min(below + 1, len(table) - 1)
        rows.append((1 - (at - below)) * table[below] + (at - below) * table[above])
    return torch.stack(rows)


def _patches(clip: Tensor, part: Weights) -> Tensor:
    """Patch tokens (B, T, h, w, D) of a clip, before their positions are added."""
    stored = part["conv1.weight"]
    patch = math.isqrt(stored[0].numel() // 3)
    kernel = stored.reshape(len(stored), 3, patch, patch)
    samples, frames, channels, height, width = clip.shape
    assert channels == 3
    assert height % patch == width % patch == 0
    cut = clip.reshape(samples, frames, 3, height // patch, patch, width // patch, patch)
    return torch.einsum("btchiwj,dcij->bthwd", cut, kernel)


def _embedded(clip: Tensor, part: Weights) -> tuple[Tensor, Tensor]:
    """The class token (B, D) and the patch tokens (B, T, h, w, D), each with its positions."""
    patches = _patches(clip, part)
    samples, frames, height, width, size = patches.shape
    positions = part["positional_embedding"]
    assert len(positions) == 1 + height * width
    spatial = positions[1:].reshape(1, 1, height, width, size)
    temporal = _resized(part["temporal_embedding"], frames).reshape(1, frames, 1, 1, size)
    return (part["class_embedding"] + positions[0]).expand(samples, size), patches + spatial + temporal


def video_features(
    weights: Weights, clip: Tensor, heads: int, *, pathway: Literal["slow", "fast"]
) -> tuple[Tensor, Tensor, Tensor]:
    """The class token (B, D) and patches (B, T, h, w, D) after the final norm; the projection (B, joint).

    The clip is (B, T, 3, H, W), of normalised pixels; the slow pathway takes all of its frames too.
    """
    part = _part(weights, "visual.")
    token, patches = _embedded(clip.to(torch.float64), part)
    shape = patches.shape
    x = torch.cat([token[:, None], patches.flatten(1, 3)], dim=1)
    x = _norm(x, part, "ln_pre", VISION_EPS)
    for layer in range(_layers(part)):
        name = f"transformer.resblocks.{layer}"
        x = _block(x, part, name, heads, VISION_EPS, causal=False)
        if pathway == "fast":
            moved = _adapter(x[:, 1:].reshape(shape), part, f"{name}.adapter")
            x = torch.cat([x[:, :1], moved.flatten(1, 3)], dim=1)
    x = _norm(x, part, "ln_post", VISION_EPS)
    token = x[:, 0]
    return token, x[:, 1:].reshape(shape), torch.einsum("bd,dj->bj", token, part["image_projection"])


def clip_features(weights: Weights, clip: Tensor, heads: int) -> Tensor:
    """L2-normalised (B, joint): of a plain checkpoint the slow pathway over every frame, else both fused."""
    projection = _part(weights, "slowfast_projection").get("")
    if projection is None:
        return _normalised(video_features(weights, clip, heads, pathway="slow")[2])
    frames = clip.shape[1]
    middles = [(2 * part + 1) * frames // (2 * SLOW_FRAMES) for part in range(SLOW_FRAMES)]
    slow = video_features(weights, clip[:, middles], heads, pathway="slow")[2]
    fast = video_features(weights, clip, heads, pathway="fast")[2]
    return _normalised(torch.einsum("bi,ij->bj", torch.cat([slow, fast], dim=1), projection))


def text_features(weights: Weights, tokens: Tensor, heads: int) -> Tensor:
    """L2-normalised (B, joint), read at the first of each row's largest tokens, from tokens (B, L)."""
    part = _part(weights, "textual.")
    x = part["token_embedding.weight"][tokens] + part["positional_embedding"][: tokens.shape[1]]
    for layer in range(_layers(part)):
        x = _block(x, part, f"transformer.resblocks.{layer}", heads, TEXT_EPS, causal=True)
    x = _norm(x, part, "ln_final", TEXT_EPS)
    ends = [row.index(max(row)) for row in tokens.tolist()]
    at_ends = torch.stack([x[sample, end] for sample, end in enumerate(ends)])
    return _normalised(torch.einsum("bd,dj->bj", at_ends, part["text_projection"]))


def _normalised(x: Tensor) -> Tensor:
    return x / (x**2).sum(dim=-1, keepdim=True).sqrt()
