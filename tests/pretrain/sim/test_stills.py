from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from egorep.models.objectness import CLASSES
from pretrain.sim import dataset
from pretrain.sim.clip import Plan, plan
from pretrain.sim.dataset import Recipe, make
from pretrain.sim.looks import Wardrobe, draw_view
from pretrain.sim.splits import TEXTURES
from pretrain.sim.stills import Stills, read_stills, write_stills

HANDS = (CLASSES.index("left hand"), CLASSES.index("right hand"))
OBJECT = CLASSES.index("object")

# Films stills of one clip twice, and once as the wearer sees it in the scene's own look, beside its video.
FILM = """
import sys
import numpy as np
from pretrain.sim import stills
from pretrain.sim.clip import film, plan
from pretrain.sim.filming import Filmer
from pretrain.sim.seeds import stable_rng

arrays = {}
with Filmer() as filmer:
    for name in ("first", "second"):
        found = stills.film_stills(plan(7, "train"), 12, filmer)
        arrays |= {f"{name}_pictures": found.pictures, f"{name}_outlines": found.outlines}
    clip = film(plan(7, "train"), filmer)
    stills._ELSEWHERE = 0.0
    stills.Wardrobe.dress = lambda self, rng: None
    found = stills.film_stills(plan(7, "train"), 6, filmer)
    arrays |= {"own_pictures": found.pictures, "own_outlines": found.outlines}
rng = stable_rng("stills", "train", 7)
moments = []
for _ in range(6):
    moments.append(int(rng.integers(len(clip.frames))))
    rng.uniform()
np.savez(sys.argv[1], **arrays, frames=clip.frames[moments], boxes=clip.truth.hand_boxes[moments])
"""


