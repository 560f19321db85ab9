from __future__ import annotations

import gc
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import torch
from av.stream import Disposition
from PIL import Image

from egorep.preprocessing import Preprocessing
from egorep.video_files import write_mp4
from pretrain.data.video import UnreadableVideoError, VideoInfo, probe, read_frames

# Grey levels tell frames apart: frame i of a video has level 20 + 3 i, and compression errs by less than 1.
DARKEST, STEP = 20, 3


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    seconds: Sequence[float] | None = None,
    fps: int = 10,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    turn: tuple[float, bool] | None = None,
    **options: str,
) -> Path:
    """A video of frames at their times, or at equal distances from 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unit = Fraction(1, 600 if codec == "libx264" else fps)
    times = [number / fps for number in range(len(frames))] if seconds is None else seconds
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "5", **options})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = pix_fmt, unit
        if turn is not None:
            stream.set_display_rotation(turn[0], hflip=turn[1])
        for pixels, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = round(time / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def grey(numbers: Sequence[int], height: int = 32, width: int = 48) -> list[np.ndarray]:
    return [np.full((height, width, 3), DARKEST + STEP * number, np.uint8) for number in numbers]


def numbers(frames: np.ndarray) -> list[int]:
    """Which frames these are; a frame mixed from two would be neither."""
    levels = (frames.mean(axis=(1, 2, 3)) - DARKEST) / STEP
    assert np.abs(levels - levels.round()).max() < 0.34
    return levels.round().astype(int).tolist()


def test_an_instant_shows_the_last_frame_before_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey(range(30)))
    frames = read_frames(path, [0, 0.05, 0.0999, 0.1, 0.99, 1.0, 2.9, 2.999])
    assert frames.shape == (8, 32, 48, 3)
    assert frames.dtype == np.uint8
    # 0.0999 s is the second frame: 1 ms is forgiven, for times come rounded.
    assert numbers(frames) == [0, 0, 1, 1, 9, 10, 29, 29]


def test_instants_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey(range(30)))
    assert numbers(read_frames(path, [2.0, 0.5, 2.0, 0.0, 1.1])) == [20, 5, 20, 0, 11]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov"])
@pytest.mark.parametrize("options", [{"g": "7", "bf": "3", "b_strategy": "0"}, {"g": "250", "bf": "0"}])
def test_every_frame_is_found_alone_and_with_others(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    path = write_video(tmp_path / name, grey(range(30)), **options)
    assert numbers(read_frames(path, np.arange(30) / 10)) == list(range(30))
    for number in (0, 6, 7, 8, 13, 14, 28, 29):
        assert numbers(read_frames(path, [number / 10 + 0.05])) == [number]
    assert numbers(read_frames(path, [0.35, 2.75])) == [3, 27]


def test_b_frames_before_a_keyframe_of_an_open_group(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4", grey(range(30)), g="9", bf="3", b_strategy="0", **{"x264-params": "open-gop=1"}
    )
    for number in range(30):
        assert numbers(read_frames(path, [number / 10])) == [number]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_time_counts_from_the_first_frame(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, grey(range(20)), [4.2 + number / 10 for number in range(20)], g="5")
    assert numbers(read_frames(path, [0, 0.31, 1.25])) == [0, 3, 12]
    assert probe(path).seconds == pytest.approx(2.0, abs=0.01)


def test_variable_rates_go_by_timestamps(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey(range(6)), [0, 0.1, 1.5, 1.6, 4.0, 4.1], bf="0")
    assert numbers(read_frames(path, [0.05, 0.1, 1.49, 1.55, 3.99, 4.05, 4.15])) == [0, 1, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "mpeg4"), ("b.avi", "mjpeg"), ("c.webm", "libvpx"), ("d.mp4", "libx265")]
)
def test_other_containers_and_codecs(tmp_path: Path, name: str, codec: str) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(tmp_path / name, grey(range(20), 64, 64), codec=codec, pix_fmt=pix_fmt, b="9M")
    assert numbers(read_frames(path, [0, 0.75, 1.9])) == [0, 7, 19]
    assert probe(path).seconds == pytest.approx(2.0, abs=0.02)


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey([5]))
    assert numbers(read_frames(path, [0, 0.05, 0.1, 0.19])) == [5, 5, 5, 5]
    assert probe(path).seconds == pytest.approx(0.1)
    with pytest.raises(UnreadableVideoError, match=r"nothing at 0.31 s of it, it ends at 0.10 s"):
        read_frames(path, [0.0, 0.31])


def test_one_frame_beyond_the_end_is_forgiven_and_no_more(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey(range(10)))
    assert numbers(read_frames(path, [1.0, 1.09])) == [9, 9]
    with pytest.raises(UnreadableVideoError, match=r"a\.mp4: nothing at 1\.12 s of it, it ends at 1\.00 s"):
        read_frames(path, [0.2, 1.12])


# Corners, clockwise from the upper left: red, green, blue, white.
def corners(height: int, width: int) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left], picture[:top, left:] = (220, 0, 0), (0, 220, 0)
    picture[top:, left:], picture[top:, :left] = (0, 0, 220), (220, 220, 220)
    return picture


def seen(picture: np.ndarray) -> str:
    height, width = picture.shape[:2]
    found = [picture[y, x] for y, x in ((5, 5), (5, width - 6), (height - 6, width - 6), (height - 6, 5))]
    return "".join("W" if pixel.min() > 128 else "RGB"[int(pixel.argmax())] for pixel in found)


@pytest.mark.parametrize(
    ("turn", "clockwise", "size"),
    [
        ((0.0, False), "RGBW", (32, 48)),
        ((90.0, False), "GBWR", (48, 32)),
        ((180.0, False), "BWRG", (32, 48)),
        ((-90.0, False), "WRGB", (48, 32)),
        ((0.0, True), "GRWB", (32, 48)),
    ],
)
def test_turned_and_mirrored_videos_are_shown_upright(
    tmp_path: Path, turn: tuple[float, bool], clockwise: str, size: tuple[int, int]
) -> None:
    path = write_video(tmp_path / "a.mp4", [corners(32, 48)] * 3, turn=turn)
    picture = read_frames(path, [0.1])[0]
    assert picture.shape == (*size, 3)
    assert seen(picture) == clockwise
    assert probe(path) == VideoInfo(pytest.approx(0.3), 10.0, size[1], size[0], 1)
    assert seen(read_frames(path, [0.1], size=32)[0]) == clockwise


def test_a_slanted_video_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey([1, 2]), turn=(30.0, False))
    with pytest.raises(UnreadableVideoError, match="quarters of a turn"):
        read_frames(path, [0])


@pytest.mark.parametrize(("height", "width"), [(33, 47), (17, 31), (1, 5)])
def test_odd_sizes(tmp_path: Path, height: int, width: int) -> None:
    path = write_video(tmp_path / "a.mp4", grey(range(4), height, width), pix_fmt="yuv444p")
    frames = read_frames(path, [0.1, 0.3])
    assert frames.shape == (2, height, width, 3)
    assert numbers(frames) == [1, 3]
    assert read_frames(path, [0.1], size=16).shape == (1, 16, 16, 3)


def natural(height: int, width: int) -> np.ndarray:
    """A picture with edges, gradients and colours; its noise is what scaling has to average away."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 13)], -1) * 70 + 120
    waves[height // 3 : height // 2, width // 4 : width // 2] = (200, 40, 30)
    return (waves + rng.normal(0, 12, waves.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(320, 426, 224), (427, 320, 224), (224, 224, 224), (120, 161, 224)]
)
def test_pictures_are_those_that_preprocessing_makes(
    tmp_path: Path, height: int, width: int, size: int
) -> None:
    path = write_video(tmp_path / "a.mp4", [natural(height, width)], pix_fmt="yuv444p")
    frames = read_frames(path, [0], size=size)
    identity = Preprocessing(size, (0, 0, 0), (1, 1, 1), "bicubic")
    whole = torch.from_numpy(read_frames(path, [0]))
    wanted = (identity(whole).movedim(1, -1) * 255).numpy()
    difference = frames.astype(np.float32) - wanted
    assert frames.shape == wanted.shape
    assert np.abs(difference).mean() < 0.5
    assert np.percentile(np.abs(difference), 99) < 2.5
    assert abs(difference.mean()) < 0.1, "neither darker nor brighter"


def chunked(folder: Path, names: Sequence[str], seconds: float = 15, fps: int = 2) -> list[int]:
    """Chunks of `seconds`, the last of 4 s; the frames count on from chunk to chunk."""
    count = 0
    for name in names:
        length = round((4 if name == names[-1] else seconds) * fps)
        write_video(folder / name, grey(range(count, count + length)), fps=fps, bf="2", g="10")
        count += length
    return list(range(count))


@pytest.mark.parametrize("names", [["0000.mp4", "0001.mp4", "0002.mp4"], ["0.MP4", "15.MP4", "30.MP4"]])
def test_a_folder_of_chunks_is_one_video(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "id.mp4"
    chunked(folder, names)
    (folder / "notes.txt").write_text("not a chunk")
    assert numbers(read_frames(folder, [14.0, 14.5, 14.99, 15.0, 15.5, 29.5, 30.0])) == [
        *(28, 29, 29, 30, 31, 59, 60)
    ]
    assert numbers(read_frames(folder, [33.9, 0.0, 16.0])) == [67, 0, 32]
    assert probe(folder) == VideoInfo(pytest.approx(34.0), 2.0, 48, 32, 3)
    with pytest.raises(UnreadableVideoError, match=r"30\.MP4|0002\.mp4: nothing at 5\.00 s of it"):
        read_frames(folder, [35.0])


def test_chunks_a_little_off_their_length(tmp_path: Path) -> None:
    folder = tmp_path / "id"
    write_video(folder / "0000.mp4", grey(range(29)), fps=2)  # 14.5 s
    write_video(folder / "0001.mp4", grey(range(30, 61)), fps=2)  # 15.5 s
    assert numbers(read_frames(folder, [14.25, 14.75, 15.0, 30.2])) == [28, 28, 30, 60]


def test_long_chunks_named_by_their_first_second(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "0.mp4", grey(range(60)), fps=1)
    write_video(tmp_path / "v" / "60.mp4", grey([0, 1]), fps=1)
    assert numbers(read_frames(tmp_path / "v", [59.0, 60.0])) == [59, 0]


def test_a_missing_chunk_fails_those_who_need_it(tmp_path: Path) -> None:
    folder = tmp_path / "id"
    chunked(folder, ["0000.mp4", "0001.mp4", "0002.mp4", "0003.mp4"], seconds=5)
    (folder / "0001.mp4").unlink()
    assert numbers(read_frames(folder, [1.0, 31.0])) == [2, 22]
    with pytest.raises(UnreadableVideoError, match=r"id: the chunk that shows 20\.00 s is missing"):
        read_frames(folder, [1.0, 20.0])
    (folder / "0000.mp4").unlink()
    with pytest.raises(UnreadableVideoError, match=r"the chunk that shows 1\.00 s is missing"):
        read_frames(folder, [1.0, 31.0])


def test_chunks_of_two_sizes_want_a_size(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "0000.mp4", grey([1] * 15), fps=1)
    write_video(tmp_path / "v" / "0001.mp4", grey([2], 64, 64), fps=1)
    with pytest.raises(UnreadableVideoError, match="several sizes"):
        read_frames(tmp_path / "v", [1, 15])
    assert numbers(read_frames(tmp_path / "v", [1, 15], size=32)) == [1, 2]


def missing(path: Path) -> None:
    """Nothing there."""


def zero_bytes(path: Path) -> None:
    path.touch()


def cut_short(path: Path) -> None:
    content = write_video(path, grey(range(30))).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def text(path: Path) -> None:
    path.write_text("These are not the frames that you are looking for.\n" * 50)


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20000))


