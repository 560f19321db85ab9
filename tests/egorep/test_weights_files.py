from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from egorep.weights_files import load_strictly, read_weights


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_safetensors_and_pickles(tmp_path: Path) -> None:
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.half)}
    save_file(weights, tmp_path / "weights.safetensors")
    torch.save(weights, tmp_path / "weights.pt")
    for name in ("weights.safetensors", "weights.pt"):
        read = read_weights(tmp_path / name)
        assert read.keys() == weights.keys()
        assert all(torch.equal(read[key], weight) for key, weight in weights.items())
        assert read["b"].dtype == torch.half


def test_nesting_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"model": {"a": torch.ones(2)}, "epoch": 3}, path)
    assert read_weights(path)["model"]["a"].tolist() == [1, 1]
    torch.save([{"a": torch.ones(2)}, {"lr": 0.1}], path)
    assert read_weights(path)["0"]["a"].tolist() == [1, 1]
    assert read_weights(path)["1"] == {"lr": 0.1}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        read_weights(tmp_path / "nowhere.pt")
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(zipped: bool, tmp_path: Path) -> None:
    path, made = tmp_path / "weights.pt", tmp_path / "made"
    content = {"model": {"a": torch.ones(2)}, "args": Hostile(made)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"weights\.pt.*asks to run \S*mkdir.*torch\.save its tensors alone"):
        read_weights(path)
    assert not made.exists()
    path.write_bytes(pickle.dumps(Hostile(made)))
    with pytest.raises(ValueError, match=r"weights\.pt"):
        read_weights(path)
    assert not made.exists()


def test_harmless_objects_are_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"model": {"a": torch.ones(2)}, "args": argparse.Namespace(lr=1)}, path)
    with pytest.raises(ValueError, match=r"argparse\.Namespace"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04", b"\x80\x02}q\x00.", b"<html></html>"])
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_damaged_files(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.*damaged"):
        read_weights(path)


@pytest.mark.parametrize("content", [torch.ones(2), 3, {0: torch.ones(2)}, None])
def test_files_without_names(content: object, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"weights\.pt.*state_dict"):
        read_weights(path)


def test_strict_loading() -> None:
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    load_strictly(model, {key: weight.half() for key, weight in other.state_dict().items()}, "other")
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, other.weight.half().float())


def test_misfits_are_listed_in_one_error() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    before = [weight.clone() for weight in model.parameters()]
    weights = {
        "0.weight": torch.zeros(3, 2),
        "0.bias": torch.zeros(2),
        "1.bias": "two",
        "head": torch.zeros(1),
        "tail": torch.zeros(1),
    }
    with pytest.raises(ValueError, match="does not fit") as raised:
        load_strictly(model, weights, "checkpoint 'x.pt'")
    said = str(raised.value)
    assert said == (
        "checkpoint 'x.pt' does not fit the network, missing: 1.weight; unexpected: head, tail; "
        "misshaped: 0.weight (3, 2) instead of (2, 3), 1.bias str instead of (2,)"
    )
    assert all(torch.equal(weight, kept) for weight, kept in zip(model.parameters(), before, strict=True))
