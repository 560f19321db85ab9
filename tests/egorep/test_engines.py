"""Engines: OpenVINO says what torch says, frame by frame."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import numpy as np
import pytest
import torch

from egorep import load_encoder

NETWORKS = ["random/timm/test_vit", "random/timm/test_efficientnet", "efficientnet_lite0"]


@pytest.mark.parametrize("name", NETWORKS)
def test_openvino_agrees_with_torch_to_rounding(name: str, pictures: np.ndarray) -> None:
    torch_encoder, fast = load_encoder(name), load_encoder(name, engine="openvino")
    for method in ("forward", "tokens"):
        ours, theirs = getattr(fast, method)(pictures), getattr(torch_encoder, method)(pictures)
        assert ours.shape == theirs.shape
        assert torch.linalg.norm(ours - theirs) < 1e-4 * torch.linalg.norm(theirs)


def test_openvino_gives_the_same_bits_whatever_stands_beside_a_frame(pictures: np.ndarray) -> None:
    encoder = load_encoder("efficientnet_lite0", engine="openvino")
    together = encoder(pictures)
    for count in (1, 2, 5):
        assert torch.equal(encoder(pictures[:count]), together[:count])


def test_an_engine_that_rounds_differently_has_its_own_fingerprint() -> None:
    name = "random/timm/test_vit"
    assert load_encoder(name).fingerprint != load_encoder(name, engine="openvino").fingerprint


# As a data loader does, whose workers' ends are signals with a handler.
DROPPED = """
import signal, subprocess
from egorep import load_encoder
first, second = [load_encoder("random/timm/test_vit", engine="openvino") for _ in range(2)]
del first
del second
signal.signal(signal.SIGCHLD, lambda number, frame: None)
subprocess.run(["true"], check=True)
"""


def test_signals_are_survived_after_two_encoders_were_dropped(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = run_python(DROPPED)
    assert result.returncode == 0, result.stderr


def test_openvino_and_another_device_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="engine='torch'"):
        load_encoder("random/timm/test_vit", engine="openvino", device="meta")


def test_an_unknown_engine_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="openvino"):
        load_encoder("random/timm/test_vit", engine="openvin")


def test_a_network_that_cannot_be_converted_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr("egorep.engines._convert", fail)
    with pytest.raises(RuntimeError, match="engine='torch'"):
        load_encoder("random/timm/test_vit", engine="openvino")
