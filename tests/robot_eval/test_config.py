"""Settings: what a protocol's numbers are, and that a wrong one ends in one clear line before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from egorep.commands import ConfigError
from robot_eval.config import COMMAND, RunConfig, parse


@pytest.fixture
def configure(tmp_path: Path):
    def build(*overrides: str) -> RunConfig:
        folders = [f"out={tmp_path}/out", f"data={tmp_path}/data"]
        COMMAND.check_overrides([*folders, *overrides])
        with initialize_config_module(COMMAND.module, version_base="1.3"):
            return parse(compose(COMMAND.config, [*folders, *overrides]))

    return build


def test_defaults_are_the_five_tasks_of_r3m_and_cortexbench(configure) -> None:
    run = configure()
    assert run.tasks == ["assembly-v3", "bin-picking-v3", "button-press-v3", "drawer-open-v3", "hammer-v3"]
    assert (run.demos, run.policy_seeds, run.judges, run.render) == (25, [0, 1, 2], ["none"], "fast")


def test_r3m_has_the_papers_numbers(configure) -> None:
    protocol = configure("protocol=r3m").protocol
    assert (protocol.head.hidden, protocol.head.activation, protocol.head.batch_norm) == (
        [256, 256],
        "tanh",
        True,
    )
    assert (protocol.optimiser.lr, protocol.optimiser.batch_size) == (1e-3, 32)
    assert (protocol.budget.unit, protocol.budget.total, protocol.budget.evaluate_every) == (
        "steps",
        20_000,
        1_000,
    )
    assert (protocol.episodes, len(protocol.seeds), protocol.success) == (50, 3, "last")
    assert (protocol.render_size, protocol.picture_size, protocol.frames) == (256, 224, 1)
    assert (protocol.demos, protocol.demo_noise, protocol.hold) == (25, 0.0, 0)


def test_cortexbench_has_the_papers_numbers(configure) -> None:
    run = configure("protocol=cortexbench")
    protocol = run.protocol
    assert (protocol.head.hidden, protocol.head.activation, protocol.head.batch_norm) == (
        [256, 256, 256],
        "relu",
        True,
    )
    assert protocol.optimiser.batch_size == 256
    assert (protocol.budget.unit, protocol.budget.total, protocol.budget.evaluate_every) == ("epochs", 100, 5)
    assert (protocol.episodes, run.policy_seeds, protocol.frames) == (25, [100, 200, 300], 3)


def test_policies_trained_under_variation_are_judged_under_train_and_unseen(configure) -> None:
    run = configure("variation=train")
    assert run.judges == ["train", "unseen"]
    assert run.settings("hammer-v3", "unseen").variation == "unseen"


def test_judges_can_be_chosen_and_the_training_variation_stays_first(configure) -> None:
    assert configure("judge=[unseen,train]").judges == ["none", "unseen", "train"]


@pytest.mark.parametrize(("asked", "got"), [("2", [0, 1]), ("[7,3]", [7, 3])])
def test_seeds_are_a_number_or_a_list(configure, asked: str, got: list[int]) -> None:
    assert configure(f"seeds={asked}").policy_seeds == got


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("encodrs=[state]", ["encodrs", "encoders"]),
        ("protocol.epsodes=3", ["protocol.epsodes", "protocol.episodes"]),
        ("encoders=[eficientnet_lite0]", ["eficientnet_lite0", "efficientnet_lite0"]),
        ("encoders=[timm/vit_tini_patch16_224]", ["vit_tini_patch16_224", "vit_tiny_patch16_224"]),
        ("encoders=[]", ["encoders"]),
        ("encoders=[state,state]", ["distinct"]),
        ("tasks=[hamer-v3]", ["hamer-v3", "hammer-v3"]),
        ("camera=corner22", ["corner22", "corner2"]),
        ("render=quick", ["render", "fast", "paper"]),
        ("variation=unsen", ["variation", "unseen"]),
        ("variation=unseen", ["judge=[unseen]"]),
        ("pool=meen", ["pool", "mean"]),
        ("engine=openvin", ["engine", "openvino"]),
        ("demos=0", ["demos", "at least 1", "0"]),
        ("demos=many", ["many", "demos"]),
        ("seeds=4", ["seeds=4", "3 seeds"]),
        ("seeds=0", ["seeds=0"]),
        ("seeds=[1,1]", ["distinct"]),
        ("protocol.horizon=0", ["protocol.horizon"]),
        ("protocol.budget.evaluate_every=7", ["multiple"]),
        ("protocol.picture_size=300", ["picture_size", "224"]),
        ("protocol.head.activation=rellu", ["rellu", "relu"]),
        ("protocol.success=lst", ["lst", "last"]),
        ("suite.name=metaworl", ["metaworl", "metaworld"]),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_what_is_valid(configure, override, words) -> None:
    with pytest.raises(ConfigError) as error:
        configure(override)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_an_output_folder_that_cannot_be_made_is_refused(configure, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="out="):
        configure(f"out={tmp_path}/file/run")


def test_encoders_may_name_their_checkpoints(configure, tmp_path: Path) -> None:
    weights = tmp_path / "r3m_50.pt"
    weights.touch()
    encoders = [f"r3m_resnet50@{weights}", f"egovideo_tiny@{tmp_path}", "state"]
    assert configure(f"encoders=[{','.join(encoders)}]").encoders == encoders
    with pytest.raises(ConfigError, match=r"there is no checkpoint '/nowhere\.pt'"):
        configure("encoders=[r3m_resnet50@/nowhere.pt]")
    with pytest.raises(ConfigError, match=r"needs checkpoint=.*random/vc1_base"):
        configure("encoders=[vc1_base]")


def test_clips_span_a_positive_time(configure) -> None:
    assert configure().clip_seconds == 1.0
    with pytest.raises(ConfigError, match=r"clip_seconds must be positive, got -1\.0"):
        configure("clip_seconds=-1")
