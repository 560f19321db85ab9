from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from egorep import load_encoder
from egorep.cache import FeatureCache, FillSummary, frames_fingerprint

SPAWN = multiprocessing.get_context("spawn")
DEADLINE = 60  # seconds


class Slow:
    """An encoder as the cache sees it: mean colour, after a while."""

    name, pool, num_frames = "slow", "cls", 1

    def __init__(self, seconds: float = 0.0, fingerprint: str = "e0") -> None:
        self.seconds = seconds
        self.fingerprint = fingerprint

    def encode_episode(self, frames: np.ndarray, stride: int) -> torch.Tensor:
        time.sleep(self.seconds)
        return torch.from_numpy(frames).float().mean((1, 2))


@dataclasses.dataclass
class Demonstration:
    """Frames that note in `log` every time they are read."""

    index: int
    log: Path
    length: int = 5

    @property
    def fingerprint(self) -> str:
        return frames_fingerprint(self.make())

    def make(self) -> np.ndarray:
        return np.random.default_rng(self.index).integers(0, 256, (self.length, 8, 8, 3), dtype=np.uint8)

    def frames(self) -> np.ndarray:
        with self.log.open("a") as file:
            file.write(f"{self.index}\n")
        return self.make()


def demonstrations(tmp_path: Path, count: int = 4) -> list[Demonstration]:
    return [Demonstration(index, tmp_path / "log") for index in range(count)]


def reads(tmp_path: Path) -> list[str]:
    log = tmp_path / "log"
    return sorted(log.read_text().split()) if log.exists() else []


def fill(root: Path, sets: list[Demonstration], seconds: float, results) -> None:
    results.put(FeatureCache(root).fill(Slow(seconds), sets))


def complete(root: Path) -> int:
    return len(list((root / "e0").glob("*/zarr.json")))


def test_a_second_fill_encodes_nothing(tmp_path: Path) -> None:
    sets = demonstrations(tmp_path)
    cache = FeatureCache(tmp_path / "cache")
    steps: list[int] = []
    assert cache.fill(Slow(), [*sets, sets[0]], steps.append) == FillSummary(4, 20, 1)
    assert steps == [1] * 5
    assert cache.fill(Slow(), sets) == FillSummary(0, 0, 4)
    assert reads(tmp_path) == ["0", "1", "2", "3"]
    for demonstration in sets:
        features = cache.read("e0", demonstration.fingerprint)
        assert features.dtype == np.float32
        assert np.allclose(features, demonstration.make().mean((1, 2)), atol=1e-4)


def test_features_encodes_on_the_first_call_only(tmp_path: Path) -> None:
    cache, (demonstration,) = FeatureCache(tmp_path / "cache"), demonstrations(tmp_path, 1)
    assert not cache.contains("e0", demonstration.fingerprint)
    first = cache.features(Slow(), demonstration)
    assert np.array_equal(FeatureCache(tmp_path / "cache").features(Slow(), demonstration), first)
    assert reads(tmp_path) == ["0"]
    assert cache.contains("e0", demonstration.fingerprint)


def test_other_encoders_and_frames_have_no_features(tmp_path: Path) -> None:
    cache, (one, other) = FeatureCache(tmp_path / "cache"), demonstrations(tmp_path, 2)
    cache.features(Slow(), one)
    with pytest.raises(KeyError, match="by encoder e1"):
        cache.read("e1", one.fingerprint)
    with pytest.raises(KeyError, match=other.fingerprint):
        cache.read("e0", other.fingerprint)
    with pytest.raises(ValueError, match=r"'\.\./e0'"):
        cache.contains("../e0", one.fingerprint)


def test_stored_attributes_say_what_it_is(tmp_path: Path) -> None:
    import zarr

    (demonstration,) = demonstrations(tmp_path, 1)
    FeatureCache(tmp_path / "cache").features(Slow(), demonstration)
    array = zarr.open_array(str(tmp_path / "cache" / "e0" / demonstration.fingerprint), mode="r")
    assert array.metadata.zarr_format == 3
    assert {**array.attrs, "digest": ""} == {"encoder": "slow", "pool": "cls", "frames": 5, "digest": ""}


def truncate(path: Path) -> None:
    chunk = next(file for file in (path / "c").rglob("*") if file.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-7])


def lose_values(path: Path) -> None:
    shutil.rmtree(path / "c")  # zarr reads a lost chunk as zeros


def lose_metadata(path: Path) -> None:
    (path / "zarr.json").unlink()


