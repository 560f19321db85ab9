from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import settings
from torch import nn

from pretrain.training.optimiser import Averaged, Schedule, adamw


def test_only_matrices_decay(films: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1, bias=False))
    network.register_parameter("scale", nn.Parameter(torch.tensor(1.0)))
    network[2].requires_grad_(False)
    optimiser = adamw(network, settings(films, Path("nowhere"), weight_decay=0.3, learning_rate=0.1))
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert {name: decays.get(id(parameter)) for name, parameter in network.named_parameters()} == {
        "0.weight": 0.3,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": None,
        "scale": 0.0,
    }
    assert all(group["betas"] == (0.9, 0.999) for group in optimiser.param_groups)


def test_the_rate_rises_then_falls_to_zero() -> None:
    cosine = Schedule(peak=2.0, steps=14, warmup=4, shape="cosine")
    rates = [cosine(step) for step in range(15)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == 2.0
    assert rates[9] == pytest.approx(1.0)
    assert rates[14] == pytest.approx(0.0)
    assert sorted(rates[4:], reverse=True) == rates[4:]


def test_a_constant_rate_stays() -> None:
    assert {Schedule(2.0, 10, 0, "constant")(step) for step in range(10)} == {2.0}


def test_averages_follow_the_weights_and_can_stand_in_for_them() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(0.0)
    averaged = Averaged(layer, decay=0.5)
    wanted = 0.0
    for step, value in enumerate([4.0, 8.0, 2.0], start=1):
        layer.weight.data.fill_(value)
        averaged.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * value
    with averaged.in_place():
        assert layer.weight.item() == pytest.approx(wanted)
    assert layer.weight.item() == 2.0
    averaged.take()
    with averaged.in_place():
        assert layer.weight.item() == 2.0
