"""Networks from normalised pixels to features: timm's and those of transformers, behind one signature."""

from __future__ import annotations

import inspect
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import transformers
from timm.data import resolve_model_data_config
from torch import nn

from egorep.preprocessing import Preprocessing

# Their towers norm the class token alone; everyone else's `last_hidden_state` is normed as a whole.
UNNORMALISED_TOKENS = frozenset({"altclip_vision_model", "chinese_clip_vision_model", "clip_vision_model"})
PIL_INTERPOLATION = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
# The models of clips that are supported, and where their configuration keeps the number of frames.
CLIP_FRAMES = {"videomae": "num_frames", "vjepa2": "frames_per_clip"}


class Features(NamedTuple):
    """What a network says about N pictures, or about N clips of T frames.

    Attributes:
        pooled: (N, D), the class token after the final norm; without one, the network's own pooled features.
        tokens: patch tokens after the final norm, or the cells of a convolutional map: of pictures
            (N, h, w, C), of clips (N, t, h, w, C) with t time steps, where a step may span several frames.
        joint: (N, E), L2-normalised, in the space shared with text; None where there is no such space.
    """

    pooled: torch.Tensor
    tokens: torch.Tensor
    joint: torch.Tensor | None = None


class Backbone(nn.Module, ABC):
    """A network from normalised pixels to `Features`.

    Attributes:
        architecture: says what the weights mean; part of the encoder's fingerprint.
        num_frames: T, frames that the network looks at together; 1 for networks of single pictures.
        maps_objects: whether `Features.pooled` is a map of where objects are, and not what they are.
    """

    architecture: str
    num_frames: int = 1
    maps_objects: bool = False

    @abstractmethod
    def forward(self, pixels: torch.Tensor) -> Features:
        """Features of normalised pixels, (N, 3, S, S); (N, T, 3, S, S) where `num_frames` is above 1."""


class FramewiseBackbone(Backbone):
    """A backbone of clips that begins with each frame by itself, which a stream then does once a frame."""

    @abstractmethod
    def frames(self, pixels: torch.Tensor) -> torch.Tensor:
        """What N frames show by themselves, (N, ...), of (N, 3, S, S) normalised pixels."""

    @abstractmethod
    def together(self, frames: torch.Tensor) -> Features:
        """Features of N clips, of (N, T, ...) that `frames` gave of each of their frames."""

    def forward(self, pixels: torch.Tensor) -> Features:
        """Features of (N, T, 3, S, S) normalised pixels."""
        return self.together(self.frames(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2]))


class VisionLanguageBackbone(Backbone):
    """A backbone whose features have a `joint` part, and that knows text."""

    @abstractmethod
    def text(self, texts: Sequence[str]) -> torch.Tensor:
        """(N, E) L2-normalised features of N texts, in the space of `Features.joint`."""


# What makes an encoder: the network, and the preprocessing that is documented for its weights.
Built = tuple[Backbone, Preprocessing]


class TimmBackbone(Backbone):
    """Any image model of timm, without its classifier."""

    def __init__(self, model: nn.Module) -> None:
        """Wrap a timm model that was made with `num_classes=0`."""
        super().__init__()
        self.model: Any = model
        documented: Any = model.pretrained_cfg
        self.architecture = f"timm/{documented['architecture']}"
        # Of models trained on the mean of their tokens, timm norms that mean in place of the tokens.
        normed_later = isinstance(getattr(model, "norm", None), nn.Identity) and hasattr(model, "fc_norm")
        self.late_norm: Any = model.fc_norm if normed_later else nn.Identity()
        self.has_class_token = getattr(model, "cls_token", None) is not None

    def forward(self, pixels: torch.Tensor) -> Features:
        """Features of (N, 3, S, S) normalised pixels."""
        raw = self.model.forward_features(pixels)
        if raw.ndim == 4:
            cells = raw if getattr(self.model, "output_fmt", "NCHW") == "NHWC" else raw.permute(0, 2, 3, 1)
            return Features(self.model.forward_head(raw, pre_logits=True), cells)
        tokens = self.late_norm(raw)
        prefix = getattr(self.model, "num_prefix_tokens", 0)
        pooled = tokens[:, 0] if self.has_class_token else self.model.forward_head(raw, pre_logits=True)
        return Features(pooled, _as_square(tokens[:, prefix:]))

    def preprocessing(self) -> Preprocessing:
        """What timm documents for these weights, without its zoom."""
        config = resolve_model_data_config(self.model)
        interpolation = config["interpolation"]
        return Preprocessing(
            image_size=_side(config["input_size"][1:]),
            mean=config["mean"],
            std=config["std"],
            interpolation="bicubic" if interpolation == "random" else interpolation,
        )


