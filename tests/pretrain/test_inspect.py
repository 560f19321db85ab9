from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zarr
from matplotlib.image import imread

from egorep.video_files import write_mp4
from pretrain.data.flip import TRACKS
from pretrain.hod.tracks import HAND_KEYPOINTS, Tracks
from pretrain.inspect import cli
from pretrain.inspect.agreement import Agreement, Mean, agree, true_boxes, true_tracks
from pretrain.inspect.dataset import Dataset
from pretrain.inspect.drawing import COLOURS, Overlay, clip_video, draw, overlay
from pretrain.inspect.page import PageSettings, Written, chosen, said, write_page
from pretrain.inspect.plots import directions_figure, quality_figure
from pretrain.inspect.summary import STILL, UNKNOWN, spread, summarise
from pretrain.sim.truth import Truth, write_truth

SIDE, FPS, SECONDS = 64, 10, 4
VIDEOS = ("kitchen", "table", "lost")
INSTANTS = 8
SECURITY = re.compile(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>")
# Filters by word and by quality, and writes what a reader would then see into the page.
PROBE = """<script>
addEventListener("load", async () => {
  const note = (name) => document.body.dataset[name] = [...document.querySelectorAll("article.clip")]
    .filter(card => !card.hidden && card.offsetHeight > 0)
    .map(card => card.querySelector(".head").textContent.match(/row (\\d+)/)[1]).join(" ");
  const form = document.querySelector("form.filters");
  const enter = (field, value) => {
    form.elements[field].value = value;
    form.dispatchEvent(new Event("input"));
  };
  note("all");
  enter("search", "KITCHEN lifts"); note("searched");
  enter("search", ""); enter("quality", "0.5"); note("good");
  const select = document.querySelector('select[data-column="split"]');
  select.value = "test"; form.dispatchEvent(new Event("input")); note("split");
  document.body.dataset.overflow = document.documentElement.scrollWidth - innerWidth;
  document.body.dataset.seen = [...document.querySelectorAll("video")]
    .map(video => `${video.videoWidth}x${video.videoHeight}`).join(" ");
});
</script>"""


def make_truth() -> Truth:
    """A left hand that stays, a right one that goes right and holds object 1 from the middle on."""
    frames = FPS * SECONDS
    hands = np.zeros((frames, 2, 4), np.float32)
    hands[:, 0] = (4, 40, 20, 56)
    across = np.linspace(24, 44, frames)
    hands[:, 1] = np.stack([across, np.full(frames, 20), across + 16, np.full(frames, 36)], 1)
    objects = np.full((frames, 3, 4), np.nan, np.float32)
    objects[frames // 2 :, 1] = hands[frames // 2 :, 1] + 4
    contact = np.zeros((frames, 2, 2), bool)
    contact[frames // 2 :, 1, 1] = True
    return Truth(
        FPS,
        SIDE,
        hands,
        objects,
        np.full((frames, 3), -1, np.int16),
        np.zeros((frames, 2, HAND_KEYPOINTS, 3), np.float32),
        np.zeros((frames, 2, 7), np.float32),
        contact,
        np.zeros((frames, 7), np.float32),
        np.eye(3, dtype=np.float32),
        ("mug 0", "cup 0"),
        ("mug", "cup"),
        ("red", "blue"),
    )


def make_source(folder: Path, truth: bool = True) -> Path:
    """Three videos, of which one is no video, and their narrations; as EgoSim writes them."""
    for video in VIDEOS:
        frames = np.full((FPS * SECONDS, SIDE, SIDE, 3), 90, np.uint8)
        write_mp4(folder / "videos" / video / "0000.mp4", frames, FPS)
        if truth:
            (folder / "truth").mkdir(exist_ok=True)
            write_truth(folder / "truth" / f"{video}.npz", make_truth(), [])
    (folder / "videos" / "lost" / "0000.mp4").write_bytes(b"nothing that plays")
    rows = [
        {"video_id": video, "start_second": start, "end_second": start + 2, "text": f"C {verb}s the mug"}
        | {"split": split, "verb": verb}
        for video in VIDEOS
        for start, verb, split in ((0, "lift", "train"), (2, "turn", "test"))
    ]
    write_csv(folder / "narrations.csv", rows)
    return folder


def make_hod(folder: Path, source: Path) -> Path:
    """HOD data in a folder of their own: tracks are the truth, but for row 1, whose hands are exchanged."""
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"data": str(source)}))
    with (source / "narrations.csv").open(newline="") as file:
        given = list(csv.DictReader(file))
    rows = []
    for number, row in enumerate(given):
        template, good = number % 2 == 1, number != 1
        verdicts = {"hand": "ok" if good else "wrong", "object": "ok", "direction": "not said"}
        columns = {
            "caption": f"{row['text']} with the right hand, which moves to the right.",
            "quality": f"{0.9 - 0.1 * number:.2f}" if good else "0.12",
            "accepted": str(good),
            "source": "template" if template else "smollm2",
            "attempts": "3" if template else "1",
            "check": json.dumps(verdicts),
            "faults": "" if good else "it acts with right; the tracks say left",
        }
        order = ("video_id", "start_second", "end_second", "text")
        rows.append(
            {**{name: row[name] for name in order}, **columns, "split": row["split"], "verb": row["verb"]}
        )
    write_csv(folder / "hod.csv", rows)
    kept = [
        true_tracks(make_truth(), float(row["start_second"]) + np.arange(INSTANTS) / 4 + 0.05)
        for row in given
    ]
    kept[1] = exchanged(kept[1])
    kept[0].interpolated[2:4, 1] = True
    (folder / "skipped.csv").write_text("row,stage,reason\n6,tracks,sink/0000.mp4: missing\n")
    group = zarr.open_group(folder / "tracks.zarr", mode="w")
    for name in vars(kept[0]):
        group.create_array(name, data=np.stack([getattr(tracks, name) for tracks in kept]))
    return folder


