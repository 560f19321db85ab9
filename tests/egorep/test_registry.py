from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file

from egorep import list_encoders, load_encoder
from egorep import registry as registry_module
from egorep.efficientnet_lite import efficientnet_lite0_classifier
from egorep.models.config import SIZES
from egorep.models.egovideo import EgoVideo
from egorep.preprocessing import Preprocessing
from egorep.registry import EncoderName, validate_encoder_name

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 99,
    "max_position_embeddings": 16,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
SQUARE = {"height": 32, "width": 32}


def save(folder: Path, model: torch.nn.Module, processor: object) -> str:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return f"hf/{folder}"


def vit(folder: Path, side: int = 32) -> str:
    torch.manual_seed(0)
    model = transformers.ViTModel(transformers.ViTConfig(**VISION))
    return save(
        folder, model, transformers.ViTImageProcessor(size={"height": side, "width": side}, resample=2)
    )


def clip(folder: Path) -> str:
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size=SQUARE)
    return save(folder, transformers.CLIPModel(config), processor)


def siglip(folder: Path) -> str:
    config = transformers.SiglipConfig(text_config=TEXT, vision_config=VISION)
    return save(folder, transformers.SiglipModel(config), transformers.SiglipImageProcessor(size=SQUARE))


def convnext(folder: Path) -> str:
    config = transformers.ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32])
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 64})
    return save(folder, transformers.ConvNextModel(config), processor)


def swin(folder: Path) -> str:
    config = transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4
    )
    return save(folder, transformers.SwinModel(config), transformers.ViTImageProcessor(size=SQUARE))


@pytest.mark.parametrize(
    ("make", "image_size", "tokens"),
    [
        (vit, 32, (4, 4, 32)),
        (clip, 32, (4, 4, 32)),
        (siglip, 32, (4, 4, 32)),
        (convnext, 64, (2, 2, 32)),
        (swin, 32, (8, 8, 16)),
    ],
)
def test_transformers_models(make, image_size, tokens, tmp_path: Path, pictures: np.ndarray) -> None:
    name = make(tmp_path / "model")
    encoder = load_encoder(name)
    assert (encoder.image_size, encoder.dim) == (image_size, tokens[-1])
    assert encoder.tokens(pictures).shape == (9, 1, *tokens)
    assert torch.equal(encoder(pictures)[:2], encoder(pictures[:2]))
    assert load_encoder(name).fingerprint == encoder.fingerprint
    assert load_encoder(name, pool="mean").fingerprint != encoder.fingerprint
    untrained = load_encoder(f"random/{name}", seed=1)
    assert untrained.fingerprint == load_encoder(f"random/{name}", seed=1).fingerprint
    assert untrained.fingerprint not in (encoder.fingerprint, load_encoder(f"random/{name}").fingerprint)


def test_transformers_class_token_and_constants(tmp_path: Path, pictures: np.ndarray) -> None:
    encoder = load_encoder(vit(tmp_path / "vit"))
    pixels = encoder.preprocessing(torch.from_numpy(pictures))
    output = transformers.AutoModel.from_pretrained(tmp_path / "vit").eval()(pixel_values=pixels)
    assert torch.allclose(encoder(pictures), output.last_hidden_state[:, 0], atol=1e-5)
    patches = output.last_hidden_state[:, 1:].reshape(9, 1, 4, 4, 32)
    assert torch.allclose(encoder.tokens(pictures), patches, atol=1e-5)

    encoder = load_encoder(clip(tmp_path / "clip"))
    documented = transformers.CLIPImageProcessor()
    assert encoder.preprocessing.mean == pytest.approx(tuple(documented.image_mean))
    assert encoder.preprocessing.std == pytest.approx(tuple(documented.image_std))
    assert encoder.preprocessing.interpolation == "bicubic"
    pixels = encoder.preprocessing(torch.from_numpy(pictures))
    output = (
        transformers.AutoModel.from_pretrained(tmp_path / "clip").eval().vision_model(pixel_values=pixels)
    )
    assert torch.allclose(encoder(pictures), output.pooler_output, atol=1e-5)


