from __future__ import annotations

import dataclasses

import pytest
import torch

from egorep.models.config import SIZES
from egorep.models.egovideo import EgoVideo
from egorep.models.objectness import CLASSES, MIRRORED, ObjectnessHead, ObjectnessNetwork
from egorep.models.stem import ConvolutionalStem

TINY = SIZES["egovideo_tiny"]


@pytest.fixture(scope="module")
def network() -> ObjectnessNetwork:
    torch.manual_seed(0)
    stem = ConvolutionalStem(192)
    stem.load_imagenet()
    return ObjectnessNetwork(stem, ObjectnessHead()).eval().requires_grad_(False)


@pytest.mark.parametrize("size", [48, 112, 224])
def test_a_place_is_four_pixels_and_a_cell_of_the_map_eight(network: ObjectnessNetwork, size: int) -> None:
    pictures = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    assert network.logits(pictures).shape == (2, len(CLASSES), size // 4, size // 4)
    cells = network(pictures)
    assert cells.shape == (2, size // 8, size // 8)
    assert (cells.abs() < 1).all()
    assert cells.std() > 0


def test_the_stem_gives_the_stages_that_it_goes_through_itself(network: ObjectnessNetwork) -> None:
    pictures = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    stem = network.stem
    levels = stem.levels(pictures)
    assert [level.shape for level in levels] == [(1, 24, 16, 16), (1, 40, 8, 8), (1, 112, 4, 4)]
    tokens = stem.project(levels[-1].flatten(2).transpose(1, 2))
    assert torch.allclose(tokens, stem(pictures), atol=1e-5)


def test_what_is_everywhere_tells_of_no_place(network: ObjectnessNetwork) -> None:
    head = ObjectnessHead().eval()
    torch.nn.init.zeros_(head.classify.weight)
    head.classify.bias.data.copy_(torch.tensor([0.0, 0.0, 0.0, 4.0]))
    cells = ObjectnessNetwork(network.stem, head).eval()(torch.randn(1, 3, 64, 64))
    assert torch.allclose(cells, torch.zeros_like(cells), atol=1e-6)


def test_an_object_stands_out_where_it_is(
    network: ObjectnessNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = torch.zeros(1, len(CLASSES), 56, 56)
    logits[:, CLASSES.index("object")] = -5
    logits[:, CLASSES.index("object"), 10:16, 40:44] = 5
    monkeypatch.setattr(network, "logits", lambda _: logits)
    (cells,) = network(torch.zeros(1, 3, 224, 224))
    assert {divmod(int(place), 28) for place in cells.flatten().topk(6).indices} == {
        (row, column) for row in (5, 6, 7) for column in (20, 21)
    }
    assert cells[6, 18] < 0 < cells[6, 20], "beside it, less than its surroundings"
    assert abs(cells[24, 3]) < 1e-3


def test_mirroring_exchanges_the_hands_alone() -> None:
    assert [CLASSES[index] for index in MIRRORED] == ["background", "right hand", "left hand", "object"]


def test_the_towers_are_drawn_the_same_with_and_without_it() -> None:
    models = []
    for objectness in (False, True):
        torch.manual_seed(3)
        models.append(EgoVideo(dataclasses.replace(TINY, objectness=objectness)))
    plain, with_head = (model.state_dict() for model in models)
    assert {name for name in with_head if name not in plain} == {
        name for name in with_head if name.startswith("objectness.")
    }
    assert all(torch.equal(plain[name], with_head[name]) for name in plain)
    assert not any(weight.requires_grad for weight in models[1].objectness.parameters())


def test_a_linear_stem_has_no_stages() -> None:
    with pytest.raises(ValueError, match="stem 'linear' has none"):
        dataclasses.replace(SIZES["egovideo_base"], objectness=True)
