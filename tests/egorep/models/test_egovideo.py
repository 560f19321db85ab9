from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import SLOW, SLOW_FAST

from egorep.models.egovideo import EgoVideo

Make = Callable[..., EgoVideo]
IDS = torch.tensor([[48, 3, 4, 49, 0], [48, 7, 49, 0, 0]])


def test_one_space_for_video_and_text(make_model: Make, clips: torch.Tensor) -> None:
    with torch.no_grad():
        video, text = make_model()(clips, IDS)
    assert video.shape == text.shape == (2, 16)
    for features in (video, text):
        assert torch.allclose(features.norm(dim=-1), torch.ones(2), atol=1e-6)


def test_the_slow_pathway_sees_the_middles_of_what_the_fast_one_sees(
    make_model: Make, clips: torch.Tensor
) -> None:
    """Trap 3: both pathways take the same frames, prepared in the same way."""
    model, seen = make_model().eval(), []
    model.visual.patch_embed.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    video = model.encode_video(clips)
    [prepared] = seen
    assert torch.equal(prepared, clips.flatten(0, 1)), "once for both"
    assert video.fast is not None
    assert torch.allclose(video.slow.patches, model.visual(clips[:, [1, 4]], "slow").patches, atol=1e-6)
    assert torch.allclose(video.fast.patches, model.visual(clips, "fast").patches, atol=1e-6)


def test_fusion_is_slow_first(make_model: Make, clips: torch.Tensor) -> None:
    model = make_model()
    with torch.no_grad():
        video = model.encode_video(clips)
        assert video.fast is not None
        projected = [pathway.classes @ model.image_projection for pathway in (video.slow, video.fast)]
        fused = torch.cat(projected, -1) @ model.slowfast_projection
        assert torch.allclose(video.joint, fused / fused.norm(dim=-1, keepdim=True), atol=1e-6)


def test_a_model_without_a_fast_pathway_has_no_adapters(make_model: Make, clips: torch.Tensor) -> None:
    model = make_model(SLOW)
    assert model.slowfast_projection is None
    assert len(model.visual.adapters) == 0
    assert model.encode_video(clips[:, :2]).fast is None


def test_a_fast_pathway_without_adapters_is_the_backbone_on_more_frames(
    make_model: Make, clips: torch.Tensor
) -> None:
    model = make_model(dataclasses.replace(SLOW_FAST, adapter="none"))
    assert not list(model.visual.adapters)
    with torch.no_grad():
        fast = model.encode_video(clips).fast
        assert fast is not None
        assert torch.equal(fast.classes, model.visual(clips, "slow").classes)


def test_co_training_teaches_the_backbone_through_the_slow_pathway_alone(
    make_model: Make, clips: torch.Tensor
) -> None:
    def gradients(co_training: bool, without: str = "") -> dict[str, torch.Tensor]:
        model = make_model().train()
        if without:  # nothing comes back from one pathway
            half = slice(0, 16) if without == "slow" else slice(16, 32)
            with torch.no_grad():
                model.slowfast_projection[half] = 0.0
        model.encode_video(clips, co_training=co_training).joint.square().mul(
            torch.arange(16)
        ).sum().backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    together, end_to_end = gradients(True), gradients(False)
    assert together.keys() == end_to_end.keys(), "everything that video passes learns"
    name = "visual.blocks.0.attn.qkv.weight"
    assert not torch.allclose(together[name], end_to_end[name], rtol=1e-2)
    assert gradients(True, without="slow")[name].abs().max() == 0
    assert gradients(False, without="slow")[name].abs().max() > 0
    assert torch.allclose(gradients(True, without="fast")[name], gradients(False, without="fast")[name])
    for learned in ("visual.adapters.0.down.weight", "image_projection", "slowfast_projection"):
        assert together[learned].abs().max() > 0
        assert torch.allclose(together[learned], end_to_end[learned], atol=1e-6)


@pytest.mark.parametrize("variant", ["slow", "slow_fast", "spatial"])
def test_saving_and_loading(variant: str, make_model: Make, clips: torch.Tensor, tmp_path: Path) -> None:
    model = make_model(SLOW) if variant == "slow" else make_model()
    if variant == "spatial":
        model = make_model(dataclasses.replace(model.config, adapter="spatial_temporal"))
    model.save_pretrained(tmp_path / "model")
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "model").iterdir()}
    (tmp_path / "any").touch()
    usual = (tmp_path / "any").stat().st_mode
    assert {path.stat().st_mode for path in (tmp_path / "model").iterdir()} == {usual}, "as the umask says"
    loaded = EgoVideo.from_pretrained(tmp_path / "model")
    assert loaded.config == model.config
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded.encode_video(clips).joint, model.encode_video(clips).joint)
        assert torch.equal(loaded.encode_text(IDS), model.encode_text(IDS))


def test_a_damaged_folder_is_refused(make_model: Make, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json; `EgoVideo\.save_pretrained` writes it"):
        EgoVideo.from_pretrained(tmp_path)
    make_model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["visual.extra"] = weights.pop("visual.class_token")
    weights["image_projection"] = weights["image_projection"][:, :3].contiguous()
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError,
        match=r"missing: visual\.class_token; unexpected: visual\.extra; "
        r"misshaped: image_projection \(32, 3\) instead of \(32, 16\)",
    ):
        EgoVideo.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"widht": 3}))
    with pytest.raises(ValueError, match=r"not a configuration of EgoVideo.*widht"):
        EgoVideo.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "vit"}))
    with pytest.raises(ValueError, match="model_type is not 'egovideo'"):
        EgoVideo.from_pretrained(tmp_path)


def test_push_to_hub_uploads_what_from_pretrained_reads(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded: list[str] = []

    class Hub:
        def __init__(self, **options: object) -> None: ...

        def create_repo(self, repo_id: str, **options: object) -> object:
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, *, folder_path: Path, **options: object) -> str:
            uploaded.extend(path.name for path in Path(folder_path).iterdir())
            return "done"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    make_model().push_to_hub("lab/egovideo")
    assert {"config.json", "model.safetensors"} <= set(uploaded)
