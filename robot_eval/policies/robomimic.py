"""robomimic's behaviour cloning, trained by robomimic itself: BC, BC-RNN and BC-Transformer, also with GMM.

Source: Mandlekar et al. 2021, "What Matters in Learning from Offline Human Demonstrations", and robomimic
0.3.0. Networks, losses, data sets and the training loop are robomimic's. On cached features it sees them as a
low-dimensional modality, standardised; on pictures it trains through `egorep.robomimic.EgorepCore`, whose
encoder looks at every minibatch again.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from egorep.names import unknown
from robot_eval.policies.base import (
    Demonstrations,
    Floats,
    InputShape,
    PictureSource,
    Policy,
    Standardiser,
    as_rows,
    one_by_one,
)

_FEATURES, _OTHER = "features", "proprio"


@dataclass
class RobomimicSettings:
    """What is changed of robomimic's own configuration of `bc`.

    Attributes:
        algo: its section `algo`, as {rnn: {enabled: true}}.
        seq_length, frame_stack: its `train.seq_length` and `train.frame_stack`.
        crop: side of the random crops of pictures, pixels; null: whole pictures. Of cached features unused.
        feature_dimension: of the layer behind the encoder, where it trains on pictures.
    """

    algo: dict[str, Any]
    seq_length: int
    frame_stack: int
    crop: int | None
    feature_dimension: int

    def check(self) -> None:
        """Raise a ValueError where a setting cannot be, an ImportError where robomimic is not there."""
        if self.seq_length < 1 or self.frame_stack < 1:
            raise ValueError("seq_length and frame_stack must be at least 1")
        algo = _configured(self).algo
        if algo.transformer.enabled and algo.transformer.context_length != self.frame_stack:
            raise ValueError(
                f"robomimic's transformer sees frame_stack={self.frame_stack} steps: give "
                f"algo.transformer.context_length, now {algo.transformer.context_length}, the same value"
            )
        for name in ("gaussian", "vae"):
            if algo[name].enabled:
                raise ValueError(f"algo.{name} is not supported: leave it off, or take algo.gmm")


@dataclass
class _Memory:
    """Of one episode: what was seen lately, the recurrent state, and the steps since it was last emptied."""

    rng: np.random.Generator
    seen: deque[Tensor]
    state: Tensor | None = None
    steps: int = 0


class RobomimicPolicy(Policy):
    """A policy of robomimic, on features or on pictures.

    Args:
        shape: of the inputs; `visual` is (D,) features, (H, W, 3) pixels, or ().
        action_dim: A.
        settings: changes to robomimic's configuration.
        pictures: where it trains on pictures.

    Attributes:
        algo: robomimic's algorithm, with its optimiser.
    """

    def __init__(
        self,
        shape: InputShape,
        action_dim: int,
        settings: RobomimicSettings,
        pictures: PictureSource | None = None,
    ) -> None:
        super().__init__(shape, action_dim)
        self._pictures = pictures
        self._context = settings.frame_stack
        # robomimic's own training on pictures takes proprioception as it is.
        self.standardise = Standardiser(0 if pictures else shape.dim)
        self.algo = _algorithm(shape, action_dim, settings, pictures)
        self.nets = self.algo.nets

    def begin(self, seed: int) -> _Memory:
        """Nothing is seen yet."""
        return _Memory(np.random.default_rng(seed), deque(maxlen=self._context))

    @torch.inference_mode()
    def act(self, inputs: Floats, memories: Sequence[Any]) -> Floats:
        """Actions (B, A). Of a mixture a component is drawn and its mean taken, as robomimic does."""
        self.eval()
        rows = as_rows(inputs)
        rows = rows if self._pictures else self.standardise(rows)
        algo = self.algo.algo_config
        if algo.rnn.enabled:
            outputs = self._recurrent(rows, memories)
        elif algo.transformer.enabled:
            outputs = one_by_one(self._attend, self._windows(rows, memories))
        else:
            outputs = one_by_one(self._respond, rows)
        if not algo.gmm.enabled:
            return cast(Floats, outputs.numpy())
        modes = algo.gmm.num_modes
        logits, means = outputs.split([modes, modes * self.action_dim], dim=1)
        chances = logits.double().softmax(1).numpy()
        chosen = [memory.rng.choice(modes, p=row) for memory, row in zip(memories, chances, strict=True)]
        return cast(Floats, means.unflatten(1, (modes, -1))[torch.arange(len(rows)), chosen].numpy())

    def observation(self, rows: Tensor) -> dict[str, Tensor]:
        """Inputs (..., dim) as robomimic names and shapes them."""
        visual, other = self.shape.split(rows)
        parts = {_OTHER: other} if self.shape.other else {}
        if self._pictures is not None:
            views = (visual / 255).movedim(-1, -3).chunk(len(self._pictures.cameras), dim=-1)
            return {**dict(zip(self._pictures.keys, views, strict=True)), **parts}
        return {_FEATURES: visual, **parts} if self.shape.visual else parts

    def _respond(self, rows: Tensor) -> Tensor:
        network = self.nets["policy"]
        if not self.algo.algo_config.gmm.enabled:
            return cast(Tensor, network(self.observation(rows)))
        return _mixture(network.forward_train(self.observation(rows)))

    def _attend(self, rows: Tensor) -> Tensor:
        network, seen = self.nets["policy"], self.observation(rows.unflatten(1, (self._context, -1)))
        if not self.algo.algo_config.gmm.enabled:
            return cast(Tensor, network(seen)[:, -1])
        return _mixture(network.forward_train(seen, low_noise_eval=True), last=True)

    def _windows(self, rows: Tensor, memories: Sequence[_Memory]) -> Tensor:
        """The last steps of each episode, flattened; before the first stands the first, as in training."""
        for row, memory in zip(rows, memories, strict=True):
            memory.seen.append(row)
        padded = ([m.seen[0]] * (self._context - len(m.seen)) + list(m.seen) for m in memories)
        return torch.stack([torch.cat(steps) for steps in padded])

    def _recurrent(self, rows: Tensor, memories: Sequence[_Memory]) -> Tensor:
        rnn = self.algo.algo_config.rnn
        for memory in memories:
            if memory.state is None or memory.steps % rnn.horizon == 0:
                memory.state = torch.zeros(self._state_size)
            memory.steps += 1
        states = torch.stack([cast(Tensor, memory.state) for memory in memories])
        results = one_by_one(self._recur, torch.cat([rows, states], dim=1))
        outputs, states = results.split([results.shape[1] - self._state_size, self._state_size], dim=1)
        for memory, state in zip(memories, states, strict=True):
            memory.state = state
        return outputs

    @property
    def _state_size(self) -> int:
        rnn = self.algo.algo_config.rnn
        return int(rnn.num_layers * rnn.hidden_dim * (2 if rnn.rnn_type == "LSTM" else 1))

    def _recur(self, rows: Tensor) -> Tensor:
        """Inputs and states, a row each, to outputs and states."""
        rnn, network = self.algo.algo_config.rnn, self.nets["policy"]
        seen, states = rows.split([self.shape.dim, self._state_size], dim=1)
        parts = states.unflatten(1, (-1, rnn.num_layers, rnn.hidden_dim)).permute(1, 2, 0, 3).contiguous()
        state = tuple(parts) if rnn.rnn_type == "LSTM" else parts[0]
        if self.algo.algo_config.gmm.enabled:
            mixture, state = network.forward_train_step(self.observation(seen), rnn_state=state)
            output = _mixture(mixture)
        else:
            output, state = network.forward_step(self.observation(seen), rnn_state=state)
        after = torch.stack(state if isinstance(state, tuple) else (state,))
        return torch.cat([output, after.permute(2, 0, 1, 3).flatten(1)], dim=1)


def train(
    policy: RobomimicPolicy,
    data: Demonstrations | Path,
    batch_size: int,
    checkpoints: Sequence[int],
    seed: int,
) -> Iterator[float]:
    """Let robomimic train.

    Args:
        policy: fresh; trained in place.
        data: the demonstrations: cached features, or their file, for a policy on pictures.
        batch_size: of a minibatch of sequences.
        checkpoints: rising numbers of optimiser steps; training pauses at each.
        seed: of the order of the data; the caller seeds torch for all else.

    Yields:
        robomimic's own loss, a mean since the last checkpoint.
    """
    if isinstance(data, Path):
        yield from _train(policy, data, batch_size, checkpoints, seed)
        return
    policy.standardise.fit(data.inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.hdf5"
        with h5py.File(path, "w") as file:
            _write(file.create_group("data"), policy, data)
        yield from _train(policy, path, batch_size, checkpoints, seed)


def _write(group: h5py.Group, policy: RobomimicPolicy, data: Demonstrations) -> None:
    inputs = policy.standardise(data.inputs).split(data.lengths)
    actions = data.actions.split(data.lengths)
    for index, (rows, labels) in enumerate(zip(inputs, actions, strict=True)):
        demo = group.create_group(f"demo_{index}")
        for key, values in policy.observation(rows).items():
            demo[f"obs/{key}"] = values.numpy()
        demo["actions"] = labels.numpy()
        demo.attrs["num_samples"] = len(labels)


def _train(
    policy: RobomimicPolicy, path: Path, batch_size: int, checkpoints: Sequence[int], seed: int
) -> Iterator[float]:
    from robomimic.utils.dataset import SequenceDataset
    from robomimic.utils.train_utils import run_epoch

    settings = policy.algo.global_config
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        dataset = SequenceDataset(
            str(path),
            obs_keys=tuple(policy.algo.obs_shapes),
            dataset_keys=("actions",),
            frame_stack=settings.train.frame_stack,
            seq_length=settings.train.seq_length,
            hdf5_cache_mode="low_dim",
            load_next_obs=False,
        )
    generator = torch.Generator().manual_seed(seed)
    full = len(dataset) >= batch_size
    loader = DataLoader(dataset, batch_size, shuffle=True, generator=generator, drop_last=full)
    done = 0
    for checkpoint in checkpoints:
        # Its progress bars are not ours.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = run_epoch(policy.algo, loader, epoch=1, num_steps=checkpoint - done)
        done = checkpoint
        yield float(found["Loss"])


def _algorithm(
    shape: InputShape, action_dim: int, settings: RobomimicSettings, pictures: PictureSource | None
) -> Any:
    """The algorithm with fresh networks, drawn from torch's global generator."""
    from robomimic.algo import algo_factory
    from robomimic.utils.obs_utils import initialize_obs_utils_with_config

    config = _configured(settings)
    shapes: dict[str, list[int]] = {_OTHER: [shape.other]} if shape.other else {}
    with config.unlocked():
        modalities = config.observation.modalities.obs
        modalities.low_dim = list(shapes)
        if pictures is not None:
            height, width = shape.visual[0], shape.visual[1] // len(pictures.cameras)
            shapes.update({key: [3, height, width] for key in pictures.keys})
            modalities.rgb = pictures.keys
            _see(config.observation.encoder.rgb, settings, pictures)
        elif shape.visual:
            shapes[_FEATURES] = [shape.visual_dim]
            modalities.low_dim = [_FEATURES, *modalities.low_dim]
    with contextlib.redirect_stdout(io.StringIO()):  # it lists the modalities
        initialize_obs_utils_with_config(config)
    return algo_factory("bc", config, shapes, action_dim, torch.device("cpu"))