class TransformersBackbone(Backbone):
    """Any vision model of transformers; of a dual tower such as CLIP or SigLIP the vision tower."""

    def __init__(self, model: nn.Module, image_size: int) -> None:
        """Wrap a model whose input will be `image_size` pixels square.

        Raises:
            ValueError: a model that masks patches at random, also when it is evaluated.
        """
        super().__init__()
        self.model: Any = getattr(model, "vision_model", model)
        config = self.model.config
        if hasattr(config, "mask_ratio"):
            raise ValueError(
                f"{config.model_type} masks and shuffles patches at random; load its encoder through timm, "
                "e.g. 'timm/vit_base_patch16_224.mae'"
            )
        self.architecture = f"hf/{config.model_type} {_describe(config)}"
        patch = getattr(config, "patch_size", None)
        self.grid = image_size // _side(patch) if patch is not None else None
        resized = getattr(config, "image_size", None) not in (None, image_size, [image_size] * 2)
        accepts = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        self.options = {"interpolate_pos_encoding": True} if resized and accepts else {}
        has_late_norm = config.model_type in UNNORMALISED_TOKENS
        self.late_norm: Any = self.model.post_layernorm if has_late_norm else nn.Identity()

    def forward(self, pixels: torch.Tensor) -> Features:
        """Features of (N, 3, S, S) normalised pixels."""
        output = self.model(pixel_values=pixels, **self.options)
        raw, pooled = output.last_hidden_state, getattr(output, "pooler_output", None)
        if raw.ndim == 4:
            return Features(
                raw.mean((2, 3)) if pooled is None else pooled.flatten(1), raw.permute(0, 2, 3, 1)
            )
        tokens = self.late_norm(raw)
        prefix = self._prefix(tokens.shape[1])
        # The pooler of a model with a class token is a head (often an untrained one) on top of that token.
        if prefix or pooled is None:
            pooled = tokens[:, 0] if prefix else tokens.mean(1)
        return Features(pooled, _as_square(tokens[:, prefix:]))

    def _prefix(self, count: int) -> int:
        """How many of `count` tokens precede the patches; none in a hierarchy, whose last grid is coarser."""
        patches = self.grid**2 if self.grid else 0
        return count - patches if 0 < patches <= count else 0


class TransformersClipBackbone(Backbone):
    """A model of clips of transformers: VideoMAE or V-JEPA 2.

    Neither has a class token: pooled features are the mean of the tokens, which VideoMAE's classifiers read
    too; those of V-JEPA 2 read all tokens through a head of their own.
    """

    def __init__(self, model: nn.Module, image_size: int) -> None:
        """Wrap a model whose input will be `image_size` pixels square."""
        super().__init__()
        config: Any = model.config
        # VideoMAE that was fine-tuned norms the mean, and keeps that norm with its classifier.
        self.late_norm: Any = getattr(model, "fc_norm", nn.Identity())
        self.model: Any = getattr(model, "videomae", model)
        self.options = {}
        if config.model_type == "vjepa2":
            self.model.predictor = None  # of masked features: no part of the encoder
            self.options["skip_predictor"] = True
        self.architecture = f"hf/{config.model_type} {_describe(config)}"
        self.num_frames = getattr(config, CLIP_FRAMES[config.model_type])
        side = image_size // _side(config.patch_size)
        self.grid = (self.num_frames // config.tubelet_size, side, side)

    def forward(self, pixels: torch.Tensor) -> Features:
        """Features of (N, T, 3, S, S) normalised pixels."""
        raw = self.model(pixels, **self.options).last_hidden_state
        return Features(self.late_norm(raw.mean(1)), self.late_norm(raw).unflatten(1, self.grid))


def timm_backbone(name: str, *, pretrained: bool, checkpoint: Path | None = None) -> TimmBackbone:
    """Make a timm model without its classifier.

    Args:
        name: as `timm.create_model` takes it.
        pretrained: download its weights where there is no `checkpoint`.
        checkpoint: a .safetensors or .pth file of this architecture; tensors only, never pickled code.

    Raises:
        ValueError: `checkpoint` does not fit the architecture.
        ConnectionError: the weights could not be downloaded.
    """
    if checkpoint is not None:
        overlay = {"file": str(checkpoint), "custom_load": False}
        try:
            model = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"checkpoint {checkpoint} does not fit 'timm/{name}': {error}") from error
        return TimmBackbone(model)
    try:
        return TimmBackbone(timm.create_model(name, pretrained=pretrained, num_classes=0))
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ConnectionError(
            f"no weights for 'timm/{name}' ({error}); give a file with checkpoint=, "
            f"or take untrained ones with 'random/timm/{name}'"
        ) from error


