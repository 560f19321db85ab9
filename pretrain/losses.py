"""Losses over the global batch: on many processes the same as on one.

Under `torch.distributed` each of W processes gathers the others' shares and computes the loss of the whole
batch, so all return the same value. Backwards each goes through its own share only. These gradients would
have to be summed, and `DistributedDataParallel` averages them: the gathering multiplies by W on the way back
to make up for it. A parameter that enters the loss directly, like `logit_scale`, does not pass through the
gathering; every process holds its full gradient, and the average leaves it as it is.

All processes must call these functions together, with shares of one size (loaders drop the last, incomplete
batch). Nothing is exchanged backwards. The matrix of all pairs has (W * B)^2 numbers on every process: 16 MB
in float32 at the published batch of 16 * 128.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional


def info_nce(video: Tensor, text: Tensor, logit_scale: Tensor, ids: Tensor) -> Tensor:
    """Symmetric InfoNCE: of all texts find the clip's own, and of all clips the text's own.

    Clips that are said the same of are not told apart: rows of equal `ids` share the probability evenly. In
    narrations of everyday actions "C picks up the cup" comes often, and would pull against itself.

    Source: CLIP (Radford et al. 2021), figure 3; of equal texts UniCL (Yang et al. 2022), equations 2 and 3.

    Args:
        video: (B, E), L2-normalised; this process's share of the batch.
        text: (B, E), L2-normalised; row i belongs to row i of `video`.
        logit_scale: (), natural logarithm of the inverse temperature.
        ids: (B, L), whole numbers: tokens of the texts.

    Returns:
        (), at least 0, in nats: the mean over all W * B pairs and both directions, the same on every process.

    Raises:
        ValueError: `video` and `text` are not of one shape (B, E) with B > 0, or `ids` has other rows.
    """
    return multi_instance_nce(_logits(video, text, logit_scale), _same(ids, len(video)))


def multi_instance_nce(logits: Tensor, together: Tensor) -> Tensor:
    """Symmetric InfoNCE in which a clip may have several right texts, and a text several right clips.

    A row's right texts share its probability evenly, and so do a column's right clips.

    Args:
        logits: (N, N), scaled similarities of clips (rows) and texts (columns).
        together: (N, N) bool, which belong together; each row and each column has at least one.

    Returns:
        (), at least 0, in nats.
    """
    wanted = together.to(logits.dtype)
    there = functional.cross_entropy(logits, wanted / wanted.sum(1, keepdim=True))
    back = functional.cross_entropy(logits.T, (wanted / wanted.sum(0, keepdim=True)).T)
    return (there + back) / 2


def clip_track_contrast(video: Tensor, track: Tensor, tracked: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE between clips and the motion of the hands in them, where a motion is known.

    Hand motion stands in for the robot's actions: features from which the motion can be told are of use to
    control. Source of the idea: CAIP (arXiv 2606.17256).

    Args:
        video: (B, E), L2-normalised; this process's share of the batch.
        track: (B, E), L2-normalised; row i is of the motion in clip i.
        tracked: (B,) bool: whether anything is known of that motion. Other pairs take no part.
        logit_scale: (), natural logarithm of the inverse temperature.

    Returns:
        (), at least 0, in nats: the mean over all tracked pairs of all processes, the same on every process.
        Where there is none it is 0, and still has a graph, as in `masked_box_loss`.

    Raises:
        ValueError: `video` and `track` are not of one shape (B, E) with B > 0, or `tracked` is not (B,).
        TypeError: `tracked` is not bool.
    """
    if tracked.shape != video.shape[:1]:
        raise ValueError(f"tracked wants ({len(video)},), a flag per clip; got shape {tuple(tracked.shape)}")
    if tracked.dtype != torch.bool:
        raise TypeError(f"tracked wants bool; got {tracked.dtype}")
    logits = _logits(video, track, logit_scale)
    known = _gather(tracked.to(torch.uint8)).bool()  # not every backend gathers bool
    if not known.any():
        return 0 * logits.sum()
    chosen = logits[known][:, known]
    return multi_instance_nce(chosen, torch.eye(len(chosen), dtype=torch.bool, device=chosen.device))


