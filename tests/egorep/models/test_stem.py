from __future__ import annotations

import torch

from egorep import load_encoder
from egorep.efficientnet_lite import LITE_MEAN, LITE_STD, efficientnet_lite0_classifier
from egorep.models.config import SIZES
from egorep.models.egovideo import EgoVideo
from egorep.models.stem import ConvolutionalStem
from egorep.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing


def test_cells_are_those_of_the_network_of_photographs() -> None:
    stem = ConvolutionalStem(8)
    stem.load_imagenet()
    seen: list[torch.Tensor] = []
    stem.project.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    frames = torch.randint(0, 256, (2, 64, 64, 3), generator=torch.Generator().manual_seed(0)).byte()
    stem(Preprocessing(64, CLIP_MEAN, CLIP_STD, "bicubic")(frames[:, None])[:, 0])
    network = efficientnet_lite0_classifier().eval()
    cells = network.bn1(
        network.conv_stem(Preprocessing(64, LITE_MEAN, LITE_STD, "bicubic")(frames[:, None])[:, 0])
    )
    for stage in network.blocks[:5]:
        cells = stage(cells)
    assert cells.shape == (2, 112, 4, 4)
    assert torch.allclose(seen[0], cells.flatten(2).transpose(1, 2), atol=1e-4)


def test_only_the_projection_learns_and_nothing_moves_in_training() -> None:
    stem = ConvolutionalStem(8).train()
    before = {name: value.clone() for name, value in stem.state_dict().items()}
    stem(torch.randn(2, 3, 32, 32)).sum().backward()
    assert {name for name, p in stem.named_parameters() if p.grad is not None} == {
        "project.weight",
        "project.bias",
    }
    assert all(torch.equal(before[name], value) for name, value in stem.state_dict().items())


def test_tiny_has_it_and_an_untrained_one_has_no_weights_of_photographs() -> None:
    model = EgoVideo(SIZES["egovideo_tiny"])
    stem = model.visual.patch_embed
    assert isinstance(stem, ConvolutionalStem)
    trained = ConvolutionalStem(192)
    trained.load_imagenet()
    assert not torch.allclose(stem.first[0].weight, trained.first[0].weight)
    stem.load_imagenet()
    assert torch.equal(stem.first[0].weight, trained.first[0].weight)
    assert load_encoder("random/egovideo_tiny").grid == (7, 7, 192)
