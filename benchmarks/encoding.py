"""Encoding on a CPU: OpenVINO against torch, in one run.

python benchmarks/encoding.py [encoder ...]
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

from egorep import load_encoder

BATCH, SECONDS, REPEATS = 8, 2.0, 3


def rate(encoder, pictures) -> float:
    """Pictures per second."""
    encoder(pictures)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        encoder(pictures)
        done += len(pictures)
    return done / (time.perf_counter() - began)


def main() -> None:
    """Alternate the engines for each encoder and print the ratio of the medians."""
    pictures = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), dtype=np.uint8)
    for name in sys.argv[1:] or ["efficientnet_lite0", "random/timm/vit_tiny_patch16_224"]:
        engines = {engine: load_encoder(name, engine=engine) for engine in ("torch", "openvino")}
        rates = {engine: [] for engine in engines}
        for _ in range(REPEATS):
            for engine, encoder in engines.items():
                rates[engine].append(rate(encoder, pictures))
        torch_rate, openvino_rate = (statistics.median(rates[engine]) for engine in engines)
        print(
            f"{name}: torch {torch_rate:.0f}, openvino {openvino_rate:.0f} pictures/s, "
            f"ratio {openvino_rate / torch_rate:.1f}"
        )


if __name__ == "__main__":
    main()
