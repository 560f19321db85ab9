from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from small_models import SLOW

from egorep.models.config import TextConfig
from egorep.models.egovideo import EgoVideo
from egorep.models.text import tokenize, tokens_of

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


SEEN = ["C opens the drawer with the left hand", "C pours milk counterclockwise"]


def test_few_tokens_read_the_texts_that_they_are_of_as_all_tokens_do() -> None:
    tokens = tokens_of(SEEN)
    assert 514 <= len(tokens) < 700  # bytes, at the end of a word or not, start and end, and a few merges
    assert torch.equal(tokenize(SEEN, 77, tokens), tokenize(SEEN, 77))


def test_few_tokens_read_other_words_in_parts_and_without_loss() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    tokens = tokens_of(SEEN)
    text = "unscrews the jar\N{GREEK SMALL LETTER PI}"
    ids = tokenize([text], 77, tokens)
    assert set(ids.unique().tolist()) <= set(tokens)
    assert not torch.equal(ids, tokenize([text], 77))
    words = [int(id_) for id_ in ids[0, 1 : int(ids[0].argmax())]]
    assert SimpleTokenizer().decode(words).split() == text.split()


def test_a_model_of_few_tokens_says_the_same_about_their_texts() -> None:
    config = dataclasses.replace(
        SLOW, text=dataclasses.replace(SLOW.text, vocabulary=49408, context_length=77)
    )
    torch.manual_seed(0)
    whole = EgoVideo(config).eval()
    few = whole.reading_only(SEEN)
    tokens = few.config.text.tokens
    assert few.textual.token_embedding.num_embeddings == len(tokens)
    assert torch.equal(few.encode_text(tokenize(SEEN, 77, tokens)), whole.encode_text(tokenize(SEEN, 77)))
    with pytest.raises(ValueError, match=f"knows {len(tokens)} tokens alone"):
        few.reading_only(SEEN)
    with pytest.raises(IndexError):  # "photo" has no row: better an error than another word's meaning
        few.encode_text(tokenize(["a photo"], 77))


@pytest.mark.parametrize("tokens", [(), (3, 2), (2, 2), (-1, 4), (0, 50)])
def test_tokens_must_rise_within_the_vocabulary(tokens: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rising ids below 50"):
        TextConfig(8, 1, 1, vocabulary=50, tokens=tokens)
