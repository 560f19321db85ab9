"""Files of weights that may come from anywhere: read without running their code, fitted without guessing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

# How torch names what a pickle wants to import, when it refuses to.
_IMPORTED = re.compile(r"GLOBAL (\S+)")


def read_weights(path: Path) -> dict[str, Any]:
    """Read a file of weights onto the CPU; nothing in it is run.

    Args:
        path: a .safetensors file, or of any other name a pickle that `torch.save` wrote.

    Returns:
        What the file holds, by name and nested as it is there ("model", "state_dict", ...). Of a file that
        holds a list, the names are the positions, "0" for the first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds no weights by name, or asks for more than tensors when it is
            unpickled; says why, and what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights {str(path)!r}")
    try:
        content = _read(path)
    except OSError:
        raise
    except Exception as error:  # both readers fail in many ways on damaged bytes
        raise ValueError(f"file {str(path)!r} {_refusal(error)}") from error
    if isinstance(content, list | tuple):
        content = {str(position): part for position, part in enumerate(content)}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError(
            f"file {str(path)!r} holds a {type(content).__name__}, not weights by name: "
            "torch.save(model.state_dict(), path) writes those"
        )
    return dict(content)


def load_strictly(model: nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Load `weights` into `model`, every one of them and nothing left over.

    Args:
        model: takes the weights; unchanged if they do not fit.
        weights: by the names of `model.state_dict()`.
        source: what to call the weights in the error: "checkpoint 'r3m.pt' of encoder 'r3m_resnet50'".

    Raises:
        ValueError: lists all missing, unexpected and misshaped names, the last with both shapes.
    """
    own = model.state_dict()
    misshaped = [
        f"{name} {_shape(weights[name])} instead of {_shape(own[name])}"
        for name in sorted(own.keys() & weights.keys())
        if _shape(weights[name]) != _shape(own[name])
    ]
    faults = {
        "missing": sorted(own.keys() - weights.keys()),
        "unexpected": sorted(weights.keys() - own.keys()),
        "misshaped": misshaped,
    }
    if any(faults.values()):
        said = "; ".join(f"{fault}: {', '.join(found)}" for fault, found in faults.items() if found)
        raise ValueError(f"{source} does not fit the network, {said}")
    model.load_state_dict(weights)


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _refusal(error: Exception) -> str:
    imported = _IMPORTED.search(str(error))
    if imported is None:
        return f"cannot be read as weights ({type(error).__name__}): it is damaged, or of another format"
    return (
        f"is not read: it holds more than tensors, and asks to run {imported[1]}. If you trust who made it, "
        "open it once with torch.load(path, weights_only=False), and torch.save its tensors alone"
    )


def _shape(weight: object) -> tuple[int, ...] | str:
    return tuple(weight.shape) if isinstance(weight, torch.Tensor) else type(weight).__name__
