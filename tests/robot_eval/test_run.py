"""The whole job on a tiny configuration: what it writes, that it repeats, and that a killed run goes on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import zarr
from hydra import compose, initialize_config_module

from robot_eval import looks
from robot_eval.config import COMMAND, parse
from robot_eval.probe_results import read_probes
from robot_eval.results import read_results
from robot_eval.run import Run
from robot_eval.seeds import episode_seeds

TINY = [
    "tasks=[button-press-v3]",
    "encoders=[random/timm/test_vit,state]",
    "demos=2",
    "seeds=2",
    "num_envs=2",
    "protocol.render_size=64",
    "protocol.picture_size=64",
    "protocol.horizon=80",
    "protocol.demo_hold=3",
    "protocol.budget.total=40",
    "protocol.budget.evaluate_every=20",
    "protocol.episodes=2",
    "protocol.held_out_episodes=2",
]
# What a second run may differ in: how long things took, and how often a simulator was restarted.
TIMINGS = ["train_seconds", "rollout_seconds", "restarts"]


def command(folder: Path, *overrides: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "robot_eval",
        *TINY,
        f"out={folder}/out",
        f"data={folder}/data",
        *overrides,
    ]


def outcomes(folder: Path) -> pd.DataFrame:
    return read_results(folder / "out").drop(columns=TIMINGS)


def states(folder: Path, pattern: str) -> dict[str, tuple[int, int]]:
    """Inode and time of every finished file: a file that is made again has others."""
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.glob(pattern) if p.is_file()}


FINISHED = ("out/units/*.json", "out/probes/*.json", "out/policies/*/*.safetensors", "data/demos/**/*.hdf5")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An uninterrupted run: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = subprocess.run(command(folder), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def test_it_ends_with_the_table_and_the_path_of_the_report(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    assert "random/timm/test_vit" in printed
    assert "button-press-v3" in printed
    assert printed.rstrip().endswith(f"report: {folder}/out/report.html")
    assert (folder / "out" / "report.html").exists()


def test_every_policy_has_its_evaluations_and_one_held_out_row(finished: tuple[Path, str]) -> None:
    rows = outcomes(finished[0])
    counts = rows.groupby(["encoder", "seed", "role"]).size()
    assert set(counts.xs("checkpoint", level="role")) == {2}
    assert set(counts.xs("held_out", level="role")) == {1}
    assert len(counts) == 2 * 2 * 2


def test_an_untrained_encoder_has_an_initialisation_of_its_own_per_seed(finished: tuple[Path, str]) -> None:
    fingerprints = outcomes(finished[0]).groupby("encoder")["encoder_fingerprint"].nunique()
    assert fingerprints["random/timm/test_vit"] == 2
    assert fingerprints["state"] == 1


def test_encoders_are_judged_on_the_same_episodes(finished: tuple[Path, str]) -> None:
    rows = outcomes(finished[0])
    for _, group in rows.groupby(["seed", "role"]):
        assert group["episode_seeds"].map(tuple).nunique() == 1


def test_a_second_run_does_nothing_again_and_gives_the_same_rows(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    before = {pattern: states(folder, pattern) for pattern in FINISHED}
    again = subprocess.run(command(folder), capture_output=True, text=True, timeout=600, check=True)
    assert {pattern: states(folder, pattern) for pattern in FINISHED} == before
    assert again.stdout == printed


def test_another_rule_of_success_needs_no_other_episodes(finished: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "copy")
    folder = tmp_path / "copy"
    before = {(path, name): cell for path, name, cell in _episodes_of(folder)}
    subprocess.run(command(folder, "protocol.success=any"), capture_output=True, timeout=600, check=True)
    assert {(path, name): cell for path, name, cell in _episodes_of(folder)} == before
    assert set(outcomes(folder)["success_rule"]) == {"any"}


def _episodes_of(folder: Path) -> list[tuple[str, str, object]]:
    """What was played, and how long it took: a repeated rollout would take another time."""
    names = ("episode_steps", "success_any", "success_last", "rollout_seconds")
    units = {path.name: json.loads(path.read_text()) for path in folder.glob("out/units/*.json")}
    return [(unit, name, row[name]) for unit, row in units.items() for name in names]


def test_a_run_killed_again_and_again_goes_on_and_ends_with_the_same_table(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    for pattern, count in (
        ("data/demos/**/*.parts/*", 1),
        ("out/policies/*/*.safetensors", 3),
        ("out/units/*.json", 2),
        ("out/units/*.json", 7),
    ):
        _run_until(tmp_path, pattern, count)
    kept = {pattern: states(tmp_path, pattern) for pattern in FINISHED}
    subprocess.run(command(tmp_path), capture_output=True, timeout=600, check=True)
    for pattern, before in kept.items():
        after = states(tmp_path, pattern)
        assert before.items() <= after.items()  # nothing finished was done again
    pd.testing.assert_frame_equal(
        outcomes(tmp_path).drop(columns="video"), outcomes(finished[0]).drop(columns="video")
    )


def _run_until(folder: Path, pattern: str, count: int) -> None:
    """Start the run, and kill it without warning once so many files are there."""
    with subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        children: list[psutil.Process] = []
        while process.poll() is None and len(list(folder.glob(pattern))) < count:
            time.sleep(0.02)
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            os.kill(process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, "simulators outlive the run that was killed"


def test_features_are_probed_once_of_the_first_draw_and_only_where_it_is_asked_for(tmp_path: Path) -> None:
    short = ["protocol.budget.total=20", "protocol.episodes=1", "protocol.held_out_episodes=1", "demos=5"]
    short.append("encoders=[random/timm/test_vit,state,oracle]")

    def printed(*more: str) -> str:
        words = command(tmp_path, *short, *more)
        return subprocess.run(words, capture_output=True, text=True, timeout=600, check=True).stdout

    alone = printed("probes=only", "fresh_demos=true")
    assert len(list(tmp_path.glob("data/demos/**/*.hdf5"))) == 1, "of the first policy seed"
    assert "linear probes of frozen features, metaworld/button-press-v3" in alone
    assert str(tmp_path / "out" / "probes.parquet") in alone
    assert not any((tmp_path / "out" / name).exists() for name in ("policies", "units", "report.html"))
    rows = read_probes(tmp_path / "out")
    probed = states(tmp_path, "out/probes/*.json")
    first = printed()
    assert read_probes(tmp_path / "out") == rows
    assert states(tmp_path, "out/probes/*.json") == probed
    assert {row.encoder for row in rows} == {"random/timm/test_vit", "state", "oracle"}
    assert {row.encoder_seed for row in rows} == {0}
    targets = {"layout", "hand", "object", "object moves", "direction", "action", "imitation"}
    assert {row.target for row in rows if row.encoder != "oracle"} == targets
    assert {row.target for row in rows if row.encoder == "oracle"} == {"imitation"}
    felt = {row.target: row.estimate for row in rows if (row.encoder, row.probe) == ("state", "linear")}
    assert felt["hand"] > 0.99, "proprioception"
    assert felt["layout"] < 0.9, "until the hand has arrived"
    assert {row.episodes for row in rows} == {5}
    assert "linear probes of frozen features, metaworld/button-press-v3" in first
    assert "What the features know" in (tmp_path / "out" / "report.html").read_text()
    before = states(tmp_path, "out/probes/*.json")
    assert len(before) == 3
    assert printed() == first
    assert states(tmp_path, "out/probes/*.json") == before
    assert "linear probes" not in printed("probes=false")
    assert read_probes(tmp_path / "out") == []
    assert "What the features know" not in (tmp_path / "out" / "report.html").read_text()


def test_each_seed_may_learn_from_demonstrations_of_its_own(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(finished[0] / "data", tmp_path / "data")
    more = ["encoders=[random/timm/test_vit]", "policy=keyposes", "fresh_demos=true", "probes=false"]
    words = command(tmp_path, *more, "videos=false")
    subprocess.run(words, capture_output=True, text=True, timeout=600, check=True)
    rows = outcomes(tmp_path)
    first, second = (set(part["demos_fingerprint"]) for _, part in rows.groupby("seed"))
    assert first == set(outcomes(finished[0])["demos_fingerprint"]), "the first seed's are the usual ones"
    assert len(second) == 1
    assert not first & second
    said = "2, fresh for each policy seed"
    assert said in (tmp_path / "out" / "report.html").read_text()
    assert said not in (finished[0] / "out" / "report.html").read_text()
    # Key poses are read from the first three pictures, and no others are encoded.
    before, after = (
        {path.relative_to(folder) for path in folder.glob("data/features/*/*/zarr.json")}
        for folder in (finished[0], tmp_path)
    )
    new = [tmp_path / path.parent for path in after - before]
    assert [zarr.open_array(path, mode="r").shape[0] for path in new] == [3] * 4


# A second suite, of the first one's tasks; simulator processes import the command's file again.
TWIN = """
from dataclasses import replace
from robot_eval.suites.metaworld import SUITE
SUITE = replace(SUITE, name="twin", tasks=("button-press-v3",))
"""
WITH_TWIN = """
import robot_eval.suites
from pathlib import Path
robot_eval.suites.__path__.append(str(Path(__file__).parent))
if __name__ == "__main__":
    from hydra.core.config_store import ConfigStore
    from robot_eval.cli import main
    defaults = {"camera": "corner2", "tasks": ["button-press-v3"]}
    ConfigStore.instance().store("twin", defaults, group="suite", package="suites.twin")
    main()
