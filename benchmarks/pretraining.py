"""Pretraining: the cost of a co-training step against training all 16 frames end to end, in one run.

All take the same clips through the same slow-fast model and the same loss. Co-training stops the weights'
gradients of the fast pathway's backbone, but not the gradient's way through it to the adapters, so by itself
it saves little; the recipes of tiny and small also leave out patches (`its recipe`). End to end, all weights
learn through both pathways (`all`), or through the 16 frames alone (`fast only`).

    python benchmarks/pretraining.py [model] [clips]
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import OmegaConf

from egorep.models.config import SIZES
from egorep.models.egovideo import EgoVideo
from egorep.models.text import tokenize
from pretrain.losses import info_nce

FAST_FRAMES, REPEATS = 16, 5


def step(
    encode: Callable[[], torch.Tensor], model: EgoVideo, ids: torch.Tensor, adam: torch.optim.Optimizer
) -> float:
    """CPU seconds of one step."""
    began = time.process_time()
    loss = info_nce(encode(), model.encode_text(ids), model.logit_scale, ids)
    loss.backward()
    adam.step()
    adam.zero_grad()
    return time.process_time() - began


def main() -> None:
    """Alternate the ways to train, and print the median seconds of a step of each."""
    size = sys.argv[1] if len(sys.argv) > 1 else "egovideo_tiny"
    clips = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    torch.set_num_threads(1)  # so that CPU time is what counts, also beside other work
    torch.manual_seed(0)
    model = EgoVideo(dataclasses.replace(SIZES[size], fast_frames=FAST_FRAMES)).train()
    model.logit_scale.requires_grad_(False)
    adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-5)
    side = model.config.vision.image_size
    settings = Path(__file__).parents[1] / "configs" / "pretrain" / "model" / f"{size}.yaml"
    left_out = OmegaConf.load(settings).recipes.cotrain.patch_dropout
    pixels = torch.randn(clips, FAST_FRAMES, 3, side, side)
    ids = tokenize(["C opens the drawer with the left hand"] * clips, model.config.text.context_length)

    def fast_only() -> torch.Tensor:
        features = model.visual(pixels, "fast").classes @ model.image_projection
        return torch.nn.functional.normalize(features, dim=-1)

    def recipe() -> torch.Tensor:
        model.visual.patch_dropout = left_out
        joint = model.encode_video(pixels, co_training=True).joint
        model.visual.patch_dropout = 0.0
        return joint

    ways = {
        "co-training": lambda: model.encode_video(pixels, co_training=True).joint,
        "fast only": fast_only,
        "all": lambda: model.encode_video(pixels).joint,
        "its recipe": recipe,
        "slow only": lambda: torch.nn.functional.normalize(
            model.visual(pixels[:, 2::4], "slow").classes @ model.image_projection, dim=-1
        ),
    }
    for encode in ways.values():
        step(encode, model, ids, adam)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, encode in ways.items():
            seconds[name].append(step(encode, model, ids, adam))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        whole, fast = median / medians["all"], median / medians["fast only"]
        print(f"{name:17s}{median:7.3f} CPU s for {clips} clips: {whole:.2f} of all, {fast:.2f} of fast only")


if __name__ == "__main__":
    main()
