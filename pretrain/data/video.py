"""Frames of videos on disk: single files, or folders of 15 s chunks. Needs PyAV.

Time is counted by timestamps, never by frame numbers, from the first frame of the video: 0 s is the first
frame whatever clock the file uses. Pictures are resized while they are converted to RGB, in one pass, to what
`egorep.preprocessing` makes of a whole picture at inference: short side to `size`, bicubic with antialiasing,
then the centre square. The two differ by less than one step of 255 on average (there is a test).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

CHUNK_SECONDS = 15
"""Length of the chunks `0000.mp4`, `0001.mp4`, ...: number n starts at n times this."""

SUFFIXES = (".mp4", ".MP4", ".mkv", ".webm", ".mov", ".MOV", ".avi", ".AVI", ".m4v")
"""What the names of video files end with."""

# An instant this close before a frame means the frame: seconds come rounded, and Matroska rounds to 1 ms.
_ROUNDING = 1e-3
# Where seeking leads behind the wanted instant, seconds to look further back; then from the first frame.
_FURTHER_BACK = (0, 2, 10, 60)
# Decoding this many seconds costs less than seeking, after which the decoder has to fill up again.
_DECODED_ON = 0.3
# To planes of colours, and exactly rounded: swscale's other ways from YUV halve the resolution of colours,
# and darken pictures by more than 1 of 255.
_BICUBIC, _PLANES = Interpolation.BICUBIC | Interpolation.ACCURATE_RND, "gbrp"
_INDEX_DIGITS = 4  # of 0000.mp4; LaViLa names chunks by their first second: 0.mp4, 15.mp4, 300.mp4
_ONE = 1 << 16  # of the fixed-point numbers in a display matrix

Pictures = npt.NDArray[np.uint8]


class UnreadableVideoError(ValueError):
    """A video, or the part of it that was asked for, cannot be read; the message says why in one line."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video is, before it is read.

    Attributes:
        seconds: length, from the first frame to the end of the last.
        fps: mean frames per second.
        width, height: in pixels, as shown: turned videos are given upright.
        chunks: files that it is stored in.
    """

    seconds: float
    fps: float
    width: int
    height: int
    chunks: int


def read_frames(
    path: Path, seconds: Sequence[float] | npt.NDArray[np.float64], size: int | None = None
) -> Pictures:
    """The frames that are shown at the given instants.

    An instant shows the last frame whose timestamp is not after it (1 ms is forgiven), the last frame of the
    video until one frame's time after its end. Only what lies between the keyframe before an instant and the
    instant is decoded, once for all instants that need it, in one thread: workers are processes here. Turned
    and mirrored videos (display matrix) are returned upright; pixels are taken as square.

    Args:
        path: a video file, or a folder of chunks: `0000.mp4`, `0001.mp4`, ... of 15 s, or named by their
            first second (`0.mp4`, `15.mp4`, ...). A folder may have any name, `<video_id>.mp4` too.
        seconds: T instants since the video's start, >= 0, in any order, T > 0.
        size: side of the square that is cut from the middle once the short side was resized to it; None
            leaves pictures as they are.

    Returns:
        (T, H, W, 3) uint8 RGB, in the order of `seconds`; H = W = size, where there is one.

    Raises:
        UnreadableVideoError: the file or a needed chunk is missing, empty, cut short or no video; an instant
            is after the end; without `size`, the pictures are of several sizes.
        ValueError: no instants, one that is negative or not finite, or size < 1.
    """
    instants = np.asarray(seconds, np.float64)
    if instants.ndim != 1 or not len(instants) or not (np.isfinite(instants) & (instants >= 0)).all():
        raise ValueError(f"{path}: wants one or more instants >= 0 in seconds; got {seconds}")
    if size is not None and size < 1:
        raise ValueError(f"size wants at least 1 pixel; got {size}")
    order = np.argsort(instants, kind="stable")
    pictures = [
        picture
        for file, start, part in _parts(path, instants[order])
        for picture in _pictures(file, part - start, size)
    ]
    sizes = sorted({picture.shape[:2] for picture in pictures})
    if len(sizes) > 1:
        raise UnreadableVideoError(f"{path}: its pictures are of several sizes, {sizes}: read it with a size")
    frames = np.empty((len(pictures), *pictures[0].shape), np.uint8)
    for place, picture in zip(order, pictures, strict=True):
        frames[place] = picture
    return frames


def probe(path: Path) -> VideoInfo:
    """What a video is: one frame of it is decoded, of a folder one of the first chunk.

    Args:
        path: a video file or a folder of chunks, as for `read_frames`. A chunk missing in the middle goes
            unnoticed here.

    Raises:
        UnreadableVideoError: it is missing, empty, cut short or no video.
    """
    if not path.is_dir():
        return _probe_file(path)
    chunks = _chunks(path)
    first, (start, last) = _probe_file(chunks[0][1]), chunks[-1]
    tail = first if len(chunks) == 1 else _probe_file(last)
    return VideoInfo(start + tail.seconds, first.fps, first.width, first.height, len(chunks))


def _parts(
    path: Path, instants: npt.NDArray[np.float64]
) -> Iterator[tuple[Path, float, npt.NDArray[np.float64]]]:
    """The files to read, each with its first second and the rising instants that it shows."""
    if not path.is_dir():
        yield path, 0.0, instants
        return
    chunks = _chunks(path)
    starts = np.array([start for start, _ in chunks])
    places = np.searchsorted(starts, instants + _ROUNDING, side="right") - 1
    gaps = np.diff(starts)
    # A chunk before a wider gap than the usual one does not reach the next: one is missing between them.
    ends = np.append(starts[:-1] + gaps.min(initial=math.inf), math.inf)
    for place in np.unique(places):
        part = instants[places == place]
        if place < 0 or part[-1] >= ends[place]:
            raise UnreadableVideoError(f"{path}: the chunk that shows {part[-1]:.2f} s is missing")
        start, file = chunks[place]
        yield file, start, part


def _chunks(folder: Path) -> list[tuple[float, Path]]:
    """First second and file of every chunk, in order."""
    files = [file for file in folder.iterdir() if file.stem.isdecimal() and file.suffix in SUFFIXES]
    if not files:
        raise UnreadableVideoError(f"{folder}: a folder without chunks (0000.mp4, 0001.mp4, ...)")
    numbered = all(len(file.stem) == _INDEX_DIGITS for file in files)
    length = CHUNK_SECONDS if numbered else 1
    return sorted((float(int(file.stem) * length), file) for file in files)


@dataclass(frozen=True)
class _Video:
    """An opened file."""

    file: Path
    container: av.container.InputContainer
    stream: av.VideoStream
    begin: int  # timestamp of the first frame; seeking may change what the stream says
    unit: float  # seconds of one step of the timestamps

    @property
    def frame_seconds(self) -> float:
        # One of the two may count ticks: the first in transport streams, the second where rates vary.
        rates = [float(rate) for rate in (self.stream.average_rate, self.stream.guessed_rate) if rate]
        if not rates:
            raise UnreadableVideoError(f"{self.file}: does not say how long a frame lasts")
        return 1 / min(rates)

    def rewind(self) -> None:
        """Go to the first frame, which works where seeking by the stream's timestamps does not."""
        self.container.seek(min(self.container.start_time or 0, 0))

    def frames(self) -> tuple[av.VideoFrame | None, Iterator[av.VideoFrame]]:
        """The next frame and those after it."""
        frames = self.container.decode(self.stream)
        return next(frames, None), frames


