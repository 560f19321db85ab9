"""Features in a control loop: a frame per environment and step in, features of its recent past out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from egorep.preprocessing import as_clips

if TYPE_CHECKING:
    from egorep.encoder import Encoder

Mask = npt.NDArray[np.bool_] | torch.Tensor
Flags = npt.NDArray[np.bool_]


def frame_ages(num_frames: int, stride: int) -> npt.NDArray[np.int64]:
    """How many steps ago each of the `num_frames` frames of a window came, the oldest first.

    Raises:
        ValueError: `stride` is below 1.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    return np.arange(num_frames - 1, -1, -1) * stride


class EncoderStream:
    """The recent frames of each of several environments, and the encoder that looks at them.

    Features equal those of `encoder(window)`, bit for bit on a CPU with the default `max_batch`. The window
    of an environment is its newest frame and the frames that came `stride`, 2 * `stride`, ... steps before
    it, `encoder.num_frames` in all, the newest last; where the episode had not begun, its first frame stands
    in. Of each frame is kept what `encoder.remember` makes of it, on the device of the first ones, and of no
    more frames than a window spans: memory is constant, and of EgoVideo's network only the part in which
    frames look at each other is computed at every step for all of them.

    Attributes:
        encoder: what looks at the frames. One of single pictures sees the newest frame only.
        num_envs: number of environments.
        stride: control steps between two frames of a window.
    """

    def __init__(self, encoder: Encoder, num_envs: int, stride: int = 1) -> None:
        """Start without frames; `Encoder.stream` describes the arguments.

        Raises:
            ValueError: `num_envs` or `stride` is below 1.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.encoder = encoder
        self.num_envs = num_envs
        self.stride = stride
        # Each environment has a ring of frames: steps since each frame of a window came, the newest's place.
        self._ages = frame_ages(encoder.num_frames, stride)
        self._newest = np.zeros(num_envs, dtype=np.int64)
        self._fresh = np.ones(num_envs, dtype=np.bool_)
        self._size: tuple[int, ...] = ()
        self._frames = torch.empty(0)
        self._features = torch.empty(0)

    def __call__(self, frames: object, mask: Mask | None = None) -> torch.Tensor:
        """Take the next frame of every environment, or of those in `mask`, and encode their windows.

        Args:
            frames: (num_envs, H, W, 3) uint8 RGB, numpy or torch.
            mask: (num_envs,) bool, which environments have a new frame; what `frames` says of the others is
                ignored, and their features are those of their last call.

        Returns:
            (num_envs, D) float32 on the encoder's device.

        Raises:
            TypeError: `frames` is no uint8 array, or `mask` is not bool.
            ValueError: wrong shapes, another picture size in mid-episode, or an environment that is not in
                `mask` and has had no frame yet.
            FloatingPointError: the network gave features that are not finite.
        """
        pictures = self._checked(frames)
        new = np.ones(self.num_envs, dtype=np.bool_) if mask is None else self._flags(mask)
        if (self._fresh & ~new).any():
            waiting = np.flatnonzero(self._fresh & ~new).tolist()
            raise ValueError(
                f"environments {waiting} have had no frame since their reset: the mask must include them"
            )
        rows = np.flatnonzero(new)
        self._remember(pictures, rows)
        self._features = self._encode(rows)
        return self._features.clone()  # a caller who changes it must not change what a later mask repeats

    def reset(self, mask: Mask | None = None) -> None:
        """Forget the frames of all environments, or of those in `mask`: their next frame starts an episode.

        Args:
            mask: (num_envs,) bool, such as `terminations | truncations` of a vector environment.

        Raises:
            TypeError: `mask` is not bool.
            ValueError: `mask` has a wrong shape.
        """
        self._fresh |= True if mask is None else self._flags(mask)

    def _flags(self, mask: Mask) -> Flags:
        flags = mask.cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
        if flags.dtype != np.bool_:
            cast = ".bool()" if isinstance(mask, torch.Tensor) else ".astype(bool)"
            raise TypeError(f"a mask of environments is bool, got {flags.dtype}: mask{cast} makes it so")
        if flags.shape != (self.num_envs,):
            raise ValueError(
                f"a mask of this stream is ({self.num_envs},), a flag per environment, got {flags.shape}"
            )
        return flags

    def _checked(self, frames: object) -> torch.Tensor:
        """The (num_envs, H, W, 3) tensor of valid `frames`."""
        clips = as_clips(frames)
        wanted = f"a stream takes one picture per environment and step, ({self.num_envs}, H, W, 3)"
        if clips.shape[1] != 1:
            raise ValueError(
                f"{wanted}; got clips {tuple(clips.shape)}: the stream makes clips itself, of frames[:, -1]"
            )
        if len(clips) != self.num_envs:
            raise ValueError(
                f"{wanted}; got {len(clips)} pictures: encoder.stream(num_envs={len(clips)}) takes as many"
            )
        size = tuple(clips.shape[2:4])
        if not self._fresh.all() and size != self._size:
            raise ValueError(
                f"pictures changed their size in mid-episode, from {self._size} to {size} (height, width): "
                "keep one size, or call stream.reset() first"
            )
        self._size = size
        return clips[:, 0]

    def _remember(self, pictures: torch.Tensor, rows: npt.NDArray[np.int64]) -> None:
        """Store the new frames of the environments `rows`; in an episode's beginning, in every place."""
        if not len(rows):
            return
        at = torch.from_numpy(rows)
        kept = self.encoder.remember(pictures[at])
        shape = (self.num_envs, int(self._ages[0]) + 1, *kept.shape[1:])
        if self._frames.shape != shape:
            # A tensor born in inference mode could not be written to outside of it.
            with torch.inference_mode(False):
                self._frames = torch.empty(shape, dtype=kept.dtype, device=kept.device)
        kept = kept.to(self._frames.device)
        self._newest[rows] = (self._newest[rows] + 1) % shape[1]
        self._frames[at, torch.from_numpy(self._newest[rows])] = kept
        begun = torch.from_numpy(self._fresh[rows])
        self._frames[at[begun]] = kept[begun, None]
        self._fresh[rows] = False

    def _encode(self, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """(num_envs, D) features: of the environments `rows` new ones, of the others those of before."""
        if len(rows) == self.num_envs:
            return self.encoder.recall(self._windows(rows))
        features = self._features.clone()
        if len(rows):
            features[torch.from_numpy(rows)] = self.encoder.recall(self._windows(rows))
        return features

    def _windows(self, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """(len(rows), num_frames, ...) what is kept of the frames of `rows`' windows, the newest last."""
        places = (self._newest[rows, None] - self._ages) % self._frames.shape[1]
        return self._frames[torch.from_numpy(rows)[:, None], torch.from_numpy(places)]
