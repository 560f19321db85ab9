from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from egorep import load_encoder
from egorep.egovideo import EgoVideoBackbone
from egorep.encoder import Encoder
from egorep.models.config import SIZES
from egorep.models.egovideo import EgoVideo
from egorep.registry import validate_encoder_name

TINY = SIZES["egovideo_tiny"]


def save(
    folder: Path,
    *,
    fast_frames: int | None = None,
    image_size: int = 32,
    patch: int = 16,
    objectness: bool = False,
) -> Path:
    """A small variant of the tiny size: less of a picture, one block less would be another size."""
    vision = dataclasses.replace(
        TINY.vision, image_size=image_size, patch_size=patch, num_frames=fast_frames or 4
    )
    text = dataclasses.replace(TINY.text, vocabulary=49408, layers=1)
    torch.manual_seed(0)
    parts = {"vision": vision, "text": text, "fast_frames": fast_frames, "objectness": objectness}
    model = EgoVideo(dataclasses.replace(TINY, **parts))
    with torch.no_grad():
        model.visual.time.normal_()
        for adapter in model.visual.adapters:
            adapter.up.weight.normal_(std=0.05)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("slow"))


@pytest.fixture(scope="module")
def slow_fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("slow_fast"), fast_frames=8)


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 8, 40, 48, 3), np.uint8)


def test_the_checkpoint_decides_the_variant(slow: Path, slow_fast: Path, clips: np.ndarray) -> None:
    plain = load_encoder("egovideo_tiny", checkpoint=slow)
    fused = load_encoder("egovideo_tiny", checkpoint=slow_fast)
    assert (plain.num_frames, plain.dim, plain.image_size) == (4, 192, 32)
    assert (fused.num_frames, fused.dim) == (8, 2 * 192)
    assert plain(clips).shape == (2, 192)
    assert plain.tokens(clips).shape == (2, 4, 2, 2, 192)
    assert fused.tokens(clips).shape == (2, 8, 2, 2, 192)


def test_pools(slow_fast: Path, clips: np.ndarray) -> None:
    pools = {
        pool: load_encoder("egovideo_tiny", checkpoint=slow_fast, pool=pool)
        for pool in ("cls", "mean", "joint", "patches", "places")
    }
    backbone = pools["cls"].backbone
    assert isinstance(backbone, EgoVideoBackbone)
    with torch.no_grad():
        video = backbone.model.encode_video(pools["cls"].preprocessing(torch.from_numpy(clips)))
    assert video.fast is not None
    both = torch.cat([video.slow.classes, video.fast.classes], -1)
    assert torch.allclose(pools["cls"](clips), both, atol=1e-5)
    newest = pools["cls"].tokens(clips)[:, -1].flatten(1)
    assert torch.equal(pools["patches"](clips), newest), "of the last time step"
    assert torch.allclose(pools["mean"](clips), video.fast.patches.mean((1, 2)), atol=1e-5)
    assert torch.allclose(pools["joint"](clips), video.joint, atol=1e-5)
    centred = pools["places"](clips).unflatten(1, (4, -1)).mean(1)
    assert torch.allclose(centred, torch.zeros_like(centred), atol=1e-5)
    assert len({encoder.fingerprint for encoder in pools.values()}) == 5


def test_clips_are_sampled_at_the_middles_and_pictures_stand_still(slow: Path, clips: np.ndarray) -> None:
    encoder = load_encoder("egovideo_tiny", checkpoint=slow)
    assert torch.equal(encoder(clips), encoder(clips[:, [1, 3, 5, 7]]))
    assert torch.equal(encoder(clips[:, 0]), encoder(clips[:, [0, 0, 0, 0]]))
    assert torch.equal(encoder(clips[:, :2]), encoder(clips[:, [0, 0, 1, 1]]))
    assert not torch.allclose(encoder(clips), encoder(clips[:, ::-1]), atol=1e-3)