"""


def test_a_second_suite_joins_what_the_first_has_done(finished: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(finished[0], folder := tmp_path / "copy")
    before = {pattern: states(folder, pattern) for pattern in FINISHED}
    (tmp_path / "twin.py").write_text(TWIN)
    (tmp_path / "with_twin.py").write_text(WITH_TWIN)
    both = ["suite=[metaworld,twin]", "tasks=[twin/button-press-v3,metaworld/button-press-v3]"]
    overrides = command(folder, *both, "encoders=[state]", "seeds=1")[3:]
    words = [sys.executable, str(tmp_path / "with_twin.py"), *overrides]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "judged on none: all suites" in done.stdout
    for pattern, files in before.items():
        assert files.items() <= states(folder, pattern).items()
    rows = outcomes(folder)
    assert rows.groupby("suite").size().to_dict() == {"metaworld": 3, "twin": 3}
    assert sorted(path.name for path in (folder / "data" / "demos").iterdir()) == ["metaworld", "twin"]
    assert (folder / "out" / "report.html").read_text().count('<h3 class="suite">') == 2


def test_rows_say_what_their_episodes_were(finished: tuple[Path, str]) -> None:
    rows = outcomes(finished[0])
    assert set(rows["horizon"]) == {80}
    assert set(rows["render_size"]) == set(rows["picture_size"]) == {64}
    assert set(rows["demos_frame_hash"]) == set(rows["frame_hash"])
    assert [len(strict) for strict in rows["strict_any"]] == [len(plain) for plain in rows["success_any"]]
    assert {"pictures", "mujoco", "opengl"} <= set(rows["versions"].iloc[0])


def test_rows_of_before_are_kept_and_learn_what_is_known_of_them(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], folder := tmp_path / "copy")
    later = ("strict_any", "strict_last", "demos_frame_hash", "horizon", "render_size", "picture_size")
    for path in folder.glob("out/units/*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in record.items() if name not in later}))
    before = {(path, name): cell for path, name, cell in _episodes_of(folder)}
    subprocess.run(command(folder), capture_output=True, timeout=600, check=True)
    assert {(path, name): cell for path, name, cell in _episodes_of(folder)} == before
    rows = outcomes(folder)
    assert set(rows["horizon"]) == {80}
    assert rows["strict_any"].isna().all(), "nobody has looked"


def test_a_changed_look_is_logged_once_per_task(
    finished: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(finished[0], folder := tmp_path / "copy")
    frames = {"button-press-v3 corner2 fast 64/64 none": "0123"}
    monkeypatch.setattr(looks, "shipped_looks", lambda: {"metaworld": {"versions": {}, "frames": frames}})
    for path in folder.glob("out/units/*.json"):
        if json.loads(path.read_text())["encoder"] == "state":
            path.unlink()
    with initialize_config_module(COMMAND.module, version_base="1.3"):
        config = parse(compose(COMMAND.config, command(folder, "encoders=[state]")[3:]))
    with caplog.at_level(logging.INFO):
        rows = Run(config).execute()
    (record,) = [record for record in caplog.records if "reference frame" in record.message]
    assert record.levelno == logging.WARNING
    assert f"reference frame {rows['frame_hash'].iloc[0]} instead of 0123" in record.message


def test_two_evaluations_never_share_an_episode() -> None:
    used = [
        set(episode_seeds(role, seed, 50)) for role in ("checkpoint", "held_out") for seed in (0, 1, 100, 300)
    ]
    assert len(set().union(*used)) == sum(len(seeds) for seeds in used)
