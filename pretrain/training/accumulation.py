"""A large batch in parts, with the gradient of the whole.

A contrastive loss compares every clip with every text of the batch, so adding up the losses of parts would be
another loss. Instead, features of all parts are computed without a graph, the loss of the whole batch gives
each feature its gradient, and each part is computed once more to hand its gradient on. This is exact but for
rounding, and costs one more forward pass. A batch norm (the spatial adapter) still sees one part at a time.

Source: GradCache, of Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from pretrain.data.loader import Batch
from pretrain.training.network import Outputs

Forward = Callable[[Batch, int], Outputs]
Losses = dict[str, torch.Tensor]


def backward_whole(
    parts: Sequence[Batch],
    forward: Forward,
    losses: Callable[[Outputs], Losses],
    backward: Callable[[torch.Tensor], object],
    without_exchange: Callable[[], AbstractContextManager[None]],
) -> Losses:
    """Add the gradient of the loss of all parts together to the parameters.

    Args:
        parts: of this process's share of the batch.
        forward: the outputs of a part, which is also told by its number; the same when asked twice, random
            layers included. Outputs of one or more dimensions have a row per example, others are numbers.
        losses: of the outputs of all parts together; "loss" is what is minimised.
        backward: the way to start a backward pass, as of an accelerator that scales losses.
        without_exchange: in it gradients are not exchanged between processes; they are with the last part.

    Returns:
        The losses, detached.
    """
    if len(parts) == 1:
        terms = losses(forward(parts[0], 0))
        backward(terms["loss"])
        return _detached(terms)
    with torch.no_grad():
        outputs = [forward(part, number) for number, part in enumerate(parts)]
    joined = {name: _join([output[name] for output in outputs]) for name in outputs[0]}
    terms = losses(joined)
    terms["loss"].backward()
    gradients = {name: _divide(joined[name].grad, len(parts)) for name in joined}
    for number, part in enumerate(parts):
        with nullcontext() if number == len(parts) - 1 else without_exchange():
            again = forward(part, number)
            # Its gradient with respect to the outputs is the loss's.
            backward(torch.stack([(again[name] * gradients[name][number]).sum() for name in again]).sum())
    return _detached(terms)


def _join(values: list[torch.Tensor]) -> torch.Tensor:
    joined = torch.cat(values) if values[0].ndim else values[0]
    return joined.detach().requires_grad_()


def _divide(gradient: torch.Tensor | None, parts: int) -> Sequence[torch.Tensor | float]:
    """Each part's share of the gradient: its rows; of a number all of it with the last part."""
    if gradient is None:
        return [0.0] * parts
    return gradient.chunk(parts) if gradient.ndim else [*[0.0] * (parts - 1), gradient]


def _detached(terms: Losses) -> Losses:
    return {name: value.detach() for name, value in terms.items()}
