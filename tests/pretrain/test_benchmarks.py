from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_benchmarks

from egorep.commands import ConfigError
from pretrain import benchmarks
from pretrain.benchmarks import NAMES, Source, files, holdout
from pretrain.benchmarks.setup import worker_count
from pretrain.benchmarks.tasks import (
    Captioned,
    Classification,
    Examples,
    MultipleChoice,
    Question,
    Retrieval,
    Task,
    retrieval,
)
from pretrain.data.narrations import Narrated

Make = Callable[[Path], Path]
ANNOTATIONS = {"egtea": "action_annotation", "egomcq": "egomcq.json", "egosim": "narrations.csv"}
SPLITS = {"ek100_cls": "validation", "egtea": "1"}


def source(name: str, folder: Path, **changes: object) -> Source:
    annotations = folder / ANNOTATIONS.get(name, "epic-kitchens-100-annotations")
    videos = {"egosim": folder, "egtea": folder / "cropped_clips"}.get(name, folder / "videos")
    usual = {"annotations": annotations, "videos": videos, "split": SPLITS.get(name, "test")}
    return Source(name, **{**usual, **changes})  # type: ignore[arg-type]


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Source]:
    """The small files of a benchmark."""

    def made(name: str) -> Source:
        maker: Make = getattr(small_benchmarks, "epic" if name.startswith("ek100") else name)
        return source(name, maker(tmp_path / name))

    return made


def evaluation(where: Source) -> Examples:
    return benchmarks.load(where.name).evaluation(where)


def read(task: Task) -> np.ndarray:
    return np.ones(len(task.clips), bool)


def clip(video: str, row: int = 0, text: str = "C waits") -> Narrated:
    return Narrated(video, Path(video), 0.0, 1.0, (text,), row)


# EPIC-KITCHENS-100


def test_ek100_mir_reads_the_official_files(make: Callable[[str], Source]) -> None:
    (task,) = evaluation(make("ek100_mir")).tasks
    assert isinstance(task, Retrieval)
    assert task.texts == ["take plate", "put-down plate", "take chopping board"]
    assert [one.path.name for one in task.clips] == ["P01_11.MP4"] * 2 + ["P02_03.MP4"] * 2
    assert (task.clips[3].start, task.clips[3].end) == (1.0, 2.0)
    figures = {figure.measure: figure for figure in task.score(task.relevancy, read(task))}
    assert figures["mAP"].interval.estimate == pytest.approx(
        np.mean([figures[f"mAP, {way}"].interval.estimate for way in ("video to text", "text to video")])
    )
    assert figures["nDCG"].interval == (1, 1, 1)
    assert figures["nDCG"].chance < 1
    assert figures["recall@1, video to text"].items == 4
    assert figures["median rank, text to video"].interval.estimate == 1


def test_a_matrix_of_another_version_is_refused(make: Callable[[str], Source]) -> None:
    where = make("ek100_mir")
    folder = where.annotations / "retrieval_annotations" / "relevancy"
    (folder / "caption_relevancy_EPIC_100_retrieval_test.pkl").unlink()
    np.save(folder / "caption_relevancy_EPIC_100_retrieval_test.npy", np.eye(3))
    with pytest.raises(ValueError, match=r"\(3, 3\), but there are 4 clips"):
        evaluation(where)


def test_a_bad_row_is_reported_and_the_relevancies_stay_with_their_clips(
    make: Callable[[str], Source],
) -> None:
    where = make("ek100_mir")
    table = where.annotations / "retrieval_annotations" / "EPIC_100_retrieval_test.csv"
    table.write_text(table.read_text().replace("00:00:00.00,00:00:01.00", "soon,00:00:01.00", 1))
    examples = evaluation(where)
    (task,) = examples.tasks
    assert isinstance(task, Retrieval)
    assert task.relevancy[:, 0].tolist() == [0.5, 0.5, 1]
    assert [problem.name for problem in examples.problems] == ["EPIC_100_retrieval_test.csv row 0"]


def test_the_relevancies_of_training_follow_their_definition(make: Callable[[str], Source]) -> None:
    learn, select = benchmarks.load("ek100_mir").training(make("ek100_mir"), Retrieval).tasks
    assert isinstance(learn, Retrieval)
    assert learn.texts == ["take plate", "wash plate"]
    assert learn.relevancy == pytest.approx(np.array([[1, 0.25], [0.25, 1]]))
    assert {one.video_id for one in learn.clips}.isdisjoint(one.video_id for one in select.clips)


