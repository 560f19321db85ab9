"""Encoding in a control loop on a CPU: OpenVINO against torch, in one run; the table of docs/encoders.md.

Frames arrive one at a time from four environments, as in rollouts; encoders of clips look at the windows that
end there. The latency is that of one environment alone.

python benchmarks/encoding.py [encoder ...]
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

from egorep import Encoder, load_encoder

ENVIRONMENTS, SECONDS, REPEATS = 4, 2.0, 3
DEFAULT = ["efficientnet_lite0", "random/timm/vit_tiny_patch16_224", "random/egovideo_tiny"]


def rate(encoder: Encoder, environments: int) -> float:
    """Control steps per second, of all environments together."""
    shape = (environments, 224, 224, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    stream = encoder.stream(environments)
    stream(frames)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        stream(frames)
        done += environments
    return done / (time.perf_counter() - began)


def vision_parameters(encoder: Encoder) -> float:
    """Millions of parameters that a picture or clip passes: not those of a text tower."""
    named = encoder.backbone.named_parameters()
    return sum(weight.numel() for name, weight in named if ".textual." not in f".{name}") / 1e6


def row(name: str) -> str:
    """Alternate the engines and write one line of the table, with the ratio of the medians."""
    engines = {engine: load_encoder(name, engine=engine) for engine in ("torch", "openvino")}
    encoder = engines["torch"]
    rates: dict[str, list[float]] = {"torch": [], "openvino": [], "alone": []}
    for _ in range(REPEATS):
        for engine, loaded in engines.items():
            rates[engine].append(rate(loaded, ENVIRONMENTS))
        rates["alone"].append(rate(engines["openvino"], 1))
    slow, fast, alone = (statistics.median(found) for found in rates.values())
    return (
        f"| {name} | {vision_parameters(encoder):.1f} | {encoder.image_size} | {encoder.num_frames} "
        f"| {encoder.dim} | {slow:.1f} | {fast:.1f} | {fast / slow:.1f} | {1000 / alone:.0f} |"
    )


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    print(
        "| encoder | M parameters | pixels | frames | features | torch, steps/s | OpenVINO, steps/s | ratio "
        "| one step, ms |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in sys.argv[1:] or DEFAULT:
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
