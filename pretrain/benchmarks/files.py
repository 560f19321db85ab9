"""Annotation files and videos as they are published: read with checks, and found by name."""

from __future__ import annotations

import ast
import csv
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.benchmarks.tasks import Problem
from pretrain.data.narrations import Narrated, Narrations, read_narrations
from pretrain.data.video import SUFFIXES

# What a pickled NumPy array is made of, under the names of NumPy 1 and 2 and of pickle's protocols 0 to 5.
_ARRAY_PARTS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
    ),
}
_DTYPE_PARTS = ("Float16DType", "Float32DType", "Float64DType")


def require(files: Iterable[Path], origin: str) -> None:
    """Check that all files are there.

    Args:
        files: the wanted ones.
        origin: where they come from, for the error.

    Raises:
        FileNotFoundError: names every one that is not.
    """
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"annotations are missing: {', '.join(missing)}; {origin}")


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """Rows of a CSV file with a header.

    Args:
        path: of the file.
        columns: that it must have.

    Raises:
        ValueError: columns are missing; names them and those that are there.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        found = reader.fieldnames or []
        missing = [column for column in columns if column not in found]
        if missing:
            raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(found)}")
        yield from reader


def class_set(text: str) -> frozenset[str]:
    """The classes in EPIC-KITCHENS' lists of numbers, such as `"[3, 12]"`.

    Raises:
        ValueError: it is no list of numbers.
    """
    try:
        values = ast.literal_eval(text)
        return frozenset(str(int(value)) for value in values)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"{text!r} is no list of class numbers") from error


def class_name(key: str) -> str:
    """A class of EPIC-KITCHENS in words: "turn-on" is "turn on", "board:chopping" is "chopping board"."""
    head, *kinds = key.split(":")
    return " ".join([*kinds, head]).replace("-", " ")


def find_video(videos: Path, video_id: str) -> Path:
    """The video of this name in a folder: a file, or a folder of chunks that may be named like a file.

    Returns:
        Its path; where there is none, that of `<id>.mp4`, which reading then reports as missing.
    """
    places = [videos / f"{video_id}{suffix}" for suffix in ("", *SUFFIXES)]
    return next((place for place in places if place.exists()), places[1])


def epic_clips(path: Path, videos: Path, columns: Sequence[str]) -> tuple[list[Narrated], list[Problem]]:
    """Clips of a CSV file of EPIC-KITCHENS-100.

    Its rows have narration_id, participant_id, video_id, start_timestamp, stop_timestamp (HH:MM:SS.ss),
    narration, verb, verb_class, noun, noun_class, all_nouns, all_noun_classes and more.

    Args:
        path: such as EPIC_100_validation.csv.
        videos: folder with `<participant>/<video_id>.MP4`, or chunks in `<participant>/<video_id>/`.
        columns: that are needed beyond those of time and place; they stay in `Narrated.more`.

    Returns:
        The clips, whose `row` counts all rows of the file, and the rows that cannot be used.

    Raises:
        ValueError: columns are missing.
    """
    narrations = read_narrations(videos, path.resolve(), "epic", "narration")
    missing = [column for column in columns if column not in narrations.columns]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(narrations.columns)}")
    return narrations[:], rejected(path, narrations)


def rejected(path: Path, narrations: Narrations) -> list[Problem]:
    """The rows of a CSV file that cannot be used."""
    return [Problem(f"{path.name} row {row}", reason) for row, reason in narrations.rejected]


def read_matrix(path: Path) -> npt.NDArray[np.floating[Any]]:
    """A matrix in a .npy file, or pickled as EPIC-KITCHENS' relevancies are.

    A pickle can run any code when it is read. This one may hold a NumPy array of numbers and nothing else.

    Raises:
        ValueError: it holds something else, or no matrix of numbers.
    """
    try:
        if path.suffix == ".npy":
            matrix = np.load(path, allow_pickle=False)
        else:
            with path.open("rb") as file:
                matrix = _ArrayUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a matrix that can be read safely: {error}") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise ValueError(f"{path} holds no matrix of floating-point numbers")
    return matrix


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = (module, name) in _ARRAY_PARTS or (module == "numpy.dtypes" and name in _DTYPE_PARTS)
        if not allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array of numbers needs")
        # NumPy 1, which we hold, has under the older name what files of NumPy 2 name.
        return super().find_class(module.replace("numpy._core", "numpy.core"), name)
