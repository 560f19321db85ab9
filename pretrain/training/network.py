"""What is trained: EgoVideo, and the heads that some losses need and that are left behind at the end."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from egorep.checkpoints import load_egovideo
from egorep.egovideo import model_folder
from egorep.models.config import SIZES, EgoVideoConfig
from egorep.models.egovideo import EgoVideo
from egorep.models.stem import ConvolutionalStem
from egorep.names import unknown
from egorep.weights_files import load_strictly, read_weights
from pretrain.data.flip import TRACKS
from pretrain.data.loader import Batch
from pretrain.training.config import TrainConfig

_logger = logging.getLogger(__name__)

# A slow-fast model has these beside what a slow one has.
_FAST_ONLY = ("visual.adapters.", "slowfast_projection")
_SIGLIP_SCALE, _SIGLIP_BIAS = math.log(10), -10.0  # Zhai et al. 2023, section 3.2
_TRACK_WIDTH, _TRACK_LAYERS, _TRACK_HEADS = 128, 2, 4
_BOX_SHIFT = 0.1  # sides of the picture
_OCTAVES = 4  # of the waves that coordinates are described by

Outputs = dict[str, torch.Tensor]


class TrackEncoder(nn.Module):
    """Motion of hands and objects to one feature per clip: a small transformer over the instants.

    Coordinates are given as waves, too (sines and cosines of pi, 2 pi, 4 pi, ...): boxes of most clips differ
    by small parts of the picture, and without waves all motions start, and stay, about the same feature.

    Args:
        inputs: D, numbers that describe an instant, its time among them (`pretrain.data.motion`).
        outputs: E.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs * (1 + 2 * _OCTAVES), _TRACK_WIDTH)
        layer = nn.TransformerEncoderLayer(
            _TRACK_WIDTH,
            _TRACK_HEADS,
            dim_feedforward=4 * _TRACK_WIDTH,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(layer, _TRACK_LAYERS, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(_TRACK_WIDTH)
        self.project = nn.Linear(_TRACK_WIDTH, outputs, bias=False)

    def forward(self, motion: torch.Tensor) -> torch.Tensor:
        """(B, F, D) to (B, E), L2-normalised."""
        phases = [motion * (math.pi * 2**octave) for octave in range(_OCTAVES)]
        waves = [wave(phase) for phase in phases for wave in (torch.sin, torch.cos)]
        instants = self.blocks(self.embed(torch.cat([motion, *waves], dim=-1)))
        return functional.normalize(self.project(self.norm(instants).mean(1)), dim=-1)


class BoxFinder(nn.Module):
    """Boxes from the patch tokens of a frame: where each kind of box is, and what is seen there.

    A kind's attention over the patches gives a place, their mean under it, and the features there, which
    correct it and tell the size. Patch tokens learn from it within tens of steps where hands and objects are;
    a class token alone stays at the mean box for hundreds.

    Args:
        width: C, of a token.
        kinds: K, boxes in a frame.
        grid: patches along one side of the picture.
    """

    centres: torch.Tensor

    def __init__(self, width: int, kinds: int, grid: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, kinds, bias=False)
        self.kind = nn.Parameter(0.02 * torch.randn(kinds, width))
        self.correct = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 4))
        middles = (torch.arange(grid) + 0.5) / grid
        rows, columns = torch.meshgrid(middles, middles, indexing="ij")
        self.register_buffer("centres", torch.stack([columns, rows], dim=-1).flatten(0, 1), persistent=False)

    def forward(self, patches: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """(B, F, P, C) tokens and their (B, P) places in the grid to (B, F, K, 4) corners."""
        weights = self.score(patches).softmax(dim=2)
        centres = torch.einsum("bfpk,bpd->bfkd", weights, self.centres[places])
        seen = torch.einsum("bfpk,bfpc->bfkc", weights, patches)
        shift, size = self.correct(seen + self.kind).split(2, dim=-1)
        # At the start, about the middle of the attention, and a quarter of the picture's sides.
        centres, sides = centres + _BOX_SHIFT * shift, (size - 1).sigmoid()
        return torch.cat([centres - sides / 2, centres + sides / 2], dim=-1)


class PretrainingNetwork(nn.Module):
    """EgoVideo with the heads that the chosen losses need.

    Heads look at the class tokens after the final norm, of a slow-fast model both, concatenated: the features
    that encoders hand to robot policies. Boxes are told from the patch tokens of the slow pathway, too.

    Args:
        egovideo: the model.
        config: which losses, whether the temperature is learned, and the stage.
        motion_size: numbers that describe an instant of the tracks; read only where their loss is on.

    Attributes:
        egovideo: the model, with its `logit_scale` set to the temperature of the contrast.
    """

    def __init__(self, egovideo: EgoVideo, config: TrainConfig, motion_size: int) -> None:
        super().__init__()
        self.egovideo = egovideo
        self._co_training = config.co_training
        architecture = egovideo.config
        pooled = architecture.vision.width * (2 if architecture.fast_frames else 1)
        self._prepare_contrast(config)
        self.box_head = (
            nn.Sequential(
                nn.Linear(pooled, pooled),
                nn.GELU(),
                nn.Linear(pooled, architecture.slow_frames * len(TRACKS) * 4),
            )
            if config.losses.boxes
            else None
        )
        vision = architecture.vision
        self.box_finder = BoxFinder(vision.width, len(TRACKS), vision.grid) if config.losses.boxes else None
        self.track_encoder = (
            TrackEncoder(motion_size, architecture.joint_dim) if config.losses.tracks else None
        )
        self.motion_projection = (
            nn.Linear(pooled, architecture.joint_dim, bias=False) if config.losses.tracks else None
        )
        # The last adapter moves patch tokens only, after the last block in which the class token looks at
        # them: no loss reaches it, and DistributedDataParallel refuses parameters without a gradient.
        if egovideo.visual.adapters:
            egovideo.visual.adapters[-1].requires_grad_(False)

    def _prepare_contrast(self, config: TrainConfig) -> None:
        is_siglip = config.losses.contrast == "siglip"
        scale = _SIGLIP_SCALE if is_siglip else -math.log(config.temperature)
        self.egovideo.logit_scale.data.fill_(scale)
        self.egovideo.logit_scale.requires_grad_(is_siglip or config.learn_temperature)
        self.logit_bias = nn.Parameter(torch.tensor(_SIGLIP_BIAS)) if is_siglip else None
        self._track_scale = -math.log(config.temperature)

    def forward(self, clips: torch.Tensor, batch: Batch) -> Outputs:
        """What the losses compare.

        Args:
            clips: (B, T, 3, S, S) normalised pixels of `batch.clips`.
            batch: the rest of the batch, on the same device.

        Returns:
            "video" and "text", (B, E) in the joint space, L2-normalised; "logit_scale" and, of SigLIP,
            "logit_bias", (). With the loss on boxes, at the F slow frames, "boxes" (B, F, K, 4) in 0..1 by
            the class tokens and "patch_boxes" (B, F, K, 4) by the patch tokens. With the loss on tracks
            "motion" of the clips and "tracks" of the tracks, (B, E), L2-normalised, and "track_scale", ().
        """
        video = self.egovideo.encode_video(clips, co_training=self._co_training)
        outputs = {
            "video": video.joint,
            "text": self.egovideo.encode_text(batch.ids),
            "logit_scale": self.egovideo.logit_scale.clone(),
        }
        if self.logit_bias is not None:
            outputs["logit_bias"] = self.logit_bias.clone()
        pathways = [video.slow] if video.fast is None else [video.slow, video.fast]
        pooled = torch.cat([pathway.classes for pathway in pathways], dim=-1)
        if self.box_head is not None:
            outputs["boxes"] = self.box_head(pooled).unflatten(-1, (-1, len(TRACKS), 4)).sigmoid()
        if self.box_finder is not None:
            outputs["patch_boxes"] = self.box_finder(video.slow.patches, video.slow.places)
        if self.track_encoder is not None and self.motion_projection is not None:
            outputs["motion"] = functional.normalize(self.motion_projection(pooled), dim=-1)
            outputs["tracks"] = self.track_encoder(batch.motion)
            outputs["track_scale"] = video.joint.new_tensor(self._track_scale)
        return outputs


def build_egovideo(config: TrainConfig) -> EgoVideo:
    """The model of a run: drawn from torch's generator, or from `init`, for the frames of its stage.

    A convolutional stem starts from its ImageNet weights.

    `init` may be the folder of a run of this command, a folder that `EgoVideo.save_pretrained` wrote, or a
    file of the EgoHOD release or of CLIP. It decides what `model.architecture` leaves open: activation,
    epsilons, temporal table. From a slow model, stage cotrain starts with fresh adapters, which are the
    identity, and with the mean of both pathways as their fusion, so it starts about as good as the slow model
    was. CLIP's two projections are left behind, as in the paper.

    Raises:
        ValueError: an unknown size or architecture, or an `init` that is of another, lacks what the
            architecture asks for, or cannot be read.
        FileNotFoundError: `init` is a folder without a model.
    """
    wanted = _architecture(config)
    rates = {"drop_path": config.model.drop_path, "patch_dropout": config.patch_dropout}
    if config.init is None:
        model = EgoVideo(_for_stage(wanted, config), **rates)
        if isinstance(model.visual.patch_embed, ConvolutionalStem):
            model.visual.patch_embed.load_imagenet()
        return model
    found = _read_init(Path(config.init), wanted)
    _check_size(found.config, wanted, config)
    model = EgoVideo(_for_stage(_changed(found.config, config), config), **rates)
    asked = f" under model.architecture={config.model.architecture}" if config.model.architecture else ""
    _take_over(model, found, f"init={config.init}{asked}")
    return model


def _architecture(config: TrainConfig) -> EgoVideoConfig:
    if config.model.size not in SIZES:
        raise unknown("model.size", config.model.size, SIZES)
    published = SIZES[config.model.size]
    architecture = _changed(published, config)
    if architecture.text.vocabulary != published.text.vocabulary:
        raise ValueError(
            f"vocabulary {architecture.text.vocabulary} is not that of CLIP's tokens, "
            f"{published.text.vocabulary}, which training makes"
        )
    return architecture


def _changed(architecture: EgoVideoConfig, config: TrainConfig) -> EgoVideoConfig:
    """It with `model.architecture`."""
    try:
        changed: EgoVideoConfig = _replaced(architecture, config.model.architecture or {})
    except (TypeError, ValueError) as error:
        raise ValueError(f"model.architecture={config.model.architecture}: {error}") from error
    if changed.objectness and not architecture.objectness:
        raise ValueError("model.architecture.objectness: `python -m pretrain.objectness` trains that head")
    return changed


def _replaced(part: Any, changes: Mapping[str, Any]) -> Any:
    """`part`, a dataclass, with nested changes by name."""
    nested = {
        name: _replaced(getattr(part, name), change) if isinstance(change, Mapping) else change
        for name, change in changes.items()
    }
    return dataclasses.replace(part, **nested)


def _for_stage(architecture: EgoVideoConfig, config: TrainConfig) -> EgoVideoConfig:
    return dataclasses.replace(
        architecture, fast_frames=config.model.fast_frames if config.co_training else None
    )


def _read_init(path: Path, wanted: EgoVideoConfig) -> EgoVideo:
    if path.is_dir():
        model: EgoVideo = EgoVideo.from_pretrained(model_folder(path))
        return model
    clip_projection = read_weights(path).get("visual.proj")
    if clip_projection is None:
        return load_egovideo(path, wanted)
    clip = load_egovideo(path, dataclasses.replace(wanted, joint_dim=clip_projection.shape[1]))
    fresh = EgoVideo(dataclasses.replace(clip.config, joint_dim=wanted.joint_dim))
    for name in ("image_projection", "text_projection"):
        setattr(clip, name, getattr(fresh, name))
    clip.config = fresh.config
    return clip


def _check_size(found: EgoVideoConfig, wanted: EgoVideoConfig, config: TrainConfig) -> None:
    def size(part: EgoVideoConfig) -> tuple[int, ...]:
        vision, text = part.vision, part.text
        towers = (vision.width, vision.layers, vision.image_size, text.width, text.layers)
        return (*towers, part.joint_dim)

    if size(found) != size(wanted):
        names = "vision width, layers and image size, text width and layers, joint_dim"
        raise ValueError(
            f"init={config.init} is of another size than model={config.model.size}: "
            f"{size(found)} instead of {size(wanted)} ({names})"
        )
    if found.fast_frames and not config.co_training:
        raise ValueError(
            f"init={config.init} is a slow-fast model, and stage=backbone trains a slow one: "
            "take stage=cotrain, or the slow model that it came from"
        )


def _take_over(model: EgoVideo, found: EgoVideo, source: str) -> None:
    """Give `model` the weights of `found`, which may lack adapters, fusion or both, but no part of either."""
    weights = found.state_dict()
    lacking = tuple(part for part in _FAST_ONLY if not any(name.startswith(part) for name in weights))
    fresh = {name: weight for name, weight in model.state_dict().items() if name.startswith(lacking)}
    load_strictly(model, fresh | weights, source)
    if "slowfast_projection" in fresh:
        assert model.slowfast_projection is not None
        half = torch.eye(model.config.joint_dim) / 2
        model.slowfast_projection.data.copy_(torch.cat([half, half]))
        _logger.info("%s has no fast pathway: adapters and fusion start fresh", source)