def test_transformers_input_of_another_size_than_the_weights(tmp_path: Path, pictures: np.ndarray) -> None:
    encoder = load_encoder(vit(tmp_path, side=48))
    assert encoder.tokens(pictures).shape == (9, 1, 6, 6, 32)


def test_a_checkpoint_without_a_pooler_loads_alike_every_time(tmp_path: Path) -> None:
    config = transformers.ViTConfig(**VISION)
    model = transformers.ViTModel(config, add_pooling_layer=False)
    name = save(tmp_path, model, transformers.ViTImageProcessor(size=SQUARE))
    assert load_encoder(name).fingerprint == load_encoder(name).fingerprint


def test_an_incomplete_checkpoint_is_refused(tmp_path: Path) -> None:
    name = vit(tmp_path)
    weights = transformers.ViTModel.from_pretrained(tmp_path).state_dict()
    removed = next(key for key in weights if key.startswith("encoder") or "layer" in key)
    save_file(
        {k: v.contiguous() for k, v in weights.items() if k != removed},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ValueError, match="lacks weights"):
        load_encoder(name)


def test_models_that_mask_at_random_are_refused(tmp_path: Path) -> None:
    config = transformers.ViTMAEConfig(**VISION, decoder_num_hidden_layers=1)
    name = save(tmp_path, transformers.ViTMAEModel(config), transformers.ViTImageProcessor(size=SQUARE))
    with pytest.raises(ValueError, match="at random; load its encoder through timm"):
        load_encoder(name)


VIDEO = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 8,
    "tubelet_size": 2,
}
DECODER = {
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}
# Pixels and a folder to the tokens and the pooled features that its model stands for.
Reference = Callable[[torch.Tensor, Path], tuple[torch.Tensor, torch.Tensor]]


def videomae_config(**options: object) -> transformers.VideoMAEConfig:
    return transformers.VideoMAEConfig(**VIDEO, image_size=32, num_frames=4, intermediate_size=48, **options)


def videomae(folder: Path) -> tuple[str, Reference]:
    """As pretrained: with a decoder, a norm after the last block, and a processor of the old kind."""
    model = transformers.VideoMAEForPreTraining(videomae_config(**DECODER, use_mean_pooling=False))
    torch.nn.init.normal_(model.videomae.layernorm.weight)

    def reference(pixels: torch.Tensor, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = transformers.VideoMAEModel.from_pretrained(folder).eval()(pixels).last_hidden_state
        return tokens, tokens.mean(1)

    processor = transformers.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE)
    return save(folder, model, processor), reference


