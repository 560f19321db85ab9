"""Every kind of object by name: movable ones first, then those with moving parts."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from pretrain.sim.articulated import ARTICULATED
from pretrain.sim.design import Kind, ObjectDesign
from pretrain.sim.objects import MOVABLE

KINDS: Mapping[str, Kind] = {**MOVABLE.kinds, **ARTICULATED.kinds}


@functools.lru_cache(maxsize=2048)
def design(kind: str, colour: str, shape: int) -> ObjectDesign:
    """One individual object, the same in every process.

    Args:
        kind: key of `KINDS`.
        colour: one of the kind's colours.
        shape: number of the individual, 0..39; `splits.shapes_in` says which belong to a split.

    Raises:
        ValueError: no such kind, or it does not come in that colour.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of object is called {kind!r}; choose from {', '.join(KINDS)}")
    return KINDS[kind].design(colour, shape)
