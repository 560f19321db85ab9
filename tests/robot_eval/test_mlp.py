from __future__ import annotations

import numpy as np
import pytest
import torch

from robot_eval.policies.base import Demonstrations, InputShape, Standardiser
from robot_eval.policies.mlp import MLPPolicy, MLPSettings

R3M = MLPSettings([256, 256], "tanh", batch_norm=True)
CORTEX = MLPSettings([256, 256, 256], "relu", batch_norm=True)
PLAIN = MLPSettings([32], "relu", batch_norm=False)


def fitted(data: torch.Tensor, config: MLPSettings, actions: int = 4) -> MLPPolicy:
    policy = MLPPolicy(InputShape((), data.shape[1]), actions, config)
    policy.fit(Demonstrations(data, torch.zeros(len(data), actions), (len(data),)))
    return policy


def act(policy: MLPPolicy, rows: np.ndarray) -> np.ndarray:
    return policy.act(rows, [None] * len(rows))


def policy_on(data: torch.Tensor, config: MLPSettings = R3M, actions: int = 4) -> MLPPolicy:
    torch.manual_seed(0)
    policy = fitted(data, config, actions)
    policy.train()
    for _ in range(3):
        policy(data)  # moves the statistics of batch norm away from their start
    return policy.eval()


@pytest.mark.parametrize("config", [R3M, CORTEX, PLAIN])
def test_a_row_does_not_depend_on_the_others(config: MLPSettings) -> None:
    data = torch.randn(64, 193, generator=torch.Generator().manual_seed(1))
    policy = policy_on(data, config)
    rows = data[:20].numpy()
    alone = np.concatenate([act(policy, row[None]) for row in rows])
    for size in range(1, 21):
        assert np.array_equal(act(policy, rows[:size]), alone[:size])
        assert np.array_equal(act(policy, rows[-size:][::-1].copy()), alone[-size:][::-1]), "nor on its place"
    assert len(np.unique(alone, axis=0)) == 20


def test_actions_are_those_of_the_network() -> None:
    data = torch.randn(64, 10, generator=torch.Generator().manual_seed(1))
    policy = policy_on(data)
    assert act(policy, data.numpy()) == pytest.approx(policy(data).detach().numpy(), abs=1e-5)
    assert act(policy, data.numpy()).dtype == np.float32


def test_acting_ends_training_mode() -> None:
    data = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    policy = policy_on(data)
    expected = act(policy, data.numpy())
    policy.train()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    assert np.array_equal(act(policy, data.numpy()), expected)
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())


def test_doubles_are_taken() -> None:
    data = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    policy = policy_on(data)
    assert np.array_equal(act(policy, data.numpy().astype(np.float64)), act(policy, data.numpy()))


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7, 1e-12])
def test_a_constant_dimension_becomes_zero(value: float) -> None:
    data = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    data[:, 1] = value
    policy = policy_on(data)
    elsewhere = data[:8].clone()
    elsewhere[:, 1] = value + 5.0  # in a rollout it may differ from what training showed
    assert np.array_equal(act(policy, elsewhere.numpy()), act(policy, data[:8].numpy()))
    normalised = policy.standardise(data)
    assert not normalised[:, 1].any()
    assert normalised[:, [0, 2]].std(0, correction=0).numpy() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_dimensions_are_standardised_at_any_scale(scale: float) -> None:
    data = scale * (2.0 + torch.randn(500, 6, generator=torch.Generator().manual_seed(1)))
    standardise = Standardiser(6)
    standardise.fit(data)
    normalised = (data - standardise.mean) / standardise.std
    assert normalised.mean(0).numpy() == pytest.approx(0.0, abs=1e-4)
    assert normalised.std(0, correction=0).numpy() == pytest.approx(1.0, abs=1e-4)


def test_the_normaliser_is_saved_with_the_weights_and_does_not_train() -> None:
    policy = policy_on(torch.randn(16, 3, generator=torch.Generator().manual_seed(1)))
    assert {"standardise.mean", "standardise.std"} <= set(policy.state_dict())
    assert {"standardise.mean", "standardise.std"}.isdisjoint(name for name, _ in policy.named_parameters())


@pytest.mark.parametrize(("config", "layers"), [(R3M, 6), (CORTEX, 8), (PLAIN, 3)])
def test_layers_are_those_of_the_papers(config: MLPSettings, layers: int) -> None:
    policy = MLPPolicy(InputShape((10,), 0), 4, config)
    assert len(policy.layers) == layers
    assert isinstance(policy.layers[0], torch.nn.BatchNorm1d) == config.batch_norm
    assert isinstance(policy.layers[-1], torch.nn.Linear), "actions are not squashed"


def test_a_feature_that_stands_far_out_does_not_drown_the_others() -> None:
    """Rare features have a tiny spread in the demonstrations; a new scene shows them hundreds of it away."""
    torch.manual_seed(0)
    inputs = torch.randn(50, 3)
    inputs[:, 2] *= 1e-3
    policy = fitted(inputs, MLPSettings([16], "tanh", batch_norm=False), 2).eval()
    near, far, farther = (np.array([[0.3, -0.2, outlier]], np.float32) for outlier in (0.0, 1.0, 100.0))
    assert np.array_equal(act(policy, far), act(policy, farther))
    assert not np.array_equal(act(policy, near), act(policy, far))