def _see(rgb: Any, settings: RobomimicSettings, pictures: PictureSource) -> None:
    """Have pictures go through a frozen encoder of ours, in random crops where they are wanted."""
    import egorep.robomimic  # noqa: F401 - registers the core

    rgb.core_class = "EgorepCore"
    rgb.core_kwargs = {
        "encoder": pictures.encoder,
        "pool": pictures.pool,
        "seed": pictures.seed,
        "feature_dimension": settings.feature_dimension,
    }
    if settings.crop is not None:
        rgb.obs_randomizer_class = "CropRandomizer"
        side = settings.crop
        rgb.obs_randomizer_kwargs = {
            "crop_height": side,
            "crop_width": side,
            "num_crops": 1,
            "pos_enc": False,
        }


def _configured(settings: RobomimicSettings) -> Any:
    """The configuration of `bc` with the changes."""
    try:
        from robomimic.config import config_factory
    except ImportError as error:
        raise ImportError("policies of robomimic need it: pip install 'egorep[robomimic]'") from error
    config = config_factory("bc")
    with config.values_unlocked():
        config.train.seq_length = settings.seq_length
        config.train.frame_stack = settings.frame_stack
        _change(config.algo, settings.algo, "algo")
    return config


def _change(config: Any, changes: Mapping[str, Any], where: str) -> None:
    for key, value in changes.items():
        if key not in config:
            raise unknown(f"key of robomimic's {where}", key, list(config))
        if isinstance(value, Mapping):
            _change(config[key], value, f"{where}.{key}")
        else:
            config[key] = value


def _mixture(distribution: Any, last: bool = False) -> Tensor:
    """Logits and means of a mixture of Gaussians as rows, (B, modes + modes * A); of a sequence the last."""
    logits = distribution.mixture_distribution.logits
    means = distribution.component_distribution.base_dist.loc
    if last:
        logits, means = logits[:, -1], means[:, -1]
    return torch.cat([logits, means.flatten(1)], dim=1)