@pytest.mark.parametrize("damage", [truncate, lose_values, lose_metadata])
def test_damaged_features_are_encoded_again(damage, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache, (demonstration,) = FeatureCache(tmp_path / "cache"), demonstrations(tmp_path, 1)
    expected = cache.features(Slow(), demonstration)
    damage(tmp_path / "cache" / "e0" / demonstration.fingerprint)
    with caplog.at_level(logging.WARNING, logger="egorep.cache"):
        assert not cache.contains("e0", demonstration.fingerprint)
    assert "damaged" in caplog.text
    assert np.array_equal(cache.features(Slow(), demonstration), expected)
    assert reads(tmp_path) == ["0", "0"]


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    sets, results = demonstrations(tmp_path, 12), SPAWN.Queue()
    workers = [SPAWN.Process(target=fill, args=(tmp_path / "cache", sets, 0.3, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    summaries = [results.get(timeout=DEADLINE) for _ in workers]
    for worker in workers:
        worker.join(DEADLINE)
    assert reads(tmp_path) == sorted(str(index) for index in range(12))
    assert sum(summary.encoded_sets for summary in summaries) == 12
    assert all(summary.encoded_sets + summary.reused_sets == 12 for summary in summaries)
    assert FeatureCache(tmp_path / "cache").fill(Slow(), sets).reused_sets == 12


def test_a_killed_fill_is_resumed(tmp_path: Path) -> None:
    root, sets = tmp_path / "cache", demonstrations(tmp_path, 5)
    results = SPAWN.Queue()
    worker = SPAWN.Process(target=fill, args=(root, sets, 0.3, results))
    worker.start()
    start = time.monotonic()
    while complete(root) < 2:
        assert time.monotonic() - start < DEADLINE
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(DEADLINE)
    done = complete(root)
    assert 2 <= done < 5
    leftover = root / ".drafts" / "e0.half"
    leftover.mkdir(parents=True)

    summary = FeatureCache(root).fill(Slow(), sets)
    assert (summary.encoded_sets, summary.reused_sets) == (5 - done, done)
    assert not leftover.exists()
    for demonstration in sets:
        features = FeatureCache(root).read("e0", demonstration.fingerprint)
        assert np.allclose(features, demonstration.make().mean((1, 2)), atol=1e-4)


def test_a_changed_weight_means_new_features(tmp_path: Path) -> None:
    cache, (demonstration,) = FeatureCache(tmp_path / "cache"), demonstrations(tmp_path, 1)
    first = load_encoder("random/timm/test_vit", seed=0)
    other = load_encoder("random/timm/test_vit", seed=1)
    assert np.array_equal(cache.features(first, demonstration), first(demonstration.make()).numpy())
    assert np.array_equal(cache.features(other, demonstration), other(demonstration.make()).numpy())
    assert cache.fill(first, [demonstration]).reused_sets == 1


def test_blind_encoders_have_empty_features(tmp_path: Path) -> None:
    (demonstration,) = demonstrations(tmp_path, 1)
    assert FeatureCache(tmp_path / "cache").features(load_encoder("state"), demonstration).shape == (5, 0)


def test_fingerprint_of_frames_sees_values_shape_and_dtype_only() -> None:
    frames = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    changed = frames.copy()
    changed[1, 2, 3, 0] += 1
    others = [changed, frames.reshape(4, 2, 4, 3), frames.view(np.int8)]
    assert len({frames_fingerprint(array) for array in [frames, *others]}) == 4
    assert frames_fingerprint(np.asfortranarray(frames)) == frames_fingerprint(frames)


def test_an_encoder_of_clips_has_features_of_its_own_for_every_stride(tmp_path: Path) -> None:
    class Clips(Slow):
        num_frames = 4

        def encode_episode(self, frames: np.ndarray, stride: int) -> torch.Tensor:
            return super().encode_episode(frames, stride) + stride

    cache, [demonstration] = FeatureCache(tmp_path / "cache"), demonstrations(tmp_path, 1)
    near, far = (cache.features(Clips(), demonstration, stride) for stride in (1, 5))
    assert np.allclose(far - near, 4)
    assert np.array_equal(cache.features(Clips(), demonstration, 1), near)
    pictures = FeatureCache(tmp_path / "pictures")
    assert np.array_equal(*(pictures.features(Slow(), demonstration, stride) for stride in (1, 5)))
    assert len(reads(tmp_path)) == 3, "of pictures, the stride does not matter"