@contextmanager
def _opened(file: Path) -> Iterator[_Video]:
    """The file, ready to be read in one thread; whatever PyAV says becomes one line with the reason."""
    if not file.exists():
        raise UnreadableVideoError(f"{file}: missing")
    if not file.stat().st_size:
        raise UnreadableVideoError(f"{file}: empty, zero bytes")
    try:
        with av.open(str(file)) as container:
            stream = _video_stream(file, container)
            stream.codec_context.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            yield _Video(file, container, stream, stream.start_time or 0, float(stream.time_base))
    except av.FFmpegError as error:
        raise UnreadableVideoError(f"{file}: {_reason(file, error)}") from error


def _video_stream(file: Path, container: av.container.InputContainer) -> av.VideoStream:
    # ffmpeg opens pictures and texts as videos too, and covers of songs are streams of pictures.
    name = container.format.name
    if name.endswith("_pipe") or name in ("image2", "tty"):
        raise UnreadableVideoError(f"{file}: not a video, its content is {name.removesuffix('_pipe')}")
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        raise UnreadableVideoError(f"{file}: has no video stream")
    return streams[0]


def _reason(file: Path, error: av.FFmpegError) -> str:
    if not isinstance(error, av.InvalidDataError):
        return f"{error.strerror}"
    with file.open("rb") as opened:
        is_mp4 = opened.read(8)[4:] == b"ftyp"
    return "an MP4 cut short (no index, moov) or damaged" if is_mp4 else "not a video, or a damaged one"


def _probe_file(file: Path) -> VideoInfo:
    with _opened(file) as video:
        frame, _ = video.frames()
        if frame is None:
            raise UnreadableVideoError(f"{file}: no frame of it can be decoded")
        height, width = _upright(file, frame, np.empty((frame.height, frame.width, 3), np.uint8)).shape[:2]
        length = video.stream.duration if video.stream.duration is not None else _scan(video)
        return VideoInfo(length * video.unit, 1 / video.frame_seconds, width, height, 1)