def test_pictures_are_scaled_before_they_are_normalised(slow: Path) -> None:
    """Traps 3 and 5: 0..1 before CLIP's statistics, and the picture size of the model, not 224."""
    preprocessing = load_encoder("egovideo_tiny", checkpoint=slow).preprocessing
    white = preprocessing(torch.full((1, 4, 50, 50, 3), 255, dtype=torch.uint8))
    assert white.shape == (1, 4, 3, 32, 32)
    expected = (1 - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )
    assert torch.allclose(white[0, 0, :, 0, 0], expected, atol=1e-5)
    for name in ("egovideo_base", "egovideo_large"):
        assert SIZES[name].vision.image_size == {"egovideo_base": 224, "egovideo_large": 336}[name]


def test_text_and_similarity(slow: Path, clips: np.ndarray) -> None:
    encoder = load_encoder("egovideo_tiny", checkpoint=slow)
    phrases = ["C opens the drawer with the left hand", "C closes the drawer", "C lifts a cup"]
    text = encoder.text(phrases)
    assert text.shape == (3, 256)
    assert torch.allclose(text.norm(dim=-1), torch.ones(3), atol=1e-6)
    assert torch.equal(encoder.text(phrases[1:])[0], text[1])
    similarity = encoder.similarity(clips, phrases)
    joint = load_encoder("egovideo_tiny", checkpoint=slow, pool="joint")(clips)
    assert torch.allclose(similarity, joint @ text.T, atol=1e-6)
    with pytest.raises(TypeError, match="makes it a list"):
        encoder.text("C opens the drawer")
    with pytest.raises(ValueError, match="give at least one"):
        encoder.similarity(clips, [])


def test_encoders_without_text(clips: np.ndarray) -> None:
    with pytest.raises(ValueError, match="'random/timm/test_vit' knows no text"):
        load_encoder("random/timm/test_vit").similarity(clips, ["a cat"])
    with pytest.raises(ValueError, match="looks at no picture"):
        load_encoder("state").text(["a cat"])


@pytest.mark.parametrize("pool", ["cls", "mean", "joint", "patches", "places"])
def test_openvino_gives_the_same_features(pool: str, slow_fast: Path, clips: np.ndarray) -> None:
    pytest.importorskip("openvino")
    plain = load_encoder("egovideo_tiny", checkpoint=slow_fast, pool=pool)
    compiled = load_encoder("egovideo_tiny", checkpoint=slow_fast, pool=pool, engine="openvino")
    assert torch.allclose(compiled(clips), plain(clips), atol=2e-4)
    assert torch.equal(compiled(clips)[1:], compiled(clips[1:]))
    assert torch.allclose(compiled.tokens(clips), plain.tokens(clips), atol=2e-3)


def test_features_do_not_depend_on_the_batch(slow: Path, clips: np.ndarray) -> None:
    encoder = load_encoder("egovideo_tiny", checkpoint=slow)
    assert torch.equal(encoder(clips)[1:], encoder(clips[1:]))


def test_untrained_weights(clips: np.ndarray) -> None:
    first, again, other = (load_encoder("random/egovideo_tiny", seed=seed) for seed in (3, 3, 4))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert (first.num_frames, first.image_size, first.dim) == (4, 112, 192)
    with pytest.raises(ValueError, match="checkpoint="):
        load_encoder("egovideo_base")


def test_a_checkpoint_of_another_size(slow: Path) -> None:
    with pytest.raises(ValueError, match="width 192 and 6 layers, but egovideo_base has 768 and 12"):
        load_encoder("egovideo_base", checkpoint=slow)


