"""The losses of a run, added up."""

from __future__ import annotations

import torch

from pretrain.data.loader import Batch
from pretrain.losses import clip_track_contrast, info_nce, masked_box_loss, siglip
from pretrain.training.config import LossSettings
from pretrain.training.network import Outputs


def losses(outputs: Outputs, batch: Batch, settings: LossSettings) -> dict[str, torch.Tensor]:
    """Losses of the global batch, the same on every process (`pretrain.losses` says how).

    Args:
        outputs: of `PretrainingNetwork` for this process's share.
        batch: that share.
        settings: which losses, and their weights.

    Returns:
        Each loss without its weight, by name, and their weighted sum as "loss"; all ().
    """
    video, text, scale = outputs["video"], outputs["text"], outputs["logit_scale"]
    if settings.contrast == "siglip":
        terms = {"siglip": (1.0, siglip(video, text, scale, outputs["logit_bias"], batch.ids))}
    else:
        terms = {"info_nce": (1.0, info_nce(video, text, scale, batch.ids))}
    if settings.boxes:
        visible = ~batch.boxes[..., 0].isnan()
        for name in ("boxes", "patch_boxes"):
            terms[name] = (settings.boxes, masked_box_loss(outputs[name], batch.boxes, visible))
    if settings.tracks:
        contrast = clip_track_contrast(
            outputs["motion"], outputs["tracks"], batch.tracked, outputs["track_scale"]
        )
        terms["tracks"] = (settings.tracks, contrast)
    total = sum((weight * value for weight, value in terms.values()), torch.zeros_like(scale))
    return {"loss": total, **{name: value for name, (_, value) in terms.items()}}
