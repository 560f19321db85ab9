"""What a policy sees: features of the last frames and proprioception, alike in training and rollouts."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Observes = Literal["picture", "proprio", "state"]


@dataclass(frozen=True)
class PolicyInputs:
    """How observations become a policy's input vector.

    Attributes:
        observes: `picture` (features, and proprioception where `proprio` is set), `proprio` (nothing
            else), or `state` (the simulator's full state and nothing else): an encoder's `observation`.
        frames: how many of the last frames the features cover. Several are fused as the newest and the
            differences of neighbours (FLARE, Shang et al. 2021, as in CortexBench).
        proprio: add proprioception to features.
    """

    observes: Observes
    frames: int = 1
    proprio: bool = True

    def of_episode(self, features: Floats | None, proprio: Floats, state: Floats) -> Floats:
        """Inputs of a whole episode.

        Args:
            features: (T, D), or of the first pictures alone, if a policy looks at no others: later steps keep
                the last; None for an encoder that sees no pictures.
            proprio: (T, P).
            state: (T, S).

        Returns:
            (T, dim) float32. Before the first frame stands the first frame. All is as in a rollout.
        """
        window = InputWindow(self)
        steps = [
            window.push(
                None if features is None else features[min(t, len(features) - 1)], proprio[t], state[t]
            )
            for t in range(len(proprio))
        ]
        return np.stack(steps)


class InputWindow:
    """The recent past of one running episode."""

    def __init__(self, inputs: PolicyInputs) -> None:
        self._inputs = inputs
        self._history: deque[Floats] = deque(maxlen=inputs.frames)

    def push(self, features: Floats | None, proprio: Floats, state: Floats) -> Floats:
        """The policy's input for the newest observation, (dim,) float32.

        Raises:
            ValueError: something observed is not finite, or features are missing.
        """
        observes = self._inputs.observes
        if observes == "state":
            return _finite("the simulator's state", state)
        if observes == "proprio":
            return _finite("proprioception", proprio)
        if features is None:
            raise ValueError("these inputs need features of the picture, got none")
        self._history.append(features)
        parts = [self._fused()]
        if self._inputs.proprio:
            parts.append(_finite("proprioception", proprio))
        return np.concatenate(parts).astype(np.float32, copy=False)

    def _fused(self) -> Floats:
        missing = self._inputs.frames - len(self._history)
        frames = [self._history[0]] * missing + list(self._history)
        differences = [newer - older for older, newer in itertools.pairwise(frames)]
        return np.concatenate([*differences, frames[-1]])


def _finite(what: str, values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise ValueError(f"{what} must be finite, got {values}: the simulation has diverged")
    return values.astype(np.float32, copy=False)
