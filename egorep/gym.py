"""Gymnasium wrappers: environments whose pictures arrive as features.

Needs gymnasium, which `egorep[sim]` brings. Clip encoders see the recent frames of an episode and never those
of the one before, whatever the vector environment's autoreset mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsFloat

import numpy as np
import numpy.typing as npt

from egorep import names
from egorep.encoder import Encoder
from egorep.streaming import Flags

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    raise ImportError("egorep.gym needs gymnasium: pip install 'egorep[sim]'") from error

# A camera is the key of its pictures in a Dict observation; None is an observation that is a picture itself.
Camera = str | None
Pictures = dict[Camera, npt.NDArray[np.uint8]]
FloatFeatures = dict[Camera, npt.NDArray[np.float32]]


class EncodeObservation(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose pictures, (H, W, 3) uint8, are replaced by features, (D,) float32.

    Of a Dict observation, every camera is replaced under its own key, and the rest is passed on. For several
    environments wrap the vector environment instead, with `EncodeVectorObservation`: they share one network,
    and simulator processes stay free of torch.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        encoder: Encoder,
        keys: Sequence[str] | None = None,
        stride: int = 1,
    ) -> None:
        """Wrap `env`.

        Args:
            env: an environment that observes a picture, or a Dict with pictures among its entries.
            encoder: what makes features of them, one stream per camera.
            keys: entries of the Dict to encode; by default every uint8 (H, W, 3) entry.
            stride: control steps between two frames of a clip, as for `Encoder.stream`.

        Raises:
            TypeError: `keys` is one string.
            ValueError: `env` observes no picture, `keys` are not among its pictures, or `stride` is below 1.
        """
        super().__init__(env)
        self._cameras = _Cameras(encoder, env.observation_space, keys, num_envs=1, stride=stride)
        self._ended = False
        self.observation_space = self._cameras.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; the first frame fills the history."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._cameras.reset()
        self._ended = False
        return self._encoded(observation), info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment, and encode what it observes."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if (
            self._ended
        ):  # an environment that resets itself (`gymnasium.wrappers.Autoreset`) has begun another
            self._cameras.reset()
        self._ended = terminated or truncated
        return self._encoded(observation), reward, terminated, truncated, info

    def _encoded(self, observation: Any) -> Any:
        pictures = {camera: frame[None] for camera, frame in self._cameras.pictures(observation).items()}
        features = self._cameras.encode(pictures)
        return self._cameras.replaced(observation, {camera: z[0] for camera, z in features.items()})


class EncodeVectorObservation(gymnasium.vector.VectorWrapper):
    """A vector environment whose pictures are replaced by features, all environments encoded in one batch.

    Works in every autoreset mode: NEXT_STEP, SAME_STEP (`infos["final_obs"]` are features too, of the episode
    that ended) and DISABLED (`reset(options={"reset_mask": mask})`; the others keep their history).
    """

    def __init__(
        self,
        envs: gymnasium.vector.VectorEnv[Any, Any, Any],
        encoder: Encoder,
        keys: Sequence[str] | None = None,
        stride: int = 1,
    ) -> None:
        """Wrap `envs`.

        Args:
            envs: environments that observe pictures, or Dicts with pictures among their entries.
            encoder: what makes features of them, one stream per camera.
            keys: entries of the Dict to encode; by default every uint8 (H, W, 3) entry.
            stride: control steps between two frames of a clip, as for `Encoder.stream`.

        Raises:
            TypeError: `keys` is one string.
            ValueError: `envs` observe no picture or do not say how they reset, `keys` are not among their
                pictures, or `stride` is below 1.
        """
        super().__init__(envs)
        self._autoreset = _autoreset_mode(envs)
        single = envs.single_observation_space
        self._cameras = _Cameras(encoder, single, keys, num_envs=envs.num_envs, stride=stride)
        self._ended = np.zeros(envs.num_envs, dtype=np.bool_)
        self.single_observation_space = self._cameras.space
        self.observation_space = batch_space(self._cameras.space, envs.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes in all environments, or in those of `options["reset_mask"]`."""
        mask = (options or {}).get("reset_mask")  # first: environments take it out of `options`
        observations, infos = self.env.reset(seed=seed, options=options)
        self._ended[... if mask is None else mask] = False
        self._cameras.reset(mask)
        # Environments outside the mask observe their last frame again: it is in their history already.
        return self._encoded(observations, mask), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step the environments, and encode what they observe."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        ended = np.logical_or(terminations, truncations)
        if self._autoreset is AutoresetMode.SAME_STEP:
            if "final_obs" in infos:
                infos = {**infos, "final_obs": self._encoded_final(observations, infos["final_obs"], ended)}
            self._cameras.reset(ended)
        elif self._autoreset is AutoresetMode.NEXT_STEP:
            self._cameras.reset(self._ended)
            self._ended = ended
        return self._encoded(observations), rewards, terminations, truncations, infos

    def _encoded(self, observations: Any, mask: Flags | None = None) -> Any:
        features = self._cameras.encode(self._cameras.pictures(observations), mask)
        return self._cameras.replaced(observations, features)

    def _encoded_final(self, observations: Any, finals: Any, ended: Flags) -> npt.NDArray[np.object_]:
        """The last observations of the episodes that ended, encoded with the history of these episodes."""
        pictures = {camera: frames.copy() for camera, frames in self._cameras.pictures(observations).items()}
        for env in np.flatnonzero(ended):
            for camera, frame in self._cameras.pictures(finals[env]).items():
                pictures[camera][env] = frame
        features = self._cameras.encode(pictures, ended)
        encoded = np.full(self.num_envs, None, dtype=object)
        for env in np.flatnonzero(ended):
            own = {camera: z[env] for camera, z in features.items()}
            encoded[env] = self._cameras.replaced(finals[env], own)
        return encoded


