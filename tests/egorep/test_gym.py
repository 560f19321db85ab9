"""Gymnasium wrappers: features of the right window, in every autoreset mode, and spaces that fit."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from test_streaming import Order, T

from egorep import Encoder, load_encoder
from egorep.gym import EncodeObservation, EncodeVectorObservation
from egorep.preprocessing import Preprocessing

STRIDE = 2
PICTURE = Box(0, 255, (12, 10, 3), np.uint8)
ENVS = 3


def picture(env: int, episode: int, step: int, camera: str = "") -> np.ndarray:
    """What environment `env` looks like then: unlike anything else that is seen in these tests."""
    seed = [env, episode, step, *camera.encode()]
    return np.random.default_rng(seed).integers(0, 256, PICTURE.shape, dtype=np.uint8)


class Filmed(gymnasium.Env[Any, Any]):
    """Episodes of 3 + `number` steps; pictures tell environment, episode and step."""

    observation_space: gymnasium.Space[Any] = PICTURE
    action_space = Discrete(2)

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.episode = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.episode = self.episode + 1 if seed is None else 0
        self.steps = 0
        return self.observe(), {"episode": self.episode, "step": 0}

    def step(self, action: Any) -> Any:
        self.steps += 1
        info = {"episode": self.episode, "step": self.steps}
        return self.observe(), 0.0, self.steps == 3 + self.number, False, info

    def observe(self) -> Any:
        return picture(self.number, self.episode, self.steps)


class TwoCameras(Filmed):
    """The same with a second camera of another size, a depth map and the step's number."""

    observation_space = Dict(
        [
            ("wrist", PICTURE),
            ("steps", Box(0, 100, (1,), np.int64)),
            ("front", Box(0, 255, (6, 5, 3), np.uint8)),
            ("depth", Box(0, 255, (12, 10, 1), np.uint8)),
        ]
    )

    def observe(self) -> Any:
        front, wrist = (picture(self.number, self.episode, self.steps, name) for name in ("front", "wrist"))
        steps = np.array([self.steps])
        return {"wrist": wrist, "steps": steps, "front": front[::2, ::2], "depth": wrist[..., :1]}


@pytest.fixture(scope="module")
def clips() -> Encoder:
    half = (0.5, 0.5, 0.5)
    return Encoder("order", Order(), Preprocessing(8, half, half, "bilinear"))


def wanted(encoder: Encoder, env: int, episode: int, step: int, camera: str = "") -> np.ndarray:
    """Features of the window that ends at this step of this episode, encoded from scratch."""
    steps = [max(0, step - age * STRIDE) for age in reversed(range(T))]
    window = np.stack([picture(env, episode, s, camera) for s in steps])
    return encoder(window[None, :, ::2, ::2] if camera == "front" else window[None])[0].numpy()


def vector(
    env: type[Filmed], mode: AutoresetMode, encoder: Encoder, **settings: Any
) -> EncodeVectorObservation:
    made = [lambda number=number: env(number) for number in range(ENVS)]
    return EncodeVectorObservation(
        SyncVectorEnv(made, autoreset_mode=mode), encoder, stride=STRIDE, **settings
    )


class Where:
    """Episode and step of each environment, as its infos tell."""

    def __init__(self, infos: dict[str, Any]) -> None:
        self.now = np.stack([infos["episode"], infos["step"]], axis=1)

    def update(self, infos: dict[str, Any]) -> None:
        told = infos["_episode"]
        self.now[told] = np.stack([infos["episode"], infos["step"]], axis=1)[told]

    def check(self, encoder: Encoder, features: np.ndarray, camera: str = "") -> None:
        for env, (episode, step) in enumerate(self.now):
            assert np.array_equal(features[env], wanted(encoder, env, episode, step, camera))


def test_next_step_autoreset(clips: Encoder) -> None:
    envs = vector(Filmed, AutoresetMode.NEXT_STEP, clips)
    features, infos = envs.reset()
    where = Where(infos)
    where.check(clips, features)
    for _ in range(17):
        features, *_, infos = envs.step(envs.action_space.sample())
        where.update(infos)
        where.check(clips, features)
    assert where.now[:, 0].min() > 1


def test_same_step_autoreset_encodes_the_last_frame_with_its_own_episode(clips: Encoder) -> None:
    envs = vector(Filmed, AutoresetMode.SAME_STEP, clips)
    features, infos = envs.reset()
    where, ends = Where(infos), 0
    for _ in range(17):
        features, _, terminations, _, infos = envs.step(envs.action_space.sample())
        where.update(infos)
        where.check(clips, features)
        for env in np.flatnonzero(terminations):
            final = infos["final_info"]
            episode, step = final["episode"][env], final["step"][env]
            assert np.array_equal(infos["final_obs"][env], wanted(clips, env, episode, step))
            ends += 1
    assert ends > 6


def test_disabled_autoreset_leaves_the_history_of_the_others(clips: Encoder) -> None:
    envs = vector(Filmed, AutoresetMode.DISABLED, clips)
    features, infos = envs.reset()
    where = Where(infos)
    for _ in range(17):
        features, _, terminations, truncations, infos = envs.step(envs.action_space.sample())
        where.update(infos)
        where.check(clips, features)
        if (ended := terminations | truncations).any():
            features, infos = envs.reset(options={"reset_mask": ended})
            where.update(infos)
            where.check(clips, features)
    assert where.now[:, 0].min() > 1
    features, infos = envs.reset(seed=5)
    where.update(infos)
    where.check(clips, features)


