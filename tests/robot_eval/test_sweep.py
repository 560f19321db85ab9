"""Sweeps: mistakes are told before any work, jobs get folders and cores of their own, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from egorep.commands import jobs_at_once
from robot_eval.cli import main
from robot_eval.config import COMMAND, file_name
from robot_eval.results import IDENTITY, read_results


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["encoders=[state],[oracl]"], "oracle"),
        (["hydra/launcher=jobli"], "joblib"),
        (["hydra/launcher=slurm"], "egorep[cluster]"),
        (["suite=metaworld,robosute"], "robosuite"),
        (["seeds=[0],[1],[]"], "seeds must be"),
        (["suite=metaworld,robosuite", "tasks=[Lift]"], "task of metaworld"),
    ],
)
def test_a_mistake_in_any_job_is_one_line_before_the_first_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], hint: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["-m", *words, f"out={tmp_path}/out", f"data={tmp_path}/data"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert hint in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))


def test_a_sweep_wants_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["encoders=[state],[oracle]", "-m"])
    assert "a sweep needs out=" in capsys.readouterr().err


def test_a_job_has_a_folder_that_says_what_is_swept() -> None:
    assert file_name("encoders=[state],seeds=[0],suite=adroit") == "encoders=state,seeds=0,suite=adroit"
    names = [file_name(f"encoders=[{name}]") for name in ("random/a", "random a", "random_a", "a" * 500)]
    assert len(set(names)) == 4
    for name in names:
        assert "/" not in name
        assert len(name) < 200


@pytest.mark.parametrize(
    ("words", "at_once"),
    [
        (["hydra/launcher=basic"], 1),
        (["hydra/launcher=joblib"], 8),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"], 3),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=-2"], 7),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=100"], 12),
        (["hydra/launcher=submitit_local"], 12),
        (["hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=2"], 2),
        (["hydra/launcher=submitit_slurm"], 1),
    ],
)
def test_jobs_know_how_many_share_their_machine(
    monkeypatch: pytest.MonkeyPatch, words: list[str], at_once: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    with initialize_config_module(COMMAND.module, version_base="1.3"):
        config = compose(COMMAND.config, words, return_hydra_config=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
    assert jobs_at_once(12) == at_once


# Two suites of one short task each.
SWEEP = """
if __name__ == "__main__":
    from hydra.core.config_store import ConfigStore
    from robot_eval.cli import main
    for name, suite, camera, task in (
        ("press", "metaworld", "corner2", "button-press-v3"), ("lift", "robosuite", "agentview", "Lift"),
    ):
        node = {"camera": camera, "tasks": [task]}
        ConfigStore.instance().store(name, node, group="suite", package=f"suites.{suite}")
    main()
"""
TINY = [
    "demos=2",
    "num_envs=1",
    "protocol.render_size=64",
    "protocol.picture_size=64",
    "protocol.horizon=80",
    "protocol.demo_hold=3",
    "protocol.budget.total=20",
    "protocol.budget.evaluate_every=20",
    "protocol.episodes=2",
    "protocol.held_out_episodes=2",
]
SWEPT = ["suite=press,lift", "encoders=[state],[oracle],[random/timm/test_vit]", "seeds=[0],[1]"]
AS_ONE_RUN = ["suite=[press,lift]", "encoders=[state,oracle,random/timm/test_vit]", "seeds=[0,1]"]
UNITS = "sweep/*/units/*.json"


def _command(folder: Path, out: str, *words: str) -> list[str]:
    (folder / "sweep.py").write_text(SWEEP)
    return [
        *(sys.executable, str(folder / "sweep.py"), *words, *TINY),
        *(f"out={folder}/{out}", f"data={folder}/data"),
    ]


def _kill_all(sweep: psutil.Process, children: list[psutil.Process]) -> None:
    for process in [sweep, *children]:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def _kill_parent(sweep: psutil.Process, children: list[psutil.Process]) -> None:
    sweep.send_signal(signal.SIGKILL)


def _sweep_until(
    folder: Path, units: int, kill: Callable[[psutil.Process, list[psutil.Process]], None]
) -> None:
    """Start the sweep, kill it once so many evaluations are there, and see that nothing of it stays."""
    words = _command(folder, "sweep", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *SWEPT)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(folder.glob(UNITS))) < units:
            time.sleep(0.2)
        assert process.poll() is None, "it ended before it could be killed"
        sweep = psutil.Process(process.pid)
        children = sweep.children(recursive=True)
        assert children
        kill(sweep, children)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, "jobs outlive the sweep that was killed"


@pytest.mark.slow
def test_a_sweep_killed_twice_goes_on_and_ends_with_each_row_once(tmp_path: Path) -> None:
    _sweep_until(tmp_path, 6, _kill_all)
    _sweep_until(tmp_path, 14, _kill_parent)
    kept = {path: path.stat() for path in tmp_path.glob(UNITS)}
    words = _command(tmp_path, "sweep", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *SWEPT)
    done = subprocess.run(words, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for path, before in kept.items():
        assert path.stat().st_mtime_ns == before.st_mtime_ns, "what was finished was done again"
    rows = read_results(tmp_path / "sweep")
    assert not rows.duplicated(list(IDENTITY)).any()
    counts = rows.groupby(["suite", "encoder", "seed", "role"]).size()
    assert counts.eq(1).all()
    assert len(counts) == 2 * 3 * 2 * 2
    assert len(list(tmp_path.glob("sweep/*/results.parquet"))) == 12
    assert f"24 evaluations of 12 runs: {tmp_path}/sweep/results.parquet" in done.stdout

    words = _command(tmp_path, "one", *AS_ONE_RUN)
    subprocess.run(words, capture_output=True, timeout=3600, check=True)
    # How long things took may differ, and one seed of a run is filmed.
    differing = ["train_seconds", "rollout_seconds", "restarts", "video"]
    whole = read_results(tmp_path / "one")
    pd.testing.assert_frame_equal(rows.drop(columns=differing), whole.drop(columns=differing))
