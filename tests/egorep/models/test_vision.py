from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from egorep.models.block import without_gradient
from egorep.models.config import EgoVideoConfig, TextConfig, VisionConfig
from egorep.models.egovideo import EgoVideo
from egorep.models.vision import VisionTower

Make = Callable[..., EgoVideo]


def test_pathways_are_told_apart_by_the_argument_alone(make_model: Make, clips: torch.Tensor) -> None:
    visual = make_model().visual
    slow, fast = visual(clips, "slow"), visual(clips, "fast")
    assert slow.classes.shape == fast.classes.shape == (2, 32)
    assert slow.patches.shape == fast.patches.shape == (2, 6, 9, 32)
    assert not torch.allclose(slow.classes, fast.classes, atol=1e-3)
    for adapter in visual.adapters:
        torch.nn.init.zeros_(adapter.gamma)
    assert torch.equal(visual(clips, "fast").classes, slow.classes), "all that differs is the adapters"


@pytest.mark.parametrize(("side", "patch", "time"), [(16, 8, 1), (40, 8, 3), (30, 10, 5), (28, 14, 17)])
def test_any_size_and_number_of_frames(side: int, patch: int, time: int) -> None:
    config = EgoVideoConfig(
        VisionConfig(side, patch, 32, 2, 4, num_frames=4), TextConfig(24, 1, 3), 16, fast_frames=8
    )
    tower = VisionTower(config)
    for pathway in ("slow", "fast"):
        features = tower(torch.randn(1, time, 3, side, side), pathway)
        assert features.patches.shape == (1, time, (side // patch) ** 2, 32)


def test_the_temporal_table_is_resized_along_time(make_model: Make) -> None:
    """Linear with half-pixel centres: of two entries a and b, four frames see a, 3/4 a + 1/4 b, ..., b."""
    visual = make_model().visual
    first, second = visual.time.detach()
    mixed = [first, 0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second, second]
    assert torch.allclose(visual._time_table(4), torch.stack(mixed), atol=1e-6)
    assert visual._time_table(2) is visual.time


def test_order_matters_only_through_time(make_model: Make, clips: torch.Tensor) -> None:
    visual = make_model().visual
    backwards = clips.flip(1)
    assert not torch.allclose(visual(clips).classes, visual(backwards).classes, atol=1e-4)
    torch.nn.init.zeros_(visual.time)
    assert torch.allclose(visual(clips).classes, visual(backwards).classes, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_frozen_backbone_lets_the_gradient_through_to_the_first_adapter(
    checkpointing: bool, make_model: Make, clips: torch.Tensor
) -> None:
    """Trap 1: in the release only the last block's adapter learns."""
    visual = make_model().visual.train()
    visual.gradient_checkpointing = checkpointing
    visual(clips, "fast", freeze_backbone=True).classes.square().sum().backward()
    for adapter in visual.adapters[:-1]:  # the class token never passes the last one
        assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in adapter.parameters())
    assert all(weight.grad is None for weight in visual.backbone_parameters())
    assert all(weight.requires_grad for weight in visual.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_gradient_checkpointing_changes_nothing(frozen: bool, make_model: Make, clips: torch.Tensor) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = make_model().train()
        model.set_gradient_checkpointing(checkpointing)
        model.visual(clips, "fast", freeze_backbone=frozen).patches.sin().sum().backward()
        gradients.append({n: p.grad for n, p in model.visual.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert len(gradients[0]) > 20
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name


def test_patch_dropout_leaves_out_the_same_places_of_every_frame(
    make_model: Make, clips: torch.Tensor
) -> None:
    visual = make_model(patch_dropout=0.5).visual.train()
    seen: list[torch.Tensor] = []
    visual.adapters[0].register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[1]))
    features = visual(clips, "fast")
    assert features.patches.shape == (2, 6, 4, 32)
    assert seen == [(6, 4, 1)]
    assert visual.eval()(clips, "fast").patches.shape == (2, 6, 9, 32)


def test_kept_places_are_told_and_differ_between_samples(make_model: Make, clips: torch.Tensor) -> None:
    visual = make_model(patch_dropout=0.5).visual.train()
    torch.manual_seed(0)
    features = visual(clips, "slow")
    assert features.places.shape == (2, 4)
    assert all(len(set(row.tolist())) == 4 for row in features.places)
    assert features.places[0].tolist() != features.places[1].tolist()
    assert visual.eval()(clips, "slow").places.tolist() == [list(range(9))] * 2


def test_kept_patches_are_those_of_their_places(make_model: Make, clips: torch.Tensor) -> None:
    """Without blocks each token says what its patch shows, and nothing else."""
    visual = make_model(patch_dropout=0.5).visual.train()
    visual.blocks = torch.nn.ModuleList()
    torch.manual_seed(0)
    kept = visual(clips, "slow")
    whole = visual.eval()(clips, "slow").patches
    for sample in range(2):
        assert torch.equal(kept.patches[sample], whole[sample][:, kept.places[sample]])


def test_patch_dropout_does_not_go_with_the_spatial_adapter(make_model: Make) -> None:
    config = dataclasses.replace(make_model().config, adapter="spatial_temporal")
    with pytest.raises(ValueError, match="leaves gaps"):
        EgoVideo(config, patch_dropout=0.5)
    assert make_model(config).visual(torch.randn(1, 6, 3, 24, 24), "fast").patches.isfinite().all()


def test_drop_path_grows_with_depth_and_acts_in_training_only(make_model: Make, clips: torch.Tensor) -> None:
    model = make_model(drop_path=0.5)
    assert [block.drop_path.drop_prob for block in model.visual.blocks] == [0.0, 0.25, 0.5]
    assert torch.equal(model.visual(clips).classes, make_model().visual(clips).classes)
    torch.manual_seed(0)
    model.train()
    assert not torch.equal(model.visual(clips).classes, model.visual(clips).classes)


def test_without_gradient_gives_back_what_was_learning() -> None:
    learning, frozen = (
        torch.nn.Parameter(torch.ones(1)),
        torch.nn.Parameter(torch.ones(1), requires_grad=False),
    )
    x = torch.ones(1, requires_grad=True)
    with without_gradient([learning, frozen]):
        y = learning * x
    assert learning.requires_grad
    assert not frozen.requires_grad
    y.backward()
    assert learning.grad is None
    assert x.grad is not None