def test_a_reset_by_hand_takes_the_place_of_the_next_steps(clips: Encoder) -> None:
    envs = vector(Filmed, AutoresetMode.NEXT_STEP, clips)
    _, infos = envs.reset()
    where = Where(infos)
    for _ in range(3):
        *_, terminations, _, infos = envs.step(envs.action_space.sample())
        where.update(infos)
    assert terminations.tolist() == [True, False, False]
    features, infos = envs.reset(options={"reset_mask": terminations})
    where.update(infos)
    where.check(clips, features)
    for _ in range(2):  # these frames belong to the episode that the reset began
        features, *_, infos = envs.step(envs.action_space.sample())
        where.update(infos)
        where.check(clips, features)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_several_cameras_have_a_stream_each(clips: Encoder, mode: AutoresetMode) -> None:
    envs = vector(TwoCameras, mode, clips)
    assert list(envs.single_observation_space.spaces) == ["wrist", "steps", "front", "depth"]
    observation, infos = envs.reset()
    where = Where(infos)
    for _ in range(12):
        assert observation in envs.observation_space
        for camera in ("wrist", "front"):
            where.check(clips, observation[camera], camera)
        assert np.array_equal(observation["steps"][:, 0], where.now[:, 1])
        observation, _, terminations, _, infos = envs.step(envs.action_space.sample())
        where.update(infos)
        if terminations.any() and mode is AutoresetMode.DISABLED:
            observation, infos = envs.reset(options={"reset_mask": terminations})
            where.update(infos)
        if terminations.any() and mode is AutoresetMode.SAME_STEP:
            env = int(np.flatnonzero(terminations)[0])
            assert infos["final_obs"][env] in envs.single_observation_space


def test_keys_choose_the_cameras(clips: Encoder) -> None:
    env = EncodeObservation(TwoCameras(), clips, keys=["front"])
    observation, _ = env.reset()
    assert observation["front"].shape == (clips.dim,)
    assert observation["wrist"].shape == PICTURE.shape
    assert env.observation_space["wrist"] == PICTURE
    assert observation in env.observation_space


@pytest.mark.parametrize("env", [Filmed, TwoCameras])
@pytest.mark.parametrize("name", ["clips", "random/timm/test_vit"])
@pytest.mark.filterwarnings("ignore:.*(different from the unwrapped version|infinity)")
def test_one_environment_passes_gymnasiums_checker(env: type[Filmed], name: str, clips: Encoder) -> None:
    encoder = clips if name == "clips" else load_encoder(name)
    check_env(EncodeObservation(env(), encoder), skip_render_check=True)


def test_one_environment_begins_each_episode_anew(clips: Encoder) -> None:
    env = EncodeObservation(Filmed(), clips, stride=STRIDE)
    for episode in range(3):
        features, _ = env.reset()
        assert np.array_equal(features, wanted(clips, 0, episode, 0))
        for step in range(1, 3):  # the last of three steps is not waited for
            features, *_ = env.step(0)
            assert np.array_equal(features, wanted(clips, 0, episode, step))


def test_one_environment_that_resets_itself(clips: Encoder) -> None:
    env = EncodeObservation(gymnasium.wrappers.Autoreset(Filmed()), clips, stride=STRIDE)
    env.reset()
    for _ in range(12):
        features, *_, info = env.step(0)
        assert np.array_equal(features, wanted(clips, 0, info["episode"], info["step"]))


def test_what_is_rendered_can_be_encoded(clips: Encoder) -> None:
    class Rendered(Filmed):
        observation_space = Box(-1, 1, (2,), np.float32)
        metadata = {"render_modes": ["rgb_array"]}
        render_mode = "rgb_array"

        def observe(self) -> Any:
            return np.zeros(2, np.float32)

        def render(self) -> Any:
            return picture(self.number, self.episode, self.steps)

    with pytest.raises(ValueError, match=r"no picture in .*float32.*AddRenderObservation"):
        EncodeObservation(Rendered(), clips)
    seen = gymnasium.wrappers.AddRenderObservation(Rendered(), render_only=False)
    observation, _ = EncodeObservation(seen, clips).reset(seed=0)
    assert np.array_equal(observation["pixels"], wanted(clips, 0, 0, 0))
    assert observation["state"].shape == (2,)


def test_errors_name_the_space_and_the_fix(clips: Encoder) -> None:
    for keys, message in (
        (["writs"], "unknown observation 'writs'; did you mean 'wrist'"),
        (["depth"], r"'depth' is Box\(.*12, 10, 1.*uint8 boxes \(H, W, 3\)"),
        ([], "keys are empty: give some of wrist, steps, front, depth"),
    ):
        with pytest.raises(ValueError, match=message):
            EncodeObservation(TwoCameras(), clips, keys=keys)
    with pytest.raises(TypeError, match=r"\['wrist'\] makes it a list"):
        EncodeObservation(TwoCameras(), clips, keys="wrist")
    with pytest.raises(ValueError, match="entries of a Dict observation"):
        EncodeObservation(Filmed(), clips, keys=["wrist"])
    silent = SyncVectorEnv([Filmed])
    del silent.metadata["autoreset_mode"]
    with pytest.raises(ValueError, match=r"metadata\['autoreset_mode'\] is None"):
        EncodeVectorObservation(silent, clips)


def test_without_gymnasium_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "egorep.gym")
    with pytest.raises(ImportError, match=r"egorep\[sim\]"):
        importlib.import_module("egorep.gym")


def test_egorep_itself_imports_neither_gymnasium_nor_robomimic() -> None:
    script = (
        "import sys, egorep; egorep.load_encoder; sys.exit(bool({'gymnasium', 'robomimic'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