def test_ek100_cls_scores_actions_verbs_and_nouns(make: Callable[[str], Source]) -> None:
    (task,) = evaluation(make("ek100_cls")).tasks
    assert isinstance(task, Classification)
    # The pairs of training and validation, ordered by verb and noun.
    assert task.prompts == [("take plate",), ("take chopping board",), ("put down plate",), ("wash plate",)]
    assert task.labels.tolist() == [0, 2, 1, 0]
    scores = np.zeros((4, 4))
    scores[np.arange(4), [1, 2, 1, 3]] = 1  # right verbs: 3, right nouns: 3, right actions: 2
    figures = {figure.measure: figure for figure in task.score(scores, read(task))}
    shares = {name: figures[f"{name} top-1"].interval.estimate for name in ("action", "verb", "noun")}
    assert shares == {"action": 0.5, "verb": 0.75, "noun": 0.75}
    assert figures["noun top-1"].chance == 0.5


def test_classes_without_a_name_are_refused(make: Callable[[str], Source]) -> None:
    where = make("ek100_cls")
    small_benchmarks.write_csv(
        where.annotations / "EPIC_100_verb_classes.csv", ["id", "key"], [(0, "take"), (2, "wash")]
    )
    with pytest.raises(ValueError, match="do not name verb 1"):
        evaluation(where)


# EGTEA


def test_egtea_reads_the_official_files(make: Callable[[str], Source]) -> None:
    (task,) = evaluation(make("egtea")).tasks
    assert isinstance(task, Classification)
    assert task.prompts == [("C inspect or read recipe",), ("C cut bell pepper",), ("C open fridge",)]
    assert task.labels.tolist() == [0, 2, 2]
    assert task.clips[0].path.parts[-2:] == ("OP01-R01-Pasta", "OP01-R01-Pasta-0-1900-F000-F020.mp4")
    assert task.clips[0].end == pytest.approx(2.0)
    figures = {figure.measure: figure.interval.estimate for figure in task.score(np.eye(3), read(task))}
    assert figures == {"action top-1": pytest.approx(2 / 3), "action mean class": pytest.approx(0.75)}


def test_egtea_reports_what_is_missing_by_name(make: Callable[[str], Source]) -> None:
    where = make("egtea")
    gone = "OP02-R01-Pasta-0-1900-F000-F020"
    (where.videos / "OP02-R01-Pasta" / f"{gone}.mp4").unlink()
    table = where.annotations / "test_split1.txt"
    table.write_text(table.read_text() + "OP09-R01-Pasta-0-1-F0-F1 77 1 1\n")
    examples = evaluation(where)
    assert [problem.name for problem in examples.problems] == [
        f"test_split1.txt line 3 ({gone})",
        "test_split1.txt line 4 (OP09-R01-Pasta-0-1-F0-F1)",
    ]
    assert "missing" in examples.problems[0].reason
    assert "names no class" in examples.problems[1].reason
    assert len(examples.tasks[0].clips) == 2


# EgoMCQ


def test_egomcq_reads_the_official_file(make: Callable[[str], Source]) -> None:
    (task,) = evaluation(make("egomcq")).tasks
    assert isinstance(task, MultipleChoice)
    assert [question.kind for question in task.questions] == ["inter-video", "intra-video"]
    assert [one.path.name for one in task.clips] == ["aaa.mp4", "bbb.mp4", "aaa.mp4", "aaa.mp4"]
    assert task.clips[0].start == 0
    similarity = np.array([[0.9, 0.0], [0.1, 0.0], [0.0, 0.9], [0.0, 0.1]])
    figures = {figure.measure: figure for figure in task.score(similarity, read(task))}
    assert figures["inter-video"].interval.estimate == 0
    assert figures["intra-video"].interval.estimate == 1
    assert figures["intra-video"].chance == 0.5
    lost = task.score(similarity, np.array([True, False, True, True]))
    assert [figure.items for figure in lost] == [0, 1]


def test_exchanged_types_of_egomcq_are_found_out(make: Callable[[str], Source]) -> None:
    where = make("egomcq")
    content = json.loads(where.annotations.read_text())
    for question in content.values():
        question["types"] = 3 - question["types"]
    where.annotations.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="100% of the questions of type 1 choose among clips of one video"):
        evaluation(where)


def test_bad_questions_of_egomcq_are_reported(make: Callable[[str], Source]) -> None:
    where = make("egomcq")
    content = json.loads(where.annotations.read_text())
    content["2"] = {**content["0"], "answer": 7}
    content["3"] = {key: value for key, value in content["0"].items() if key != "query"}
    where.annotations.write_text(json.dumps(content))
    examples = evaluation(where)
    assert [problem.reason for problem in examples.problems] == [
        "answer 7 is none of 2 choices",
        "it has no 'query'",
    ]


