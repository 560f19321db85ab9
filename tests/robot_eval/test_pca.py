from __future__ import annotations

import numpy as np
import pytest
import torch

from robot_eval.policies.base import Demonstrations, InputShape
from robot_eval.policies.mlp import MLPPolicy
from robot_eval.policies.pca import Components, PCAPolicy, PCASettings

SETTINGS = PCASettings([32], "tanh", batch_norm=True, components=4)


def values(rows: int, columns: int, rank: int, seed: int = 0) -> torch.Tensor:
    """Of full rank, with `rank` directions that stand out."""
    generator = torch.Generator().manual_seed(seed)
    strong = torch.randn(rows, rank, generator=generator) @ torch.randn(rank, columns, generator=generator)
    return strong + 0.1 * torch.randn(rows, columns, generator=generator)


def fitted(data: torch.Tensor, count: int) -> torch.Tensor:
    components = Components(data.shape[1], count)
    components.fit(data)
    return components(data)


@pytest.mark.parametrize(("rows", "columns"), [(60, 9), (20, 50)])
def test_they_are_those_of_the_singular_value_decomposition(rows: int, columns: int) -> None:
    data = values(rows, columns, 3)
    found = fitted(data, 5).numpy()
    standard = ((data - data.mean(0)) / data.std(0, correction=0)).double().numpy()
    scores = np.linalg.svd(standard, full_matrices=False)[0][:, :5] * rows**0.5
    assert np.abs(found) == pytest.approx(np.abs(scores), abs=1e-3)
    assert found.T @ found / rows == pytest.approx(np.eye(5), abs=1e-3)


@pytest.mark.parametrize(("rows", "columns", "left"), [(200, 3, 3), (4, 50, 3)])
def test_where_there_are_fewer_the_rest_is_zero(rows: int, columns: int, left: int) -> None:
    found = fitted(torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)), 8)
    assert found.shape == (rows, 8)
    assert found[:, :left].any(0).all()
    assert not found[:, left:].any()


def test_features_that_never_vary_give_zeros() -> None:
    assert not fitted(torch.full((30, 6), 0.3), 4).any()


def policy_on(data: Demonstrations, shape: InputShape) -> PCAPolicy:
    torch.manual_seed(0)
    policy = PCAPolicy(shape, 2, SETTINGS)
    policy.fit(data)
    policy(data.inputs)  # moves the statistics of batch norm away from their start
    return policy.eval()


def test_a_policy_sees_components_and_all_of_the_rest() -> None:
    seen = values(100, 20, 4)
    other = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    policy = policy_on(
        Demonstrations(torch.cat([seen, other], 1), torch.zeros(100, 2), (100,)), InputShape((20,), 3)
    )
    assert policy.layers[0].num_features == 4 + 3
    row = torch.cat([seen, other], 1)[:1]
    axes = policy.components.axes
    hidden = torch.linalg.svd(axes.T)[2][-1] * policy.components.standardise.std  # orthogonal to all axes
    aside, along = row.clone(), row.clone()
    aside[:, :20] += 0.5 * hidden
    along[:, :20] += 0.5 * axes[:, 0] / axes[:, 0].norm() * policy.components.standardise.std
    assert torch.allclose(policy(aside), policy(row), atol=1e-5)
    assert not torch.allclose(policy(along), policy(row), atol=1e-3)
    for place in range(3):
        moved = row.clone()
        moved[:, 20 + place] += 0.5
        assert not torch.allclose(policy(moved), policy(row), atol=1e-3)


def test_without_pictures_it_is_the_perceptron() -> None:
    shape = InputShape((), 5)
    data = Demonstrations(torch.randn(40, 5), torch.zeros(40, 2), (40,))
    policy = policy_on(data, shape)
    torch.manual_seed(0)
    plain = MLPPolicy(shape, 2, SETTINGS)
    plain.fit(data)
    plain(data.inputs)
    assert torch.equal(policy(data.inputs), plain.eval()(data.inputs))


def test_no_components_are_refused() -> None:
    with pytest.raises(ValueError, match=r"policy\.components must be at least 1, got 0"):
        PCASettings([32], "tanh", batch_norm=True, components=0).check()
