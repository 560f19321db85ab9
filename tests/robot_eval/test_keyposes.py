from __future__ import annotations

import numpy as np
import pytest
import torch

from robot_eval.cloning import Optimiser, Training, clone
from robot_eval.policies import PolicyConfig
from robot_eval.policies.base import Demonstrations, InputShape, Policy
from robot_eval.policies.keyposes import (
    LOOK,
    KeyposesPolicy,
    KeyposesSettings,
    Readable,
    Reader,
    _left_out,
    key_poses,
)
from robot_eval.policies.mlp import MLPPolicy, MLPSettings

SETTINGS = KeyposesSettings([64], "tanh", batch_norm=True, directions=3)
SHAPE = InputShape((40,), 2)
STEPS = 12


def reaching(count: int, told: float, seed: int) -> tuple[Demonstrations, torch.Tensor]:
    """Episodes in which a hand goes to a place of its own, and the (N, 2) places.

    Args:
        count: N.
        told: how strongly features tell of the place, beside noise of 1 that lasts as long as an episode.
        seed: of the episodes; what features mean is the same in all.
    """
    generator = torch.Generator().manual_seed(seed)
    meaning = torch.randn(2, 40, generator=torch.Generator().manual_seed(99))
    places = torch.randn(count, 2, generator=generator)
    looks = torch.randn(count, 40, generator=generator) + told * places @ meaning
    inputs, actions = [], []
    for place, look in zip(places, looks, strict=True):
        hand = torch.zeros(2)
        for _ in range(STEPS):
            inputs.append(torch.cat([look, hand]))
            actions.append(0.4 * (place - hand))
            hand = hand + actions[-1]
    return Demonstrations(torch.stack(inputs), torch.stack(actions), (STEPS,) * count), places


def trained(data: Demonstrations, steps: int = 600) -> KeyposesPolicy:
    config = PolicyConfig("keyposes", "keyposes", "features", SETTINGS)
    (point,) = clone(Training(config, SHAPE, Optimiser(3e-3, 64, "cosine"), [steps], 0), data)
    assert isinstance(point.policy, KeyposesPolicy)
    return point.policy


def acted(policy: Policy, data: Demonstrations) -> np.ndarray:
    """(N, T, A), every episode by itself."""
    rows = data.inputs.unflatten(0, (-1, STEPS)).transpose(0, 1).numpy()
    memories = [policy.begin(seed) for seed in range(rows.shape[1])]
    return np.stack([policy.act(step, memories) for step in rows], axis=1)


def missed(policy: Policy, data: Demonstrations) -> float:
    """Mean squared error of the actions, as a share of their variance."""
    actions = data.actions.unflatten(0, (-1, STEPS)).numpy()
    return float(np.square(acted(policy, data) - actions).mean() / actions.var())


def test_it_goes_where_the_first_pictures_say() -> None:
    new, _ = reaching(60, 1.0, 1)
    blind = trained(reaching(25, 0.0, 0)[0])
    assert missed(trained(reaching(25, 1.0, 0)[0]), new) < 0.4 * missed(blind, new)


def test_it_trusts_pictures_as_far_as_they_tell_of_new_episodes() -> None:
    # 40 numbers of 25 episodes fit every place, and say little of the next one.
    data, new = reaching(25, 0.15, 0)[0], reaching(200, 0.15, 1)[0]
    plain = PolicyConfig("r3m", "mlp", "features", MLPSettings([64], "tanh", batch_norm=True))
    (point,) = clone(Training(plain, SHAPE, Optimiser(3e-3, 64, "cosine"), [600], 0), data)
    assert missed(trained(data), new) < 0.8 * missed(point.policy, new)


def test_pictures_that_tell_nothing_are_left_out() -> None:
    data, _ = reaching(25, 0.0, 0)
    policy = trained(data, steps=5)
    assert not policy.reader.weights.any()
    other = Demonstrations(data.inputs.clone(), data.actions, data.lengths)
    other.inputs[:, :40] = 7.0
    assert np.array_equal(acted(policy, data), acted(policy, other))


def test_features_that_never_vary_are_left_out() -> None:
    data, _ = reaching(25, 1.0, 0)
    data.inputs[:, :40] = 0.3
    assert not trained(data, steps=5).reader.weights.any()


def test_later_pictures_are_not_read() -> None:
    data, _ = reaching(25, 1.0, 0)
    policy = trained(data, steps=20)
    later, earlier = (
        data.inputs.unflatten(0, (-1, STEPS)).clone(),
        data.inputs.unflatten(0, (-1, STEPS)).clone(),
    )
    later[:, LOOK + 1 :, :40] += 3.0
    earlier[:, LOOK, :40] += 3.0
    told = acted(policy, data)
    assert np.array_equal(
        acted(policy, Demonstrations(later.flatten(0, 1), data.actions, data.lengths)), told
    )
    changed = acted(policy, Demonstrations(earlier.flatten(0, 1), data.actions, data.lengths))
    assert np.array_equal(changed[:, :LOOK], told[:, :LOOK])
    assert not np.isclose(changed[:, LOOK:], told[:, LOOK:]).all(axis=2).any(), "what is read lasts"


