"""Errors that help: an unknown name is answered with the nearest valid ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str], limit: int = 3) -> list[str]:
    """The valid names most like `name`, best first; at most `limit`, empty when nothing is alike."""
    by_folded = {candidate.casefold(): candidate for candidate in valid}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=limit, cutoff=0.5)
    return [by_folded[match] for match in matches]


def unknown(kind: str, name: str, valid: Iterable[str]) -> ValueError:
    """The error for a `name` that no `kind` has, naming the nearest valid names, or all if none is near."""
    choices = sorted(valid)
    near = nearest(name, choices)
    if near:
        return ValueError(f"unknown {kind} {name!r}; did you mean {', '.join(map(repr, near))}?")
    return ValueError(f"unknown {kind} {name!r}; choose from {', '.join(map(repr, choices))}")