# EgoSim


def test_egosim_makes_four_tasks(make: Callable[[str], Source]) -> None:
    examples = evaluation(make("egosim"))
    kinds = [type(task) for task in examples.tasks]
    assert kinds == [Retrieval, Classification, MultipleChoice, MultipleChoice]
    assert not examples.problems
    assert {one.video_id for task in examples.tasks for one in task.clips} == {"test_0", "test_1", "test_2"}
    found, verbs, choices, _ = examples.tasks
    assert isinstance(found, Retrieval)
    assert isinstance(verbs, Classification)
    # Of two texts one verb and kind: three slides of boxes, and two mugs that are picked up in other words.
    assert len(found.texts) == 5
    assert (found.relevancy.sum(1) == [3, 2, 3, 2, 3, 2]).all()
    assert verbs.prompts[verbs.labels[0]] == ("C slides something", "C slides something across the table")
    assert ("C opens the drawer", "C pulls the drawer open") in verbs.prompts
    assert isinstance(choices, MultipleChoice)
    assert {question.kind for question in choices.questions} == {"intra-video"}  # three videos are too few


def test_motion_queries_differ_in_one_thing(make: Callable[[str], Source]) -> None:
    task = evaluation(make("egosim")).tasks[3]
    assert isinstance(task, MultipleChoice)
    asked: dict[str, list[tuple[str, list[str]]]] = {}
    for question in task.questions:
        texts = [task.texts[place] for place in question.texts]
        asked.setdefault(question.kind, []).append((texts[question.answer], sorted(texts)))
    hands = [f"C slides the red box across the table with the {hand} hand" for hand in ("left", "right")]
    assert asked["hand"][0] == (hands[0], hands)
    ways = ["away from the body", "to the left", "to the right", "towards the body"]
    sliding = [f"C slides the red box across the table {way}" for way in ways]
    assert asked["direction"][0] == (sliding[1], sliding)
    assert len(asked["direction"]) == 3
    right, texts = asked["object"][1]
    assert right == "C takes the mug from the table"
    assert len(texts) == 5
    assert all(text.startswith("C takes the ") and text.endswith(" from the table") for text in texts)
    # Two failures and a success: one pair of them is asked about.
    assert len(asked["contact"]) == 2
    assert asked["contact"][1][1] == ["C takes the mug from the table", "C tries to pick up the mug"]
    assert asked["contact"][0][0] == "C tries to pick up the mug"


def test_the_tasks_of_egosim_repeat(make: Callable[[str], Source]) -> None:
    where = make("egosim")
    first, second = evaluation(where).tasks[3], evaluation(where).tasks[3]
    assert isinstance(first, MultipleChoice)
    assert isinstance(second, MultipleChoice)
    assert (first.texts, first.questions) == (second.texts, second.questions)


def test_a_narration_that_egosim_never_wrote_is_reported(make: Callable[[str], Source]) -> None:
    where = make("egosim")
    table = where.annotations.read_text()
    where.annotations.write_text(
        table.replace("test_0,0.5,1.0,C takes the mug from the table", "test_0,0.5,1.0,C juggles").replace(
            ",slide,right,thing,box,green", ",sled,right,thing,box,green"
        )
    )
    reasons = [problem.reason for problem in evaluation(where).problems]
    assert "EgoSim knows no verb 'sled'" in reasons
    assert any("'C juggles' is not what EgoSim says of 'pick up'" in reason for reason in reasons)


def test_every_narration_of_egosim_can_be_taken_apart() -> None:
    from pretrain.benchmarks import egosim
    from pretrain.sim.actions import VERBS, Action, narration
    from pretrain.sim.library import KINDS

    for verb in VERBS.values():
        for seed in range(20):
            kind = verb.kinds[seed % len(verb.kinds)]
            target = verb.targets[seed % len(verb.targets)] if verb.targets else ""
            outcome = "slips" if verb.fails and seed % 3 == 0 else "success"
            colour = KINDS[kind].colours[0]
            action = Action(
                *(verb.name, "left", "a", kind, colour, target, target, colour if target else ""),
                *("", "normal", outcome, seed),  # type: ignore[arg-type]
            )
            more = {name: str(value) for name, value in action.record().items()}
            row = Narrated("v", Path("v"), 0.0, 1.0, (narration(action),), 0, more)
            said = egosim._take_apart(row)
            assert egosim._say(verb, said, said.object) == row.texts[0]
            assert said.object.removeprefix("the ").removeprefix(f"{colour} ") in KINDS[kind].nouns