class _Cameras:
    """The pictures of an observation, with a stream each.

    Attributes:
        space: of an observation whose pictures are features.
    """

    def __init__(
        self,
        encoder: Encoder,
        space: gymnasium.Space[Any],
        keys: Sequence[str] | None,
        num_envs: int,
        stride: int,
    ) -> None:
        cameras = _cameras(space, keys)
        self._streams = {camera: encoder.stream(num_envs, stride) for camera in cameras}
        features = gymnasium.spaces.Box(-np.inf, np.inf, (encoder.dim,), np.float32)
        self.space: gymnasium.Space[Any] = features
        if isinstance(space, gymnasium.spaces.Dict):
            # As pairs: of a dict, it would sort the keys.
            entries = [(key, features if key in cameras else entry) for key, entry in space.spaces.items()]
            self.space = gymnasium.spaces.Dict(entries)

    def pictures(self, observation: Any) -> Pictures:
        """The pictures of an observation, or of a batch of them."""
        return {camera: observation if camera is None else observation[camera] for camera in self._streams}

    def encode(self, pictures: Pictures, mask: Flags | None = None) -> FloatFeatures:
        """(num_envs, D) features per camera of (num_envs, H, W, 3) pictures; `mask` as for a stream."""
        return {
            camera: stream(pictures[camera], mask).cpu().numpy() for camera, stream in self._streams.items()
        }

    def replaced(self, observation: Any, features: FloatFeatures) -> Any:
        """The observation, or the batch of them, with features in the place of pictures."""
        if isinstance(self.space, gymnasium.spaces.Dict):
            return {**observation, **features}
        return features[None]

    def reset(self, mask: Flags | None = None) -> None:
        """Forget the frames of all environments, or of those in `mask`."""
        for stream in self._streams.values():
            stream.reset(mask)


def _cameras(space: gymnasium.Space[Any], keys: Sequence[str] | None) -> list[Camera]:
    if keys is not None:
        return list(_checked_keys(space, keys))
    if _is_picture(space):
        return [None]
    entries = space.spaces if isinstance(space, gymnasium.spaces.Dict) else {}
    found: list[Camera] = [key for key, entry in entries.items() if _is_picture(entry)]
    if not found:
        raise ValueError(
            f"no picture in the observation space {space}; pictures are uint8 boxes (H, W, 3). Of an "
            "environment made with render_mode='rgb_array', gymnasium.wrappers.AddRenderObservation(env, "
            "render_only=False) adds what it renders"
        )
    return found


def _checked_keys(space: gymnasium.Space[Any], keys: Sequence[str]) -> Sequence[str]:
    if isinstance(keys, str):
        raise TypeError(f"keys are a list of strings, got one string: [{keys!r}] makes it a list")
    if not isinstance(space, gymnasium.spaces.Dict):
        raise ValueError(  # noqa: TRY004 - the caller chose the keys
            f"keys choose entries of a Dict observation, but this environment observes {space}: omit them"
        )
    if not keys:
        raise ValueError(f"keys are empty: give some of {', '.join(space.spaces)}, or omit them")
    for key in keys:
        if key not in space.spaces:
            raise names.unknown("observation", key, space.spaces)
        if not _is_picture(space[key]):
            raise ValueError(f"observation {key!r} is {space[key]}, but pictures are uint8 boxes (H, W, 3)")
    return keys


def _is_picture(space: gymnasium.Space[Any]) -> bool:
    if not isinstance(space, gymnasium.spaces.Box) or space.dtype != np.uint8:
        return False
    return len(space.shape) == 3 and space.shape[-1] == 3


def _autoreset_mode(envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> AutoresetMode:
    mode = envs.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise ValueError(  # noqa: TRY004 - an entry of metadata, not an argument
            f"{envs} does not say when it resets environments: metadata['autoreset_mode'] is {mode!r}, but "
            "must be a gymnasium.vector.AutoresetMode"
        )
    return mode
