"""What holds of every policy, on features, tokens and pictures: a seed, a row alone, a file, learning."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from robot_eval.cloning import (
    Checkpoint,
    Optimiser,
    Training,
    clone,
    clone_with_robomimic,
    load_policy,
    save_policy,
)
from robot_eval.config import COMMAND
from robot_eval.policies import PolicyConfig
from robot_eval.policies.base import Demonstrations, InputShape, PictureSource, Policy
from robot_eval.policies.diffusion import DiffusionPolicy
from robot_eval.policies.robomimic import RobomimicPolicy

FEATURES, PROPRIO, ACTIONS = 6, 3, 2
LENGTHS = (40, 30, 50, 35)
CELLS, CHANNELS = 4, 5
SIDE = 32
# Small, so that a test trains them in seconds.
SMALL = {
    "r3m": ["policy.hidden=[32]"],
    "cortexbench": ["policy.hidden=[32]"],
    "pca": ["policy.hidden=[32]", "policy.components=5"],
    "keyposes": ["policy.hidden=[32]"],
    "attentive": ["policy.width=16", "policy.heads=2", "policy.hidden=[32]"],
    "attentive_linear": ["policy.width=16", "policy.heads=2"],
    "diffusion": ["policy.widths=[32,32]", "policy.noise_steps=20", "policy.denoise_steps=5"],
    "bc": ["policy.algo.actor_layer_dims=[32]"],
    "bc_rnn_gmm": ["policy.algo.rnn.hidden_dim=24"],
    "bc_transformer": [
        "policy.algo.transformer.embed_dim=16",
        "policy.algo.transformer.num_layers=1",
        "policy.algo.transformer.num_heads=2",
    ],
}
ROBOMIMIC = ["bc", "bc_rnn_gmm", "bc_transformer"]


def config(name: str, *overrides: str) -> PolicyConfig:
    with initialize_config_module(COMMAND.module, version_base="1.3"):
        chosen = compose(COMMAND.config, [f"policy={name}", *SMALL[name], *overrides])
    return PolicyConfig.read(dict(chosen.policy))


def shape_of(policy: PolicyConfig) -> InputShape:
    return InputShape((CELLS, CHANNELS) if policy.sees == "tokens" else (FEATURES,), PROPRIO)


def problem(shape: InputShape) -> Demonstrations:
    """Actions that follow from what is seen at once, in episodes of smooth inputs."""
    generator = torch.Generator().manual_seed(0)
    count = sum(LENGTHS)
    inputs = torch.randn(count, shape.dim, generator=generator).cumsum(0) / 5
    mixing = torch.randn(shape.dim, ACTIONS, generator=generator) / shape.dim**0.5
    return Demonstrations(inputs, (inputs @ mixing).tanh(), LENGTHS)


def training(policy: PolicyConfig, steps: list[int], seed: int = 0) -> Training:
    return Training(policy, shape_of(policy), Optimiser(1e-3, 32, "constant"), steps, seed)


def trained(policy: PolicyConfig, steps: list[int], seed: int = 0) -> list[Checkpoint]:
    job, data = training(policy, steps, seed), problem(shape_of(policy))
    points = clone_with_robomimic(job, data) if policy.kind == "robomimic" else clone(job, data)
    return list(points)


def play(policy: Policy, rows: np.ndarray, seeds: list[int]) -> np.ndarray:
    """Actions (T, B, A) of B episodes side by side, which see `rows` (T, B, D)."""
    memories = [policy.begin(seed) for seed in seeds]
    return np.stack([policy.act(step, memories) for step in rows])


def episodes(shape: InputShape, steps: int = 25, count: int = 5) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=(steps, count, shape.dim)).astype(np.float32)


@pytest.mark.parametrize("name", SMALL)
def test_a_seed_repeats_itself_and_others_differ(name: str) -> None:
    policy = config(name)
    rows = episodes(shape_of(policy), steps=3)
    first = play(trained(policy, [4])[0].policy, rows, [0, 1, 2, 3, 4])
    torch.manual_seed(123)  # nothing outside decides
    assert np.array_equal(play(trained(policy, [4])[0].policy, rows, [0, 1, 2, 3, 4]), first)
    assert not np.array_equal(play(trained(policy, [4], seed=1)[0].policy, rows, [0, 1, 2, 3, 4]), first)


@pytest.mark.parametrize("name", SMALL)
def test_an_episode_does_not_depend_on_those_beside_it(name: str) -> None:
    policy = config(name)
    made = trained(policy, [4])[0].policy
    rows, seeds = episodes(shape_of(policy)), [10, 11, 12, 13, 14]
    together = play(made, rows, seeds)
    assert together.shape == (25, 5, ACTIONS)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    alone = [play(made, rows[:, [i]], [seeds[i]])[:, 0] for i in range(5)]
    assert np.array_equal(together, np.stack(alone, axis=1))
    backwards = play(made, rows[:, ::-1], seeds[::-1])
    assert np.array_equal(together, backwards[:, ::-1]), "nor on its place"
    # One that began later than the others.
    memories = [made.begin(seed) for seed in seeds]
    for step in range(3):
        made.act(rows[step, :4], memories[:4])
    assert np.array_equal(made.act(rows[0, [4]], memories[4:])[0], together[0, 4])


@pytest.mark.parametrize("name", SMALL)
def test_they_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    policy = config(name)
    job, made = training(policy, [4]), trained(policy, [4])[0].policy
    metadata = {"policy": job.description, "action_dim": ACTIONS}
    save_policy(tmp_path / "policy.safetensors", made, metadata)
    loaded, read = load_policy(tmp_path / "policy.safetensors")
    assert read["policy"]["config"] == policy.to_dict()
    rows = episodes(shape_of(policy))
    assert np.array_equal(play(loaded, rows, [1, 2, 3, 4, 5]), play(made, rows, [1, 2, 3, 4, 5]))


# Actions follow from what is seen at once here, and `keyposes` sees first pictures only.
@pytest.mark.parametrize("name", [name for name in SMALL if name != "keyposes"])
def test_they_learn(name: str) -> None:
    policy = config(name)
    data = problem(shape_of(policy))
    points = trained(policy, [20, 400])
    assert points[1].loss < points[0].loss
    # On the demonstrations themselves, each a running episode.
    made, wrong, spread = points[1].policy, [], []
    for inputs, actions in zip(data.inputs.split(LENGTHS), data.actions.split(LENGTHS), strict=True):
        told = play(made, inputs[:, None].numpy(), [0])[:, 0]
        wrong.append(np.square(told - actions.numpy()).mean())
        spread.append(float(actions.var(0).mean()))
    # Chunks are executed without looking, and these actions change at random.
    assert np.mean(wrong) < (0.6 if name == "diffusion" else 0.25) * np.mean(spread)


@pytest.mark.parametrize("name", ["r3m", "keyposes", "attentive", "diffusion", "bc", "bc_rnn_gmm"])
def test_a_policy_that_sees_no_picture(name: str) -> None:
    policy = config(name)
    shape = InputShape((), PROPRIO)
    data = problem(shape)
    job = Training(policy, shape, Optimiser(1e-3, 32, "constant"), [3], 0)
    points = clone_with_robomimic(job, data) if policy.kind == "robomimic" else clone(job, data)
    assert play(next(points).policy, episodes(shape, steps=2), [0, 1, 2, 3, 4]).shape == (2, 5, ACTIONS)


@pytest.mark.parametrize("name", ROBOMIMIC)
def test_the_schedule_reaches_robomimics_optimiser(name: str) -> None:
    policy = config(name)
    job = Training(policy, shape_of(policy), Optimiser(1e-3, 32, "cosine"), [2, 4], 0)
    rates = []
    for point in clone_with_robomimic(job, problem(shape_of(policy))):
        assert isinstance(point.policy, RobomimicPolicy)
        rates.append(point.policy.algo.optimizers["policy"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.5e-3, 0.0], abs=1e-9)


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    """Demonstrations with the pictures of two cameras, as `robot_eval.demos` writes them."""
    rng = np.random.default_rng(0)
    path = tmp_path / "demos.hdf5"
    with h5py.File(path, "w") as file:
        for index in range(2):
            demo = file.create_group(f"data/demo_{index}")
            for camera in ("front", "wrist"):
                demo[f"obs/{camera}_image"] = rng.integers(0, 256, (12, SIDE, SIDE, 3), dtype=np.uint8)
            demo["obs/proprio"] = rng.normal(size=(12, PROPRIO)).astype(np.float32)
            demo["actions"] = rng.uniform(-1, 1, (12, ACTIONS)).astype(np.float32)
            demo.attrs["num_samples"] = 12
    return path


@pytest.mark.parametrize("name", ROBOMIMIC)
def test_robomimic_trains_on_pictures_with_the_encoder_inside(
    name: str, filmed: Path, tmp_path: Path
) -> None:
    policy = config(name, "policy.sees=pictures", "policy.crop=28")
    source = PictureSource("random/timm/test_vit", "cls", 3, ("front", "wrist"))
    shape = InputShape((SIDE, 2 * SIDE, 3), PROPRIO)
    job = Training(policy, shape, Optimiser(1e-3, 4, "constant"), [2], 0, source)
    [point] = clone_with_robomimic(job, filmed)
    assert np.isfinite(point.loss)
    save_policy(
        tmp_path / "policy.safetensors", point.policy, {"policy": job.description, "action_dim": ACTIONS}
    )
    assert (tmp_path / "policy.safetensors").stat().st_size < 12e6, "the encoder is not in it"
    loaded, _ = load_policy(tmp_path / "policy.safetensors")
    rng = np.random.default_rng(2)
    pictures = rng.integers(0, 256, (3, 2, shape.visual_dim)).astype(np.float32)
    rows = np.concatenate([pictures, rng.normal(size=(3, 2, PROPRIO)).astype(np.float32)], axis=2)
    acted = play(point.policy, rows, [0, 1])
    assert np.array_equal(play(loaded, rows, [0, 1]), acted)
    assert not np.array_equal(acted[0, 0], acted[0, 1])


def test_views_stand_side_by_side(filmed: Path) -> None:
    policy = config("bc", "policy.sees=pictures")
    source = PictureSource("random/timm/test_vit", "cls", 0, ("front", "wrist"))
    made = policy.build(InputShape((SIDE, 2 * SIDE, 3), PROPRIO), ACTIONS, pictures=source)
    assert isinstance(made, RobomimicPolicy)
    with h5py.File(filmed) as file:
        views = [file[f"data/demo_0/obs/{camera}_image"][0] for camera in ("front", "wrist")]
    row = torch.from_numpy(np.concatenate([np.concatenate(views, axis=1).ravel(), [1, 2, 3]])).float()
    seen = made.observation(row[None])
    for camera, view in zip(("front", "wrist"), views, strict=True):
        expected = torch.from_numpy(view).permute(2, 0, 1)[None] / 255
        assert torch.equal(seen[f"{camera}_image"], expected)
    assert seen["proprio"].tolist() == [[1, 2, 3]]


def test_the_recurrent_state_is_emptied_every_horizon() -> None:
    policy = config("bc_rnn_gmm")
    made = trained(policy, [4])[0].policy
    rows = np.repeat(episodes(shape_of(policy), steps=1, count=1), 21, axis=0)
    logits = []
    memory = made.begin(0)
    for step in rows:
        made.act(step, [memory])
        logits.append(memory.state.clone())
    assert torch.equal(logits[0], logits[10])
    assert torch.equal(logits[3], logits[13])
    assert not torch.equal(logits[0], logits[1])


def test_mixtures_draw_components_as_often_as_they_weigh() -> None:
    policy = config("bc_rnn_gmm")
    made = trained(policy, [4])[0].policy
    row = episodes(shape_of(policy), steps=1, count=1)[0]
    first = [tuple(made.act(row, [made.begin(seed)])[0].tolist()) for seed in range(100)]
    assert 2 <= len(set(first)) <= 5
    assert len({tuple(made.act(row, [made.begin(7)])[0].tolist()) for _ in range(5)}) == 1


def test_a_chunk_is_executed_before_the_policy_looks_again() -> None:
    policy = config("diffusion")
    made = trained(policy, [4])[0].policy
    rows = episodes(shape_of(policy), steps=17, count=1)
    other = rows.copy()
    other[1:8] += 1.0  # what is seen while a chunk is executed
    ours, theirs = play(made, rows, [0]), play(made, other, [0])
    assert np.array_equal(ours[:8], theirs[:8])
    assert not np.array_equal(ours[8:16], theirs[8:16]), "two steps are looked at, the last of them changed"


def test_chunks_cover_the_range_of_the_demonstrations() -> None:
    policy = config("diffusion")
    data = problem(shape_of(policy))
    constant = torch.cat([data.actions * 3 + 5, torch.full((len(data), 1), 0.25)], dim=1)
    job = training(policy, [5])
    point = next(clone(job, Demonstrations(data.inputs, constant, LENGTHS)))
    assert isinstance(point.policy, DiffusionPolicy)
    acted = play(point.policy, episodes(shape_of(policy)), [0, 1, 2, 3, 4])
    low, high = constant.min(0).values.numpy(), constant.max(0).values.numpy()
    assert (acted >= low - 1e-5).all()
    assert (acted <= high + 1e-5).all()
    assert acted[..., 2] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("algo", "words"),
    [
        ({"rrn": {"enabled": True}}, ["robomimic's algo", "'rrn'", "'rnn'"]),
        ({"rnn": {"horison": 3}}, ["robomimic's algo.rnn", "'horison'", "'horizon'"]),
        ({"vae": {"enabled": True}}, ["algo.vae"]),
    ],
)
def test_a_key_that_robomimic_does_not_have_is_refused(algo: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ValueError, match="algo") as error:
        PolicyConfig.read({**config("bc").to_dict(), "algo": algo})
    for word in words:
        assert word in str(error.value)


def test_windows_stay_within_their_episodes() -> None:
    data = Demonstrations(torch.zeros(9, 1), torch.zeros(9, 1), (4, 2, 3))
    steps = torch.tensor([0, 3, 4, 5, 8])
    assert data.window(steps, 1, 2).tolist() == [
        [0, 0, 1, 2],
        [2, 3, 3, 3],
        [4, 4, 5, 5],
        [4, 5, 5, 5],
        [7, 8, 8, 8],
    ]
