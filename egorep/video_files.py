"""Frames to H.264 files that every browser plays. Needs PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from egorep.files import replacing


def write_mp4(
    path: str | Path,
    frames: npt.NDArray[np.uint8],
    fps: float = 30.0,
    *,
    preset: str = "medium",
    crf: int = 23,
    keyframe_every: int = 250,
) -> Path:
    """Write frames as an MP4 (H.264, yuv420p, index in front), whole or not at all.

    Args:
        path: where to; missing folders are made.
        frames: (T, H, W, 3) uint8 RGB, T > 0. Odd heights and widths are padded by repeating the last line,
            because yuv420p stores colour for blocks of 2 x 2 pixels.
        fps: frames per second, > 0.
        preset: x264's trade of time for size.
        crf: x264's quality, 0 to 51, lower is better; 23 is its own default: good looks at some ten kilobytes
            per second of a 256-pixel rollout.
        keyframe_every: frames between keyframes at most; few make jumps into the video cheap.

    Returns:
        The path written.

    Raises:
        ValueError: frames of another shape or type, or a rate that is not positive.
    """
    path = Path(path)
    _check(frames, fps)
    padding = [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)]
    even = np.pad(frames, padding, mode="edge")
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        options = {"crf": str(crf), "preset": preset, "g": str(keyframe_every)}
        # One thread: callers in a hurry write several videos at once. Without `cpu-independent` x264 makes
        # different files of the same frames.
        options |= {"threads": "1", "x264-params": "cpu-independent=1"}
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = even.shape[1:3]
        for picture in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def _check(frames: npt.NDArray[np.uint8], fps: float) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"a video wants (T, H, W, 3) uint8 frames; got {frames.shape} {frames.dtype}")
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"a video wants a positive rate; got fps={fps}")
