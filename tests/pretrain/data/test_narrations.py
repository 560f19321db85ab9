from __future__ import annotations

import csv
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pretrain.data.narrations import Narrated, Narrations, read_narrations, text_columns

HEADER = ("video_id", "start_second", "end_second", "text")


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def dataset(data: Path, *rows: Sequence[object], header: Sequence[str] = HEADER) -> Path:
    write_csv(data / "narrations.csv", header, rows)
    return data


def texts(narrations: Sequence[Narrated]) -> list[tuple[str, ...]]:
    return [narrated.texts for narrated in narrations]


def test_rows_become_narrations(tmp_path: Path) -> None:
    header = (*HEADER, "split", "hand")
    (tmp_path / "videos" / "kitchen").mkdir(parents=True)
    dataset(
        tmp_path,
        ("kitchen", "1.5", "3", 'C says "cut, then\nstir"', "train", "left"),
        ("käse", 0, 0.25, " C grates Käse ", "validation", ""),
        header=header,
    )
    narrations = read_narrations(tmp_path)
    assert len(narrations) == 2
    assert narrations[0] == Narrated(
        video_id="kitchen",
        path=tmp_path / "videos" / "kitchen",
        start=1.5,
        end=3.0,
        texts=('C says "cut, then\nstir"',),
        row=0,
        more={"split": "train", "hand": "left"},
    )
    assert narrations[-1].texts == ("C grates Käse",)
    assert narrations[1].more == {"split": "validation", "hand": ""}
    assert narrations.columns == ["split", "hand"]
    assert narrations.rejected == []
    assert [narrated.row for narrated in narrations] == [0, 1]
    assert narrations[0:1] == [narrations[0]]
    with pytest.raises(IndexError):
        narrations[2]
    with pytest.raises(IndexError):
        narrations[-3]


def test_bad_rows_are_listed_with_their_reasons(tmp_path: Path) -> None:
    good = ("a", 0, 1, "C cuts")
    dataset(
        tmp_path,
        good,
        ("a", "soon", 1, "C cuts"),
        ("a", 2, 2, "C cuts"),
        ("a", 2, 1, "C cuts"),
        ("a", 0, 1, "  "),
        ("a", -1, 1, "C cuts"),
        ("", 0, 1, "C cuts"),
        ("a", 0, "nan", "C cuts"),
        ("a", 0, "inf", "C cuts"),
        good,
        ("a", 0, 1),
        ("a", 0, 1, "C cuts", "more"),
        ("a", 0, 1, "[]"),
        ("a", 0, 1, "C stirs"),
    )
    narrations = read_narrations(tmp_path)
    assert texts(narrations) == [("C cuts",), ("C stirs",)]
    assert [narrated.row for narrated in narrations] == [0, 13]
    assert narrations.rejected == [
        (1, "'soon' is no time: wants seconds, or hours:minutes:seconds"),
        (2, "ends at 2 s, not after its start at 2 s"),
        (3, "ends at 1 s, not after its start at 2 s"),
        (4, "text is empty"),
        (5, "starts at -1 s, before the video"),
        (6, "video_id is empty"),
        (7, "'nan' is no time: wants seconds, or hours:minutes:seconds"),
        (8, "'inf' is no time: wants seconds, or hours:minutes:seconds"),
        (9, "is the same as row 0"),
        (10, "has 3 columns, not 4"),
        (11, "has 5 columns, not 4"),
        (12, "text is empty"),
    ]


def test_bytes_that_are_no_text_reject_their_row_only(tmp_path: Path) -> None:
    header = b"\xef\xbb\xbfvideo_id,start_second,end_second,text\r\n"  # with the mark that spreadsheets write
    rows = b"a,0,1,C cuts\r\na,1,2,C \xff\xfe\r\n\r\nb,1,2,C stirs\r\n"
    (tmp_path / "narrations.csv").write_bytes(header + rows)
    narrations = read_narrations(tmp_path)
    assert texts(narrations) == [("C cuts",), ("C stirs",)]
    assert narrations.rejected == [(1, "is not UTF-8")]
    assert [narrated.row for narrated in narrations] == [0, 2], "an empty line is no row"