def exchanged(tracks: Tracks) -> Tracks:
    boxes = tracks.boxes[:, [1, 0, 3, 2, 4]]
    return Tracks(**{**vars(tracks), "boxes": boxes})


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def hod(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    return make_hod(tmp_path_factory.mktemp("made") / "hod", source)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, hod: Path) -> Written:
    return write_page(Dataset(hod), tmp_path_factory.mktemp("page") / "page.html", PageSettings(size=96))


@pytest.fixture(scope="module")
def page(written: Written) -> str:
    return written.path.read_text(encoding="utf-8")


def cards_of(page: str) -> list[str]:
    return re.findall(r'<article class="clip".*?</article>', page, flags=re.DOTALL)


def chromium(*arguments: str, folder: Path) -> str:
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        pytest.fail(
            "the page is checked in a real browser: install chromium (Debian: apt-get install chromium)"
        )
    quiet = [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    started = [binary, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*started, *quiet, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


# The page


def test_a_card_shows_both_narrations_the_check_and_the_quality(page: str) -> None:
    cards = cards_of(page)
    assert len(cards) == 4
    first = cards[0]
    assert "C lifts the mug</p>" in first
    assert "C lifts the mug with the right hand, which moves to the right." in first
    assert "by smollm2, attempts: 1" in first
    assert 'quality <b>0.90</b>, <span class="yes">accepted</span>' in " ".join(first.split())
    assert re.findall(r'<li class="chip (\w+)">.*?</span> (.*?)</li>', cards[1]) == [
        ("wrong", "hand: wrong"),
        ("ok", "object: ok"),
        ("unsaid", "direction: not said"),
    ]
    assert ["it acts with right; the tracks say left" in card for card in cards] == [
        False,
        True,
        False,
        False,
    ]
    assert all("data:video/mp4;base64," in card for card in cards)


def test_agreement_with_the_truth_is_shown_per_clip(page: str) -> None:
    cards = cards_of(page)
    right = re.findall(r"<span>([^<]+) <i>([^<]+)</i></span>", cards[0])
    wrong = dict(re.findall(r"<span>([^<]+) <i>([^<]+)</i></span>", cards[1]))
    assert right[:4] == [
        ("hands found", "1.00"),
        ("IoU of hand boxes", "1.00"),
        ("side right", "1.00"),
        ("contact right", "1.00"),
    ]
    assert (wrong["hands found"], wrong["side right"]) == ("0.00", "0.00")
    assert page.count("<figure") == 7


def test_what_cannot_be_read_is_listed_with_its_reason(written: Written, page: str) -> None:
    assert [problem.row for problem in written.problems] == [4, 5]
    assert all("lost" in problem.reason for problem in written.problems)
    table = page[page.index('<section id="problems">') : page.index('<section id="skipped">')]
    assert "1 row of the source was left out" in page
    assert "<td>tracks</td><td>sink/0000.mp4: missing</td>" in page
    assert table.count("0000.mp4: not a video, or a damaged one") == 2
    assert "rows that could not be read: 2; first: row 4 (lost)" in said(written)
    assert written.shown == 4


def test_the_page_asks_the_network_for_nothing(page: str) -> None:
    assert "<link" not in page
    bare = re.sub(r"base64,[\w+/=]+", "", page)
    addresses = set(re.findall(r"""(?:https?:)?//[\w.-]+[^"'\s<>)]*""", bare))
    assert {address for address in addresses if "www.w3.org/" not in address} == set()
    assert all(
        source.startswith(("data:", "#")) for source in re.findall(r"""\b(?:src|href)="([^"]{5})""", page)
    )
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_same_data_give_the_same_page(hod: Path, tmp_path: Path, page: str) -> None:
    again = write_page(Dataset(hod), tmp_path / "page.html", PageSettings(size=96))
    assert again.path.read_text(encoding="utf-8") == page
    assert list(tmp_path.iterdir()) == [again.path]


def test_a_browser_filters_the_clips_and_loads_the_videos(page: str, tmp_path: Path) -> None:
    probed = tmp_path / "probed.html"
    probed.write_text(SECURITY.sub("", page).replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    arguments = ("--virtual-time-budget=5000", "--window-size=500,1200", "--dump-dom", probed.as_uri())
    dom = chromium(*arguments, folder=tmp_path)
    body = dict(re.findall(r'\bdata-(\w+)="([^"]*)"', re.findall(r"<body[^>]*>", dom)[0]))
    assert body["all"] == "0 1 2 3"
    assert body["searched"] == "0"
    assert body["good"] == "0 2 3"
    assert body["split"] == "3"
    assert int(body["overflow"]) <= 0, "nothing is cut off at the right"
    assert body["seen"] == "96x96 96x96 96x96 96x96"


def test_a_browser_runs_the_script_under_the_security_policy(written: Written, tmp_path: Path) -> None:
    dom = chromium("--virtual-time-budget=3000", "--dump-dom", written.path.as_uri(), folder=tmp_path)
    form = re.findall(r"<form[^>]*>", dom)[0]
    assert "hidden" not in form, "the script shows the filters, so its hash is the one that the policy allows"


def test_a_browser_draws_plots_in_the_colours_of_the_hands(written: Written, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    arguments = ("--window-size=1100,2400", f"--screenshot={picture}", written.path.as_uri())
    chromium(*arguments, folder=tmp_path)
    pixels = imread(picture)[..., :3]
    for name in ("left_hand", "right_hand"):
        hue = np.array([int(COLOURS[name][i : i + 2], 16) for i in (1, 3, 5)]) / 255
        assert (np.abs(pixels - hue).max(axis=-1) < 0.02).sum() > 1000


# Other data sets


def test_narrations_alone_make_a_page(tmp_path: Path) -> None:
    folder = make_source(tmp_path / "plain", truth=False)
    page = write_page(
        Dataset(folder), tmp_path / "page.html", PageSettings(rows=2, choose="first", size=64)
    ).path.read_text()
    assert len(cards_of(page)) == 2
    assert "nothing is drawn on the clips" in page
    assert "<b>Narration</b>C lifts the mug" in page
    assert page.count("<figure") == 1


def test_egosim_shows_its_ground_truth(source: Path, tmp_path: Path) -> None:
    dataset = Dataset(source)
    page = write_page(dataset, tmp_path / "page.html", PageSettings(size=64)).path.read_text()
    assert "boxes and ways are those of the ground truth" in page
    clip = dataset.clip(0)
    tracks = dataset.tracks(clip)
    assert tracks is not None
    assert np.allclose(tracks.boxes[:, 0], np.array([4, 40, 20, 56]) / SIDE)


def test_names_are_escaped(source: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    row = {"video_id": "kitchen", "start_second": 0, "end_second": 2, "text": evil, "split": f'"{evil}'}
    shutil.copytree(source / "videos", tmp_path / "videos")
    write_csv(tmp_path / "narrations.csv", [row, {**row, "split": "b"}])
    page = write_page(Dataset(tmp_path), tmp_path / "page.html", PageSettings(size=64)).path.read_text()
    assert evil not in page
    assert page.count("<script>") == 1


def test_a_cell_that_cannot_be_is_a_problem_of_its_row(hod: Path, tmp_path: Path, source: Path) -> None:
    folder = shutil.copytree(hod, tmp_path / "hod")
    lines = (folder / "hod.csv").read_text().splitlines()
    lines[1] = lines[1].replace("0.90", "high")
    lines[2] = lines[2].replace("{", "[")
    lines[3] = lines[3].replace("True", "perhaps")
    (folder / "hod.csv").write_text("\n".join(lines) + "\n")
    summary = summarise(Dataset(folder), range(6))
    assert [summary.problems[place].reason.split()[0] for place in range(3)] == [
        "quality",
        "check",
        "accepted",
    ]
    assert list(summary.clips) == [3, 4, 5]


def test_tracks_of_another_csv_are_refused(hod: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(hod, tmp_path / "hod")
    (folder / "hod.csv").write_text("\n".join((folder / "hod.csv").read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ValueError, match="not of one run"):
        Dataset(folder)


def test_videos_that_moved_are_asked_for(hod: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(hod, tmp_path / "hod")
    (folder / "settings.json").write_text('{"data": "gone"}')
    with pytest.raises(ValueError, match="says that the videos are in gone"):
        Dataset(folder)


# What is chosen, summed up and drawn


def test_worst_are_those_of_lowest_quality(hod: Path, source: Path) -> None:
    settings = PageSettings(rows=3, choose="worst")
    assert chosen_of(hod, settings) == [1, 5, 4]
    with pytest.raises(ValueError, match="wants a column quality"):
        chosen_of(source, settings)


def test_random_depends_on_the_seed_alone(hod: Path) -> None:
    drawn = [chosen_of(hod, PageSettings(rows=3, choose="random", seed=seed)) for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len({tuple(places) for places in drawn}) > 1
    assert all(len(set(places)) == 3 for places in drawn)
    assert chosen_of(hod, PageSettings(rows=3, choose="first")) == [0, 1, 2]
    assert chosen_of(hod, PageSettings(rows=3)) == [1, 3, 5]


def chosen_of(folder: Path, settings: PageSettings) -> list[int]:
    dataset = Dataset(folder)
    return chosen(dataset, summarise(dataset, range(len(dataset.rows))), settings)


def test_a_sample_is_spread_evenly() -> None:
    assert spread(3, 9) == [1, 4, 7]
    assert spread(5, 2) == [0, 1]


def test_the_summary_counts_boxes_ways_and_verdicts(hod: Path) -> None:
    summary = summarise(Dataset(hod), range(4))
    coverage = summary.coverage
    assert coverage.instants == 4 * INSTANTS
    assert coverage.filled.tolist() == [0, 2, 0, 0, 0]
    assert (coverage.detected + coverage.filled)[:2].tolist() == [4 * INSTANTS] * 2
    assert summary.directions["right"] == {"to the right": 3, STILL: 1}
    assert summary.verdicts["hand"] == {"ok": 3, "wrong": 1}
    assert summary.sources == {"smollm2": 2, "template": 2}
    assert summary.agreement.side.value == pytest.approx(0.75)


def test_agreement_counts_what_is_missing_and_what_is_told() -> None:
    truth = make_truth()
    tracks = true_tracks(truth, np.arange(INSTANTS) / 2)
    tracks.boxes[:2, 0] = np.nan
    tracks.boxes[2:, 0, [0, 2]] += 8 / SIDE  # half beside: an overlap of a third
    tracks.contact[0] = np.nan
    tracks.contact[1] = 1
    found = agree(tracks, truth)
    assert found.found == Mean(2 * INSTANTS - 2, 2 * INSTANTS)
    assert found.overlap.value == pytest.approx((INSTANTS + (INSTANTS - 2) / 3) / (2 * INSTANTS - 2))
    assert found.side == Mean(2 * INSTANTS - 2, 2 * INSTANTS - 2)
    assert found.contact == Mean(2 * INSTANTS - 4, 2 * INSTANTS - 2)
    assert math.isnan((Agreement() + Agreement()).found.value)


def test_truth_that_ends_before_the_clip_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"has 4\.00 s; the clip asks for 5\.00 s"):
        true_boxes(make_truth(), np.array([1.0, 5.0]))
    assert np.isfinite(true_boxes(make_truth(), np.array([4.0]))[:, 0]).all(), "a last frame lasts to its end"


def test_boxes_are_drawn_where_they_are_and_in_their_colours() -> None:
    boxes = np.full((2, len(TRACKS), 4), np.nan, np.float32)
    boxes[:, 0] = (0.25, 0.5, 0.5, 0.75)
    nothing = np.zeros((2, len(TRACKS)), bool)
    over = Overlay(boxes, nothing, nothing[:, :2], None)
    pictures = np.full((2, 100, 200, 3), 128, np.uint8)
    drawn = draw(pictures, over, trail=5)
    red = (drawn[1] == (0xD6, 0x28, 0x28)).all(-1)
    assert red[60, 50]
    assert red[60, 100]
    assert red[75, 80]
    assert not red[:30].any()
    assert not red[:, 120:].any()
    assert (pictures == 128).all(), "the pictures that were given are left alone"
    dashed = draw(pictures, Overlay(boxes, ~nothing, nothing[:, :2], None), trail=5)
    assert 0 < (dashed[1] == (0xD6, 0x28, 0x28)).all(-1).sum() < red.sum()


def test_a_trail_shows_the_way_until_now() -> None:
    boxes = np.full((10, len(TRACKS), 4), np.nan, np.float32)
    for number in range(10):
        boxes[number, 1] = (0.08 * number, 0.4, 0.08 * number + 0.1, 0.6)
    flags = np.zeros((10, len(TRACKS)), bool)
    pictures = np.full((10, 100, 100, 3), 255, np.uint8)
    drawn = draw(pictures, Overlay(boxes, flags, flags[:, :2], None), trail=20)
    way = drawn[9, 50, 10:60].astype(int)
    blueness = way[:, 2] - way[:, 0]
    assert (blueness > 0).all()
    assert blueness[-1] > blueness[0] + 50, "what is older is fainter"
    assert (drawn[0, 50, 20:] == 255).all(), "the future is not drawn"


def test_missing_tracks_stay_missing_between_instants() -> None:
    tracks = true_tracks(make_truth(), np.array([0.0, 1.0, 2.0]))
    tracks.boxes[1, 0] = np.nan
    over = overlay(tracks, None, np.array([0.5, 1.5]))
    assert np.isnan(over.boxes[:, 0]).all()
    assert np.isfinite(over.boxes[:, 1]).all()


def test_a_clip_keeps_its_own_shape_and_time(tmp_path: Path) -> None:
    import av

    frames = np.full((30, 48, 96, 3), 200, np.uint8)
    write_mp4(tmp_path / "videos" / "wide.mp4", frames, 15)
    row = {"video_id": "wide", "start_second": 0, "end_second": 2, "text": "C waits"}
    write_csv(tmp_path / "narrations.csv", [row])
    clip = Dataset(tmp_path).clip(0)
    (tmp_path / "clip.mp4").write_bytes(clip_video(clip.narrated, None, None, 160))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.codec_context.name) == (160, 80, "h264")
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0, abs=0.05)


def test_plots_say_what_has_no_direction_and_what_was_not_judged() -> None:
    ways = {"left": {STILL: 2, UNKNOWN: 1}, "right": {"up": 3}}
    figure = directions_figure({side: Counter(way) for side, way in ways.items()})
    assert "0 move, 2 stay still" in figure.axes[0].get_xlabel()
    assert [patch.get_height() for patch in figure.axes[1].patches] == [0, 0, 3, 0, 0, 0, 0, 0]
    legend = quality_figure([0.2, 0.8, 0.9], [False, True, None]).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "accepted: 1",
        "not accepted: 1",
        "not judged: 1",
    ]


# The command


def test_the_command_writes_the_page(hod: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    command = [sys.executable, "-m", "pretrain.inspect", f"data={hod}", f"out={out}", "rows=3", "size=64"]
    elsewhere = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=elsewhere)
    assert f"{out}: 2 clips shown" in done.stdout
    assert "row 5 (lost)" in done.stdout
    assert list(out.parent.iterdir()) == [out]
    assert list(tmp_path.iterdir()) == [out.parent], "no logs beside"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["rows=0"], "rows must be at least 1, got 0"),
        (["choose=best"], "unknown choose 'best'; choose from 'even'"),
        (["data=/nowhere"], "data=/nowhere is not a folder"),
        (["row=3"], "unknown config key 'row'; did you mean 'rows'"),
    ],
)
def test_a_wrong_setting_is_refused(
    hod: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], says: str
) -> None:
    arguments = [f"data={hod}", f"out={tmp_path / 'page.html'}", *overrides]
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def run(arguments: list[str]) -> None:
    given = sys.argv[:]
    try:
        cli.main(arguments)
    finally:
        sys.argv[:] = given


def test_nothing_to_show_ends_with_status_1(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source / "videos" / "lost", tmp_path / "videos" / "lost")
    row = {"video_id": "lost", "start_second": 0, "end_second": 2, "text": "C waits"}
    write_csv(tmp_path / "narrations.csv", [row])
    with pytest.raises(SystemExit) as ended:
        run([f"data={tmp_path}", f"out={tmp_path / 'page.html'}"])
    assert ended.value.code == 1
    assert "not a video" in (tmp_path / "page.html").read_text()


def test_a_folder_is_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run([f"out={tmp_path}"])
    assert "is a folder: name the page" in capsys.readouterr().err
