"""docs/policies.md: its Python is a program that runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from test_robomimic import write_demos

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"


class YourTask(gymnasium.Env[Any, Any]):
    """Observes a number, and renders noise."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, render_mode: str) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 0.0, False, False, {}

    def render(self) -> Any:
        return self.np_random.integers(0, 256, (48, 64, 3), dtype=np.uint8)


def setup() -> dict[str, Any]:
    """What the page takes as given: pictures, proprioception, actions, an episode."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 2, 48, 64, 3), dtype=np.uint8)
    images = torch.from_numpy(noise[0]).movedim(-1, -3) / 255
    return {
        "frames": noise[0],
        "proprio": torch.zeros(2, 4),
        "actions": torch.zeros(2, 7),
        "observed": noise,
        "demonstration": noise[:, 0],
        "lerobot_observation": {
            "observation.images.front": images,
            "observation.images.wrist": images,
            "observation.state": torch.zeros(2, 6),
        },
    }


def test_every_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_demos(tmp_path / "demos.hdf5")
    monkeypatch.setitem(
        gymnasium.registry, "YourTask-v0", gymnasium.envs.registration.EnvSpec("YourTask-v0", YourTask)
    )
    threads = torch.get_num_threads()
    text = PAGE.read_text()
    namespace = setup()
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert len(blocks) == text.count("```python") > 0
    for block in blocks:
        before = text[: block.start(1)].count("\n")
        exec(compile("\n" * before + block[1], str(PAGE), "exec"), namespace)
    torch.set_num_threads(threads)  # robomimic's training sets two

    encoder = namespace["encoder"]
    assert torch.equal(namespace["z"], encoder(namespace["frames"]).repeat(1, 2))  # LeRobot's, and exact
    assert namespace["features"].shape == (3, encoder.dim)
    assert namespace["observations"]["pixels"].shape == (2, encoder.dim)
    assert namespace["policy"].head[0].weight.grad is not None
    assert namespace["head"].pool.latent.grad is not None
    assert list(tmp_path.glob("runs/*/*/logs"))