@pytest.mark.parametrize("stride", [1, 3])
def test_an_encoded_episode_is_what_a_stream_gives(
    stride: int, slow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder("egovideo_tiny", checkpoint=slow)
    episode = np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3), np.uint8)
    stream = encoder.stream(num_envs=1, stride=stride)
    streamed = torch.cat([stream(frame[None]) for frame in episode])
    assert torch.equal(encoder.encode_episode(episode, stride), streamed)
    monkeypatch.setattr("egorep.encoder.COMPILED_BATCH", 3)
    assert torch.equal(encoder.encode_episode(episode, stride), streamed), "in parts"
    window = episode[[9 - 3 * stride, 9 - 2 * stride, 9 - stride, 9]]
    assert torch.equal(streamed[-1:], encoder(window[None]))
    pictures = load_encoder("random/timm/test_vit")
    assert torch.equal(pictures.encode_episode(episode, stride), pictures(episode))
    with pytest.raises(ValueError, match=r"got clips \(10, 2, 32, 32, 3\): frames\[:, -1\]"):
        encoder.encode_episode(np.stack([episode, episode], axis=1), stride)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        encoder.encode_episode(episode, stride=0)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_stream_looks_at_each_frame_by_itself_once(engine: str, slow: Path, clips: np.ndarray) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    encoder = load_encoder("egovideo_tiny", checkpoint=slow, engine=engine)
    seen: list[int] = []
    whole = encoder.preprocessing
    encoder.preprocessing = lambda frames: seen.append(len(frames)) or whole(frames)
    stream = encoder.stream(num_envs=2)
    for step in range(6):
        features = stream(clips[:, step], np.array([True, step != 4]))
    assert sum(seen) == 6 + 5
    first, second = clips[0, 2:6], clips[1, [1, 2, 3, 5]]
    assert torch.equal(features, encoder(np.stack([first, second])))
    seen.clear()
    encoder.encode_episode(clips[0])
    assert sum(seen) == len(clips[0])


def test_the_map_of_objects_is_an_encoder_of_its_own(tmp_path: Path, clips: np.ndarray) -> None:
    """Of single pictures at its own size; the other pools are the same with the head and without."""
    folder = save(tmp_path / "with", objectness=True)
    model = EgoVideo.from_pretrained(folder)
    model.objectness, model.config = None, dataclasses.replace(model.config, objectness=False)
    model.save_pretrained(tmp_path / "without")
    mapping = load_encoder("egovideo_tiny:objects", checkpoint=folder)
    assert (mapping.dim, mapping.grid, mapping.num_frames) == (784, (28, 28, 1), 1)
    assert (mapping.image_size, mapping.pool) == (224, "objects")
    features = mapping(clips[:, 0])
    assert features.shape == (2, 784)
    assert torch.equal(features, mapping.tokens(clips[:, 0]).flatten(1))
    assert torch.equal(mapping.stream(2)(clips[:, 0]), features)
    assert not torch.allclose(features[0], features[1])
    towers = load_encoder("egovideo_tiny", checkpoint=folder)
    assert towers.fingerprint == load_encoder("egovideo_tiny", checkpoint=tmp_path / "without").fingerprint
    assert mapping.fingerprint != towers.fingerprint
    with pytest.raises(ValueError, match="knows no text"):
        mapping.text(["C opens the drawer"])


def test_the_map_of_objects_under_openvino(tmp_path: Path, clips: np.ndarray) -> None:
    pytest.importorskip("openvino")
    folder = save(tmp_path, objectness=True)
    plain, compiled = (
        load_encoder("egovideo_tiny:objects", checkpoint=folder, engine=engine)
        for engine in ("torch", "openvino")
    )
    assert torch.allclose(plain(clips[:, 0]), compiled(clips[:, 0]), atol=1e-5)


def test_who_has_no_map_of_objects_says_so(slow: Path) -> None:
    with pytest.raises(ValueError, match=r"has no map of objectness.*pretrain\.objectness init="):
        load_encoder("egovideo_tiny:objects", checkpoint=slow)
    for name in ("random/egovideo_base", "efficientnet_lite0", "random/timm/vit_tiny_patch16_224"):
        with pytest.raises(ValueError, match=f"'{name}' has none: choose 'egovideo_tiny:objects'"):
            validate_encoder_name(f"{name}:objects")
        with pytest.raises(ValueError, match=f"'{name}' has none: choose 'egovideo_tiny:objects'"):
            load_encoder(name, pool="objects")
    assert load_encoder("random/egovideo_tiny:objects").dim == 784


def test_a_map_and_its_pool_go_together() -> None:
    mapping, towers = (
        load_encoder(name) for name in ("random/egovideo_tiny:objects", "random/egovideo_tiny")
    )
    with pytest.raises(ValueError, match="maps objects alone, and the pool is 'grid'"):
        Encoder("map", mapping.backbone, mapping.preprocessing, pool="grid")
    with pytest.raises(ValueError, match="makes no map of objects, and the pool is 'objects'"):
        Encoder("towers", towers.backbone, towers.preprocessing, pool="objects")
