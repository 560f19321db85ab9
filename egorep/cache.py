"""Features on disk, so that no frame is encoded twice by the same encoder.

Layout: `<root>/<encoder fingerprint>/<frame set fingerprint>` is one zarr v3 array. Both keys are hashes of
content, so features of another encoder, or of other frames, cannot be read by mistake.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import zarr
from filelock import FileLock, Timeout
from numpy.typing import NDArray

if TYPE_CHECKING:
    from egorep.encoder import Encoder

logger = logging.getLogger(__name__)

_KEY = re.compile(r"[0-9A-Za-z_-]{1,100}")


class FrameSet(Protocol):
    """Frames that are encoded together: one camera in one demonstration.

    Attributes:
        fingerprint: names their content, in letters, digits, `-` and `_`; `frames_fingerprint` makes one.
    """

    @property
    def fingerprint(self) -> str:
        """Names the content."""

    def frames(self) -> NDArray[np.uint8]:
        """The pictures, (T, H, W, 3) uint8 RGB; read only where the cache has no features of them."""


@dataclasses.dataclass(frozen=True)
class FillSummary:
    """What `FeatureCache.fill` did.

    Attributes:
        encoded_sets: frame sets that this call encoded.
        encoded_frames: frames in them.
        reused_sets: frame sets that were there before, or that another process encoded meanwhile.
    """

    encoded_sets: int
    encoded_frames: int
    reused_sets: int


def _frames_key(encoder: Encoder, frame_set: FrameSet, stride: int) -> str:
    """Names the frames, and for an encoder of clips also how far apart it looks at them."""
    return frame_set.fingerprint if encoder.num_frames == 1 else f"{frame_set.fingerprint}-{stride}"


def frames_fingerprint(frames: NDArray[Any]) -> str:
    """Hash of an array's dtype, shape and values, hexadecimal; strides do not matter."""
    digest = hashlib.blake2b(f"{frames.dtype.str} {frames.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()


class FeatureCache:
    """Features of frame sets on disk, by encoder and content.

    A frame set is written beside the others and then renamed to its place, so it is there completely or not
    at all, also after a kill. Several processes may fill one cache: a lock on every frame set shares the work
    out among them, and each frame set is encoded once.
    """

    def __init__(self, root: str | Path) -> None:
        """Use the folder `root`, which is made on the first write."""
        self.root = Path(root)

    def contains(self, encoder_fingerprint: str, frames_key: str) -> bool:
        """Whether undamaged features are there."""
        return self._load(encoder_fingerprint, frames_key) is not None

    def read(self, encoder_fingerprint: str, frames_key: str) -> NDArray[np.float32]:
        """Read features.

        Args:
            encoder_fingerprint: of the encoder.
            frames_key: fingerprint of the frame set.

        Returns:
            (T, D) float32.

        Raises:
            KeyError: they are not there, or damaged (which is logged).
        """
        features = self._load(encoder_fingerprint, frames_key)
        if features is None:
            raise KeyError(
                f"no features of frames {frames_key} by encoder {encoder_fingerprint} in {self.root}"
            )
        return features

    def features(self, encoder: Encoder, frame_set: FrameSet, stride: int = 1) -> NDArray[np.float32]:
        """Read features, encoding and storing them first where they are missing or damaged.

        Args:
            encoder: makes them.
            frame_set: its frames are read only if needed.
            stride: steps between the frames that an encoder of clips looks at, see `Encoder.encode_episode`.

        Returns:
            (T, D) float32.
        """
        self.fill(encoder, [frame_set], stride=stride)
        return self.read(encoder.fingerprint, _frames_key(encoder, frame_set, stride))

    def fill(
        self,
        encoder: Encoder,
        frame_sets: Sequence[FrameSet],
        progress: Callable[[int], object] | None = None,
        *,
        stride: int = 1,
    ) -> FillSummary:
        """Encode the frame sets that are missing or damaged; can be killed and called again.

        Args:
            encoder: makes the features.
            frame_sets: in any order, repetitions allowed.
            progress: called with 1 after each frame set, e.g. the `update` of a tqdm bar.
            stride: steps between the frames that an encoder of clips looks at, see `Encoder.encode_episode`.
        """
        self._sweep()
        busy: list[FrameSet] = []
        encoded: list[int] = []
        reused = 0
        for frame_set, wait in _first_then_busy(frame_sets, busy):
            try:
                length = self._ensure(encoder, frame_set, stride, wait=wait)
            except Timeout:
                busy.append(frame_set)  # another process is at it: do the others first
                continue
            if length is None:
                reused += 1
            else:
                encoded.append(length)
            if progress is not None:
                progress(1)
        return FillSummary(len(encoded), sum(encoded), reused)

    def _ensure(self, encoder: Encoder, frame_set: FrameSet, stride: int, *, wait: bool) -> int | None:
        """Encode one frame set unless it is there; the number of frames encoded.

        Raises:
            Timeout: another process holds it, and `wait` is False.
        """
        key = _frames_key(encoder, frame_set, stride)
        if self.contains(encoder.fingerprint, key):
            return None
        with self._lock(f"{encoder.fingerprint}.{key}", wait=wait):
            if self.contains(encoder.fingerprint, key):  # encoded while we waited
                return None
            frames = frame_set.frames()
            features = encoder.encode_episode(frames, stride).cpu().numpy()
            self._write(encoder, key, features)
            return len(frames)

    def _write(self, encoder: Encoder, key: str, features: NDArray[np.float32]) -> None:
        """Store features in one step; the caller holds the lock."""
        target = self._path(encoder.fingerprint, key)
        draft = self._drafts / f"{encoder.fingerprint}.{key}"
        shutil.rmtree(draft, ignore_errors=True)
        array = zarr.create_array(
            store=str(draft),
            shape=features.shape,
            chunks=tuple(max(1, size) for size in features.shape),
            dtype="float32",
            attributes={
                "encoder": encoder.name,
                "pool": encoder.pool,
                "frames": len(features),
                "digest": frames_fingerprint(features),
            },
        )
        array[:] = features
        if target.exists():
            shutil.rmtree(target)  # damaged, or it would not be replaced
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(target)

    def _load(self, encoder_fingerprint: str, key: str) -> NDArray[np.float32] | None:
        """The features, or None where they are missing or damaged."""
        path = self._path(encoder_fingerprint, key)
        if not path.exists():
            return None
        # What a damaged array raises depends on which of its files is damaged, and on zarr's codecs.
        try:
            array = zarr.open_array(str(path), mode="r")
            features: NDArray[np.float32] = np.asarray(array[:])
            intact = array.attrs["digest"] == frames_fingerprint(features)
        except Exception as error:
            logger.warning("features in %s are damaged (%s)", path, error)
            return None
        if not intact:
            logger.warning("features in %s are damaged (their digest differs)", path)
            return None
        return features

    def _path(self, encoder_fingerprint: str, key: str) -> Path:
        for part in (encoder_fingerprint, key):
            if not _KEY.fullmatch(part):
                raise ValueError(
                    f"a fingerprint has letters, digits, '-' and '_' only, at most 100; got {part!r}"
                )
        return self.root / encoder_fingerprint / key

    @property
    def _drafts(self) -> Path:
        return self.root / ".drafts"

    @contextmanager
    def _lock(self, unit: str, *, wait: bool) -> Iterator[None]:
        """Hold one frame set of one encoder; the system frees it when the process dies.

        Lock files stay: removing one while another process waits for it would give two processes the lock.
        """
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{unit}.lock", blocking=wait):
            yield

    def _sweep(self) -> None:
        """Remove the drafts of processes that were killed."""
        for draft in self._drafts.glob("*"):
            try:
                with self._lock(draft.name, wait=False):
                    shutil.rmtree(draft, ignore_errors=True)
            except Timeout:
                continue  # being written


def _first_then_busy(first: Sequence[FrameSet], busy: list[FrameSet]) -> Iterator[tuple[FrameSet, bool]]:
    """Every frame set without waiting for its lock, then those that turned out busy, waiting."""
    for frame_set in first:
        yield frame_set, False
    for frame_set in busy:
        yield frame_set, True
