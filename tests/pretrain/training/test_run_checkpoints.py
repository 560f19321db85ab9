from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from pretrain.training.checkpoints import CheckpointError, Checkpoints, check_same_run


def state(value: float = 0.0) -> dict[str, object]:
    return {"network": {"weight": torch.full((1000,), value)}, "scaler": None}


def test_the_last_ones_are_kept_and_the_last_is_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.read() is None
    for step in (8, 9, 10):
        checkpoints.write(step, state(step))
    assert checkpoints.steps() == [9, 10]
    found = Checkpoints(tmp_path / "checkpoints", keep=2).read()
    assert found is not None
    step, read = found
    assert step == 10
    assert (read["network"]["weight"] == 10).all()


def test_what_a_killed_run_left_half_written_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.write(1, state())
    (tmp_path / ".step_2.partial").mkdir()
    (tmp_path / ".step_2.partial/state.pt").write_bytes(b"half")
    assert checkpoints.steps() == [1]
    checkpoints.write(2, state())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_1", "step_2"]


def test_a_disk_that_fills_up_leaves_the_older_one(tmp_path: Path) -> None:
    """No file of this process may grow beyond 2,000 bytes: writing fails in the middle, as on a full disk."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.write(1, state())
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
    try:
        with pytest.raises(
            CheckpointError, match=r"step 2 cannot be written .*the last one is of step 1.*Make room"
        ):
            checkpoints.write(2, state())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in tmp_path.iterdir()] == ["step_1"]
    found = checkpoints.read()
    assert found is not None
    assert found[0] == 1


def test_settings_are_compared_key_by_key() -> None:
    settings = {"batch": 8, "losses": {"boxes": 0.0}, "betas": [0.9, 0.999], "rows": 5}
    check_same_run(settings, {**settings}, "runs/x")
    with pytest.raises(CheckpointError) as caught:
        check_same_run(settings, {**settings, "losses": {"boxes": 1.0}, "rows": 6}, "runs/x")
    assert str(caught.value) == (
        "out=runs/x holds a run with other settings: losses.boxes=1.0 (was 0.0), rows=6 (was 5). "
        "Choose another out=, or remove that folder"
    )
