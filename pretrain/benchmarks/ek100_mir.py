"""EPIC-KITCHENS-100 multi-instance retrieval: captions of clips and clips of captions, graded by relevancy.

Source: Damen et al. 2022, "Rescaling Egocentric Vision"; files of the repository
epic-kitchens/epic-kitchens-100-annotations, here under `annotations`:

- `retrieval_annotations/EPIC_100_retrieval_test.csv`: a clip per row (see `files.epic_clips`).
- `retrieval_annotations/EPIC_100_retrieval_test_sentence.csv`: the captions, without repetitions: first a
  narration_id, whose clip the caption is of, then the text (the columns' names differ between versions).
- `retrieval_annotations/relevancy/caption_relevancy_EPIC_100_retrieval_test.pkl` (or `.npy`): the matrix
  (clips, captions) in 0..1, made by the authors' script create_relevancy_files.py; the evaluation of the
  papers uses the copy that LaViLa publishes.
- For fine-tuning `EPIC_100_retrieval_train.csv`. Its relevancies are computed by their definition.

Videos are `<participant>/<video_id>.MP4`, or folders of chunks `<participant>/<video_id>/`.
"""

from __future__ import annotations

import csv
from pathlib import Path

from pretrain.benchmarks import Source, files, holdout
from pretrain.benchmarks.tasks import Captioned, Classification, Examples, Problem, Retrieval, retrieval

_ORIGIN = "they come from github.com/epic-kitchens/epic-kitchens-100-annotations, see pretrain/benchmarks"
_NAME = "EK-100 MIR"


def evaluation(source: Source) -> Examples:
    """The test set with the official relevancies; `source.split` is "test"."""
    if source.split != "test":
        raise ValueError(f"EK-100 MIR is evaluated on split 'test'; got {source.split!r}")
    folder = source.annotations / "retrieval_annotations"
    table, sentences = (folder / f"EPIC_100_retrieval_test{part}.csv" for part in ("", "_sentence"))
    matrix = folder / "relevancy" / "caption_relevancy_EPIC_100_retrieval_test.pkl"
    if not matrix.is_file() and matrix.with_suffix(".npy").is_file():
        matrix = matrix.with_suffix(".npy")
    files.require([table, sentences, matrix], _ORIGIN)
    clips, problems = files.epic_clips(table, source.videos, [])
    texts = _captions(sentences)
    relevancy = files.read_matrix(matrix)
    if relevancy.shape != (len(clips) + len(problems), len(texts)):
        raise ValueError(
            f"{matrix} is {relevancy.shape}, but there are {len(clips) + len(problems)} clips in {table} "
            f"and {len(texts)} captions in {sentences}: the files are of different versions"
        )
    task = Retrieval(_NAME, clips, texts, relevancy[[clip.row for clip in clips]])
    return Examples([task], problems)


def training(source: Source, kind: type[Retrieval] | type[Classification]) -> Examples:
    """The training set, a tenth of whose videos are kept to select on."""
    if kind is not Retrieval:
        raise ValueError("EK-100 MIR trains retrieval; for classification take benchmark=ek100_cls")
    table = source.annotations / "retrieval_annotations" / "EPIC_100_retrieval_train.csv"
    files.require([table], _ORIGIN)
    clips, problems = files.epic_clips(table, source.videos, ["verb_class", "all_noun_classes"])
    rows, unclear = [], []
    for clip in clips:
        try:
            nouns = files.class_set(clip.more["all_noun_classes"])
        except ValueError as error:
            unclear.append(Problem(f"{table.name} row {clip.row}", str(error)))
            continue
        rows.append(Captioned(clip, clip.texts[0], frozenset([clip.more["verb_class"]]), nouns))
    learn, select = holdout.by_video(rows, lambda row: row.clip.video_id)
    return Examples([retrieval(_NAME, learn), retrieval(_NAME, select)], [*problems, *unclear])


def _captions(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))[1:]
    if not rows or any(len(row) < 2 for row in rows):
        raise ValueError(f"{path} wants rows of a narration_id and a text")
    return [row[1] for row in rows]
