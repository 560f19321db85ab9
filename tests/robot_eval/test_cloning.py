from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_eval.cloning import Budget, Checkpoint, Optimiser, Training, clone, load_policy, save_policy
from robot_eval.policies import PolicyConfig
from robot_eval.policies.base import Demonstrations, InputShape, Policy

HEAD = PolicyConfig.read(
    {
        "name": "head",
        "kind": "mlp",
        "sees": "features",
        "hidden": [32, 32],
        "activation": "tanh",
        "batch_norm": True,
    }
)
ADAM = Optimiser(lr=1e-3, batch_size=32, schedule="constant")


def cloned(
    data: tuple[np.ndarray, np.ndarray],
    budget: Budget,
    seed: int = 0,
    *,
    head: PolicyConfig = HEAD,
    adam: Optimiser = ADAM,
) -> Iterator[Checkpoint]:
    x, y = (torch.from_numpy(part) for part in data)
    checkpoints = budget.checkpoints(len(x), adam.batch_size)
    training = Training(head, InputShape((), x.shape[1]), adam, checkpoints, seed)
    return clone(training, Demonstrations(x, y, (len(x),)))


METADATA = {
    "policy": {"config": HEAD.to_dict(), "shape": {"visual": [], "other": 6}, "pictures": None},
    "action_dim": 3,
}


def act(policy: Policy, rows: np.ndarray) -> np.ndarray:
    return policy.act(rows, [None] * len(rows))


def problem(samples: int = 200, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Actions that are a smooth function of the inputs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, 6))
    y = np.tanh(x @ rng.normal(size=(6, 3)) / 2)
    return (scale * x).astype(np.float32), y.astype(np.float32)


def final_actions(seed: int, data: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    data = data or problem()
    *_, last = cloned(data, Budget("steps", 30, 10), seed)
    return act(last.policy, data[0])


def test_a_seed_repeats_itself_and_others_differ() -> None:
    first = final_actions(0)
    torch.manual_seed(123)  # nothing outside decides
    assert np.array_equal(final_actions(0), first)
    assert not np.array_equal(final_actions(1), first)


def test_the_global_generator_stays_where_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    final_actions(0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("budget", "samples", "batch_size", "steps"),
    [
        (Budget("steps", 30, 10), 200, 32, [10, 20, 30]),
        (Budget("steps", 10, 10), 200, 32, [10]),
        (Budget("epochs", 4, 2), 200, 32, [14, 28]),
        (Budget("epochs", 2, 1), 64, 32, [2, 4]),
        (Budget("epochs", 2, 1), 65, 32, [3, 6]),
        (Budget("epochs", 2, 1), 5, 32, [1, 2]),
    ],
)
def test_checkpoints_stand_where_the_budget_says(
    budget: Budget, samples: int, batch_size: int, steps: list[int]
) -> None:
    assert budget.checkpoints(samples, batch_size) == steps
    points = cloned(problem(samples), budget, adam=Optimiser(1e-3, batch_size, "constant"))
    assert [point.step for point in points] == steps


def test_checkpoints_are_in_eval_mode_and_training_goes_on_after_them() -> None:
    x, y = problem()
    seen = []
    for point in cloned((x, y), Budget("steps", 30, 10)):
        assert not point.policy.training
        seen.append(act(point.policy, x))
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])


def test_more_checkpoints_do_not_change_the_training() -> None:
    x, y = problem()
    *_, often = cloned((x, y), Budget("steps", 30, 5))
    assert np.array_equal(act(often.policy, x), final_actions(0))


def test_the_loss_goes_down_and_is_the_mean_since_the_last_checkpoint() -> None:
    x, y = problem()
    losses = [point.loss for point in cloned((x, y), Budget("steps", 600, 200))]
    assert losses[0] > losses[1] > losses[2]
    assert losses[-1] < 0.1 * y.var()
    each = [point.loss for point in cloned((x, y), Budget("steps", 20, 1))]
    together = [point.loss for point in cloned((x, y), Budget("steps", 20, 10))]
    assert together == pytest.approx([np.mean(each[:10]), np.mean(each[10:])], rel=1e-4)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_tiny_features_are_learnt_as_well_as_others(batch_norm: bool) -> None:
    head = replace(HEAD, settings=replace(HEAD.settings, batch_norm=batch_norm))
    errors = []
    for scale in (1.0, 1e-9):
        x, y = problem(scale=scale)
        *_, last = cloned((x, y), Budget("steps", 600, 600), head=head)
        errors.append(float(np.square(act(last.policy, x) - y).mean()))
    assert errors[1] < 0.1 * y.var()
    assert errors[1] == pytest.approx(errors[0], rel=0.2)


@pytest.mark.parametrize(("samples", "batch_size"), [(33, 32), (5, 2), (2, 1)])
def test_a_remainder_of_one_sample_does_not_break_batch_norm(samples: int, batch_size: int) -> None:
    x, y = problem(samples)
    for point in cloned((x, y), Budget("steps", 12, 4), adam=Optimiser(1e-3, batch_size, "constant")):
        assert np.isfinite(act(point.policy, x)).all()
        assert np.isfinite(point.loss)


def test_saved_policies_come_back(tmp_path: Path) -> None:
    x, y = problem()
    *_, last = cloned((x, y), Budget("steps", 20, 20))
    metadata = {**METADATA, "anything": {"more": [1, None, "é"]}}
    path = tmp_path / "deep" / "policy.safetensors"
    save_policy(path, last.policy, metadata)
    policy, read = load_policy(path)
    assert not policy.training
    assert read == metadata
    assert np.array_equal(act(policy, x), act(last.policy, x))
    assert list(path.parent.iterdir()) == [path], "nothing else is left"
    (tmp_path / "any").touch()
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode, "as the umask says"


def test_a_failed_save_leaves_the_old_policy(tmp_path: Path) -> None:
    x, y = problem()
    *_, last = cloned((x, y), Budget("steps", 20, 20))
    path = tmp_path / "policy.safetensors"
    save_policy(path, last.policy, METADATA)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_policy(path, last.policy, {"not JSON": object()})
    assert path.read_bytes() == before


def test_a_cosine_ends_with_hardly_any_change_and_a_constant_rate_does_not() -> None:
    x, y = problem()
    changes = {}
    for schedule in ("constant", "cosine"):
        points = cloned((x, y), Budget("steps", 200, 1), adam=Optimiser(1e-3, 32, schedule))
        weights = [point.policy.layers[1].weight.detach().clone() for point in points]
        changes[schedule] = [float((weights[i + 1] - weights[i]).norm()) for i in (0, -2)]
    assert changes["cosine"][0] == pytest.approx(changes["constant"][0], rel=0.01)
    assert changes["cosine"][1] < 0.01 * changes["constant"][1]