@pytest.fixture(scope="module")
def filmed(
    tmp_path_factory: pytest.TempPathFactory, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("stills") / "stills.npz"
    result = run_python(FILM, str(path), MUJOCO_GL="egl")
    assert result.returncode == 0, result.stderr
    return dict(np.load(path))


@pytest.fixture(scope="module")
def played() -> Plan:
    return plan(7, "train")


def test_the_same_plan_gives_the_same_stills(filmed: dict[str, np.ndarray]) -> None:
    assert filmed["first_pictures"].shape == (12, 112, 112, 3)
    assert filmed["first_outlines"].shape == (12, 28, 28)
    for kind in ("pictures", "outlines"):
        np.testing.assert_array_equal(filmed[f"first_{kind}"], filmed[f"second_{kind}"])


def test_each_still_has_a_look_and_things_to_see(filmed: dict[str, np.ndarray]) -> None:
    pictures, outlines = filmed["first_pictures"], filmed["first_outlines"]
    means = pictures.mean((1, 2))
    assert np.ptp(means, axis=0).min() > 20, "one picture is of another colour than the next"
    assert set(np.unique(outlines)) == {0, *HANDS, OBJECT}
    assert (np.count_nonzero(outlines == OBJECT, axis=(1, 2)) > 0).mean() > 0.8


def test_seen_by_the_wearer_in_its_own_look_it_is_a_frame_of_the_video(filmed: dict[str, np.ndarray]) -> None:
    expected = filmed["frames"].reshape(6, 112, 2, 112, 2, 3).mean((2, 4))
    assert np.abs(filmed["own_pictures"] - expected).max() <= 1, "the mean is cut to whole numbers"
    for outlines, boxes in zip(filmed["own_outlines"], filmed["boxes"], strict=True):
        for hand, (left, top, right, bottom) in zip(HANDS, boxes, strict=True):
            rows, columns = np.nonzero(outlines == hand)
            middles = 8 * np.stack([columns, rows]) + 4.5
            if len(rows) > 3:
                assert (middles[0] >= left).all()
                assert (middles[0] <= right).all()
                assert (middles[1] >= top).all()
                assert (middles[1] <= bottom).all()
            elif not np.isnan(left):
                assert (right - left) * (bottom - top) < 60 * 16, "a hand that is seen is in the outlines"


def test_looks_start_from_the_scenes_own_and_show_its_splits_textures(
    played: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    families: list[str] = []
    drawn = "pretrain.sim.looks.surface_picture"

    def noted(family: str, seed: int) -> np.ndarray:
        families.append(family)
        return np.full((256, 256, 3), seed % 251, np.uint8)

    monkeypatch.setattr(drawn, noted)
    model = played.stage.scene.model
    own = model.geom_rgba.copy()
    wardrobe, looks = Wardrobe(played.stage.scene), []
    for seed in (1, 2, 1):
        wardrobe.dress(np.random.default_rng(seed))
        parts = (model.tex_data, model.geom_rgba, model.mat_rgba, model.light_pos, model.light_diffuse)
        looks.append(np.concatenate([part.astype(np.float64).ravel() for part in parts]))
    np.testing.assert_array_equal(looks[0], looks[2])
    assert not np.array_equal(looks[0], looks[1])
    assert set(families) <= set(TEXTURES["train"])
    changed = (model.geom_rgba != own).any(1).mean()
    assert 0.3 < changed < 0.7
    assert (model.geom_rgba[:, 3] == own[:, 3]).all(), "what cannot be seen stays so"
    np.testing.assert_allclose(np.linalg.norm(model.light_dir, axis=1), 1)


def test_views_look_at_the_table_from_above_and_upright() -> None:
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(200):
        view = draw_view(rng)
        np.testing.assert_allclose(view.axes.T @ view.axes, np.eye(3), atol=1e-12)
        assert np.linalg.det(view.axes) > 0
        assert view.at[2] > 0.1
        assert view.axes[2, 1] > 0.3, "up in the picture is up"
        along = np.array([0.0, 0.33, 0.07]) - view.at
        assert -(along @ view.axes[:, 2]) / np.linalg.norm(along) > np.cos(np.deg2rad(25))
        assert 40 <= view.fovy <= 60
        sides.append(np.sign(view.at[:2] - [0.0, 0.33]))
    assert {tuple(side) for side in sides} == {(x, y) for x in (-1.0, 1.0) for y in (-1.0, 1.0)}


def some_stills(count: int = 2) -> Stills:
    rng = np.random.default_rng(0)
    return Stills(
        rng.integers(0, 256, (count, 112, 112, 3), np.uint8), rng.integers(0, 4, (count, 28, 28), np.uint8)
    )


def test_stills_of_a_split_are_read_together(tmp_path: Path) -> None:
    written = some_stills()
    for name in ("train_0000001", "train_0000000", "test_0000002"):
        write_stills(tmp_path / f"stills/{name}.npz", written)
    found = read_stills(tmp_path, "train")
    assert found.pictures.shape == (4, 112, 112, 3)
    np.testing.assert_array_equal(found.outlines, np.concatenate([written.outlines] * 2))
    with pytest.raises(
        FileNotFoundError, match=r"has no stills of split validation: python -m pretrain\.sim"
    ):
        read_stills(tmp_path, "validation")
    path = tmp_path / "stills/train_0000001.npz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"train_0000001\.npz holds no stills of EgoSim, or is damaged"):
        read_stills(tmp_path, "train")


def test_a_data_set_of_stills_goes_on_and_is_not_mixed_with_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def stand_in(function, items, workers, timeout):
        for job in items:
            asked.append(job)
            write_stills(job.path(tmp_path), some_stills(job.stills))
            yield job, (job.stills, {})

    monkeypatch.setattr(dataset, "in_processes", stand_in)
    recipe = Recipe(0, {"train": 0.5, "test": 0.5}, stills=3)
    assert make(tmp_path, recipe, 2, workers=1).frames == 6
    summary = make(tmp_path, recipe, 4, workers=1)
    assert (summary.made, summary.kept, len(asked)) == (2, 2, 4)
    assert not (tmp_path / "narrations.csv").exists()
    assert len(read_stills(tmp_path, "train").pictures) == 6
    with pytest.raises(ValueError, match="holds clips made with stills=3, not None: give another out"):
        make(tmp_path, Recipe(0, {"train": 0.5, "test": 0.5}), 4, workers=1)


def test_data_sets_of_before_are_of_videos(tmp_path: Path) -> None:
    """Their settings do not mention stills."""
    recipe = Recipe(0, {"train": 1.0})
    make(tmp_path, recipe, 0, workers=1)
    settings = tmp_path / "settings.json"
    settings.write_text(settings.read_text().replace(',\n  "stills": null', ""))
    assert "stills" not in settings.read_text()
    make(tmp_path, recipe, 0, workers=1)
