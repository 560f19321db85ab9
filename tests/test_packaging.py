"""What a user installs: the wheel is whole, and its parts import on their own."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", *build, str(ROOT)], check=True, capture_output=True, timeout=300)
    (path,) = folder.glob("egorep-*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_configs_ship_inside_the_packages_and_not_at_the_top(wheel: list[str]) -> None:
    for package in ("robot_eval", "pretrain"):
        sources = list((ROOT / "configs" / package).rglob("*.yaml"))
        assert sources
        wanted = {f"{package}/configs/{p.relative_to(ROOT / 'configs' / package)}" for p in sources}
        assert wanted <= set(wheel)
    assert not any(name.startswith("configs/") for name in wheel)


def test_every_module_template_and_type_marker_ships(wheel: list[str]) -> None:
    for package in ("egorep", "robot_eval", "pretrain"):
        wanted = [
            p for p in (ROOT / package).rglob("*") if p.suffix in (".py", ".j2") or p.name == "py.typed"
        ]
        assert {str(p.relative_to(ROOT)) for p in wanted} <= set(wheel)


def test_weights_ship_with_their_model_card_and_stay_small(wheel: list[str]) -> None:
    folder = "egorep/weights/egovideo_tiny"
    assert {f"{folder}/{name}" for name in ("config.json", "model.safetensors", "README.md")} <= set(wheel)
    assert (ROOT / folder / "model.safetensors").stat().st_size <= 20e6


def test_neither_tests_nor_benchmarks_ship(wheel: list[str]) -> None:
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in wheel)


def test_the_encoders_import_no_simulator() -> None:
    script = "import sys, egorep; egorep.load_encoder; sys.exit('mujoco' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
