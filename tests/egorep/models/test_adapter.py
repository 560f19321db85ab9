from __future__ import annotations

import pytest
import torch

from egorep.models.adapter import MotionAdapter

GRID = (4, 2, 3)


def tokens(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 1 + 4 * 2 * 3, 8, generator=torch.Generator().manual_seed(0))


def moving(*, spatial: bool) -> MotionAdapter:
    torch.manual_seed(0)
    adapter = MotionAdapter(8, spatial=spatial)
    torch.nn.init.normal_(adapter.up.weight)
    return adapter.eval()


@pytest.mark.parametrize("spatial", [False, True])
def test_a_new_adapter_is_the_identity(spatial: bool) -> None:
    assert torch.equal(MotionAdapter(8, spatial=spatial)(tokens(), GRID), tokens())


@pytest.mark.parametrize("spatial", [False, True])
def test_the_class_token_passes_untouched(spatial: bool) -> None:
    moved = moving(spatial=spatial)(tokens(), GRID)
    assert torch.equal(moved[:, 0], tokens()[:, 0])
    assert not torch.allclose(moved[:, 1:], tokens()[:, 1:])


@pytest.mark.parametrize(
    ("spatial", "reached"),
    [
        (False, [(1, 0, 1), (2, 0, 1), (3, 0, 1)]),
        (True, [(t, h, w) for t in (1, 2, 3) for h in (0, 1) for w in (0, 1, 2)]),
    ],
)
def test_how_far_a_patch_is_seen(spatial: bool, reached: list[tuple[int, int, int]]) -> None:
    """Patch (2, 0, 1) is seen one frame before and after; with the spatial form also one patch around."""
    adapter, one = moving(spatial=spatial), tokens(1)
    other = one.clone()
    other[0, 1 + (2 * 2 + 0) * 3 + 1] += 1.0
    change = (adapter(other, GRID) - adapter(one, GRID))[0, 1:].abs().sum(-1).reshape(GRID)
    assert {tuple(index) for index in change.nonzero().tolist()} == set(reached)


def test_frames_outside_the_clip_are_zero() -> None:
    """Padding with zeros, not with the edge: a still clip's ends differ from its middle."""
    still = tokens(1)
    still[:, 1:] = still[:, 1:7].repeat(1, 4, 1)
    moved = moving(spatial=False)(still, GRID)[0, 1:].reshape(*GRID, 8)
    assert torch.allclose(moved[1], moved[2], atol=1e-6)
    assert not torch.allclose(moved[0], moved[1], atol=1e-3)


def test_initial_spread() -> None:
    """Standard deviations of the specification: 0.02, sqrt(2/3), sqrt(2/hidden)."""
    torch.manual_seed(0)
    adapter = MotionAdapter(512, spatial=False)
    assert adapter.down.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert adapter.depthwise_time.weight.std().item() == pytest.approx((2 / 3) ** 0.5, rel=0.1)
    assert adapter.pointwise.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)
    assert adapter.gamma.item() == 1.0
    assert not any(bias.any() for name, bias in adapter.named_parameters() if name.endswith("bias"))