def test_selection_by_column(tmp_path: Path) -> None:
    splits, hands = ("train", "test") * 3, ("left",) * 3 + ("right",) * 3
    rows = [("v", n, n + 1, f"text {n}", splits[n], hands[n]) for n in range(6)]
    data = dataset(tmp_path, *rows, ("v", 9, 1, "bad", "train", "left"), header=(*HEADER, "split", "hand"))
    narrations = read_narrations(data)
    test = narrations.where(split="test")
    assert [narrated.row for narrated in test] == [1, 3, 5]
    assert [narrated.row for narrated in test.where(hand="right")] == [3, 5]
    assert [narrated.row for narrated in narrations.where(split="train", hand="left")] == [0, 2]
    assert len(narrations) == 6
    assert test.rejected == [(6, "ends at 1 s, not after its start at 9 s")]
    with pytest.raises(ValueError, match="unknown column 'spilt'; did you mean 'split'"):
        narrations.where(spilt="test")
    with pytest.raises(ValueError, match="unknown value of split 'tets'; did you mean 'test'"):
        narrations.where(split="tets")


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("['C opens the drawer', \"C's left hand pulls\"]", ("C opens the drawer", "C's left hand pulls")),
        ('["C opens", ""]', ("C opens",)),
        ("[C opens the drawer]", ("[C opens the drawer]",)),
        ("[1, 2]", ("[1, 2]",)),
        ("[unclear] C opens", ("[unclear] C opens",)),
        ("__import__('os').getcwd()", ("__import__('os').getcwd()",)),
        ("[__import__('os').getcwd()]", ("[__import__('os').getcwd()]",)),
        ("('C opens', 'C pulls')", ("('C opens', 'C pulls')",)),
    ],
)
def test_lists_of_captions_printed_as_text(tmp_path: Path, cell: str, wanted: tuple[str, ...]) -> None:
    assert texts(read_narrations(dataset(tmp_path, ("a", 0, 1, cell)))) == [wanted]


def test_hod_data_give_either_narration(tmp_path: Path) -> None:
    header = (*HEADER, "caption", "quality")
    write_csv(tmp_path / "hod.csv", header, [("a", 0, 1, "C opens", "The left hand pulls.", "0.9")])
    hod = read_narrations(tmp_path, "hod.csv")
    assert hod[0].texts == ("The left hand pulls.",)
    assert hod[0].more == {"text": "C opens", "quality": "0.9"}
    original = read_narrations(tmp_path, tmp_path / "hod.csv", column="text")
    assert original[0].texts == ("C opens",)
    assert original[0].more == {"caption": "The left hand pulls.", "quality": "0.9"}
    assert texts(read_narrations(tmp_path, "hod.csv")) == [("The left hand pulls.",)], (
        "one file for each column"
    )
    both = read_narrations(tmp_path, "hod.csv", column=["caption", "text"])
    assert both[0].texts == ("The left hand pulls.", "C opens")
    assert both[0].more == {"quality": "0.9"}
    assert text_columns(tmp_path, "hod.csv") == ["caption", "text"]
    with pytest.raises(ValueError, match="wants the columns narration; it has"):
        read_narrations(tmp_path, "hod.csv", column=["caption", "narration"])


@pytest.mark.parametrize(("name", "column"), [("ego_hod.csv", "caption"), ("howto100m_hod.csv", "text")])
def test_the_published_files(tmp_path: Path, name: str, column: str) -> None:
    header = ("", "video_id", "start_second", "end_second", column, "uid")
    rows = [
        ("0", "4-f3", "3.5", "6.0", "['C lifts a pan', 'C moves the pan']", "x1"),
        ("1", "b", 0, 2, "C", ""),
    ]
    elsewhere = write_csv(tmp_path / "annotations" / name, header, rows)
    data = tmp_path / "clips"
    (data / "4-f3.mp4").mkdir(parents=True)
    narrations = read_narrations(data, elsewhere)
    assert narrations[0].texts == ("C lifts a pan", "C moves the pan")
    assert narrations[0].path == data / "4-f3.mp4"
    assert narrations[0].more == {"": "0", "uid": "x1"}
    assert narrations.missing_videos() == ["b"]


EPIC = (
    *("narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp"),
    *("stop_timestamp", "start_frame", "stop_frame", "narration", "verb", "verb_class", "noun", "noun_class"),
    *("all_nouns", "all_noun_classes"),
)


