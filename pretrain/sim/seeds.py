"""Numbers that depend on their key alone: not on the process, the platform or Python's hash seed."""

from __future__ import annotations

import hashlib

import numpy as np


def stable_hash(*key: str | int) -> int:
    """A whole number in [0, 2^64) for `key`; different keys give independent numbers (SHA-256)."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")


def stable_rng(*key: str | int) -> np.random.Generator:
    """A generator for `key`: the same stream in every process."""
    return np.random.default_rng(stable_hash(*key))
