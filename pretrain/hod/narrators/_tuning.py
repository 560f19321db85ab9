"""Teaching a small causal model to narrate from pairs of prompt and sentence, on a CPU, resumable."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from egorep.files import replacing
from pretrain.hod.narrators._recipe import Recipe

_logger = logging.getLogger(__name__)

_IGNORED = -100  # the label of tokens that are given
_WARM = 0.1  # share of the steps over which the rate rises


@dataclass(frozen=True)
class Pair:
    """What is read, and what is to be written after it."""

    read: str
    write: str


def tune(
    model: Any,
    tokenizer: Any,
    pairs: Callable[[int], Sequence[Pair]],
    recipe: Recipe,
    checkpoint: Path,
    every: int = 10,
) -> list[float]:
    """Train the last blocks of `model` in place; goes on from `checkpoint` if that is there.

    Args:
        model: in float32, in which small steps do not vanish.
        tokenizer: its own.
        pairs: the pairs of a step, by its number.
        recipe: the settings.
        checkpoint: file to write to.
        every: steps between two checkpoints.

    Returns:
        The loss of every step.
    """
    parameters = _trainable(model, recipe.layers)
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, betas=(0.9, 0.99), weight_decay=0.0)
    losses = _resume(checkpoint, parameters, optimiser)
    model.train()
    for step in range(len(losses), recipe.steps):
        started = time.perf_counter()
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * _share(step, recipe.steps)
        loss = _loss(model, _batch(tokenizer, pairs(step)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
        seconds = time.perf_counter() - started
        _logger.info("step %d of %d: loss %.3f, %.1f s", step + 1, recipe.steps, losses[-1], seconds)
        if (step + 1) % every == 0 or step + 1 == recipe.steps:
            _save(checkpoint, parameters, optimiser, losses)
    model.eval()
    return losses


def _trainable(model: Any, layers: int) -> list[torch.nn.Parameter]:
    """The parameters that learn."""
    model.requires_grad_(False)
    parts = [*model.model.layers[-layers:], model.model.norm]
    for part in parts:
        part.requires_grad_(True)
    return [parameter for part in parts for parameter in part.parameters()]


def _share(step: int, steps: int) -> float:
    warm = max(1.0, _WARM * steps)
    return min((step + 1) / warm, (steps - step) / steps)


def _batch(tokenizer: Any, pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, mask and labels, each (B, L), padded on the right."""
    rows = []
    for pair in pairs:
        read = tokenizer(pair.read, add_special_tokens=False)["input_ids"]
        write = [*tokenizer(pair.write, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append((read, write))
    length = max(len(read) + len(write) for read, write in rows)
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    mask, labels = torch.zeros_like(tokens), torch.full_like(tokens, _IGNORED)
    for i, (read, write) in enumerate(rows):
        end = len(read) + len(write)
        tokens[i, :end] = torch.tensor([*read, *write])
        mask[i, :end] = 1
        labels[i, len(read) : end] = torch.tensor(write)
    return tokens, mask, labels


def _loss(model: Any, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of what is to be written; the head runs on those tokens alone."""
    tokens, mask, labels = batch
    hidden = model.model(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]
    learnt = labels[:, 1:] != _IGNORED
    return F.cross_entropy(model.lm_head(hidden[learnt]).float(), labels[:, 1:][learnt])


def _save(path: Path, parameters: list[torch.nn.Parameter], optimiser: Any, losses: list[float]) -> None:
    state = {"parameters": [p.detach() for p in parameters], "optimiser": optimiser.state_dict()}
    with replacing(path) as temporary:
        torch.save({**state, "losses": losses}, temporary)


def _resume(path: Path, parameters: list[torch.nn.Parameter], optimiser: Any) -> list[float]:
    if not path.exists():
        return []
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for parameter, saved in zip(parameters, state["parameters"], strict=True):
            parameter.copy_(saved)
    optimiser.load_state_dict(state["optimiser"])
    losses: list[float] = state["losses"]
    _logger.info("goes on after step %d", len(losses))
    return losses
