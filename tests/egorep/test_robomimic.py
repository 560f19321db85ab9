"""EgorepCore in robomimic: exact pictures, a frozen encoder, and robomimic's own training from end to end."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from robomimic.algo import RolloutPolicy
from robomimic.config import config_factory
from robomimic.models.obs_core import CropRandomizer
from robomimic.scripts import train as training
from robomimic.utils import file_utils, obs_utils

from egorep import load_encoder
from egorep.robomimic import EgorepCore

VIT = "random/timm/test_vit"
SHAPE = [3, 84, 84]
CAMERAS = ["agentview_image", "wrist_image"]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """robomimic's training sets torch to two threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def core(**settings: Any) -> EgorepCore:
    return EgorepCore(**{"input_shape": SHAPE, "encoder": VIT, **settings})


def processed(frames: np.ndarray) -> torch.Tensor:
    """(B, 3, H, W) in 0..1, as robomimic gives (B, H, W, 3) uint8 pictures to its networks."""
    return obs_utils.process_obs(torch.from_numpy(frames), obs_modality="rgb")


def noise(count: int = 4, size: int = 84) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_configs_can_name_it() -> None:
    assert obs_utils.OBS_ENCODER_CORES["EgorepCore"] is EgorepCore


def test_the_encoder_sees_the_very_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    every_value = np.arange(256, dtype=np.uint8)
    frames = np.stack([every_value, every_value[::-1], np.roll(every_value, 9)], -1).reshape(1, 16, 16, 3)
    made, seen = core(), []
    monkeypatch.setattr(
        made.encoder, "preprocessing", lambda part: seen.append(part) or torch.zeros(1, 3, 160, 160)
    )
    on_the_way_to_a_rollout = torch.from_numpy(obs_utils.process_obs(frames[0], obs_modality="rgb"))[None]
    for inputs in (processed(frames), on_the_way_to_a_rollout):
        made(inputs)
        assert np.array_equal(seen.pop().numpy(), frames)


def test_features_are_the_encoders_behind_a_linear_layer() -> None:
    made, frames = core(pool="mean", feature_dimension=10), noise()
    features = made(processed(frames))
    assert list(features.shape[1:]) == made.output_shape(SHAPE) == [10]
    assert torch.equal(features, made.head(load_encoder(VIT, pool="mean")(frames)))


def test_frozen_for_good() -> None:
    made = core()
    before = {key: weight.clone() for key, weight in made.encoder.state_dict().items()}
    head = made.head.weight.detach().clone()
    made.train()
    assert made.head.training
    assert not any(module.training for module in made.encoder.modules())
    assert {name for name, p in made.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
    optimiser = torch.optim.Adam(made.parameters(), lr=0.1, weight_decay=0.1)
    made(processed(noise())).square().sum().backward()
    optimiser.step()
    assert not torch.equal(made.head.weight, head)
    assert all(torch.equal(weight, before[key]) for key, weight in made.encoder.state_dict().items())


def test_checkpoints_hold_the_encoders_fingerprint_in_place_of_its_weights() -> None:
    policy = torch.nn.ModuleDict({"front": core(), "wrist": core(pool="mean")})
    with torch.no_grad():
        policy["front"].head.weight.fill_(3)
    state = policy.state_dict()
    kept = ["_extra_state", "head.bias", "head.weight"]
    assert sorted(state) == sorted(f"{camera}.{key}" for camera in policy for key in kept)
    other = torch.nn.ModuleDict({"front": core(), "wrist": core(pool="mean")})
    other.load_state_dict(state)
    assert torch.equal(other["front"].head.weight, policy["front"].head.weight)
    assert other["front"].encoder.fingerprint == policy["front"].encoder.fingerprint
    swapped = torch.nn.ModuleDict({"front": core(pool="mean"), "wrist": core(pool="mean")})
    with pytest.raises(ValueError, match=f"trained on an encoder with fingerprint .*'{VIT}' has"):
        swapped.load_state_dict(state)
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({key: value for key, value in state.items() if "extra" not in key})


def test_the_encoder_goes_where_the_policy_goes() -> None:
    assert core().to("meta").encoder.device.type == "meta"


@pytest.mark.parametrize("crops", [1, 3])
def test_behind_a_crop_randomizer(crops: int) -> None:
    randomizer = CropRandomizer(SHAPE, crop_height=76, crop_width=70, num_crops=crops)
    made = core(input_shape=randomizer.output_shape_in(SHAPE))
    frames = noise(2)
    randomizer.train()
    features = randomizer.forward_out(made(randomizer.forward_in(processed(frames))))
    assert list(features.shape) == [2, *randomizer.output_shape_out(made.output_shape())]
    randomizer.eval()
    features = randomizer.forward_out(made(randomizer.forward_in(processed(frames))))
    assert torch.equal(features, made.head(made.encoder(frames[:, 4:80, 7:77])))


def test_errors_name_the_setting() -> None:
    with pytest.raises(ValueError, match=r"\(5, 76, 76\).*pos_enc at False"):
        core(input_shape=[5, 76, 76])
    with pytest.raises(ValueError, match="'state' looks at no picture"):
        core(encoder="state")
    with pytest.raises(ValueError, match="unknown pool 'meen'; did you mean 'mean'"):
        core(pool="meen")
    pictures = processed(noise())
    for wrong in (pictures * 255, pictures - 0.5, pictures / 0):
        with pytest.raises(ValueError, match=r"pictures in 0\.\.1, got values in .*hdf5_normalize_obs=False"):
            core()(wrong)


def test_without_robomimic_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "robomimic.models.obs_core", None)
    monkeypatch.delitem(sys.modules, "egorep.robomimic")
    with pytest.raises(ImportError, match=r"egorep\[robomimic\]"):
        importlib.import_module("egorep.robomimic")


