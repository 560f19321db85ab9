"""Behaviour cloning: on cached features against encoding every minibatch again, in one run.

Both train the same policy on the same 2,000 pictures. The cached one is charged for encoding each once.

    python benchmarks/training.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import numpy.typing as npt
import torch

from egorep import Encoder, load_encoder
from robot_eval.cloning import Optimiser, Training, clone
from robot_eval.policies import PolicyConfig
from robot_eval.policies.base import Demonstrations, InputShape
from robot_eval.policies.mlp import MLPSettings

FRAMES, BATCH, STEPS, REPEATS = 2_000, 32, 20_000, 3
NAIVE_STEPS, CACHED_STEPS = 3, 500
Floats = npt.NDArray[np.float32]
HEAD = PolicyConfig("r3m", "mlp", "features", MLPSettings([256, 256], "tanh", batch_norm=True))


def naive(encoder: Encoder, pictures: npt.NDArray[np.uint8], actions: Floats) -> float:
    """Seconds per step when every minibatch is encoded."""
    policy = HEAD.build(InputShape((encoder.dim,), 0), actions.shape[1])
    adam = torch.optim.Adam(policy.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    for _ in range(NAIVE_STEPS):
        batch = rng.integers(FRAMES, size=BATCH)
        loss = torch.nn.functional.mse_loss(
            policy(encoder(pictures[batch])), torch.from_numpy(actions[batch])
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
    return (time.perf_counter() - began) / NAIVE_STEPS


def cached(features: Floats, actions: Floats) -> float:
    """Seconds per step on cached features."""
    shape = InputShape((features.shape[1],), 0)
    training = Training(HEAD, shape, Optimiser(1e-3, BATCH, "constant"), [CACHED_STEPS], seed=0)
    data = Demonstrations(torch.from_numpy(features), torch.from_numpy(actions), (len(actions),))
    began = time.perf_counter()
    for _ in clone(training, data):
        pass
    return (time.perf_counter() - began) / CACHED_STEPS


def main() -> None:
    """Alternate the two and print how long one policy takes with each."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (FRAMES, 224, 224, 3), dtype=np.uint8)
    actions = rng.uniform(-1, 1, (FRAMES, 4)).astype(np.float32)
    encoder = load_encoder("efficientnet_lite0", engine="openvino")  # the same, fast one for both
    began = time.perf_counter()
    features = encoder(pictures).numpy()
    once = time.perf_counter() - began
    pairs = [(naive(encoder, pictures, actions), cached(features, actions)) for _ in range(REPEATS)]
    slow, fast = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"encode every minibatch {STEPS * slow:9.0f} s per policy of {STEPS} steps, batch {BATCH}")
    print(
        f"cached features        {once + STEPS * fast:9.0f} s, {once:.0f} s of it encoding, once per encoder"
    )
    print(f"ratio                  {STEPS * slow / (once + STEPS * fast):9.1f} for one policy,")
    print(f"                       {slow / fast:9.1f} for every further one")


if __name__ == "__main__":
    main()
