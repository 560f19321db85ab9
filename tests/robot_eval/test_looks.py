"""Reference frames against the shipped ones: what is said, how loudly, and the table itself."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import make_row

from robot_eval import looks
from robot_eval.looks import LOOKS_FILE, default_settings, look_notes, write_looks
from robot_eval.results import EvaluationRow
from robot_eval.suites import load_suite

VERSIONS = {"pictures": "2", "metaworld": "3.1.1", "mujoco": "3.3.0", "opengl": "egl: llvmpipe"}


@pytest.fixture(autouse=True)
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = {"hammer-v3 corner2 fast 224/224 none": "0123", "hammer-v3 corner2 fast 224/224 train": "4567"}
    table = {"metaworld": {"versions": VERSIONS, "frames": frames}}
    monkeypatch.setattr(looks, "shipped_looks", lambda: table)


def row(**changes: Any) -> EvaluationRow:
    shown = {"render": "fast", "render_size": 224, "picture_size": 224, "variation": "none"}
    filmed = {"frame_hash": "0123", "train_variation": "none"}
    return make_row(**{"task": "hammer-v3", **shown, **filmed, "versions": VERSIONS, **changes})


def test_the_shipped_look_is_nothing_to_speak_of() -> None:
    assert look_notes([row(), row(variation="train", train_variation="train", frame_hash="4567")]) == []


@pytest.mark.parametrize(
    "other",
    [
        {"task": "assembly-v3"},
        {"suite": "adroit"},
        {"camera": "corner"},
        {"render": "paper"},
        {"render_size": 256},
        {"picture_size": 112},
        {"render_size": None, "picture_size": None},
        {"variation": "unseen", "role": "held_out", "train_variation": "train"},
    ],
)
def test_what_the_table_does_not_hold_is_nothing_to_speak_of(other: dict[str, Any]) -> None:
    assert look_notes([row(**{"frame_hash": "ffff", **other})]) == []


def test_a_changed_look_is_warned_of_with_both_hashes_and_the_versions() -> None:
    changed = row(frame_hash="ffff", versions={**VERSIONS, "mujoco": "3.4.0", "numpy": "9"})
    (note,) = look_notes([changed])
    assert note.alarming
    assert note.level == logging.WARNING
    assert note.text == (
        "metaworld/hammer-v3: reference frame ffff instead of 0123 under variation none (mujoco 3.4.0 "
        "instead of 3.3.0); a changed look: policies and published numbers may not carry over."
    )


def test_a_changed_look_of_the_same_versions_says_so() -> None:
    assert "(no version differs)" in look_notes([row(frame_hash="ffff")])[0].text


def test_results_that_do_not_name_a_version_are_not_said_to_differ_in_it() -> None:
    old = {name: version for name, version in VERSIONS.items() if name != "pictures"}
    assert "(no version differs)" in look_notes([row(frame_hash="ffff", versions=old)])[0].text


def test_another_opengl_is_a_mild_note() -> None:
    (note,) = look_notes([row(frame_hash="ffff", versions={**VERSIONS, "opengl": "egl: NVIDIA"})])
    assert not note.alarming
    assert note.level == logging.INFO
    assert "another OpenGL: opengl egl: NVIDIA instead of egl: llvmpipe." in note.text
    assert "may not carry over" not in note.text


def test_each_task_is_spoken_of_once() -> None:
    rows = [row(frame_hash="ffff", seed=seed) for seed in range(3)]
    rows.append(row(frame_hash="ffff", variation="train", train_variation="train"))
    assert len(look_notes(rows)) == 1


def test_demonstrations_of_another_look_are_warned_of() -> None:
    (note,) = look_notes([row(demos_frame_hash="eeee")])
    assert note.alarming
    assert note.about == "demonstrations"
    assert "eeee" in note.text
    assert "0123" in note.text


def test_demonstrations_of_the_same_or_an_unknown_look_are_not() -> None:
    unseen = row(variation="unseen", role="held_out", train_variation="train", demos_frame_hash="4567")
    assert look_notes([row(demos_frame_hash="0123"), row(demos_frame_hash=None), unseen]) == []


def test_default_settings_are_those_of_every_protocol_and_variation() -> None:
    settings = default_settings("metaworld")
    assert {each.task for each in settings} >= {"hammer-v3", "drawer-open-v3"}
    assert {each.camera for each in settings} == {"corner2"}
    assert {(each.render_size, each.picture_size) for each in settings} == {(224, 224), (256, 224)}
    assert {each.variation for each in settings} == {"none", "train", "unseen"}
    assert len(set(settings)) == len(settings)


def test_the_shipped_table_holds_the_default_settings_of_its_suites() -> None:
    table = json.loads(LOOKS_FILE.read_text())
    assert "metaworld" in table
    for suite, shipped in table.items():
        assert set(shipped["frames"]) == {looks._setting(each) for each in default_settings(suite)}
        assert set(shipped["versions"]) == {"pictures", *load_suite(suite).packages, "opengl"}


def test_writing_a_suite_leaves_the_others_and_gives_what_runs_compare_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = default_settings("metaworld")[:1]
    monkeypatch.setattr(looks, "default_settings", lambda _: small)
    path = tmp_path / "looks.json"
    path.write_text(json.dumps({"other": {"versions": {}, "frames": {"a": "b"}}}))
    write_looks(path, ["metaworld"])
    table = json.loads(path.read_text())
    assert table["other"] == {"versions": {}, "frames": {"a": "b"}}
    ((setting, frame),) = table["metaworld"]["frames"].items()
    assert setting == looks._setting(small[0])
    assert len(frame) == 16
    shipped = json.loads(LOOKS_FILE.read_text())["metaworld"]
    if shipped["versions"] == table["metaworld"]["versions"]:
        assert frame == shipped["frames"][setting]