def test_leaving_out_is_refitting_without() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    values = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    strength = torch.tensor(1.7, dtype=torch.float64)
    centred = seen - seen.mean(0)
    found = _left_out(*torch.linalg.eigh(centred @ centred.T), strength, values - values.mean(0))
    for row in range(9):
        rest = [one for one in range(9) if one != row]
        here, there = seen[rest] - seen[rest].mean(0), values[rest] - values[rest].mean(0)
        slopes = torch.linalg.solve(here.T @ here + strength * torch.eye(4), here.T @ there)
        expected = (seen[row] - seen[rest].mean(0)) @ slopes + values[rest].mean(0) - values.mean(0)
        assert found[row].tolist() == pytest.approx(expected.tolist())


def test_what_is_read_of_new_pictures_is_as_good_as_was_said() -> None:
    told = 0.3
    data, places = reaching(40, told, 0)
    new, others = reaching(2000, told, 1)
    reader = Reader(40, 2)
    readable = reader.fit(data.inputs[LOOK::STEPS, :40], (places - places.mean(0)).double())
    axes = torch.linalg.lstsq(places - places.mean(0), readable.truth).solution
    truth, read = (others - places.mean(0)) @ axes, reader(new.inputs[LOOK::STEPS, :40])
    r2 = 1 - (truth - read).square().mean(0) / truth.var(0)
    assert readable.r2.tolist() == pytest.approx(r2.tolist(), abs=0.2)
    assert (readable.r2 > 0.3).all()


def test_what_varies_little_is_read_beside_what_varies_much() -> None:
    """Where a hand closes may vary by a tenth of where it passes, and pictures may tell it alone."""
    data, places = reaching(30, 1.0, 0)
    generator = torch.Generator().manual_seed(2)
    passing = 20 * torch.randn(30, 3, generator=generator)
    poses = torch.cat([passing, 0.1 * places], dim=1).double()
    readable = Reader(40, 3).fit(data.inputs[LOOK::STEPS, :40], poses)
    centred = places - places.mean(0)
    missed = centred - readable.truth @ torch.linalg.lstsq(readable.truth, centred).solution
    assert (readable.r2 > 0.5).sum() >= 2
    assert (missed.square().sum(0) < 0.1 * centred.square().sum(0)).all()


def test_blurred_readings_have_that_r2() -> None:
    truth = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    readable = Readable(truth, torch.tensor([0.0, 0.4, 0.9]))
    read = readable.blurred(torch.arange(20_000), torch.Generator().manual_seed(1))
    assert (1 - (truth - read).square().mean(0)).tolist() == pytest.approx([0, 0.4, 0.9], abs=0.02)
    assert read.var(0).tolist() == pytest.approx([0, 0.4, 0.9], abs=0.02)


def test_key_poses_are_where_coordinates_turn_and_where_it_ends() -> None:
    proprio = torch.tensor([[0.0, 5.0], [3.0, 1.0], [-2.0, 9.0], [1.0, 2.0]])
    assert key_poses(proprio).tolist() == [-2.0, 9.0, 3.0, 1.0, 3.0, 1.0, -2.0, 9.0, 1.0, 2.0]


def test_without_pictures_it_is_the_perceptron() -> None:
    shape = InputShape((), 5)
    data = Demonstrations(torch.randn(40, 5), torch.zeros(40, 2), (40,))
    torch.manual_seed(0)
    policy = KeyposesPolicy(shape, 2, SETTINGS)
    policy.fit(data)
    torch.manual_seed(0)
    plain = MLPPolicy(shape, 2, SETTINGS)
    plain.fit(data)
    rows = data.inputs.numpy()
    assert np.array_equal(policy.act(rows, [policy.begin(0)] * 40), plain.act(rows, [None] * 40))


def test_fewer_demonstrations_than_directions() -> None:
    data, _ = reaching(2, 1.0, 0)
    policy = trained(data, steps=3)
    assert policy.reader.weights.shape == (40, 3)
    assert np.isfinite(acted(policy, data)).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"policy\.directions must be at least 1, got 0"):
        KeyposesSettings([32], "tanh", batch_norm=True, directions=0).check()
    with pytest.raises(ValueError, match=r"learns from proprioception.*protocol\.proprio=true"):
        KeyposesPolicy(InputShape((40,), 0), 2, SETTINGS)
    with pytest.raises(ValueError, match="at least 2 demonstrations, got 1"):
        KeyposesPolicy(SHAPE, 2, SETTINGS).fit(reaching(1, 1.0, 0)[0])
