from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from tiny_runs import TINY, settings

from egorep.models.config import SIZES
from egorep.models.egovideo import EgoVideo
from egorep.models.stem import ConvolutionalStem
from egorep.models.text import tokenize
from pretrain.data.loader import Batch
from pretrain.data.motion import MOTION_SIZE
from pretrain.losses import clip_track_contrast
from pretrain.training.config import TrainConfig
from pretrain.training.network import BoxFinder, PretrainingNetwork, TrackEncoder, build_egovideo

SMALL = TINY["model.architecture"].removeprefix("{")  # to put changes in front of


@pytest.fixture
def slow(films: Path) -> EgoVideo:
    """A model of stage backbone."""
    torch.manual_seed(0)
    return build_egovideo(settings(films, Path("nowhere"))).eval()


def saved(model: EgoVideo, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def test_co_training_starts_where_the_backbone_ended(slow: EgoVideo, films: Path, tmp_path: Path) -> None:
    init = saved(slow, tmp_path / "run/model").parent
    config = settings(films, tmp_path, stage="cotrain", init=init)
    fast = build_egovideo(config).eval()
    assert fast.config.fast_frames == 8
    clips = torch.randn(2, 1, 3, 32, 32).expand(-1, 8, -1, -1, -1)
    with torch.no_grad():
        # Nothing moves, adapters are the identity, and the temporal table is zero still. Yet the class token
        # weighs less among twice the patches, so the fast pathway differs a little.
        before, after = slow.encode_video(clips[:, :4]).joint, fast.encode_video(clips).joint
        assert (before * after).sum(-1).min() > 0.98
        fast.slowfast_projection.data = torch.randn(64, 32)  # as a fresh one would be
        assert (before * fast.encode_video(clips).joint).sum(-1).abs().max() < 0.7


def test_an_init_of_another_size_is_refused(slow: EgoVideo, films: Path, tmp_path: Path) -> None:
    init = saved(slow, tmp_path / "model")
    with pytest.raises(
        ValueError, match=r"is of another size than model=egovideo_tiny: \(32, 2, 32, 32, 1, 32\)"
    ):
        build_egovideo(settings(films, tmp_path, init=init, model__architecture=None))


def test_a_map_of_objects_is_carried_along_and_not_trained_here(films: Path, tmp_path: Path) -> None:
    found = EgoVideo(dataclasses.replace(SIZES["egovideo_tiny"], objectness=True))
    init = saved(found, tmp_path / "model")
    model = build_egovideo(settings(films, tmp_path, stage="cotrain", init=init, model__architecture=None))
    assert found.objectness is not None
    assert model.objectness is not None
    for one, other in zip(found.objectness.parameters(), model.objectness.parameters(), strict=True):
        assert torch.equal(one, other)
        assert not other.requires_grad
    with pytest.raises(ValueError, match=r"`python -m pretrain\.objectness` trains that head"):
        build_egovideo(settings(films, tmp_path, model__architecture="{objectness: true}"))


def test_a_slow_fast_init_does_not_make_a_backbone(films: Path, tmp_path: Path) -> None:
    fast = build_egovideo(settings(films, tmp_path, stage="cotrain"))
    with pytest.raises(ValueError, match="is a slow-fast model, and stage=backbone trains a slow one"):
        build_egovideo(settings(films, tmp_path, init=saved(fast, tmp_path / "model")))


@pytest.mark.parametrize(("adapter", "count"), [("none", 0), ("temporal", 2), ("spatial_temporal", 2)])
def test_an_architecture_that_is_asked_for_holds_beside_an_init(
    adapter: str, count: int, slow: EgoVideo, films: Path, tmp_path: Path
) -> None:
    init = saved(slow, tmp_path / "model")
    asked = f"{{adapter: {adapter}, {SMALL}"
    changes = {"model__architecture": asked, "patch_dropout": 0}
    model = build_egovideo(settings(films, tmp_path, stage="cotrain", init=init, **changes))
    assert model.config.adapter == adapter
    assert len(model.visual.adapters) == count
    assert all(
        (made.spatial is not None) == (adapter == "spatial_temporal") for made in model.visual.adapters
    )
    assert torch.equal(model.visual.blocks[1].mlp.fc1.weight, slow.visual.blocks[1].mlp.fc1.weight)


def test_what_an_init_has_too_much_or_in_another_shape_is_told(films: Path, tmp_path: Path) -> None:
    fast = build_egovideo(settings(films, tmp_path, stage="cotrain"))
    init = saved(fast, tmp_path / "model")
    for asked, told in (
        (f"{{adapter: none, {SMALL}", r"unexpected: .*adapters"),
        (f"{{adapter: spatial_temporal, {SMALL}", r"missing: visual\.adapters\.0\.spatial"),
        (
            f"{{slow_frames: 7, {SMALL.replace('{', '{num_frames: 7, ', 1)}",
            r"visual\.time \(4, 32\) instead of \(7, 32\)",
        ),
    ):
        changes = {"model__architecture": asked, "patch_dropout": 0}
        config = settings(films, tmp_path, stage="cotrain", init=init, **changes)
        with pytest.raises(
            ValueError, match=rf"under model\.architecture=.* does not fit the network, .*{told}"
        ):
            build_egovideo(config)


def clip_file(model: EgoVideo, width: int, path: Path) -> Path:
    """Weights as OpenAI's CLIP names them, with a joint space of another width."""
    names = {
        "patch_embed.proj": "conv1", "class_token": "class_embedding", "position": "positional_embedding",
        "norm_pre": "ln_pre", "norm_post": "ln_post", "norm_final": "ln_final", "norm1": "ln_1",
        "norm2": "ln_2", "blocks": "transformer.resblocks", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
        "attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj", "textual.": "",
    }  # fmt: skip
    clip = {}
    for name, weight in model.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        clip[name] = weight
    del clip["visual.time"]
    clip["visual.proj"] = torch.randn(len(clip.pop("image_projection")), width)
    clip["text_projection"] = torch.randn(len(clip["text_projection"]), width)
    numbers = {"input_resolution": 32, "context_length": 16, "vocab_size": 49408}
    torch.save({**clip, **{name: torch.tensor(value) for name, value in numbers.items()}}, path)
    return path


@pytest.mark.parametrize("width", [32, 48])
def test_clip_gives_towers_and_leaves_its_projections(
    width: int, slow: EgoVideo, films: Path, tmp_path: Path
) -> None:
    init = clip_file(slow, width, tmp_path / "clip.pt")
    model = build_egovideo(settings(films, tmp_path, init=init))
    assert model.config.activation == "quick_gelu"
    assert model.config.vision.norm_eps == 1e-5
    assert torch.equal(model.visual.blocks[1].mlp.fc1.weight, slow.visual.blocks[1].mlp.fc1.weight)
    assert model.image_projection.shape == model.text_projection.shape == (32, 32)
    taken = torch.load(init)["visual.proj"]
    assert width == 48 or not torch.equal(model.image_projection, taken)


def batch_of(size: int) -> Batch:
    return Batch(
        torch.empty(size, 0),
        tokenize(["the hand takes a cup"] * size, 16),
        torch.full((size, 4, 5, 4), torch.nan),
        torch.rand(size, 6, MOTION_SIZE),
        torch.ones(size, dtype=torch.bool),
        [],
    )


def network_of(films: Path, **changes: object) -> tuple[PretrainingNetwork, TrainConfig]:
    config = settings(films, Path("nowhere"), **changes)
    return PretrainingNetwork(build_egovideo(config), config, MOTION_SIZE), config


def test_heads_are_there_where_losses_want_them(films: Path) -> None:
    clips = torch.randn(2, 8, 3, 32, 32)
    plain, _ = network_of(films)
    assert set(plain(clips[:, :4], batch_of(2))) == {"video", "text", "logit_scale"}
    full, _ = network_of(films, stage="cotrain", losses__boxes=1, losses__tracks=1, losses__contrast="siglip")
    outputs = full(clips, batch_of(2))
    assert outputs["boxes"].shape == (2, 4, 5, 4)
    assert ((outputs["boxes"] > 0) & (outputs["boxes"] < 1)).all()
    assert outputs["patch_boxes"].shape == (2, 4, 5, 4)
    assert outputs["motion"].shape == outputs["tracks"].shape == (2, 32)
    assert outputs["logit_bias"].item() == -10


def test_patches_say_where_boxes_are() -> None:
    """A patch that draws all the attention of a kind is where its box is, also where others are left out."""
    torch.manual_seed(0)
    finder = BoxFinder(width=8, kinds=2, grid=4)
    finder.correct[-1].weight.data.zero_()
    finder.correct[-1].bias.data.copy_(torch.tensor([0.0, 0.0, 1.0, 1.0]))
    finder.score.weight.data.zero_()
    finder.score.weight.data[0, 0] = 100.0
    patches = torch.zeros(1, 3, 5, 8)
    patches[0, 1, 3, 0] = 1.0  # in the second frame, the patch at place 6: second row, third column
    places = torch.tensor([[0, 15, 9, 6, 1]])
    boxes = finder(patches, places)
    assert boxes.shape == (1, 3, 2, 4)
    assert (boxes[0, 1, 0, :2] + boxes[0, 1, 0, 2:]).tolist() == pytest.approx([2 * 2.5 / 4, 2 * 1.5 / 4])
    assert (boxes[0, 1, 0, 2:] - boxes[0, 1, 0, :2]).tolist() == pytest.approx([0.5, 0.5])
    columns, rows = (places % 4 + 0.5) / 4, (places // 4 + 0.5) / 4
    mean = [2 * columns.mean().item(), 2 * rows.mean().item()]
    assert (boxes[0, 1, 1, :2] + boxes[0, 1, 1, 2:]).tolist() == pytest.approx(mean), "no attention: the mean"


def test_a_convolutional_stem_starts_from_its_photographs(films: Path) -> None:
    vision = "{image_size: 32, patch_size: 16, stem: efficientnet_lite0, width: 32, layers: 1, heads: 2}"
    text = "{width: 32, layers: 1, heads: 2, context_length: 16}"
    architecture = f"{{vision: {vision}, text: {text}, joint_dim: 32}}"
    model = build_egovideo(settings(films, Path("nowhere"), model__architecture=architecture))
    stem = model.visual.patch_embed
    assert isinstance(stem, ConvolutionalStem)
    wanted = ConvolutionalStem(32)
    wanted.load_imagenet()
    assert torch.equal(stem.first[0].weight, wanted.first[0].weight)


def test_the_temperature_is_fixed_unless_it_is_to_be_learned(films: Path) -> None:
    for changes, scale, learns in (
        ({}, 1 / 0.07, False),
        ({"temperature": 0.1, "learn_temperature": True}, 10, True),
        ({"losses__contrast": "siglip"}, 10, True),
    ):
        network, _ = network_of(films, **changes)
        assert math.exp(network.egovideo.logit_scale.item()) == pytest.approx(scale)
        assert network.egovideo.logit_scale.requires_grad is learns


def test_the_track_encoder_learns_to_tell_motions_apart() -> None:
    torch.manual_seed(0)
    encoder = TrackEncoder(MOTION_SIZE, 16)
    motion = torch.zeros(8, 6, MOTION_SIZE)
    motion[:, :, 1:5] = 0.3 + 0.05 * torch.arange(8)[:, None, None]  # boxes a twentieth of the picture apart
    video = torch.nn.functional.normalize(torch.randn(8, 16), dim=-1)
    adam = torch.optim.AdamW(encoder.parameters(), 1e-3)
    known, scale = torch.ones(8, dtype=torch.bool), torch.tensor(1 / 0.07).log()
    for _ in range(80):
        loss = clip_track_contrast(video, encoder(motion), known, scale)
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() < 0.5 * math.log(8)


def test_an_unknown_vocabulary_is_refused(films: Path, tmp_path: Path) -> None:
    config = settings(films, tmp_path)
    config.model.architecture = {"text": {**config.model.architecture["text"], "vocabulary": 100}}
    with pytest.raises(ValueError, match=r"vocabulary 100 .*49408"):
        build_egovideo(config)
