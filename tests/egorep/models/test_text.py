from __future__ import annotations

from collections.abc import Callable

import torch

from egorep.models.egovideo import EgoVideo
from egorep.models.text import tokenize

Make = Callable[..., EgoVideo]


def test_the_feature_stands_at_the_end_of_the_text(make_model: Make) -> None:
    textual = make_model().textual
    ids = torch.tensor([[48, 3, 4, 49, 0, 0, 0, 0, 0]])
    padded = ids.clone()
    padded[0, 5:] = 7  # behind the end: not seen
    before = ids.clone()
    before[0, 1] = 5
    with torch.no_grad():
        assert torch.allclose(textual(ids), textual(padded), atol=1e-6)
        assert torch.allclose(textual(ids), textual(ids[:, :4]), atol=1e-6)
        assert not torch.allclose(textual(ids), textual(before), atol=1e-3)


def test_gradient_checkpointing_changes_nothing(make_model: Make) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = make_model().train()
        model.set_gradient_checkpointing(checkpointing)
        model.textual(torch.tensor([[48, 3, 49, 0]])).sum().backward()
        gradients.append(model.textual.blocks[0].attn.qkv.weight.grad)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)


def test_tokens_are_clips() -> None:
    """As OpenAI's CLIP: start, words in lower case, end, padding with 0; long texts are cut."""
    ids = tokenize(["a photo of a cat", "A  photo of a CAT", "left " * 100], 77)
    assert ids.shape == (3, 77)
    assert ids[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]
    assert torch.equal(ids[0], ids[1])
    assert ids[2, -1] == 49407