def epic_row(video_id: str, start: str = "00:01:00.14", stop: str = "01:00:03.370") -> tuple[str, ...]:
    participant = video_id.split("_")[0]
    return (
        *(f"{video_id}_0", participant, video_id, "00:00:01.089", start, stop, "8", "202", "open door"),
        *("open", "3", "door", "3", "['door']", "[3]"),
    )


@pytest.mark.parametrize(
    "place",
    [
        *("P01/P01_01.MP4", "P01/P01_01.mp4", "P01/videos/P01_01.MP4", "P01/videos/P01_01.mp4"),
        *("videos/P01/P01_01.MP4", "videos/P01/P01_01.mp4", "P01/P01_01.MP4/0.MP4", "P01/P01_01/0000.mp4"),
    ],
)
def test_epic_kitchens(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    video = tmp_path / place
    rows = [epic_row("P01_01"), epic_row("P02_07"), epic_row("P03_01", stop="00:00:01")]
    annotations = write_csv(tmp_path / "EPIC_100_train.csv", EPIC, rows)
    narrations = read_narrations(tmp_path, annotations)
    assert narrations.layout == "epic"
    assert narrations[0].path == (video.parent if video.stem.isdecimal() else video)
    assert (narrations[0].start, narrations[0].end) == pytest.approx((60.14, 3603.37))
    assert narrations[0].texts == ("open door",)
    assert narrations[0].more["verb_class"] == "3"
    assert narrations[0].more["narration_id"] == "P01_01_0"
    assert narrations[1].path == tmp_path / "P02" / "P02_07", "where a missing one was looked for"
    assert narrations.missing_videos() == ["P02_07"]
    assert narrations.rejected == [(2, "ends at 1 s, not after its start at 60.14 s")]


@pytest.mark.parametrize(
    ("place", "layout"),
    [
        *[
            ("videos/v1/0000.mp4", "videos"),
            ("videos/v1.mp4/0000.mp4", "videos"),
            ("videos/v1.mp4", "videos"),
        ],
        *[("v1.mp4/0.mp4", "flat"), ("v1/0000.mp4", "flat"), ("v1.webm", "flat"), ("v1.MOV", "flat")],
    ],
)
def test_layouts_are_found(tmp_path: Path, place: str, layout: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    video = tmp_path / place
    narrations = read_narrations(dataset(tmp_path, ("v1", 0, 1, "C cuts"), ("v2", 0, 1, "C cuts")))
    assert narrations.layout == layout
    assert narrations[0].path == (video.parent if video.stem.isdecimal() else video)
    assert narrations.missing_videos() == ["v2"]
    assert read_narrations(tmp_path, layout=layout)[0] == narrations[0]


def test_ids_with_their_suffix(tmp_path: Path) -> None:
    (tmp_path / "clip.avi").touch()
    assert read_narrations(dataset(tmp_path, ("clip.avi", 0, 1, "C cuts")))[0].path == tmp_path / "clip.avi"


def test_what_is_missing_is_said_before_reading(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        read_narrations(tmp_path / "nowhere")
    write_csv(tmp_path / "other.csv", HEADER, [])
    with pytest.raises(ValueError, match=r"narrations\.csv is missing; CSV files in .*: other\.csv"):
        read_narrations(tmp_path)
    with pytest.raises(ValueError, match="has no row that can be used"):
        read_narrations(tmp_path, "other.csv")
    with pytest.raises(ValueError, match="unknown layout 'epics'; did you mean 'epic'"):
        read_narrations(tmp_path, "other.csv", layout="epics")
    with pytest.raises(ValueError, match=r"wants the columns caption; it has video_id, .*text"):
        read_narrations(tmp_path, "other.csv", column="caption")
    write_csv(tmp_path / "other.csv", ("video", "start", "text"), [("a", 0, "C")])
    with pytest.raises(ValueError, match=r"wants the columns video_id; start_second or .*; end_second or "):
        read_narrations(tmp_path, "other.csv")
    write_csv(tmp_path / "other.csv", (*HEADER, "text"), [("a", 0, 1, "C", "D")])
    with pytest.raises(ValueError, match="has a column twice"):
        read_narrations(tmp_path, "other.csv")
    (tmp_path / "other.csv").write_text("")
    with pytest.raises(ValueError, match="is empty: wants a header"):
        read_narrations(tmp_path, "other.csv")
    write_csv(tmp_path / "other.csv", HEADER, [("a", 0, "x", "C")])
    with pytest.raises(ValueError, match="no row that can be used; row 0 'x' is no time"):
        read_narrations(tmp_path, "other.csv")
    (tmp_path / "other.csv").write_text(",".join(HEADER) + '\na,0,1,"' + "x" * 200_000)
    with pytest.raises(ValueError, match=r"is no CSV: field larger than .*; is a quote left open"):
        read_narrations(tmp_path, "other.csv")
    assert [file.name for file in tmp_path.iterdir()] == ["other.csv"], "nothing half-written stays"


def test_a_changed_csv_is_read_anew(tmp_path: Path) -> None:
    old = read_narrations(dataset(tmp_path, ("a", 0, 1, "C cuts")))
    pickled = pickle.dumps(old)
    csv_file = tmp_path / "narrations.csv"
    before = csv_file.stat()
    index = next(tmp_path.glob(".*.arrow"))
    written = index.stat().st_mtime_ns
    assert texts(read_narrations(tmp_path)) == [("C cuts",)]
    assert index.stat().st_mtime_ns == written, "unchanged, it is not read again"
    csv_file.write_text(csv_file.read_text().replace("cuts", "eats"))
    os.utime(csv_file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert texts(read_narrations(tmp_path)) == [("C eats",)]
    assert texts(old) == [("C cuts",)], "who has opened it keeps what was there"
    with pytest.raises(ValueError, match="its CSV changed"):
        pickle.loads(pickled)


def test_a_damaged_index_is_written_anew(tmp_path: Path) -> None:
    read_narrations(dataset(tmp_path, ("a", 0, 1, "C cuts")))
    next(tmp_path.glob(".*.arrow")).write_bytes(b"ARROW1, and then a power cut")
    assert texts(read_narrations(tmp_path)) == [("C cuts",)]


def test_a_read_only_data_set_keeps_its_index_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = dataset(tmp_path / "data", ("a", 0, 1, "C cuts")), tmp_path / "cache"
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != data and access(path, mode))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    narrations = read_narrations(data)
    assert [file.name for file in data.iterdir()] == ["narrations.csv"]
    assert texts(pickle.loads(pickle.dumps(narrations))) == [("C cuts",)]
    shutil.rmtree(cache)
    assert texts(narrations) == [("C cuts",)], "what is mapped stays"


def many(data: Path, count: int) -> Narrations:
    words = "C moves the left hand up and to the right towards the blue mug, " * 3
    rows = (
        (f"v{n // 50}", n % 50, n % 50 + 1, f"{words}{n}", ("train", "test")[n % 2]) for n in range(count)
    )
    write_csv(data / "narrations.csv", (*HEADER, "split"), list(rows))
    return read_narrations(data)


def test_pickles_are_small_and_equal(tmp_path: Path) -> None:
    narrations = many(tmp_path, 70_000).where(split="test")
    pickled = pickle.dumps(narrations)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert len(copy) == 35_000
    assert [copy[place] for place in (0, 17, 34_999)] == [narrations[place] for place in (0, 17, 34_999)]
    assert copy[34_999].row == 69_999


WORKER = """
import pickle, sys, psutil
import pretrain.data.narrations
small = pickle.loads(bytes.fromhex(sys.argv[1]))
small[0]
process = psutil.Process()
before = process.memory_full_info().uss
narrations = pickle.loads(bytes.fromhex(sys.argv[2]))
for place in range(0, len(narrations), 97):
    narrations[place]
print(len(narrations), process.memory_full_info().uss - before)
"""


def test_a_worker_maps_the_rows_and_holds_no_copy(tmp_path: Path) -> None:
    small, large = many(tmp_path / "small", 10), many(tmp_path / "large", 100_000)
    size = (tmp_path / "large" / "narrations.csv").stat().st_size
    # The worker shares the file's pages with this process, which keeps them mapped: they are not its own.
    assert sum(len(narrated.texts[0]) for narrated in large[::97]) > 0
    command = [sys.executable, "-c", WORKER, pickle.dumps(small).hex(), pickle.dumps(large).hex()]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    length, grown = map(int, answer.stdout.split())
    assert length == 100_000
    assert size > 20 << 20
    assert grown < size / 5
