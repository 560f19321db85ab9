"""Encoder: a frozen network with its preprocessing and pooling, behind one input contract."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from egorep import names
from egorep.backbones import Backbone, Features, FramewiseBackbone, VisionLanguageBackbone
from egorep.engines import ENGINES, CompiledBackbone
from egorep.preprocessing import Preprocessing, as_clips, middle_frames
from egorep.streaming import EncoderStream, frame_ages

Observation = Literal["picture", "proprio", "state"]

POOLS = ("cls", "mean", "joint", "grid", "patches", "places", "objects")
_CELLS = 3  # of pool "grid", each way
_LEAST_SPREAD = 1e-5  # of a channel over the picture, as a share of its mean; what is less is rounding
DEFAULT_MAX_BATCH = {"cpu": 1}
DEFAULT_MAX_BATCH_ACCELERATOR = 256
# Frames handed to OpenVINO at a time: enough for every core, little memory.
COMPILED_BATCH = 64


class Encoder(nn.Module):
    """Pictures to features: frozen weights, preprocessing and pooling in one.

    The last bits of a network's output depend on the size of the batch and on a frame's place in it, through
    the kernels that torch picks and the ends of their vector loops. On a CPU, frames therefore go through the
    network one by one: features are the same bits whatever stands beside a frame, and rollouts resumed with
    other batches repeat exactly (on one machine, with one number of threads). A larger `max_batch` gives that
    up for speed, about a third more on a small vision transformer; on an accelerator it is the default.

    Attributes:
        name: the name it was loaded by.
        dim: number of features D.
        num_frames: frames per clip that the network looks at together; 1 for networks of single pictures.
        image_size: side of the network's square input, pixels.
        pool: "cls" (class token after the final norm; without one, the network's own pooled features),
            "mean" (mean of the patch tokens or of the convolutional map), "joint" (the L2-normalised space
            shared with text, of encoders that have one), "grid" (the patch tokens averaged in each of 3 x 3
            equal parts of the picture, row by row), "patches" (the patch tokens themselves, flattened) or
            "places" (the same, each channel standardised over the picture: where it is strong, whatever its
            level and spread, which change with light and colours). These three tell where things are; of
            clips they are those of the last time step. "objects" tells nothing else: the map of objectness,
            28 x 28 values row by row, of networks that were trained to make one.
        grid: (h, w, C), rows, columns and channels of the patch tokens.
        fingerprint: hash of weights, architecture, preprocessing and pooling, and of an engine other than
            torch, which rounds differently; hexadecimal.
        observation: what a policy sees: "picture" (these features and proprioception), "proprio" or "state".
    """

    observation: Observation = "picture"
    num_frames: int = 1
    grid: tuple[int, int, int]

    def __init__(
        self,
        name: str,
        backbone: Backbone,
        preprocessing: Preprocessing,
        *,
        pool: str = "cls",
        device: str | torch.device = "cpu",
        max_batch: int | None = None,
        engine: str = "torch",
    ) -> None:
        """Freeze `backbone` and move it to `device`.

        Args:
            name: how to call it in tables and errors.
            backbone: network from normalised pixels to `Features`.
            preprocessing: from uint8 pictures to the input of `backbone`.
            pool: one of `POOLS`.
            device: where it runs.
            max_batch: pictures or clips in one pass of the network, at least 1; by default 1 on a CPU and 256
                elsewhere.
            engine: "torch", or "openvino": CPU only, each picture or clip on a core of its own whatever
                `max_batch`.

        Raises:
            ValueError: unknown `pool` or `engine`, `max_batch` below 1, OpenVINO with another device, or
                pool "joint" of a network that shares no space with text.
            ImportError: OpenVINO is not installed.
            RuntimeError: OpenVINO cannot convert the network.
        """
        super().__init__()
        if pool not in POOLS:
            raise names.unknown("pool", pool, POOLS)
        if max_batch is not None and max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, got {max_batch}")
        if engine not in ENGINES:
            raise names.unknown("engine", engine, ENGINES)
        if (pool == "objects") != backbone.maps_objects:
            does = "maps objects alone" if backbone.maps_objects else "makes no map of objects"
            raise ValueError(
                f"encoder {name!r} {does}, and the pool is {pool!r}: load_encoder brings the two together"
            )
        if engine == "openvino" and torch.device(device).type != "cpu":
            raise ValueError(f"engine 'openvino' runs on the CPU, not on {device}: use engine='torch'")
        self.name = name
        self.pool = pool
        self.image_size = preprocessing.image_size
        self.num_frames = backbone.num_frames
        self.preprocessing = preprocessing
        self.backbone = backbone
        self._max_batch = max_batch
        self.register_buffer("_anchor", torch.empty(0), persistent=False)
        self.fingerprint = _fingerprint(backbone, preprocessing, pool, engine)
        self.requires_grad_(False)
        self.train(False)
        self.to(device)
        self.dim = self._probe()
        compiled = engine == "openvino"
        self._compiled = CompiledBackbone(backbone, preprocessing.image_size) if compiled else None

    @property
    def device(self) -> torch.device:
        """Where the network runs and the features lie."""
        anchor = self._anchor
        assert isinstance(anchor, torch.Tensor)
        return anchor.device

    @property
    def max_batch(self) -> int:
        """Pictures or clips in one pass of the network; larger batches are split."""
        return self._max_batch or DEFAULT_MAX_BATCH.get(self.device.type, DEFAULT_MAX_BATCH_ACCELERATOR)

    def train(self, mode: bool = True) -> Encoder:  # noqa: ARG002 - the signature is torch's
        """Stay in evaluation mode, whatever is asked: a policy's `.train()` must not thaw its encoder."""
        super().train(False)
        return self

    # Not inference_mode: its tensors could not enter the graph of a policy that trains on them.
    @torch.no_grad()
    def forward(self, frames: object) -> torch.Tensor:
        """Encode pictures or clips.

        Args:
            frames: uint8 RGB in 0..255, numpy or torch, (B, H, W, 3) pictures or (B, T, H, W, 3) clips,
                of any size.

        Returns:
            (B, D) float32 on `device`. A network of single pictures gives of clips the mean of the frames'
            features over time. One of clips takes of T frames the middles of `num_frames` equal parts, and
            sees a picture as a clip that stands still.

        Raises:
            TypeError: `frames` is no uint8 array.
            ValueError: `frames` has a wrong shape.
            FloatingPointError: the network gave features that are not finite.
        """
        return self._mean_over_time(as_clips(frames), self._pooled)

    @torch.no_grad()
    def tokens(self, frames: object) -> torch.Tensor:
        """Encode pictures or clips to patch tokens, or to the cells of a convolutional map.

        Args:
            frames: as for `forward`.

        Returns:
            (B, T, h, w, C) float32 on `device`. Networks of single pictures have as many time steps T as
            there are frames, 1 for pictures; those of clips have as many as they make of `num_frames` frames.

        Raises:
            TypeError: `frames` is no uint8 array.
            ValueError: `frames` has a wrong shape.
            FloatingPointError: the network gave features that are not finite.
        """
        clips = as_clips(frames)
        tokens = self._finite([features.tokens for features in self._run(clips)])
        return tokens if self.num_frames > 1 else tokens.unflatten(0, (len(clips), -1))

    def stream(self, num_envs: int, stride: int = 1) -> EncoderStream:
        """Features in a control loop: each environment gives a frame per step, and the stream remembers.

        Args:
            num_envs: environments that step together, at least 1.
            stride: control steps between two frames that the network looks at together, at least 1. Networks
                of clips were trained on a second and more, while control runs at 10 to 80 Hz: stride is the
                control rate in Hz times the seconds between their frames. Networks of single pictures look
                at the newest frame, whatever the stride.

        Returns:
            The stream: `z = stream(frames)`, and `stream.reset(done)` where episodes end.

        Raises:
            ValueError: `num_envs` or `stride` is below 1.
        """
        return EncoderStream(self, num_envs, stride)

    def encode_episode(self, frames: object, stride: int = 1) -> torch.Tensor:
        """Features at every step of a recorded episode: what a stream gives while the episode goes on.

        Args:
            frames: (T, H, W, 3) uint8 RGB, numpy or torch.
            stride: as for `stream`.

        Returns:
            (T, D) float32 on `device`; each row looks at its own frame and those before it.

        Raises:
            TypeError, ValueError, FloatingPointError: as `forward` does; also clips, or `stride` below 1.
        """
        clips = as_clips(frames)
        if clips.shape[1] != 1:
            raise ValueError(
                f"an episode is pictures (T, H, W, 3), of which clips are made here; "
                f"got clips {tuple(clips.shape)}: frames[:, -1] are their last pictures"
            )
        pictures = clips[:, 0]
        if self.num_frames == 1:
            return self(pictures)
        ages = frame_ages(self.num_frames, stride)
        windows = np.maximum(np.arange(len(pictures))[:, None] - ages, 0)
        held: list[torch.Tensor] = []  # what is kept of the frames that later windows look back to
        features = []
        # A part at a time: all windows together are `num_frames` times the episode.
        for part in torch.from_numpy(windows).split(COMPILED_BATCH):
            oldest, newest = int(part[0, 0]), int(part[-1, -1])
            fresh = self.remember(pictures[newest + 1 - len(part) : newest + 1])
            seen = torch.cat([*held, fresh])[-(newest + 1 - oldest) :]
            features.append(self.recall(seen[part - oldest]))
            held = [seen]
        return torch.cat(features)

    @torch.no_grad()
    def remember(self, pictures: torch.Tensor) -> torch.Tensor:
        """What has to be kept of (N, H, W, 3) uint8 pictures to see windows of them later: (N, ...).

        Of a framewise backbone that is what it makes of each frame by itself, which is then computed once
        and not again in every window that a frame is part of; of others the pictures.
        """
        return self._frames(pictures) if self._framewise else pictures

    @torch.no_grad()
    def recall(self, windows: torch.Tensor) -> torch.Tensor:
        """(N, D) features of (N, T, ...) that `remember` gave; what `forward` gives of the pictures.

        Raises:
            FloatingPointError: the network gave features that are not finite.
        """
        if not self._framewise:
            return self(windows)
        parts = windows[:, middle_frames(windows.shape[1], self.num_frames)].split(self._batch)
        return self._finite([self._pooled(self._framewise.together(part)) for part in parts])

    @torch.no_grad()
    def text(self, texts: Sequence[str]) -> torch.Tensor:
        """Encode texts into the space that pool "joint" gives of pictures and clips.

        Args:
            texts: N of them, such as "C opens the drawer with the left hand".

        Returns:
            (N, E) float32 on `device`, L2-normalised.

        Raises:
            TypeError: `texts` is one string.
            ValueError: there are no texts, or the encoder knows no text.
        """
        if isinstance(texts, str):
            raise TypeError(f"texts are a list of strings, got one string: [{texts!r}] makes it a list")
        if not texts:
            raise ValueError("texts are empty: give at least one")
        backbone = self._vision_language()
        parts = [texts[start : start + self.max_batch] for start in range(0, len(texts), self.max_batch)]
        return self._finite([backbone.text(part) for part in parts])

    @torch.no_grad()
    def similarity(self, frames: object, texts: Sequence[str]) -> torch.Tensor:
        """How well each text describes each picture or clip: zero-shot recognition.

        Args:
            frames: B pictures or clips, as for `forward`.
            texts: N of them.

        Returns:
            (B, N) float32 cosine similarities, -1..1, on `device`.

        Raises:
            TypeError, ValueError, FloatingPointError: as `forward` and `text` do.
        """
        words = self.text(texts)
        return self._mean_over_time(as_clips(frames), _joint) @ words.T

    def _vision_language(self) -> VisionLanguageBackbone:
        if not isinstance(self.backbone, VisionLanguageBackbone):
            raise ValueError(  # noqa: TRY004 - the caller chose an encoder by name
                f"encoder {self.name!r} knows no text: the egovideo encoders do"
            )
        return self.backbone

    def _mean_over_time(
        self, clips: torch.Tensor, pooled: Callable[[Features], torch.Tensor]
    ) -> torch.Tensor:
        """(B, D) of clips: what `pooled` picks, averaged over the passes that a clip's frames took."""
        features = self._finite([pooled(part) for part in self._run(clips)])
        return features.unflatten(0, (len(clips), -1)).mean(1)

    def _run(self, clips: torch.Tensor) -> Iterator[Features]:
        """Features of (B, T, H, W, 3) clips, a pass of the network at a time."""
        if self.num_frames > 1:
            inputs = clips[:, middle_frames(clips.shape[1], self.num_frames)]
        else:
            inputs = clips.flatten(0, 1)
        for part in inputs.split(self._batch):
            if self._framewise:
                yield self._framewise.together(self._frames(part.flatten(0, 1)).unflatten(0, part.shape[:2]))
                continue
            pixels = self.preprocessing(part.to(self.device))
            if self._compiled:
                yield self._compiled(pixels)
                continue
            if self.device.type == "cpu" and pixels.ndim == 4:
                pixels = pixels.contiguous(memory_format=torch.channels_last)
            yield self.backbone(pixels)

    @property
    def _batch(self) -> int:
        return COMPILED_BATCH if self._compiled else self.max_batch

    @property
    def _framewise(self) -> FramewiseBackbone | CompiledBackbone | None:
        backbone = getattr(
            self, "backbone", None
        )  # which those that look at nothing, or through others, lack
        return (self._compiled or backbone) if isinstance(backbone, FramewiseBackbone) else None

    def _frames(self, pictures: torch.Tensor) -> torch.Tensor:
        """What a framewise backbone makes of each of (N, H, W, 3) pictures."""
        framewise = self._framewise
        assert framewise is not None
        parts = pictures.split(self._batch)
        return torch.cat([framewise.frames(self.preprocessing(part.to(self.device))) for part in parts])

    def _pooled(self, features: Features) -> torch.Tensor:
        if self.pool == "joint":
            return _joint(features)
        if self.pool in _SPATIAL:
            tokens = features.tokens if features.tokens.ndim == 4 else features.tokens[:, -1]
            return _SPATIAL[self.pool](tokens).flatten(1)
        return features.pooled if self.pool in ("cls", "objects") else features.tokens.flatten(1, -2).mean(1)

    def _finite(self, parts: list[torch.Tensor]) -> torch.Tensor:
        features = torch.cat(parts).float()
        if not torch.isfinite(features).all():
            raise FloatingPointError(
                f"encoder {self.name!r} gave features that are not finite: check its weights"
            )
        return features

    @torch.no_grad()
    def _probe(self) -> int:
        """The number of features, from one blank picture; the CPU's fast memory layout is set on the way."""
        if self.device.type == "cpu" and self.num_frames == 1:
            self.backbone.to(memory_format=torch.channels_last)
        frames = (self.num_frames,) if self.num_frames > 1 else ()
        blank = torch.zeros(1, *frames, 3, self.image_size, self.image_size, device=self.device)
        features = self.backbone(blank)
        if self.pool == "joint" and features.joint is None:
            raise ValueError(
                f"encoder {self.name!r} shares no space with text: "
                "choose pool 'cls', 'mean', 'grid', 'patches' or 'places'"
            )
        height, width, channels = features.tokens.shape[-3:]
        if self.pool == "grid" and min(height, width) < _CELLS:
            raise ValueError(
                f"pool 'grid' wants {_CELLS} x {_CELLS} patch tokens at least, encoder {self.name!r} has "
                f"{height} x {width}: choose pool 'patches'"
            )
        if self.pool == "places" and height * width == 1:
            raise ValueError(
                f"pool 'places' compares patch tokens of one picture, and encoder {self.name!r} has a single "
                "one: choose pool 'cls'"
            )
        self.grid = (height, width, channels)
        return self._pooled(features).shape[-1]


class BlindEncoder(Encoder):
    """No picture at all: the policy sees proprioception only, or the simulator's full state.

    Frames are checked against the contract like any encoder's, and give (B, 0). `pool` is "none",
    `image_size` 0 and `grid` (0, 0, 0).
    """

    def __init__(self, name: str, observation: Observation, device: str | torch.device = "cpu") -> None:
        """Name the encoder and what a policy sees through it ("proprio" or "state")."""
        nn.Module.__init__(self)
        self.name = name
        self.observation = observation
        self.dim = 0
        self.grid = (0, 0, 0)
        self.image_size = 0
        self.pool = "none"
        self._max_batch = None
        self.register_buffer("_anchor", torch.empty(0, device=device), persistent=False)
        self.fingerprint = _digest(f"blind encoder {name}".encode())
        self.train(False)

    def forward(self, frames: object) -> torch.Tensor:
        """Check `frames`, and return (B, 0) float32."""
        return torch.zeros(len(as_clips(frames)), 0, device=self.device)

    def tokens(self, frames: object) -> torch.Tensor:  # noqa: ARG002 - the signature is Encoder's
        """Raise a ValueError: there are none."""
        raise ValueError(f"encoder {self.name!r} looks at no picture, so it has no tokens")

    def _vision_language(self) -> VisionLanguageBackbone:
        raise ValueError(f"encoder {self.name!r} looks at no picture, so it compares with no text")


def _in_cells(tokens: torch.Tensor) -> torch.Tensor:
    """(N, h, w, C) to (N, 3, 3, C), averages over cells that cover the picture evenly."""
    pooled: torch.Tensor = nn.functional.adaptive_avg_pool2d(tokens.permute(0, 3, 1, 2), _CELLS)
    return pooled.permute(0, 2, 3, 1)


def _standardised(tokens: torch.Tensor) -> torch.Tensor:
    """(N, h, w, C) likewise, each channel of a picture with mean 0 and variance 1; 0 where it is constant.

    Instance normalisation (Ulyanov et al. 2016) without its epsilon, which is of one size for all networks:
    untrained ones give features as small as 1e-9.
    """
    tokens = tokens.float()
    mean = tokens.mean((1, 2), keepdim=True)
    spread = tokens.std((1, 2), correction=0, keepdim=True)
    constant = spread <= _LEAST_SPREAD * mean.abs()  # not of NaN, which must not be hidden here
    return torch.where(constant, 0.0, (tokens - mean) / spread)


_SPATIAL: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "grid": _in_cells,
    "patches": lambda tokens: tokens,
    "places": _standardised,
}


def _joint(features: Features) -> torch.Tensor:
    assert features.joint is not None  # the probe refuses pool "joint", and `text` comes before `similarity`
    return features.joint


def _digest(*parts: bytes | memoryview) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _fingerprint(backbone: Backbone, preprocessing: Preprocessing, pool: str, engine: str) -> str:
    """Hash of all that decides the features; equal weights mean different things in two architectures."""
    recipe = {"architecture": backbone.architecture, "pool": pool, **dataclasses.asdict(preprocessing)}
    if engine != "torch":
        recipe["engine"] = engine
    parts: list[bytes | memoryview] = [json.dumps(recipe, sort_keys=True).encode()]
    for name, weight in sorted(backbone.state_dict().items()):
        parts.append(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        parts.append(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return _digest(*parts)
