"""The benchmarks' files in their official layouts, made small, with videos of coloured squares that move."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from egorep.video_files import write_mp4

EPIC_COLUMNS = [
    *("narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp"),
    *("stop_timestamp", "start_frame", "stop_frame", "narration", "verb", "verb_class", "noun", "noun_class"),
    *("all_nouns", "all_noun_classes"),
]
EGOSIM_COLUMNS = [
    *("video_id", "start_second", "end_second", "text", "split", "seed", "verb", "hand", "object", "kind"),
    *("colour", "target", "target_kind", "target_colour", "direction", "speed", "outcome"),
]


def square(path: Path, colour: Sequence[int], way: int = 1, seconds: float = 2.0) -> Path:
    """A video of a coloured square on grey that moves right (1) or left (-1)."""
    frames = np.full((round(seconds * 10), 32, 32, 3), 90, np.uint8)
    for step, frame in enumerate(frames):
        place = round(20 * step / (len(frames) - 1))
        left = place if way > 0 else 20 - place
        frame[10:22, left : left + 12] = colour
    return write_mp4(path, frames, fps=10)


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def epic_row(name: str, start: float, text: str, verb: int, nouns: Sequence[int]) -> list[object]:
    """A row of EPIC-KITCHENS for the clip `<video>_<number>`, one second long."""
    video = name.rpartition("_")[0]
    first, last = (f"00:00:{second:05.2f}" for second in (start, start + 1))
    words, (spoken, *named) = list(nouns), text.split()
    return [
        *(name, video.partition("_")[0], video, "00:00:00.100", first, last, 0, 10, text),
        *(spoken, verb, named[-1], words[0], str(named), str(words)),
    ]


def epic(folder: Path) -> Path:
    """EPIC-KITCHENS-100: two videos with two clips each for testing, two for training."""
    annotations = folder / "epic-kitchens-100-annotations"
    test = [
        epic_row("P01_11_0", 0.0, "take plate", 0, [2]),
        epic_row("P01_11_1", 1.0, "put-down plate", 1, [2]),
        epic_row("P02_03_0", 0.0, "take chopping board", 0, [5]),
        epic_row("P02_03_1", 1.0, "take plate", 0, [2]),
    ]
    train = [
        epic_row(f"P0{video}_0{video}_{number}", float(number), text, verb, nouns)
        for video in (1, 2)
        for number, (text, verb, nouns) in enumerate([("take plate", 0, [2]), ("wash plate", 2, [2, 5])])
    ]
    retrieval = annotations / "retrieval_annotations"
    for path, rows in (
        (retrieval / "EPIC_100_retrieval_test.csv", test),
        (retrieval / "EPIC_100_retrieval_train.csv", train),
        (annotations / "EPIC_100_validation.csv", test),
        (annotations / "EPIC_100_train.csv", train),
    ):
        write_csv(path, EPIC_COLUMNS, rows)
    sentences = [
        ("P01_11_0", "take plate"),
        ("P01_11_1", "put-down plate"),
        ("P02_03_0", "take chopping board"),
    ]
    write_csv(retrieval / "EPIC_100_retrieval_test_sentence.csv", ["narration_id", "narration"], sentences)
    relevancy = np.array([[1, 0.5, 0.5], [0.5, 1, 0], [0.5, 0, 1], [1, 0.5, 0.5]])
    matrix = retrieval / "relevancy" / "caption_relevancy_EPIC_100_retrieval_test.pkl"
    matrix.parent.mkdir()
    matrix.write_bytes(pickle.dumps(relevancy))
    classes = ["id", "key", "instances", "category"]
    verbs = [
        (0, "take", "['take']", "retrieve"),
        (1, "put-down", "['put']", "leave"),
        (2, "wash", "[]", "clean"),
    ]
    write_csv(annotations / "EPIC_100_verb_classes.csv", classes, verbs)
    nouns = [(2, "plate", "['plate']", "crockery"), (5, "board:chopping", "[]", "utensils")]
    write_csv(annotations / "EPIC_100_noun_classes.csv", classes, nouns)
    for video, colour in (("P01_11", (255, 0, 0)), ("P02_03", (0, 255, 0)), ("P01_01", (0, 0, 255))):
        square(folder / "videos" / video.partition("_")[0] / f"{video}.MP4", colour)
    square(folder / "videos" / "P02" / "P02_02" / "0000.mp4", (255, 255, 0))  # in chunks
    return folder


def egtea(folder: Path) -> Path:
    """EGTEA: three classes, three clips for testing and four of two recordings for training."""
    annotations = folder / "action_annotation"
    annotations.mkdir(parents=True)
    (annotations / "action_idx.txt").write_text("Inspect/Read recipe 1\nCut bell_pepper 2\nOpen fridge 3\n")
    test = [("OP01-R01-Pasta-0-1900-F000-F020", 1), ("OP01-R01-Pasta-2000-3900-F021-F040", 3)]
    test.append(("OP02-R01-Pasta-0-1900-F000-F020", 3))
    train = [(f"OP0{n}-R02-Pizza-{k}-{k + 1}-F0-F20", 1 + 2 * k) for n in (3, 4) for k in (0, 1)]
    for part, clips in (("test", test), ("train", train)):
        lines = [f"{name} {label} 1 2 3\n" for name, label in clips]
        (annotations / f"{part}_split1.txt").write_text("".join(lines))
        for name, label in clips:
            recording = "-".join(name.split("-")[:3])
            square(folder / "cropped_clips" / recording / f"{name}.mp4", (80 * label, 0, 255))
    return folder


def egomcq(folder: Path) -> Path:
    """EgoMCQ: one question between two videos and one within a video, of two choices each."""
    folder.mkdir(parents=True, exist_ok=True)

    def clip(video: str, start: float) -> dict[str, object]:
        return {"video_uid": video, "clip_start": start, "clip_end": start + 0.9, "clip_text": "#C C waits"}

    def question(kind: int, answer: int, *choices: dict[str, object]) -> dict[str, object]:
        named = {str(number): choice for number, choice in enumerate(choices)}
        query = {**choices[answer], "clip_text": "#C C takes a cup"}
        return {"query": query, "choices": named, "answer": answer, "types": kind}

    content = {
        "0": question(1, 1, clip("aaa", -0.1), clip("bbb", 0.0)),
        "1": question(2, 0, clip("aaa", 0.0), clip("aaa", 1.0)),
    }
    (folder / "egomcq.json").write_text(json.dumps(content))
    square(folder / "videos" / "aaa.mp4", (255, 0, 0))
    square(folder / "videos" / "bbb.mp4" / "0000.mp4", (0, 0, 255))
    return folder


def egosim_row(video: str, number: int, text: str, split: str, **columns: str) -> list[object]:
    """A row of EgoSim; what is not given is that of a right hand's success without target and direction."""
    usual = {"hand": "right", "speed": "normal", "outcome": "success", "seed": "1", "object": "thing"}
    values = {**usual, **columns}
    start = [video, 0.5 * number, 0.5 * number + 0.5, text, split]
    return [*start, *(values.get(name, "") for name in EGOSIM_COLUMNS[5:])]


def egosim(folder: Path) -> Path:
    """EgoSim: three videos of each split with two actions each, squares going where the text says."""
    rows = []
    for split in ("train", "validation", "test"):
        for number, colour in enumerate(("red", "green", "blue")):
            video = f"{split}_{number}"
            way = ("left", "right")[number % 2]
            slide = {"verb": "slide", "kind": "box", "colour": colour, "direction": way, "hand": way}
            outcome = ("success", "slips", "misses")[number]
            take = {"verb": "pick up", "kind": "mug", "colour": colour, "outcome": outcome}
            said = "C tries to pick up the mug" if number else "C takes the mug from the table"
            sliding = f"C slides the {colour} box across the table"
            rows += [
                egosim_row(video, 0, sliding, split, **slide),
                egosim_row(video, 1, said, split, **take),
            ]
            paint = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}[colour]
            square(folder / "videos" / video / "0000.mp4", paint, 1 if way == "right" else -1, 1.0)
    write_csv(folder / "narrations.csv", EGOSIM_COLUMNS, rows)
    return folder