def write_demos(path: Path) -> None:
    """Two demonstrations of 6 steps with random pictures, proprioception and actions."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Random", "type": 1, "env_kwargs": {}})
        data.attrs["total"] = 12
        for index in range(2):
            demo = data.create_group(f"demo_{index}")
            demo.attrs["num_samples"] = 6
            demo["actions"] = rng.uniform(-1, 1, (6, 7))
            demo["rewards"] = demo["dones"] = np.zeros(6)
            demo["obs/proprio"] = rng.normal(size=(6, 9))
            for camera in CAMERAS:
                demo[f"obs/{camera}"] = rng.integers(0, 256, (6, 84, 84, 3), dtype=np.uint8)


def bc_config(folder: Path, encoder: str, randomizer: str | None) -> Any:
    """Behaviour cloning on the demonstrations in `folder`, for 2 epochs of 2 steps."""
    config = config_factory("bc")
    rgb = config.observation.encoder.rgb
    rgb.core_class = "EgorepCore"
    rgb.core_kwargs = {"encoder": encoder, "checkpoint": None, "pool": "cls"}
    rgb.obs_randomizer_class = randomizer
    config.observation.modalities.obs.rgb = CAMERAS
    config.observation.modalities.obs.low_dim = ["proprio"]
    config.train.data = str(folder / "demos.hdf5")
    config.train.output_dir = str(folder / "runs")
    config.train.num_epochs, config.train.batch_size, config.train.cuda = 2, 2, False
    config.experiment.epoch_every_n_steps = 2
    config.experiment.save.every_n_epochs = 1
    config.experiment.rollout.enabled = False
    config.experiment.logging.terminal_output_to_txt = False  # or stdout would stay redirected
    config.lock()
    return config


@pytest.mark.parametrize(("encoder", "randomizer"), [("efficientnet_lite0", None), (VIT, "CropRandomizer")])
def test_robomimics_own_training(
    encoder: str, randomizer: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[Any] = []
    heads: list[torch.Tensor] = []

    def remember(*arguments: Any, **settings: Any) -> Any:
        models.append(make(*arguments, **settings))
        heads.extend(core.head.weight.detach().clone() for core in cores(models[0]))
        return models[0]

    make = training.algo_factory
    monkeypatch.setattr(training, "algo_factory", remember)
    write_demos(tmp_path / "demos.hdf5")
    training.train(bc_config(tmp_path, encoder, randomizer), device=torch.device("cpu"))

    pristine = load_encoder(encoder).state_dict()
    trained = cores(models[0])
    assert len(trained) == len(CAMERAS)
    for core, head in zip(trained, heads, strict=True):
        assert not torch.equal(core.head.weight, head)
        assert all(torch.equal(w, pristine[key]) for key, w in core.encoder.state_dict().items())

    (path,) = tmp_path.glob("runs/*/*/models/model_epoch_2.pth")
    policy, _ = file_utils.policy_from_checkpoint(device=torch.device("cpu"), ckpt_path=str(path))
    observation = {
        "proprio": np.zeros(9, np.float32),
        **{camera: obs_utils.process_obs(noise(1)[0], obs_key=camera) for camera in CAMERAS},
    }
    policy.start_episode()
    action = policy(observation)
    assert action.shape == (7,)
    trained_policy = RolloutPolicy(models[0])
    trained_policy.start_episode()
    assert np.array_equal(action, trained_policy(observation))


def cores(model: Any) -> list[EgorepCore]:
    return [module for module in model.nets.modules() if isinstance(module, EgorepCore)]