def transformers_backbone(source: str, *, pretrained: bool) -> Built:
    """Load a model of transformers and its documented preprocessing.

    Args:
        source: a model id of the hub, or a folder.
        pretrained: with its weights, or untrained from its configuration.

    Raises:
        FileNotFoundError: `source` is a folder without a model.
        ConnectionError: `source` is neither a complete folder nor can be downloaded.
        ValueError: the model or its preprocessing is of a kind that is not supported.
    """
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise FileNotFoundError(f"'hf/{source}' has no config.json; `save_pretrained` of a model writes it")
    try:
        config = transformers.AutoConfig.from_pretrained(source)  # first: its absence has the clearest error
        of_clips = config.model_type in CLIP_FRAMES
        processors = transformers.AutoVideoProcessor if of_clips else transformers.AutoImageProcessor
        preprocessing = _transformers_preprocessing(source, processors.from_pretrained(source))
        model = _transformers_model(source, config, pretrained)
    except OSError as error:
        raise ConnectionError(
            f"cannot load 'hf/{source}' ({error}); without network, give a folder that "
            "`save_pretrained` wrote, with its preprocessor_config.json: 'hf/./folder'"
        ) from error
    wrapped = TransformersClipBackbone if of_clips else TransformersBackbone
    return wrapped(model, preprocessing.image_size), preprocessing


def _transformers_model(source: str, config: Any, pretrained: bool) -> nn.Module:
    normed_in_head = config.model_type == "videomae" and config.use_mean_pooling
    models = transformers.AutoModelForVideoClassification if normed_in_head else transformers.AutoModel
    if not pretrained:
        untrained: nn.Module = models.from_config(config)
        return untrained
    model, report = models.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
    # transformers fills what a checkpoint lacks at random, so that every process would have another model.
    missing = {
        key for key in report["missing_keys"] if not key.startswith(("text_model.", "text_projection."))
    }
    if missing and all(key.startswith("pooler.") for key in missing):
        model.pooler = None  # a head that we do not use
    elif missing:
        raise ValueError(
            f"'hf/{source}' lacks weights of its own architecture: {', '.join(sorted(missing)[:5])}"
        )
    return model


def _transformers_preprocessing(source: str, processor: Any) -> Preprocessing:
    rescales = processor.do_rescale and math.isclose(processor.rescale_factor, 1 / 255, rel_tol=1e-3)
    if not rescales or getattr(processor, "rescale_offset", False):
        raise ValueError(f"'hf/{source}' scales pixels in a way of its own; only 0..255 to 0..1 is supported")
    size = processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size
    side = size.get("shortest_edge") or _side((size["height"], size["width"]))
    normalises = processor.do_normalize
    return Preprocessing(
        image_size=side,
        mean=tuple(processor.image_mean) if normalises else (0.0, 0.0, 0.0),
        std=tuple(processor.image_std) if normalises else (1.0, 1.0, 1.0),
        interpolation=PIL_INTERPOLATION[int(processor.resample)],
    )


def _describe(config: Any) -> str:
    """The configuration, without what changes from one release or folder to the next."""
    passing = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
    return json.dumps(
        {k: v for k, v in config.to_diff_dict().items() if k not in passing}, sort_keys=True, default=str
    )


def _side(size: Any) -> int:
    """The side of a square size, given as one number or as height and width."""
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise ValueError(f"only networks with a square input are supported, got {height} x {width}")
    return int(height)


def _as_square(tokens: torch.Tensor) -> torch.Tensor:
    """(N, h * h, C) to (N, h, h, C)."""
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1]:
        raise ValueError(
            f"{tokens.shape[1]} patch tokens make no square grid: this architecture is not supported"
        )
    return tokens.reshape(len(tokens), side, side, -1)
