"""Settings: what a protocol's numbers are, and that a wrong one ends in one clear line before any work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore

import robot_eval.suites
from egorep.commands import ConfigError
from robot_eval.config import COMMAND, RunConfig, TaskName, parse
from robot_eval.policies import PolicyConfig
from robot_eval.policies.attentive import AttentiveSettings
from robot_eval.policies.mlp import MLPSettings
from robot_eval.policies.robomimic import RobomimicSettings
from robot_eval.suites import list_suites
from robot_eval.variation import CHANGES

POLICIES = Path(__file__).parents[2] / "configs" / "robot_eval" / "policy"

# A second suite: of Meta-World's tasks, some under the same name.
TWIN = """
from dataclasses import replace
from robot_eval.suites.metaworld import SUITE
SUITE = replace(
    SUITE, name="twin", tasks=("hammer-v3", "lift", "stack"), cameras=("corner2", "above"),
    horizon=100, short_horizon=40, horizons={"stack": 200},
)
"""


@pytest.fixture
def configure(tmp_path: Path):
    def build(*overrides: str) -> RunConfig:
        folders = [f"out={tmp_path}/out", f"data={tmp_path}/data"]
        COMMAND.check_overrides([*folders, *overrides])
        with initialize_config_module(COMMAND.module, version_base="1.3"):
            return parse(compose(COMMAND.config, [*folders, *overrides]))

    return build


@pytest.fixture
def twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "twin.py").write_text(TWIN)
    monkeypatch.setattr(robot_eval.suites, "__path__", [*robot_eval.suites.__path__, str(tmp_path)])
    store = ConfigStore.instance()
    store.store("twin", {"camera": "above", "tasks": ["lift", "stack"]}, group="suite", package="suites.twin")
    yield
    store.repo["suite"].pop("twin.yaml")
    sys.modules.pop("robot_eval.suites.twin", None)


def test_defaults_are_the_five_tasks_of_r3m_and_cortexbench(configure) -> None:
    run = configure()
    assert [name.task for name in run.chosen] == [
        "assembly-v3",
        "bin-picking-v3",
        "button-press-v3",
        "drawer-open-v3",
        "hammer-v3",
    ]
    assert (run.demos, run.policy_seeds, run.judges, run.render) == (25, [0, 1, 2], ["none"], "fast")


# Every number of the papers' protocols, as their codes and configs have them.
PUBLISHED: dict[str, dict[str, Any]] = {
    "r3m": {
        "demos": 25,
        "pictures": (256, 224),
        "frames": (1, False),
        "proprio": True,
        "policy": ("mlp", "features", MLPSettings([256, 256], "tanh", batch_norm=True)),
        "optimiser": (1e-3, 32, "constant"),
        "budget": ("steps", 20_000, 1_000),
        "seeds": 3,
        "episodes": 50,
        "success": "last",
        "horizon": "suite",
        "cameras": {},
    },
    "cortexbench": {
        "demos": 25,
        "pictures": (256, 224),
        "frames": (3, False),
        "proprio": True,
        "policy": ("mlp", "features", MLPSettings([256, 256, 256], "relu", batch_norm=True)),
        "optimiser": (1e-3, 256, "constant"),
        "budget": ("epochs", 100, 5),
        "seeds": [100, 200, 300],
        "episodes": 25,
        "success": "any",
        "horizon": "suite",
        "cameras": {},
    },
    "mpi": {
        "demos": 25,
        "pictures": (256, 224),
        "frames": (1, True),
        "proprio": True,
        "policy": ("attentive", "tokens", AttentiveSettings(256, 8, [], "relu")),
        "optimiser": (1e-3, 32, "constant"),
        "budget": ("steps", 20_000, 1_000),
        "seeds": 3,
        "episodes": 50,
        "success": "last",
        "horizon": "suite",
        "cameras": {"franka_kitchen": "left"},
    },
    "voltron": {
        "demos": 10,
        "pictures": (256, 224),
        "frames": (1, True),
        "proprio": True,
        "policy": ("attentive", "tokens", AttentiveSettings(256, 8, [256, 256], "relu")),
        "optimiser": (1e-3, 32, "constant"),
        "budget": ("steps", 20_000, 1_000),
        "seeds": 3,
        "episodes": 50,
        "success": "last",
        "horizon": "suite",
        "cameras": {},
    },
    "robomimic": {
        "demos": 200,
        "pictures": (84, 84),
        "frames": (1, False),
        "proprio": True,
        "policy": (
            "robomimic",
            "pictures",
            RobomimicSettings(
                algo={
                    "actor_layer_dims": [],
                    "rnn": {"enabled": True, "horizon": 10, "hidden_dim": 1000, "num_layers": 2},
                    "gmm": {"enabled": True, "num_modes": 5},
                },
                seq_length=10,
                frame_stack=1,
                crop=76,
                feature_dimension=64,
            ),
        ),
        "optimiser": (1e-4, 16, "constant"),
        "budget": ("steps", 600 * 500, 20 * 500),
        "seeds": 3,
        "episodes": 50,
        "success": "any",
        "horizon": "suite",
        "cameras": {"robosuite": "agentview+robot0_eye_in_hand"},
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_protocols_have_the_papers_numbers(configure, name: str) -> None:
    suite = {"robomimic": "robosuite", "mpi": "franka_kitchen", "voltron": "franka_kitchen"}.get(
        name, "metaworld"
    )
    run, wanted = configure(f"protocol={name}", f"suite={suite}"), PUBLISHED[name]
    protocol, policy = run.protocol, run.cloned
    assert (protocol.name, run.demos, protocol.demo_noise) == (name, wanted["demos"], 0.0)
    assert (protocol.render_size, protocol.picture_size) == wanted["pictures"]
    assert (protocol.frames, protocol.still) == wanted["frames"]
    assert protocol.proprio is wanted["proprio"]
    assert (policy.kind, policy.sees, policy.settings) == wanted["policy"]
    optimiser, budget = protocol.optimiser, protocol.budget
    assert (optimiser.lr, optimiser.batch_size, optimiser.schedule) == wanted["optimiser"]
    assert (budget.unit, budget.total, budget.evaluate_every) == wanted["budget"]
    assert (wanted["seeds"] == run.policy_seeds) or (wanted["seeds"] == len(run.policy_seeds))
    assert (protocol.episodes, protocol.success, protocol.horizon) == (
        wanted["episodes"],
        wanted["success"],
        wanted["horizon"],
    )
    assert protocol.cameras == wanted["cameras"]
    assert protocol.hold == (1 if name == "robomimic" else 0)


def test_our_protocol_varies_what_is_seen(configure) -> None:
    run = configure("protocol=egorep", "variation=train")
    assert run.judges == ["train", "unseen"]
    assert run.protocol.budget.total == 20_000
    assert len(run.policy_seeds) >= 3
    assert run.protocol.held_out_episodes == 50


def test_cameras_are_the_suites_unless_protocol_or_user_says(configure) -> None:
    def camera(*overrides: str) -> str:
        run = configure("suite=robosuite", "protocol.picture_size=64", *overrides)
        return run.settings(run.chosen[0], "none").camera

    assert camera() == "agentview"
    assert camera("protocol=robomimic") == "agentview+robot0_eye_in_hand"
    assert camera("protocol=robomimic", "camera=frontview") == "frontview"
    assert camera("camera=frontview+birdview") == "frontview+birdview"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["policy=attentive", "encoders=[state,efficientnet_lite0:grid]"],
            ["all patch tokens", "lite0:grid"],
        ),
        (["policy=attentive", "probes=only"], ["probes=only", "attentive", "tokens"]),
        (["policy=attentive", "policy.heads=7"], ["width", "256", "7"]),
        (["policy=attentive", "protocol=cortexbench"], ["protocol.frames=3", "tokens", "protocol.frames=1"]),
        (["policy=keyposes", "policy.directions=0"], ["policy.directions", "at least 1", "0"]),
        (["policy=keyposes", "protocol.proprio=false"], ["keyposes", "protocol.proprio=true"]),
        (["policy=keyposes", "demos=1"], ["keyposes", "demos must be at least 2", "got 1"]),
        (["policy=diffusion", "policy.horizon=15"], ["horizon 15", "multiple of 2"]),
        (["policy=diffusion", "policy.executed=16"], ["executed 16", "horizon 16 - observed 2 + 1"]),
        (["policy=diffusion", "policy.widths=[100]"], ["widths", "multiples of 8"]),
        (["policy=diffusion", "policy.ema=1.0"], ["ema"]),
        (["policy=bc_transformer", "policy.frame_stack=5"], ["frame_stack=5", "context_length"]),
    ],
)
def test_a_policy_that_cannot_be_is_refused(configure, overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        configure(*overrides)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("name", sorted(path.stem for path in POLICIES.glob("*.yaml")))
def test_every_policy_is_a_config_of_its_own_name(configure, name: str) -> None:
    run = configure(f"policy={name}")
    assert run.cloned.name == name
    assert PolicyConfig.read(run.cloned.to_dict()) == run.cloned
    assert run.features == ("patches" if run.cloned.sees == "tokens" else "cls")


def test_policies_trained_under_variation_are_judged_under_train_and_unseen(configure) -> None:
    run = configure("variation=train")
    assert run.judges == ["train", "unseen"]
    assert run.settings(run.chosen[0], "unseen").variation == "unseen"


def test_judges_can_be_chosen_and_the_training_variation_stays_first(configure) -> None:
    assert configure("judge=[unseen,train]").judges == ["none", "unseen", "train"]


def test_the_experiment_judges_one_task_of_every_suite_under_one_change_at_a_time(configure) -> None:
    run = configure("experiment=robustness")
    assert [name.suite for name in run.chosen] == list(run.suites)
    assert sorted(run.suites) == list_suites()
    assert (run.variation, run.judges) == ("none", ["none", *CHANGES])
    assert len(run.encoders) == 3
    alone = configure("experiment=robustness", "suite=metaworld", "tasks=[hammer-v3]")
    assert list(map(str, alone.chosen)) == ["metaworld/hammer-v3"]


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
        ("tasks=[]", ["tasks", "at least one"]),
        ("tasks=[hammer-v3,metaworld/hammer-v3]", ["tasks", "distinct"]),
        ("tasks=[metaworl/hammer-v3]", ["'metaworl/hammer-v3'", "'metaworld/hammer-v3'"]),
        ("camera=corner22", ["corner22", "corner2"]),
        ("camera=corner+corner22", ["corner22", "corner2"]),
        ("render=quick", ["render", "fast", "paper"]),
        ("variation=unsen", ["variation", "unseen"]),
        ("variation=unseen", ["judge=[unseen]"]),
        ("variation=starts", ["variation=starts is for judging", "none or train", "judge=[starts]"]),
        ("judge=[none,camra]", ["variation 'camra'", "'camera'"]),
        ("pool=meen", ["pool", "mean"]),
        ("engine=openvin", ["engine", "openvino"]),
        ("demos=0", ["demos", "at least 1", "0"]),
        ("demos=many", ["many", "demos"]),
        ("fresh_demos=maybe", ["fresh_demos", "maybe"]),
        ("seeds=4", ["seeds=4", "3 seeds"]),
        ("seeds=0", ["seeds=0"]),
        ("seeds=[1,1]", ["distinct"]),
        ("probes=olny", ["probes=olny", "only"]),
        ("protocol.horizon=0", ["protocol.horizon"]),
        ("protocol.horizon=shrt", ["shrt", "short"]),
        ("protocol.horizon=1.5", ["1.5", "horizon"]),
        ("protocol.budget.evaluate_every=7", ["multiple"]),
        ("protocol.picture_size=300", ["picture_size", "224"]),
        ("policy=difusion", ["policy", "difusion", "diffusion"]),
        ("policy.activation=rellu", ["rellu", "relu"]),
        ("policy.activaton=relu", ["policy.activaton", "policy.activation"]),
        ("policy.hidden=[0]", ["hidden", "at least 1"]),
        ("policy.kind=mpl", ["policy.kind", "mpl", "mlp"]),
        ("policy.sees=tokens", ["policy.sees of r3m", "tokens", "features"]),
        ("protocol.success=lst", ["lst", "last"]),
        ("suite=metaworl", ["metaworl", "metaworld"]),
        ("suite=[metaworld,metaworl]", ["metaworl", "metaworld"]),
        ("suite=[metaworld,metaworld]", ["suite", "distinct"]),
        ("suite=[]", ["suite", "distinct names"]),
        ("protocol=[quick,r3m]", ["protocol must be one name", "[quick,r3m]"]),
        ("suites.metaworld.camera=corner22", ["corner22", "corner2"]),
        ("suites.metaworl.camera=corner", ["suites.metaworl.camera", "suites.metaworld.camera"]),
        ("suites.metaworld.tasks=[hamer-v3]", ["hamer-v3", "hammer-v3"]),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_what_is_valid(configure, override, words) -> None:
    with pytest.raises(ConfigError) as error:
        configure(override)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("demos=201", ["room for 200", "demos=201"]),
        ("seeds=[3,1000]", ["below 1000", "[3, 1000]"]),
        ("published={Can: can.hdf5}", ["by experts", "can.hdf5"]),
    ],
)
def test_fresh_demonstrations_stay_apart_from_all_other_episodes(configure, override, words) -> None:
    configure("fresh_demos=true", "demos=200", "seeds=[0,999]")
    with pytest.raises(ConfigError) as error:
        configure("fresh_demos=true", override)
    for word in words:
        assert word in str(error.value)


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


def configured_suites() -> list[str]:
    folder = Path(__file__).parents[2] / "configs" / "robot_eval" / "suite"
    return sorted(path.stem for path in folder.glob("*.yaml"))


def test_every_suite_has_a_config() -> None:
    assert configured_suites() == list_suites()


@pytest.mark.parametrize("name", configured_suites())
def test_a_suite_alone_runs_its_own_tasks_through_its_own_camera(configure, name: str) -> None:
    run = configure(f"suite={name}")
    assert list(run.suites) == [name]
    assert {each.suite for each in run.chosen} == {name}
    assert run.settings(run.chosen[0], "none").camera == run.suites[name].camera


def test_several_suites_bring_their_own_tasks_and_cameras(configure, twin: None) -> None:
    run = configure("suite=[metaworld,twin]")
    assert [str(name) for name in run.chosen[-3:]] == ["metaworld/hammer-v3", "twin/lift", "twin/stack"]
    settings = run.settings(TaskName("twin", "lift"), "none")
    assert (settings.suite, settings.task, settings.camera) == ("twin", "lift", "above")
    assert run.settings(TaskName("metaworld", "hammer-v3"), "none").camera == "corner2"


def test_tasks_are_found_in_the_suite_that_has_them(configure, twin: None) -> None:
    run = configure("suite=[metaworld,twin]", "tasks=[stack,twin/hammer-v3,assembly-v3]")
    assert list(map(str, run.chosen)) == ["twin/stack", "twin/hammer-v3", "metaworld/assembly-v3"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["tasks=[hammer-v3,lift]"], ["ambiguous", "metaworld/hammer-v3", "twin/hammer-v3"]),
        (["tasks=[stak]"], ["task of metaworld, twin", "'stak'", "'stack'"]),
        (["tasks=[twin/stak]"], ["'twin/stak'", "'twin/stack'"]),
        (["tasks=[lift]"], ["tasks has none of metaworld"]),
        (["camera=above"], ["metaworld camera 'above'"]),
        (["suites.twin.camera=abov"], ["twin camera 'abov'", "'above'"]),
    ],
)
def test_what_not_all_suites_have_is_refused(configure, twin: None, overrides, words) -> None:
    with pytest.raises(ConfigError) as error:
        configure("suite=[metaworld,twin]", *overrides)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_one_camera_may_be_asked_of_all_suites_or_of_one(configure, twin: None) -> None:
    for overrides in (["camera=corner2"], ["suites.twin.camera=corner2"]):
        run = configure("suite=[metaworld,twin]", *overrides)
        assert run.settings(TaskName("twin", "lift"), "none").camera == "corner2"


def test_a_setting_of_a_suite_that_is_not_selected_is_no_key(configure, twin: None) -> None:
    with pytest.raises(ConfigError, match=r"unknown config key 'suites\.twin\.camera'"):
        configure("suites.twin.camera=corner2")


def test_a_sweep_over_lists_of_suites_is_checked_whole(twin: None) -> None:
    COMMAND.check_overrides(["suite=[metaworld,twin],twin", "suites.twin.camera=corner2"])
    with pytest.raises(ConfigError, match="unknown suite 'twn'; did you mean 'twin'"):
        COMMAND.check_overrides(["suite=[metaworld],[twn,metaworld]"])


@pytest.mark.parametrize(
    ("suites", "folder"),
    [
        ("metaworld", "metaworld"),
        ("[twin,metaworld]", "metaworld_twin"),
        ("[metaworld,twin]", "metaworld_twin"),
    ],
)
def test_the_default_folder_is_named_after_the_suites(twin: None, suites: str, folder: str) -> None:
    with initialize_config_module(COMMAND.module, version_base="1.3"):
        assert compose(COMMAND.config, [f"suite={suites}"]).out == f"runs/{folder}_quick_none"


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ([], {"metaworld/hammer-v3": 250, "twin/lift": 40, "twin/stack": 80}),
        (["protocol=r3m"], {"metaworld/hammer-v3": 500, "twin/lift": 100, "twin/stack": 200}),
        (["protocol=cortexbench"], {"metaworld/hammer-v3": 500, "twin/lift": 100, "twin/stack": 200}),
        (["protocol.horizon=7"], {"metaworld/hammer-v3": 7, "twin/lift": 7, "twin/stack": 7}),
    ],
)
def test_horizons_are_those_of_the_suites_or_one_for_all(configure, twin: None, overrides, steps) -> None:
    run = configure("suite=[metaworld,twin]", *overrides)
    assert {str(name): run.horizon(name) for name in run.chosen}.items() >= steps.items()
