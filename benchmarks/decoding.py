"""Clips from video files: `pretrain.data.video` against OpenCV and against decoding with PyAV from the start.

python benchmarks/decoding.py

Each reads the same 16 frames of the same clips of 2 s, from a chunk of 15 s, to squares of 224 pixels, in one
thread. Files differ in how often they have a keyframe: x264's default is every 250 frames.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional as transforms

from pretrain.data.clips import sample_instants
from pretrain.data.video import read_frames

SIZE, FPS, SECONDS, FRAMES = 224, 30, 15, 16
CLIPS, REPEATS = 12, 3
VIDEOS = {  # height, width, distance of keyframes
    "EgoSim, 224 x 224, a keyframe in 250": (224, 224, 250),
    "EgoSim, 224 x 224, a keyframe in 30": (224, 224, 30),
    "Ego4D's size, 426 x 320, a keyframe in 250": (320, 426, 250),
    "Ego4D's size, 426 x 320, a keyframe in 30": (320, 426, 30),
}

Pictures = npt.NDArray[np.uint8]
Seconds = npt.NDArray[np.float64]
Reader = Callable[[Path, Seconds], Pictures]


def write(path: Path, height: int, width: int, keyframes: int) -> None:
    """A camera that wanders over a blurred, coloured texture, with the noise of a sensor."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.random((2 * height, 2 * width, 3)).astype(np.float32), (0, 0), 4)
    texture = np.interp(texture, (texture.min(), texture.max()), (20, 235))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": str(keyframes)})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for t in range(FPS * SECONDS):
            y, x = int((1 + np.sin(t / 31)) * height / 2.1), int((1 + np.cos(t / 43)) * width / 2.1)
            seen = texture[y : y + height, x : x + width] + rng.normal(0, 3, (height, width, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(seen.clip(0, 255).astype(np.uint8))))
        container.mux(stream.encode())


def ours(path: Path, seconds: Seconds) -> Pictures:
    """Seek to the keyframe, resize while converting."""
    return read_frames(path, seconds, SIZE)


def opencv(path: Path, seconds: Seconds) -> Pictures:
    """Seek to the first frame, then grab on; resize afterwards."""
    numbers = np.floor(seconds * FPS + 1e-6).astype(int)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    capture.set(cv2.CAP_PROP_POS_FRAMES, int(numbers[0]))
    pictures = []
    for gap in np.diff(numbers, prepend=numbers[0] - 1):
        for _ in range(gap):
            capture.grab()
        picture = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
        height, width = picture.shape[:2]
        scale = SIZE / min(height, width)
        picture = cv2.resize(picture, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_AREA)
        pictures.append(middle(np.asarray(picture, np.uint8)))
    capture.release()
    return np.stack(pictures)


def from_the_start(path: Path, seconds: Seconds) -> Pictures:
    """Decode all frames up to the last, convert those picked, resize with torchvision."""
    numbers = np.floor(seconds * FPS + 1e-6).astype(int).tolist()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        decoded = itertools.islice(container.decode(stream), numbers[-1] + 1)
        picked = [frame.to_ndarray(format="rgb24") for n, frame in enumerate(decoded) if n in numbers]
    clip = torch.from_numpy(np.stack(picked)).movedim(-1, 1)
    mode = transforms.InterpolationMode.BICUBIC
    resized = transforms.resize(clip, [SIZE], mode, antialias=True).movedim(1, -1).numpy()
    return np.stack([middle(picture) for picture in resized])


def middle(picture: Pictures) -> Pictures:
    """The centre square."""
    top, left = ((side - SIZE) // 2 for side in picture.shape[:2])
    return picture[top : top + SIZE, left : left + SIZE]


def rate(read: Reader, path: Path, clips: list[Seconds]) -> float:
    """Clips per second of processor time: what other processes do does not count."""
    began = time.process_time()
    for seconds in clips:
        read(path, seconds)
    return len(clips) / (time.process_time() - began)


def row(name: str, path: Path) -> str:
    """Alternate the readers on the same clips and write one line of the table."""
    rng = np.random.default_rng(1)
    clips = [sample_instants(start, start + 2, FRAMES, rng) for start in rng.uniform(0, SECONDS - 2, CLIPS)]
    readers: list[Reader] = [ours, opencv, from_the_start]
    first = [reader(path, clips[0]).astype(float) for reader in readers]
    for reader, frames in zip(readers[1:], first[1:], strict=True):
        if np.abs(frames - first[0]).mean() > 4:
            raise RuntimeError(f"{reader.__name__} read other frames of {path}")
    rates: dict[Reader, list[float]] = {reader: [] for reader in readers}
    for _ in range(REPEATS):
        for reader in readers:
            rates[reader].append(rate(reader, path, clips))
    mine, seeking, whole = (statistics.median(rates[reader]) for reader in readers)
    return (
        f"| {name} | {mine:.0f} | {seeking:.0f} | {whole:.0f} | {mine / seeking:.1f} | {mine / whole:.1f} "
        f"| {mine * FRAMES:.0f} |"
    )


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(
        "| video | clips/s | OpenCV | PyAV from the start | ratio to OpenCV | ratio to PyAV | frames/s |\n"
        "|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (height, width, keyframes)) in enumerate(VIDEOS.items()):
            path = Path(folder) / f"{number}.mp4"
            write(path, height, width, keyframes)
            print(row(name, path), flush=True)


if __name__ == "__main__":
    main()