# What all share


@pytest.mark.parametrize("name", NAMES)
def test_missing_annotations_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises((FileNotFoundError, ValueError), match=ANNOTATIONS.get(name, "EPIC_100")):
        evaluation(source(name, tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_split_is_refused(name: str, make: Callable[[str], Source]) -> None:
    where = make(name)
    with pytest.raises(ValueError, match="nonsense"):
        evaluation(Source(name, where.annotations, where.videos, "nonsense"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ek100_mir", Classification), ("ek100_cls", Retrieval), ("egtea", Retrieval), ("egomcq", Retrieval)],
)
def test_training_of_what_a_benchmark_lacks_is_refused(
    name: str, kind: type[Retrieval] | type[Classification], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"train|evaluation only"):
        benchmarks.load(name).training(source(name, tmp_path), kind)


def test_unknown_benchmarks_are_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="ek100_mir"):
        benchmarks.load("ek100_mri")


class _Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_matrices_are_read_without_running_code(
    protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good, bad = tmp_path / "good.pkl", tmp_path / "bad.pkl"
    matrix = np.random.default_rng(0).random((3, 4))
    good.write_bytes(pickle.dumps(matrix, protocol))
    assert (files.read_matrix(good) == matrix).all()
    for content in (_Harm(), [matrix, _Harm()], {"a": 1}, np.array([[_Harm()]], dtype=object)):
        bad.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(ValueError, match=r"bad\.pkl"):
            files.read_matrix(bad)
    assert not (tmp_path / "harmed").exists()


def test_names_of_numpy_2_are_understood(tmp_path: Path) -> None:
    content = pickle.dumps(np.eye(2), 4)
    renamed = content.replace(b"\x8c\x15numpy.core.multiarray", b"\x8c\x16numpy._core.multiarray")
    assert renamed != content
    # The frame's length, eight bytes after the protocol and the opcode, grows by the one letter.
    length = int.from_bytes(renamed[3:11], "little") + 1
    path = tmp_path / "matrix.pkl"
    path.write_bytes(renamed[:3] + length.to_bytes(8, "little") + renamed[11:])
    assert (files.read_matrix(path) == np.eye(2)).all()


def test_classes_in_words() -> None:
    assert files.class_name("turn-on") == "turn on"
    assert files.class_name("board:chopping") == "chopping board"
    assert files.class_set("[3, 12]") == {"3", "12"}
    with pytest.raises(ValueError, match="no list"):
        files.class_set("3 and 12")


def test_the_held_out_videos_are_a_tenth_and_the_same_everywhere() -> None:
    rows = [f"video{number % 50}" for number in range(500)]
    learn, select = holdout.by_video(rows, str)
    assert len(set(select)) == 5
    assert set(learn).isdisjoint(select)
    assert holdout.by_video(rows[::-1], str)[1] == select[::-1]
    with pytest.raises(ValueError, match="two videos"):
        holdout.by_video(["one"], str)


def test_a_caption_whose_clips_were_not_read_is_no_query() -> None:
    rows = [
        Captioned(clip(str(n)), f"text {n}", frozenset([f"v{n}"]), frozenset([f"n{n}"])) for n in range(3)
    ]
    task = retrieval("task", rows)
    similarity = np.array([[0.1, 0.2, 0.9], [0, 1, 0], [0, 0, 1]])
    figures = {figure.measure: figure for figure in task.score(similarity, np.array([True, True, False]))}
    assert figures["mAP, text to video"].items == 2
    assert figures["mAP, video to text"].interval.estimate == pytest.approx((1 / 3 + 1) / 2)
    assert task.score(similarity, np.zeros(3, bool)) == []


def test_one_clip_may_choose_among_texts() -> None:
    question = Question("hand", (0,), (0, 1), 1)
    task = MultipleChoice("task", [clip("a")], ["left", "right"], [question, question._replace(answer=0)])
    (figure,) = task.score(np.array([[0.3, 0.6]]), np.array([True]))
    assert figure.interval.estimate == 0.5
    assert (figure.items, figure.chance) == (2, 0.5)


def test_videos_are_read_by_as_many_processes_as_there_are_cores_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cores, expected in ((3, 3), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert worker_count(None) == expected
    assert worker_count(0) == 0
    with pytest.raises(ConfigError, match="workers=-1 is negative"):
        worker_count(-1)