def siglip(video: Tensor, text: Tensor, logit_scale: Tensor, logit_bias: Tensor, ids: Tensor) -> Tensor:
    """Pairwise sigmoid loss: of every clip and every text decide whether they belong together.

    Clips and texts of rows with equal `ids` belong together, too.

    Source: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", algorithm 1. They start at
    `logit_scale` log(10) and `logit_bias` -10.

    Args:
        video: (B, E), L2-normalised; this process's share of the batch.
        text: (B, E), L2-normalised; row i belongs to row i of `video`.
        logit_scale: (), natural logarithm of the inverse temperature.
        logit_bias: (), added to every logit.
        ids: (B, L), whole numbers: tokens of the texts.

    Returns:
        (), at least 0, in nats: the sum over all pairs divided by W * B, the same on every process.

    Raises:
        ValueError: `video` and `text` are not of one shape (B, E) with B > 0, or `ids` has other rows.
    """
    logits = _logits(video, text, logit_scale) + logit_bias
    together = 2 * _same(ids, len(video)).to(logits.dtype) - 1
    return -functional.logsigmoid(together * logits).sum() / len(logits)


def masked_box_loss(predicted: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Mean L1 distance of the boxes that can be seen.

    The mean is over the visible boxes of all processes, so every box weighs the same; were it each process's
    own, a box would weigh more the fewer stand beside it. The price is one exchange of two numbers.

    Args:
        predicted: (B, F, K, 4), corners of K boxes in F frames, in 0..1 of the picture's sides.
        target: (B, F, K, 4), likewise; anything, also NaN, where not visible.
        visible: (B, F, K) bool.

    Returns:
        (), at least 0, in sides of the picture: mean absolute difference of a coordinate, the same on every
        process; NaN if a visible target is. Where no box is visible it is 0, and still has a graph, so that
        `DistributedDataParallel` finds a gradient, of 0, for every parameter.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: `visible` is not bool.
    """
    if predicted.shape != target.shape or predicted.shape != (*visible.shape, 4):
        shapes = f"{tuple(predicted.shape)}, {tuple(target.shape)} and {tuple(visible.shape)}"
        raise ValueError(
            f"boxes want predicted and target (B, F, K, 4) and visible (B, F, K); got shapes {shapes}"
        )
    if visible.dtype != torch.bool:
        raise TypeError(f"boxes want bool visible; got {visible.dtype}")
    # Chosen, not multiplied by 0, which leaves a NaN; and before abs, whose gradient then sees no NaN either.
    distances = torch.where(visible[..., None], _precise(predicted) - _precise(target), 0).abs().mean(-1)
    sums = torch.stack([distances.sum(), visible.sum().to(distances.dtype)])
    total, count = _gather(sums[None]).sum(0)
    return total / count.clamp(min=1)


def _same(ids: Tensor, rows: int) -> Tensor:
    """(W * B, W * B) bool: whose texts are equal, of all processes."""
    if ids.ndim != 2 or len(ids) != rows:
        raise ValueError(f"ids wants ({rows}, L), tokens of each text; got shape {tuple(ids.shape)}")
    # Numbers of texts instead of their tokens: a pair is compared by one.
    _, number = torch.unique(_gather(ids), dim=0, return_inverse=True)
    return number[:, None] == number


def _logits(video: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """Scaled similarities (W * B, W * B) of all clips with all texts, at least in float32."""
    if video.shape != text.shape or video.ndim != 2 or len(video) == 0:
        shapes = f"{tuple(video.shape)} and {tuple(text.shape)}"
        raise ValueError(f"video and text want one shape (B, E), B > 0; got shapes {shapes}")
    videos, texts = _gather(_precise(video)), _gather(_precise(text))
    # Half precision would round logits, which reach 14 at temperature 0.07, to steps of 0.06 (bfloat16).
    with torch.autocast(video.device.type, enabled=False):
        return logit_scale.exp() * videos @ texts.T


def _precise(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _gather(share: Tensor) -> Tensor:
    """Rows of all processes, (W * B, ...), in the order of ranks."""
    if not dist.is_initialized():
        return share
    return cast(Tensor, _Gather.apply(share))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, share: Tensor) -> Tensor:
        shares = [torch.empty_like(share, memory_format=torch.contiguous_format) for _ in range(_processes())]
        dist.all_gather(shares, share.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        # Every process computes the same loss, so its own rows of the gradient are complete; the factor is
        # what DistributedDataParallel's average takes away.
        return gradient.chunk(_processes())[dist.get_rank()] * _processes()


def _processes() -> int:
    return dist.get_world_size()
