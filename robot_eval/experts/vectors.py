"""What experts do with vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def at_most(vector: Array, length: float) -> Array:
    """The vector, shortened to `length` where it is longer."""
    return np.array(vector * min(1.0, length / max(float(np.linalg.norm(vector)), 1e-9)))