def picture(path: Path) -> None:
    Image.fromarray(corners(32, 48)).save(path, format="png")


def sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 16000
        container.mux(stream.encode(samples))
        container.mux(stream.encode())


def song_with_a_cover(path: Path) -> None:
    sound(path)
    with av.open(str(path)) as source, av.open(str(path.with_name("b.mp4")), "w") as container:
        stream = container.add_stream_from_template(source.streams.audio[0])
        cover = container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 48, "rgb24"
        cover.disposition = Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(corners(32, 48))))
        for packet in source.demux(audio=0):
            packet.stream = stream
            container.mux(packet)
    path.with_name("b.mp4").rename(path)


def empty_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("read", [lambda path: read_frames(path, [0.0]), probe], ids=["read", "probe"])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (missing, "missing"),
        (zero_bytes, "zero bytes"),
        (cut_short, "cut short .*moov"),
        (text, "not a video"),
        (noise, "not a video"),
        (picture, "not a video, its content is png"),
        (sound, "has no video stream"),
        (song_with_a_cover, "has no video stream"),
        (empty_folder, "a folder without chunks"),
    ],
)
def test_what_is_no_video_says_why_in_one_line(tmp_path: Path, make: Any, reason: str, read: Any) -> None:
    path = tmp_path / "a.mp4"
    make(path)
    with pytest.raises(UnreadableVideoError, match=rf"a\.mp4: .*{reason}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_content_counts_and_not_the_extension(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", grey(range(5))).rename(tmp_path / "a.txt")
    assert numbers(read_frames(path, [0.3])) == [3]


