"""A training step with freed memory kept for the next one, against giving it back, as glibc does by itself.

The two are processes that take turns; each measures its own steps on the same synthetic clips, as many as
`egovideo_tiny` trains with. `pretrain.train` and `pretrain.finetune` keep memory (`egorep.allocator`).

    python benchmarks/allocator.py
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time

CLIPS, FRAMES, SIDE, WORDS = 32, 4, 112, 40
STEPS, TURNS = 8, 3
KEPT, GIVEN_BACK = "kept", "given back"


def measure(way: str) -> None:
    """Print the median seconds of a step of this process, and the most GiB that it had."""
    import torch

    from egorep.allocator import keep_freed_memory
    from egorep.models.config import SIZES
    from egorep.models.egovideo import EgoVideo
    from pretrain.losses import info_nce

    if way == KEPT:
        keep_freed_memory()
    torch.manual_seed(0)
    model = EgoVideo(SIZES["egovideo_tiny"]).train()
    adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-5)
    clips = torch.randn(CLIPS, FRAMES, 3, SIDE, SIDE)
    ids = torch.randint(1, 1000, (CLIPS, WORDS))
    seconds = []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        video, text = model(clips, ids)
        info_nce(video, text, model.logit_scale, ids).backward()
        adam.step()
        adam.zero_grad()
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(statistics.median(seconds[1:]), peak)


def main() -> None:
    """Let both take turns, and print the median of each."""
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}  # as commands have it
    found: dict[str, list[tuple[float, float]]] = {GIVEN_BACK: [], KEPT: []}
    for _ in range(TURNS):
        for way, measured in found.items():
            command = [sys.executable, __file__, way]
            said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            seconds, peak = map(float, said.split())
            measured.append((seconds, peak))
    medians = {}
    for way, measured in found.items():
        medians[way] = statistics.median(seconds for seconds, _ in measured)
        print(f"{way:11} {medians[way]:6.2f} s a step, {max(peak for _, peak in measured):.2f} GiB at most")
    print(f"ratio       {medians[KEPT] / medians[GIVEN_BACK]:6.2f}")


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else measure(sys.argv[1])
