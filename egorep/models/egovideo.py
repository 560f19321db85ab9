"""EgoVideo: two pathways through one vision tower, fused, and a text tower beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from safetensors.torch import save_model
from torch import nn
from torch.nn import functional

from egorep.models.config import EgoVideoConfig, TextConfig, VisionConfig
from egorep.models.objectness import ObjectnessHead
from egorep.models.text import TextTower, tokens_of
from egorep.models.vision import VisionFeatures, VisionTower
from egorep.preprocessing import middle_frames
from egorep.weights_files import load_strictly, read_weights

TEMPERATURE = 0.07  # of the contrastive loss, at the start; the release keeps it there


class VideoFeatures(NamedTuple):
    """What EgoVideo says about B clips.

    Attributes:
        joint: (B, E), L2-normalised, in the space shared with text.
        slow: of the slow pathway.
        fast: of the fast pathway; None in a model without one.
    """

    joint: torch.Tensor
    slow: VisionFeatures
    fast: VisionFeatures | None


class EgoVideo(
    nn.Module,
    ModelHubMixin,
    library_name="egorep",
    license="mit",
    tags=["robotics", "egocentric-video", "video-text"],
):
    """Video and text in one space.

    `save_pretrained(folder)` writes `config.json` and `model.safetensors`; `EgoVideo.from_pretrained` reads
    them from a folder or from the hub, and `push_to_hub` uploads them.

    Args:
        config: the architecture.
        drop_path, patch_dropout: regularisation in training, see `VisionTower`.
    """

    def __init__(self, config: EgoVideoConfig, *, drop_path: float = 0.0, patch_dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.visual = VisionTower(config, drop_path=drop_path, patch_dropout=patch_dropout)
        self.textual = TextTower(config)
        self.image_projection = _projection(config.vision.width, config.joint_dim)
        self.text_projection = _projection(config.text.width, config.joint_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))
        self.slowfast_projection = (
            _projection(2 * config.joint_dim, config.joint_dim) if config.fast_frames else None
        )
        # Drawn last: the others' untrained weights are the same with and without it.
        self.objectness = ObjectnessHead().requires_grad_(False).eval() if config.objectness else None

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Trade time for memory in training: compute the blocks of both towers twice."""
        self.visual.gradient_checkpointing = self.textual.gradient_checkpointing = enabled

    def forward(
        self, clips: torch.Tensor, ids: torch.Tensor, *, co_training: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, E) video and text features; see `encode_video` and `encode_text`."""
        return self.encode_video(clips, co_training=co_training).joint, self.encode_text(ids)

    def encode_video(self, clips: torch.Tensor, *, co_training: bool = False) -> VideoFeatures:
        """Encode clips.

        Args:
            clips: (B, T, 3, S, S) normalised pixels. The fast pathway takes all T frames, usually
                `config.fast_frames`, and the slow one the middles of their `config.slow_frames` equal parts;
                a model without a fast pathway takes all.
            co_training: the backbone learns through the slow pathway alone and the adapters through the fast
                one, as in the paper's second stage: a fraction of the cost of training all frames end to end.
        """
        return self.encode_patches(self.visual.patches(clips), co_training=co_training)

    def encode_patches(self, patches: torch.Tensor, *, co_training: bool = False) -> VideoFeatures:
        """Encode (B, T, P, C) that `visual.patches` gave of clips; otherwise as `encode_video`."""
        if self.slowfast_projection is None:
            slow = self.visual.encode(patches, "slow")
            return VideoFeatures(
                functional.normalize(slow.classes @ self.image_projection, dim=-1), slow, None
            )
        middles = middle_frames(patches.shape[1], self.config.slow_frames)
        slow = self.visual.encode(patches[:, middles], "slow")
        fast = self.visual.encode(patches, "fast", freeze_backbone=co_training)
        both = torch.cat([slow.classes @ self.image_projection, fast.classes @ self.image_projection], dim=-1)
        return VideoFeatures(functional.normalize(both @ self.slowfast_projection, dim=-1), slow, fast)

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, L) token ids to (B, E), L2-normalised."""
        return functional.normalize(self.textual(ids) @ self.text_projection, dim=-1)

    def reading_only(self, texts: Iterable[str]) -> EgoVideo:
        """The same model with the tokens of `texts` alone (`egorep.models.text.tokens_of`), to evaluate.

        Embeddings of CLIP's whole vocabulary are most of a small model's weights. Words that are not in
        `texts` are then read in parts, which training on `texts` has never taught either.

        Raises:
            ValueError: the model has no whole vocabulary to choose from.
        """
        if self.config.text.tokens is not None:
            raise ValueError(
                f"this model knows {len(self.config.text.tokens)} tokens alone, not all of CLIP's"
            )
        tokens = tokens_of(texts)
        text = replace(self.config.text, tokens=tokens)
        model = EgoVideo(replace(self.config, text=text))
        weights = self.state_dict()
        weights["textual.token_embedding.weight"] = weights["textual.token_embedding.weight"][list(tokens)]
        model.load_state_dict(weights)
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        config, weights = save_directory / "config.json", save_directory / "model.safetensors"
        config.write_text(json.dumps({"model_type": "egovideo", **asdict(self.config)}, indent=2) + "\n")
        save_model(self, str(weights))
        weights.chmod(config.stat().st_mode)  # safetensors lets the owner alone read, whatever the umask

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> EgoVideo:
        folder = Path(model_id)
        if not folder.is_dir():
            wanted = ("force_download", "cache_dir", "local_files_only", "revision", "token")
            download = {name: options.pop(name) for name in wanted if name in options}
            patterns = ["config.json", "model.safetensors"]
            folder = Path(snapshot_download(model_id, allow_patterns=patterns, **download))
        model = cls(read_config(folder))
        load_strictly(model, read_weights(folder / "model.safetensors"), f"model {model_id!r}")
        return model.eval()


def read_config(folder: Path) -> EgoVideoConfig:
    """The configuration that `EgoVideo.save_pretrained` wrote.

    Raises:
        FileNotFoundError: `folder` has no config.json.
        ValueError: it is not one of EgoVideo.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no config.json; `EgoVideo.save_pretrained` writes it")
    values: dict[str, Any] = json.loads(path.read_text())
    if values.pop("model_type", None) != "egovideo":
        raise ValueError(f"{path} is not of an EgoVideo: its model_type is not 'egovideo'")
    try:
        vision, text = VisionConfig(**values.pop("vision")), values.pop("text")
        if text.get("tokens") is not None:
            text["tokens"] = tuple(text["tokens"])
        text = TextConfig(**text)
        return EgoVideoConfig(vision, text, **values)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a configuration of EgoVideo: {error}") from error


def _projection(inputs: int, outputs: int) -> nn.Parameter:
    return nn.Parameter(inputs**-0.5 * torch.randn(inputs, outputs))