def test_a_file_that_ends_early_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", np.stack(grey(range(40))), fps=10)  # its index is in front
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    path.write_bytes(path.read_bytes()[: positions[20]])
    assert numbers(read_frames(path, [0.5])) == [5]
    with pytest.raises(UnreadableVideoError, match="nothing at 3"):
        read_frames(path, [0.5, 3.0])


@pytest.mark.parametrize("seconds", [[], [-0.1], [float("nan")], [float("inf")], [[0.0, 1.0]]])
def test_instants_that_cannot_be(tmp_path: Path, seconds: Any) -> None:
    with pytest.raises(ValueError, match="instants >= 0"):
        read_frames(write_video(tmp_path / "a.mp4", grey([1])), seconds)


def test_sizes_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 pixel"):
        read_frames(write_video(tmp_path / "a.mp4", grey([1])), [0], size=0)


def test_only_what_is_needed_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", grey(range(70)), g="10", bf="0", sc_threshold="0")
    decoded: list[float] = []
    container_type = type(av.open(str(path)))

    class Counting:
        """A container that notes what is decoded."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *error: object) -> None:
            self.inner.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def decode(self, stream: Any) -> Any:
            for frame in self.inner.decode(stream):
                decoded.append(round(frame.time * 10))
                yield frame

    opened = av.open
    monkeypatch.setattr(av, "open", lambda *args: Counting(opened(*args)))
    assert isinstance(opened(str(path)), container_type)
    assert numbers(read_frames(path, [0.2, 0.3, 5.4, 5.4, 5.5])) == [2, 3, 54, 54, 55]
    assert decoded == [0, 1, 2, 3, 4, *range(50, 57)]


def test_memory_stays_flat(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [natural(96, 128)] * 12)
    process = psutil.Process()

    def read(times: int) -> int:
        for _ in range(times):
            read_frames(path, [0.1, 0.9], size=64)
            with pytest.raises(UnreadableVideoError):
                read_frames(path, [9.0], size=64)
        gc.collect()
        return process.memory_info().rss

    before = read(30)
    opened = len(process.open_files())
    assert read(100) - before < 8 << 20
    assert len(process.open_files()) == opened
