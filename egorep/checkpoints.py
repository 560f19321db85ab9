"""EgoVideo's weights from elsewhere: the published EgoHOD release, and OpenAI's or open_clip's CLIP.

Our own format, a folder with `config.json` and `model.safetensors`, is `EgoVideo.from_pretrained`'s.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from egorep.models.config import ACTIVATIONS, EgoVideoConfig
from egorep.models.egovideo import EgoVideo
from egorep.weights_files import load_strictly, read_weights

_logger = logging.getLogger(__name__)

Weights = dict[str, torch.Tensor]

# In the release's slow-fast files, and never used by its code.
_UNUSED = re.compile(r"\.adapter\.conv2d\.|\.adapter_2\.")
# OpenAI's state dicts hold these three numbers beside the weights.
_OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")
_SLOW_FAST_FRAMES = 16

# From a key of the release or of CLIP to ours: what stands in blocks first, in either tower.
_RENAMES: Sequence[tuple[str, str]] = (
    (r"^transformer\.resblocks\.", "textual.blocks."),
    (r"^(visual|textual)\.transformer\.resblocks\.", r"\1.blocks."),
    (r"^visual\.blocks\.(\d+)\.adapter\.gamma$", r"visual.adapters.\1.gamma"),
    (r"^visual\.blocks\.(\d+)\.adapter\.down_proj\.", r"visual.adapters.\1.down."),
    (r"^visual\.blocks\.(\d+)\.adapter\.dwconv\.", r"visual.adapters.\1.depthwise_time."),
    (r"^visual\.blocks\.(\d+)\.adapter\.conv\.", r"visual.adapters.\1.pointwise."),
    (r"^visual\.blocks\.(\d+)\.adapter\.up_proj\.", r"visual.adapters.\1.up."),
    (r"\.ln_1\.", ".norm1."),
    (r"\.ln_2\.", ".norm2."),
    (r"\.attn\.Wqkv\.", ".attn.qkv."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^visual\.conv1\.", "visual.patch_embed.proj."),
    (r"^visual\.class_embedding$", "visual.class_token"),
    (r"^visual\.positional_embedding$", "visual.position"),
    (r"^visual\.temporal_embedding$", "visual.time"),
    (r"^visual\.ln_pre\.", "visual.norm_pre."),
    (r"^visual\.ln_post\.", "visual.norm_post."),
    (r"^visual\.(image_projection|proj)$", "image_projection"),
    (r"^(textual\.)?token_embedding\.", "textual.token_embedding."),
    (r"^(textual\.)?positional_embedding$", "textual.position"),
    (r"^(textual\.)?ln_final\.", "textual.norm_final."),
    (r"^textual\.text_projection$", "text_projection"),
)


def load_egovideo(path: Path, config: EgoVideoConfig) -> EgoVideo:
    """An EgoVideo of a known size from a file of the EgoHOD release or of CLIP, in eval mode.

    The file decides the variant: with a slow-fast projection it makes a slow-fast model, and CLIP's a slow
    one whose frames know no order yet (a temporal table of zeros) and whose activation is CLIP's own.

    Args:
        path: .pth, .pt, .bin or .safetensors; pickles are read as tensors only.
        config: the size; of base and large, `egorep.models.config.SIZES`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that is neither, that holds more than tensors, or whose weights do not fit
            `config` (one error lists all missing, unexpected and misshaped ones); a CLIP whose activation is
            unknown.
    """
    weights = _state_dict(read_weights(path), path)
    if "visual.image_projection" in weights:
        return _from_release(weights, config, path)
    if "visual.proj" in weights:
        return _from_clip(weights, config, path, _clip_activation(path, weights))
    raise ValueError(
        f"{path} is neither of the EgoHOD release (no visual.image_projection) nor a CLIP vision transformer "
        f"of OpenAI or open_clip (no visual.proj); it holds {', '.join(sorted(weights)[:5])}, ..."
    )


def load_clip(path: Path, config: EgoVideoConfig, activation: str) -> EgoVideo:
    """As `load_egovideo` for a CLIP file that does not say which activation it was trained with.

    Args:
        path: of OpenAI's or open_clip's weights.
        config: the size.
        activation: "quick_gelu" for OpenAI's weights and open_clip's models named so, else "gelu".

    Raises:
        FileNotFoundError, ValueError: as `load_egovideo` does.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; choose from {', '.join(map(repr, ACTIVATIONS))}")
    return _from_clip(_state_dict(read_weights(path), path), config, path, activation)


def _state_dict(content: Mapping[str, Any], path: Path) -> Weights:
    named = content.get("state_dict", content)
    weights = {key.removeprefix("module."): value for key, value in named.items()}
    others = [
        key
        for key, value in weights.items()
        if not isinstance(value, torch.Tensor) and key not in _OPENAI_NUMBERS
    ]
    if others:
        raise ValueError(f"{path} holds more than tensors under {', '.join(others[:5])}: give a state dict")
    return weights


def _from_release(weights: Weights, config: EgoVideoConfig, path: Path) -> EgoVideo:
    unused = [key for key in weights if _UNUSED.search(key)]
    if unused:
        _logger.info("%s: skipped %d weights that the release stores and never uses", path, len(unused))
    kept = {key: value for key, value in weights.items() if key not in unused}
    frames = len(kept["visual.temporal_embedding"]) if "visual.temporal_embedding" in kept else 0
    vision = dataclasses.replace(config.vision, num_frames=frames or config.vision.num_frames)
    fast = _SLOW_FAST_FRAMES if "slowfast_projection" in kept else None
    return _loaded(kept, dataclasses.replace(config, vision=vision, fast_frames=fast), path)


def _from_clip(weights: Weights, config: EgoVideoConfig, path: Path, activation: str) -> EgoVideo:
    kept = {key: value for key, value in weights.items() if key not in _OPENAI_NUMBERS}
    kept.pop("attn_mask", None)  # open_clip stores its causal mask in some versions
    vision = dataclasses.replace(config.vision, norm_eps=1e-5)
    clip = dataclasses.replace(config, vision=vision, activation=activation, fast_frames=None)
    kept["visual.temporal_embedding"] = torch.zeros(vision.num_frames, vision.width)
    return _loaded(kept, clip, path)


def _clip_activation(path: Path, weights: Weights) -> str:
    if all(name in weights for name in _OPENAI_NUMBERS):
        return "quick_gelu"
    described = path.with_name("open_clip_config.json")
    if described.is_file():
        return "quick_gelu" if json.loads(described.read_text())["model_cfg"].get("quick_gelu") else "gelu"
    raise ValueError(
        f"{path} is a CLIP, but does not say which activation it was trained with: put open_clip's "
        "open_clip_config.json beside it, or call egorep.checkpoints.load_clip(path, config, activation)"
    )


def _loaded(weights: Weights, config: EgoVideoConfig, path: Path) -> EgoVideo:
    model = EgoVideo(config)
    renamed = {_our_name(key): value.float() for key, value in weights.items()}
    # The release stores the patches' linear map over (channel, row, column), CLIP a convolution.
    patches = renamed.get("visual.patch_embed.proj.weight")
    if patches is not None and patches.ndim == 2:
        size = config.vision.patch_size
        if patches.shape[1] == 3 * size * size:
            renamed["visual.patch_embed.proj.weight"] = patches.unflatten(1, (3, size, size))
    load_strictly(model, renamed, f"checkpoint {str(path)!r}")
    return model.eval()


def _our_name(key: str) -> str:
    for pattern, replacement in _RENAMES:
        key = re.sub(pattern, replacement, key)
    return key
