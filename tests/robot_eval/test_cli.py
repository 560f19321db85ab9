"""The command line: a mistake ends in one clear line, before any work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(*overrides: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "robot_eval", *overrides]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("encodrs=[state]", "encoders"),
        ("encoders=[eficientnet_lite0]", "efficientnet_lite0"),
        ("tasks=[hamer-v3]", "hammer-v3"),
        ("camera=corner9", "corner"),
        ("protocol=r3n", "r3m"),
        ("suite=[metaworld,metaworl]", "metaworld"),
        ("demos=-1", "at least 1"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(override: str, hint: str, tmp_path: Path) -> None:
    done = run(override, f"out={tmp_path}/out", f"data={tmp_path}/data")
    assert done.returncode == 2
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "demos").exists()


def test_help_shows_the_settings() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "encoders" in done.stdout
    assert "protocol" in done.stdout
