"""Frozen visual representations behind one call: `load_encoder(name)(frames)`.

The heavy imports (torch, timm, transformers) happen on first use, so that simulator worker processes, which
must never import torch, can use `egorep.names` and the like.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from egorep.encoder import Encoder
    from egorep.registry import list_encoders, load_encoder

__all__ = ["Encoder", "list_encoders", "load_encoder"]

_HOMES = {
    "Encoder": "egorep.encoder",
    "list_encoders": "egorep.registry",
    "load_encoder": "egorep.registry",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported yet or not."""
    return sorted({*globals(), *__all__})
