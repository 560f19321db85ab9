"""Noise taken off tracks without dragging them behind: a Kalman filter that also looks back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_START_SPEED = 2.0  # standard deviation of the speed before anything was seen, units per second


def smooth(values: Array, seconds: Array, noise: float, acceleration: float) -> Array:
    """The most likely positions of things that move with noisy acceleration, seen with noise.

    A Rauch-Tung-Striebel smoother (1965) over the white-noise-acceleration model of Bar-Shalom et al.,
    "Estimation with Applications to Tracking and Navigation" (2001), section 6.2.2. It weighs the past and
    the future alike, so nothing lags; sampled densely it takes off much noise, sampled sparsely next to none,
    for then the motion between two looks is larger than the noise.

    Args:
        values: (N, D) positions, finite.
        seconds: (N,) rising, at any distances.
        noise: standard deviation of a value, more than 0.
        acceleration: its standard deviation over one second, units per second squared.

    Returns:
        (N, D).
    """
    count = len(values)
    means, covariances = np.empty((count, 2, values.shape[1])), np.empty((count, 2, 2))
    foreseen, spreads = np.empty_like(means), np.empty_like(covariances)
    moves = [_move(step) for step in np.diff(seconds, prepend=seconds[:1])]
    mean = np.stack([values[0], np.zeros(values.shape[1])])
    covariance = np.diag([1e3 * noise**2, _START_SPEED**2])
    for i, step in enumerate(np.diff(seconds, prepend=seconds[:1])):
        mean = moves[i] @ mean
        covariance = moves[i] @ covariance @ moves[i].T + _unrest(step, acceleration)
        foreseen[i], spreads[i] = mean, covariance
        gain = covariance[:, :1] / (covariance[0, 0] + noise**2)
        mean = mean + gain * (values[i] - mean[0])
        covariance = covariance - gain @ covariance[:1]
        means[i], covariances[i] = mean, covariance
    for i in range(count - 2, -1, -1):
        back = covariances[i] @ moves[i + 1].T @ np.linalg.inv(spreads[i + 1])
        means[i] += back @ (means[i + 1] - foreseen[i + 1])
    return means[:, 0]


def _move(step: float) -> Array:
    return np.array([[1.0, step], [0.0, 1.0]])


def _unrest(step: float, acceleration: float) -> Array:
    """Covariance that acceleration adds to position and speed in `step` seconds."""
    return acceleration**2 * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