def videomae_classifier(folder: Path) -> tuple[str, Reference]:
    """As fine-tuned: the last norm is of the mean, and stands with the classifier."""
    model = transformers.VideoMAEForVideoClassification(videomae_config())
    torch.nn.init.normal_(model.fc_norm.weight)

    def reference(pixels: torch.Tensor, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
        model = transformers.VideoMAEForVideoClassification.from_pretrained(folder).eval()
        raw = model.videomae(pixels).last_hidden_state
        return model.fc_norm(raw), model.fc_norm(raw.mean(1))

    processor = transformers.VideoMAEVideoProcessor(size={"shortest_edge": 40}, crop_size=SQUARE)
    return save(folder, model, processor), reference


def vjepa2(folder: Path) -> tuple[str, Reference]:
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    config = transformers.VJEPA2Config(**VIDEO, **predictor, crop_size=32, frames_per_clip=4, mlp_ratio=2.0)

    def reference(pixels: torch.Tensor, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
        model = transformers.VJEPA2Model.from_pretrained(folder).eval()
        tokens = model(pixel_values_videos=pixels).last_hidden_state
        return tokens, tokens.mean(1)

    return save(
        folder, transformers.VJEPA2Model(config), transformers.VJEPA2VideoProcessor(crop_size=32)
    ), reference


@pytest.mark.parametrize("make", [videomae, videomae_classifier, vjepa2])
def test_transformers_models_of_clips(make, tmp_path: Path, pictures: np.ndarray) -> None:
    torch.manual_seed(0)
    name, reference = make(tmp_path / "model")
    encoder = load_encoder(name)
    clips = pictures[:6].reshape(1, 6, *pictures.shape[1:])
    with torch.no_grad():
        pixels = encoder.preprocessing(torch.from_numpy(clips[:, [0, 2, 3, 5]]))
        tokens, pooled = reference(pixels, tmp_path / "model")
    assert (encoder.num_frames, encoder.image_size, encoder.dim) == (4, 32, 24)
    assert torch.allclose(encoder.tokens(clips), tokens.reshape(1, 2, 4, 4, 24), atol=1e-5)
    assert torch.allclose(encoder(clips), pooled, atol=1e-5)
    assert torch.allclose(load_encoder(name, pool="mean")(clips), tokens.mean(1), atol=1e-5)
    still = np.repeat(pictures[:1, None], 4, axis=1)
    assert torch.equal(encoder(pictures[:1]), encoder(still))
    assert not torch.allclose(encoder(clips), encoder(clips[:, ::-1].copy()), atol=1e-5)
    assert not any("predictor" in key for key in encoder.state_dict())

    assert load_encoder(name).fingerprint == encoder.fingerprint
    untrained = load_encoder(f"random/{name}", seed=1)
    assert untrained.fingerprint == load_encoder(f"random/{name}", seed=1).fingerprint
    assert untrained.fingerprint != encoder.fingerprint
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("make", [videomae_classifier, vjepa2])
def test_openvino_takes_models_of_clips(make, tmp_path: Path, pictures: np.ndarray) -> None:
    name, _ = make(tmp_path / "model")
    clips = pictures[:8].reshape(2, 4, *pictures.shape[1:])
    slow, fast = load_encoder(name), load_encoder(name, engine="openvino")
    assert torch.allclose(fast(clips), slow(clips), atol=1e-5)
    assert torch.allclose(fast.tokens(clips), slow.tokens(clips), atol=1e-5)


def test_constants_of_models_of_clips(tmp_path: Path) -> None:
    documented = transformers.VJEPA2VideoProcessor()
    preprocessing = load_encoder(vjepa2(tmp_path / "vjepa2")[0]).preprocessing
    assert preprocessing.mean == pytest.approx(tuple(documented.image_mean))
    assert preprocessing.std == pytest.approx(tuple(documented.image_std))
    assert preprocessing.interpolation == "bilinear"
    # Files of VideoMAE that are older than its processor of videos.
    name, _ = videomae(tmp_path / "videomae")
    file = tmp_path / "videomae" / "preprocessor_config.json"
    old = {"size": 32, "resample": 2, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    file.write_text(
        json.dumps({"feature_extractor_type": "VideoMAEFeatureExtractor", "crop_size": 32, **old})
    )
    assert load_encoder(name).preprocessing == Preprocessing(
        32, tuple(old["image_mean"]), tuple(old["image_std"]), "bilinear"
    )


def test_a_fine_tuned_videomae_without_its_last_norm_is_refused(tmp_path: Path) -> None:
    processor = transformers.VideoMAEVideoProcessor(size={"shortest_edge": 32}, crop_size=SQUARE)
    name = save(tmp_path, transformers.VideoMAEModel(videomae_config()), processor)
    with pytest.raises(ValueError, match=r"lacks weights.*fc_norm"):
        load_encoder(name)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no config\.json.*save_pretrained"):
        load_encoder(f"hf/{tmp_path}")
    transformers.ViTModel(transformers.ViTConfig(**VISION)).save_pretrained(tmp_path)
    with pytest.raises(ConnectionError, match=r"save_pretrained.*preprocessor_config\.json"):
        load_encoder(f"hf/{tmp_path}")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_timm_checkpoint(suffix: str, tmp_path: Path, pictures: np.ndarray) -> None:
    model = timm.create_model("test_vit").eval()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": model.state_dict()}, path)
    else:
        save_file(model.state_dict(), path)
    encoder = load_encoder("timm/test_vit", checkpoint=path)
    pixels = encoder.preprocessing(torch.from_numpy(pictures))
    with torch.no_grad():
        assert torch.allclose(encoder(pictures), model.forward_features(pixels)[:, 0], atol=1e-5)
    assert encoder.fingerprint != load_encoder("random/timm/test_vit").fingerprint


def test_bad_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_vit2").state_dict(), path)
    with pytest.raises(ValueError, match="does not fit 'timm/test_vit3'"):
        load_encoder("timm/test_vit3", checkpoint=path)
    with pytest.raises(ValueError, match="brings its own weights"):
        load_encoder("efficientnet_lite0", checkpoint=path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        load_encoder("timm/test_vit", checkpoint=tmp_path / "nowhere.pth")


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ConnectionError, match="checkpoint=, or take untrained ones with 'random/timm/test_vit'"
    ):
        load_encoder("timm/test_vit")


@pytest.mark.parametrize("name", ["random/timm/test_vit", "random/efficientnet_lite0"])
def test_random_weights_are_seeded_and_leave_the_random_state(name: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = load_encoder(name, seed=5)
    assert torch.equal(torch.rand(4), expected)
    assert first.fingerprint == load_encoder(name, seed=5).fingerprint
    assert first.fingerprint != load_encoder(name, seed=6).fingerprint


def test_timm_class_token_and_own_pooling(pictures: np.ndarray) -> None:
    for name in ("test_vit", "test_vit2", "test_vit3", "test_efficientnet", "test_convnext"):
        encoder = load_encoder(f"random/timm/{name}")
        pixels = encoder.preprocessing(torch.from_numpy(pictures))
        model = encoder.backbone.model
        with torch.no_grad():
            own = model.forward_head(model.forward_features(pixels), pre_logits=True)
        assert torch.allclose(encoder(pictures), own, atol=1e-5), name


def test_timm_class_token_is_normed_where_timm_norms_later(pictures: np.ndarray) -> None:
    encoder = load_encoder("random/timm/eva02_tiny_patch14_224")
    features = encoder(pictures[:2])
    assert features.mean(1).abs().max() < 1e-4
    assert (features.std(1) - 1).abs().max() < 0.05


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("efficientnet_lite", "did you mean 'efficientnet_lite0'"),
        ("vit_tiny_patch16_224", "'timm/vit_tiny_patch16_224'"),
        ("timm/vit_tiny_patch16_2244", "unknown timm model.*'vit_tiny_patch16_224'"),
        ("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1", "'vit_tiny_patch16_224.augreg_in21k_ft_in1k'"),
        ("random/timm/resnet", "unknown timm model"),
        ("random/state", "'state'"),
        ("timm/", "unknown encoder"),
        ("", "unknown encoder"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        validate_encoder_name(name)
    with pytest.raises(ValueError, match=says):
        load_encoder(name)


def test_validation_builds_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry_module, "_build", None)
    monkeypatch.setattr(timm, "create_model", None)
    for name in [
        *list_encoders(),
        "timm/resnet50.a1_in1k",
        "random/timm/resnet50",
        "hf/org/model",
        f"hf/{tmp_path}",
    ]:
        validate_encoder_name(name)
    with pytest.raises(FileNotFoundError, match=r"'\./nowhere'"):
        validate_encoder_name("hf/./nowhere")


def test_unknown_pool() -> None:
    with pytest.raises(ValueError, match="unknown pool 'max'"):
        load_encoder("efficientnet_lite0", pool="max")
    with pytest.raises(
        ValueError,
        match="shares no space with text: choose pool 'cls', 'mean', 'grid', 'patches' or 'places'",
    ):
        load_encoder("efficientnet_lite0", pool="joint")


def test_efficientnet_lite0_recognises_a_photograph() -> None:
    """Grace Hopper in uniform, as bundled with matplotlib; ImageNet's class 652 is "military uniform"."""
    pytest.importorskip("matplotlib")
    from matplotlib import cbook
    from PIL import Image

    with cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = np.array(Image.open(file).convert("RGB"))[None]
    encoder = load_encoder("efficientnet_lite0")
    classifier = efficientnet_lite0_classifier().eval()
    with torch.no_grad():
        logits = classifier(encoder.preprocessing(torch.from_numpy(picture)))
        from_features = classifier.classifier(encoder(picture))
    assert logits.argmax().item() == 652
    assert logits.softmax(-1).max() > 0.35
    assert torch.allclose(from_features, logits, atol=1e-3)
    assert encoder.dim == 1280


def test_a_checkpoint_may_stand_in_the_name(tmp_path: Path, pictures: np.ndarray) -> None:
    """So that one list of names, as robot_eval takes it, tells several checkpoints of a network apart."""
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_vit").state_dict(), path)
    named, given = load_encoder(f"timm/test_vit@{path}"), load_encoder("timm/test_vit", checkpoint=path)
    assert named.fingerprint == given.fingerprint
    assert (named.name, given.name) == (f"timm/test_vit@{path}", "timm/test_vit")
    validate_encoder_name(f"timm/test_vit@{path}")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        validate_encoder_name("egovideo_base@nowhere.pth")
    with pytest.raises(ValueError, match="names a checkpoint already"):
        load_encoder(f"timm/test_vit@{path}", checkpoint=path)
    with pytest.raises(ValueError, match="is a folder; 'r3m_resnet18' takes a file"):
        validate_encoder_name("r3m_resnet18", tmp_path)


def test_names_that_need_a_file_say_who_publishes_it() -> None:
    for name, authors in (("egovideo_large", "EgoHOD"), ("vc1_base", "eai-vc")):
        with pytest.raises(ValueError, match=rf"needs checkpoint=.*{authors}.*'random/{name}'"):
            validate_encoder_name(name)
        validate_encoder_name(f"random/{name}")


def test_tiny_brings_weights_and_takes_others(tmp_path: Path) -> None:
    shipped = load_encoder("egovideo_tiny")
    assert shipped.fingerprint == load_encoder("egovideo_tiny", seed=2).fingerprint
    assert shipped.fingerprint != load_encoder("random/egovideo_tiny").fingerprint
    EgoVideo(SIZES["egovideo_tiny"]).save_pretrained(tmp_path)
    assert load_encoder("egovideo_tiny", checkpoint=tmp_path).fingerprint != shipped.fingerprint


def test_a_name_may_say_the_pool(tmp_path: Path) -> None:
    said, given = load_encoder("random/egovideo_tiny:mean"), load_encoder("random/egovideo_tiny", pool="mean")
    assert (said.name, said.pool) == ("random/egovideo_tiny:mean", "mean")
    assert said.fingerprint == given.fingerprint
    assert load_encoder("random/egovideo_tiny:mean", pool="joint").pool == "mean", "the name goes first"
    with pytest.raises(ValueError, match="unknown pool 'gird'; did you mean 'grid'"):
        load_encoder("efficientnet_lite0:gird")
    with pytest.raises(ValueError, match="'state' looks at no picture, so it has no pool"):
        load_encoder("state:mean")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint '.*a:b'"):
        load_encoder(f"timm/test_vit@{tmp_path}/a:b:mean")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("state", ("state", None, None)),
        ("timm/vit:grid", ("timm/vit", None, "grid")),
        ("egovideo_tiny@runs/tiny", ("egovideo_tiny", "runs/tiny", None)),
        ("egovideo_tiny@runs/t:1/tiny:patches", ("egovideo_tiny", "runs/t:1/tiny", "patches")),
        ("egovideo_tiny@runs/t:1", ("egovideo_tiny", "runs/t:1", None)),
        ("hf//models:1/vit", ("hf//models:1/vit", None, None)),
    ],
)
def test_names_come_apart_and_together(name: str, parts: tuple[str | None, ...]) -> None:
    read = EncoderName.read(name)
    assert read == parts
    assert read.with_checkpoint(read.checkpoint) == name
    assert EncoderName.read(read.with_checkpoint("x.pt")) == (parts[0], "x.pt", parts[2])