def _scan(video: _Video) -> int:
    """Length in steps of the timestamps, of a file whose header does not say: from its packets, undecoded."""
    video.rewind()
    packets = [packet for packet in video.container.demux(video.stream) if packet.pts is not None]
    return max(packet.pts + (packet.duration or 0) for packet in packets) - video.begin


def _pictures(file: Path, instants: npt.NDArray[np.float64], size: int | None) -> Iterator[Pictures]:
    """Upright pictures of one file at rising instants."""
    converted: tuple[av.VideoFrame, Pictures] | None = None
    reformatter = VideoReformatter()  # keeps its tables from frame to frame
    with _opened(file) as video:
        for frame in _shown(video, instants):
            if converted is None or converted[0] is not frame:
                converted = frame, _convert(file, reformatter, frame, size)
            yield converted[1]


def _shown(video: _Video, instants: npt.NDArray[np.float64]) -> Iterator[av.VideoFrame]:
    """The frame shown at each of the rising instants."""
    frames: Iterator[av.VideoFrame] = iter(())
    now: av.VideoFrame | None = None
    upcoming: av.VideoFrame | None = None
    for instant in instants:
        wanted = video.begin + math.floor((instant + _ROUNDING) / video.unit)
        if now is None or (upcoming is not None and _keyframe_between(video, upcoming.pts, wanted)):
            now, frames = _from_keyframe(video, wanted)
            upcoming = next(frames, None)
        while upcoming is not None and upcoming.pts <= wanted:
            now, upcoming = upcoming, next(frames, None)
        if upcoming is None:
            _check_end(video, now, instant)
        yield now


def _keyframe_between(video: _Video, reached: int, wanted: int) -> bool:
    """Whether the file's index knows a keyframe so much further on that seeking is less work."""
    index = video.stream.index_entries.search_timestamp(wanted)
    far = reached + _DECODED_ON / video.unit
    return index >= 0 and video.stream.index_entries[index].timestamp > far


def _from_keyframe(video: _Video, wanted: int) -> tuple[av.VideoFrame, Iterator[av.VideoFrame]]:
    """A frame that is not after `wanted`, or else the video's first, and those that follow it."""
    for back in _FURTHER_BACK:
        goal = wanted - int(back / video.unit)
        if goal <= video.begin:
            break
        video.container.seek(goal, stream=video.stream)
        first, frames = video.frames()
        if first is not None and first.pts <= wanted:
            return first, frames
    video.rewind()
    first, frames = video.frames()
    if first is None:
        raise UnreadableVideoError(f"{video.file}: no frame of it can be decoded")
    return first, frames


def _check_end(video: _Video, last: av.VideoFrame, instant: float) -> None:
    """One frame's time after the end is forgiven: narrations and frame rates are rounded."""
    # Transport streams may give a frame the duration of a tick.
    length = max((last.duration or 0) * video.unit, video.frame_seconds)
    end = (last.pts - video.begin) * video.unit + length
    if instant > end + length + _ROUNDING:
        raise UnreadableVideoError(f"{video.file}: nothing at {instant:.2f} s of it, it ends at {end:.2f} s")


def _convert(file: Path, reformatter: VideoReformatter, frame: av.VideoFrame, size: int | None) -> Pictures:
    width, height = frame.width, frame.height
    if size is not None:
        # Rounded as torchvision's resize and center_crop do.
        short = min(width, height)
        width, height = int(size * width / short), int(size * height / short)
    planes = reformatter.reformat(frame, width, height, _PLANES, interpolation=_BICUBIC, threads=1).planes
    picture = np.empty((height, width, 3), np.uint8)
    for channel, plane in zip((1, 2, 0), planes, strict=True):
        picture[..., channel] = np.frombuffer(memoryview(plane), np.uint8).reshape(height, -1)[:, :width]
    picture = _upright(file, frame, picture)
    if size is None:
        return picture
    top, left = (round((side - size) / 2) for side in picture.shape[:2])
    return picture[top : top + size, left : left + size]


def _upright(file: Path, frame: av.VideoFrame, picture: Pictures) -> Pictures:
    """The picture turned and mirrored as the file says that it is to be shown."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    # Rows (a, b, u), (c, d, v), (x, y, w): a point goes to x' = a x + c y, y' = b x + d y.
    (a, b, _), (c, d, _), _ = (np.frombuffer(matrix, np.int32).reshape(3, 3) / _ONE).round(2).tolist()
    if (abs(a), abs(b), abs(c), abs(d)) == (1, 0, 0, 1):
        down, right = d, a
    elif (abs(a), abs(b), abs(c), abs(d)) == (0, 1, 1, 0):
        picture, down, right = picture.swapaxes(0, 1), b, c
    else:
        raise UnreadableVideoError(f"{file}: turned by {frame.rotation} degrees, not by quarters of a turn")
    return picture[:: int(down), :: int(right)]
