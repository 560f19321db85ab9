"""Retrieval between clips and narrations while a model trains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

_ROWS = 1024  # of the similarities that are held at once


def retrieval(video: torch.Tensor, text: torch.Tensor, owner: Sequence[int]) -> dict[str, float]:
    """How well clips and narrations find each other.

    Narrations that occur more than once count as one: no clip is asked to tell them apart. A clip looks for
    its narration among all of them; a narration looks for any of its clips among all clips. Of things that
    are equally similar, the wanted one stands in the middle.

    Args:
        video: (V, E), L2-normalised.
        text: (U, E), L2-normalised, of the different narrations, U > 0; each is owned by some clip.
        owner: V indices into `text`: the narration of each clip.

    Returns:
        "text_recall@1", "text_recall@5" in 0..1 and "text_median_rank" >= 1 of clips looking for narrations,
        and the same with "video_" of narrations looking for clips.
    """
    own = torch.as_tensor(owner, device=video.device)
    to_text = _ranks(video, text, own)
    best = np.full(len(text), np.inf)
    # A narration's rank is that of its best clip, counted among all clips.
    for begin in range(0, len(text), _ROWS):
        similar = text[begin : begin + _ROWS] @ video.T
        mine = own[None] == torch.arange(begin, begin + len(similar), device=own.device)[:, None]
        wanted = similar.masked_fill(~mine, -torch.inf).amax(1, keepdim=True)
        # Further clips of the narration are neither better nor in the way.
        others = similar.masked_fill(mine, -torch.inf)
        best[begin : begin + len(similar)] = _rank(others, wanted)
    return {**_summary("text", to_text), **_summary("video", best)}


def _ranks(video: torch.Tensor, text: torch.Tensor, own: torch.Tensor) -> npt.NDArray[np.float64]:
    ranks = []
    for begin in range(0, len(video), _ROWS):
        similar = video[begin : begin + _ROWS] @ text.T
        mine = own[begin : begin + len(similar), None]
        wanted = similar.gather(1, mine)
        ranks.append(_rank(similar.scatter(1, mine, -torch.inf), wanted))
    return np.concatenate(ranks)


def _rank(others: torch.Tensor, wanted: torch.Tensor) -> npt.NDArray[np.float64]:
    """1 for the most similar of a row; ties count half."""
    ahead = (others > wanted).sum(1) + (others == wanted).sum(1) / 2
    ranks: npt.NDArray[np.float64] = (1 + ahead).double().cpu().numpy()
    return ranks


def _summary(looking_for: str, ranks: npt.NDArray[np.float64]) -> dict[str, float]:
    return {
        f"{looking_for}_recall@1": float((ranks <= 1).mean()),
        f"{looking_for}_recall@5": float((ranks <= 5).mean()),
        f"{looking_for}_median_rank": float(np.median(ranks)),
    }
