"""EgoVideo as an encoder: from a name and a checkpoint to a backbone with its preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from egorep.backbones import Backbone, Built, Features, FramewiseBackbone, VisionLanguageBackbone
from egorep.checkpoints import load_egovideo
from egorep.models.config import SIZES
from egorep.models.egovideo import EgoVideo
from egorep.models.objectness import ObjectnessNetwork
from egorep.models.stem import ConvolutionalStem
from egorep.models.text import tokenize
from egorep.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing

EGOVIDEO_PUBLISHED = "EgoHOD (Pei et al., ICLR 2025), repository OpenRobotLab/EgoHOD"
# The head is convolutional, so it takes pictures of any size. Of 112, 176 and 224 pixels, where things stand
# on Meta-World was read best with the last, by an earlier head.
OBJECTNESS_SIZE = 224


class EgoVideoBackbone(FramewiseBackbone, VisionLanguageBackbone):
    """EgoVideo behind the signature of every encoder.

    `pooled` is the class token after the final norm; of a slow-fast model the slow pathway's and the fast
    one's, one after the other. `tokens` are the patch tokens of the pathway that sees most frames.
    """

    def __init__(self, model: EgoVideo) -> None:
        """Wrap a model."""
        super().__init__()
        self.model = model
        self.num_frames = model.config.num_frames
        self.architecture = repr(model.config)

    def frames(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, P, C) of (N, 3, S, S) normalised pixels: the tokens of their patches, before any attention."""
        return self.model.visual.patches(pixels[:, None])[:, 0]

    def together(self, frames: torch.Tensor) -> Features:
        """Features of (N, T, P, C)."""
        video = self.model.encode_patches(frames)
        pathways = [video.slow] if video.fast is None else [video.slow, video.fast]
        pooled = torch.cat([pathway.classes for pathway in pathways], dim=-1)
        grid = self.model.config.vision.grid
        return Features(pooled, pathways[-1].patches.unflatten(2, (grid, grid)), video.joint)

    def text(self, texts: Sequence[str]) -> torch.Tensor:
        """(N, E) L2-normalised features of N texts."""
        text = self.model.config.text
        ids = tokenize(texts, text.context_length, text.tokens)
        return self.model.encode_text(ids.to(self.model.logit_scale.device))


class ObjectnessBackbone(Backbone):
    """Where an EgoVideo sees objects, whatever they are: pictures of 224 pixels to maps of 28 x 28.

    `pooled` is the map, row by row; `tokens` are its cells, of one channel. The towers are not needed for it.
    """

    maps_objects = True

    def __init__(self, network: ObjectnessNetwork) -> None:
        """Wrap a network."""
        super().__init__()
        self.network = network
        # To be changed with what `ObjectnessNetwork` makes of equal weights.
        self.architecture = "egovideo objectness"

    def forward(self, pixels: torch.Tensor) -> Features:
        """Features of (N, 3, S, S) normalised pixels."""
        cells = self.network(pixels)
        return Features(cells.flatten(1), cells[..., None])


def egovideo_backbone(name: str, checkpoint: Path | None) -> Built:
    """An EgoVideo of a named size.

    Args:
        name: of `egorep.models.config.SIZES`.
        checkpoint: a folder that `EgoVideo.save_pretrained` wrote, which may hold another variant of the size
            (frames, picture size, adapter, stem), or a file of the EgoHOD release or of CLIP; None for
            untrained weights, drawn from torch's generator.

    Raises:
        FileNotFoundError, ValueError: the checkpoint cannot be read, or is of another size.
    """
    model = EgoVideo(SIZES[name]) if checkpoint is None else _read(name, checkpoint)
    model.objectness = None  # which `objectness_backbone` is for
    return EgoVideoBackbone(model), _preprocessing(model.config.vision.image_size)


def objectness_backbone(name: str, checkpoint: Path | None) -> Built:
    """The map of objectness that an EgoVideo with a convolutional stem makes of pictures.

    Args:
        name: of `egorep.models.config.SIZES`.
        checkpoint: as for `egovideo_backbone`.

    Raises:
        FileNotFoundError, ValueError: the checkpoint cannot be read, is of another size, or has no such head.
    """
    untrained = replace(SIZES[name], objectness=True)
    model = EgoVideo(untrained) if checkpoint is None else _read(name, checkpoint)
    stem = model.visual.patch_embed
    if model.objectness is None or not isinstance(stem, ConvolutionalStem):
        raise ValueError(
            f"checkpoint {checkpoint} of {name} has no map of objectness, which pool 'objects' is: "
            f"python -m pretrain.objectness init={checkpoint} trains one"
        )
    return ObjectnessBackbone(ObjectnessNetwork(stem, model.objectness)), _preprocessing(OBJECTNESS_SIZE)


def model_folder(folder: Path) -> Path:
    """Where the model lies that a folder stands for: in a run of `python -m pretrain.train` in `model/`."""
    of_run = folder / "model"
    return of_run if of_run.is_dir() else folder


def _preprocessing(size: int) -> Preprocessing:
    return Preprocessing(size, CLIP_MEAN, CLIP_STD, interpolation="bicubic")


def _read(name: str, checkpoint: Path) -> EgoVideo:
    config = SIZES[name]
    if not checkpoint.is_dir():
        return load_egovideo(checkpoint, config)
    model: EgoVideo = EgoVideo.from_pretrained(model_folder(checkpoint))
    found = model.config.vision
    wanted = config.vision
    if (found.width, found.layers) != (wanted.width, wanted.layers):
        raise ValueError(
            f"{checkpoint} holds a vision tower of width {found.width} and {found.layers} layers, "
            f"but {name} has {wanted.width} and {wanted.layers}: load it by the name of its size"
        )
    return model
