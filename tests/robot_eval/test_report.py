from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from synthetic_results import RATES, make_changes, make_row, make_run, make_suites, with_outcomes

from egorep.figures import to_svg
from egorep.video_files import write_mp4
from robot_eval import looks
from robot_eval.plots import PALETTE, colours, curves_figure, drops_figure, success_figure
from robot_eval.report import save_figure, write_report
from robot_eval.results import EvaluationRow, ResultStore, frame_of, read_results
from robot_eval.stats import summarise

SECURITY = re.compile(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>")
# Waits for every video's metadata, then writes what the browser made of it into the page.
PROBE = """<script>
addEventListener("load", () => document.querySelectorAll("video").forEach(video => {
  const note = () => {
    video.dataset.seen = `${video.videoWidth}x${video.videoHeight}:${video.readyState}`;
  };
  if (video.readyState > 0) note();
  for (const event of ["loadedmetadata", "error"]) video.addEventListener(event, note);
}));
</script>"""


def chromium(*arguments: str, folder: Path) -> str:
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        pytest.fail(
            "the report is checked in a real browser: install chromium (Debian: apt-get install chromium)"
        )
    profile = f"--user-data-dir={folder / 'profile'}"
    quiet = [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    started = [
        binary,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        *quiet,
        profile,
    ]
    done = subprocess.run([*started, *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def run_with(folder: Path, rows: list[EvaluationRow]) -> Path:
    store = ResultStore(folder)
    for index, row in enumerate(rows):
        store.write(f"u{index}", row)
    store.merge()
    return folder


def rollout(path: Path) -> Path:
    frames = np.full((8, 48, 64, 3), 30, np.uint8)
    for t in range(8):
        frames[t, 8:24, 4 * t : 4 * t + 16] = (230, 120, 30)
    return write_mp4(path, frames, fps=20)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with videos for the assembly task, of which the one of `random` was lost."""
    folder = tmp_path_factory.mktemp("run")
    rows = []
    for row in make_run(episodes=10, checkpoints=3):
        filmed = (
            row.task == "assembly-v3"
            and row.role == "held_out"
            and row.variation == "train"
            and row.seed == 0
        )
        if filmed:
            row = replace(row, video=f"videos/{row.encoder}.mp4")
            if row.encoder != "random":
                rollout(folder / str(row.video))
        rows.append(row)
    return run_with(folder, rows)


@pytest.fixture(scope="module")
def page(run_folder: Path) -> str:
    return write_report(run_folder).read_text(encoding="utf-8")


def test_the_page_holds_every_section(page: str) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Success on fresh seeds",
        "Paired differences",
        "Last, best and held out",
        "Learning curves",
        "Rollouts",
        "Where the numbers come from",
    ]
    for fact in ("d3m0", "9f0e", "3.3.0", "egl 224x224", "corner2", "Does not separate encoders"):
        assert fact in page


def test_the_page_asks_the_network_for_nothing(page: str) -> None:
    assert "<script" not in page
    assert "<link" not in page
    # What may name an address: XML namespaces, which no browser fetches.
    addresses = set(re.findall(r"""(?:https?:)?//[\w.-]+[^"'\s<>)]*""", re.sub(r"base64,[\w+/=]+", "", page)))
    assert {address for address in addresses if "www.w3.org/" not in address} == set()
    sources = re.findall(r"""\b(?:src|href|xlink:href)="([^"]{5})""", page)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"url\((?!#)", page)


def test_ids_on_the_page_are_unique(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_videos_are_embedded_with_their_outcome_and_lost_ones_reported(page: str) -> None:
    figures = re.findall(r"<figure>.*?</figure>", page, flags=re.DOTALL)
    assert len(figures) == 2
    assert all(
        "controls muted loop playsinline" in figure and "data:video/mp4;base64," in figure
        for figure in figures
    )
    assert all(("success</span>" in figure) != ("failure</span>" in figure) for figure in figures)
    assert "1 video named by the results could not be found" in page
    assert "<code>videos/random.mp4</code>" in page


def test_the_numbers_on_the_page_are_those_of_the_summary(run_folder: Path, page: str) -> None:
    summary = summarise(frame_of(ResultStore(run_folder).rows()))
    for line in summary.itertuples():
        assert f"<b>{line.held_out:.2f}</b><span>[{line.low:.2f}, {line.high:.2f}]</span>" in page


def test_the_same_results_give_the_same_page(run_folder: Path, page: str) -> None:
    assert write_report(run_folder).read_text(encoding="utf-8") == page


def test_a_browser_shows_the_table_and_loads_the_videos(run_folder: Path, page: str, tmp_path: Path) -> None:
    probed = tmp_path / "probed.html"
    probed.write_text(SECURITY.sub("", page).replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    dom = chromium("--virtual-time-budget=5000", "--dump-dom", probed.as_uri(), folder=tmp_path)
    lead = re.findall(r'<table class="lead">.*?</table>', dom, flags=re.DOTALL)
    assert len(lead) == 2, "one lead table per judged variation"
    assert all(encoder in table for encoder in RATES for table in lead)
    seen = re.findall(r'data-seen="(\d+x\d+):(\d)"', dom)
    assert [size for size, _ in seen] == ["64x48", "64x48"]
    assert all(int(ready) >= 1 for _, ready in seen)


@pytest.mark.parametrize("width", [500, 1280])
def test_a_browser_draws_the_page(run_folder: Path, page: str, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    address = (run_folder / "report.html").as_uri()
    chromium(f"--window-size={width},1600", f"--screenshot={picture}", address, folder=tmp_path)
    pixels = imread(picture)
    assert pixels.shape[1] == width
    blue = np.array([int(PALETTE[0][i : i + 2], 16) for i in (1, 3, 5)]) / 255
    drawn = (np.abs(pixels[..., :3] - blue).max(axis=-1) < 0.02).sum()
    assert drawn > 100, "the first encoder's colour is on the page"


def test_names_are_escaped(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    rows = [
        make_row(encoder=name, camera="<b>", role=role, video=None) for role in ("checkpoint", "held_out")
    ]
    page = write_report(run_with(tmp_path, rows)).read_text(encoding="utf-8")
    assert "<img" not in page
    assert "&lt;img src=x" in page
    assert "<td>&lt;b&gt;</td>" in page


def test_one_encoder_without_checkpoints_or_videos_makes_a_page(tmp_path: Path) -> None:
    page = write_report(run_with(tmp_path, [make_row(role="held_out")])).read_text(encoding="utf-8")
    assert "Learning curves" not in page
    assert "<h2>Rollouts" not in page
    assert "best cannot be checked" in page


def test_a_run_without_held_out_rows_makes_a_page(tmp_path: Path) -> None:
    page = write_report(run_with(tmp_path, [make_row()])).read_text(encoding="utf-8")
    assert "Learning curves" in page
    assert "Paired differences" not in page


def test_policies_and_protocols_never_share_a_table(tmp_path: Path) -> None:
    rows = [make_row(role="held_out", policy=policy) for policy in ("mlp", "attentive")]
    page = write_report(run_with(tmp_path, rows)).read_text(encoding="utf-8")
    assert "Success on fresh seeds: attentive policy, protocol egorep" in page
    assert "Success on fresh seeds: mlp policy, protocol egorep" in page


def test_what_changed_within_a_run_is_warned_of(tmp_path: Path) -> None:
    rows = [
        make_row(),
        make_row(seed=1, frame_hash="other", versions={"mujoco": "3.4.0"}, train_loss=float("nan")),
    ]
    page = write_report(run_with(tmp_path, rows)).read_text(encoding="utf-8")
    assert "reference frame of metaworld / assembly-v3 / train / egl 224x224 / corner2 changed" in page
    assert "mujoco changed version within this run: 3.3.0, 3.4.0" in page
    assert "The training loss of 1 evaluations" in page


@pytest.fixture(scope="module")
def suites_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two suites, with a video of each."""
    folder = tmp_path_factory.mktemp("suites")
    rows = []
    for row in make_suites():
        if row.task in ("micro_open", "hammer-v3") and row.role == "held_out" and row.encoder == "state":
            row = replace(row, video=f"videos/{row.task}-{row.seed}.mp4")
            rollout(folder / str(row.video))
        rows.append(row)
    return run_with(folder, rows)


def test_several_suites_share_a_page(suites_folder: Path) -> None:
    page = write_report(suites_folder).read_text(encoding="utf-8")
    assert "<title>franka_kitchen, metaworld: frozen encoders under behaviour cloning</title>" in page
    assert "4 in 2 suites" in page
    tables = re.findall(r'<table class="lead">.*?</table>', page, flags=re.DOTALL)
    columns = [re.findall(r'<th scope="col" class="rate[^>]*>(.*?)</th>', table) for table in tables]
    assert columns == [
        ["franka_kitchen", "metaworld", "mean"],
        ["micro_open", "mean"],
        ["assembly-v3", "drawer-open-v3", "hammer-v3", "mean"],
    ]
    assert re.findall(r'<h3 class="suite">(.*?)</h3>', page) == ["franka_kitchen", "metaworld"]
    for words in ("all tasks of metaworld", "all suites", "mean over suites", "metaworld / mean over tasks"):
        assert f"<td>{words}</td>" in page
    assert re.findall(r"<h3>(\w+ / \S+)</h3>", page) == [
        "franka_kitchen / micro_open",
        "metaworld / hammer-v3",
    ]
    assert page.count("data:video/mp4;base64,") == 2
    assert '<td class="n">50</td>' in page, "the steps that an episode of the kitchen has"
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_a_browser_draws_the_page_of_several_suites(suites_folder: Path, tmp_path: Path) -> None:
    address = write_report(suites_folder).as_uri()
    dom = chromium("--virtual-time-budget=5000", "--dump-dom", address, folder=tmp_path)
    assert len(re.findall(r'<table class="lead">', dom)) == 3
    assert dom.count("<svg") == 5, "success: all, kitchen, Meta-World; curves: kitchen, Meta-World"


def test_strict_success_is_shown_where_it_differs(suites_folder: Path, page: str, tmp_path: Path) -> None:
    assert "… strictly" in write_report(suites_folder).read_text(encoding="utf-8")
    tight = run_with(tmp_path, make_suites(loose=False))
    assert "strictly" not in write_report(tight).read_text(encoding="utf-8")
    assert "strictly" not in page, "older results do not know it"


def test_what_each_change_costs_has_its_table_and_plot(page: str, tmp_path: Path) -> None:
    rows = make_changes([("metaworld", "hammer-v3"), ("adroit", "door")])
    shown = write_report(run_with(tmp_path, rows)).read_text(encoding="utf-8")
    section = shown.split("<h2>What each change costs</h2>")[1].split("</section>")[0]
    assert "<caption>What each change costs, trained on variation none" in section
    columns = re.findall(r'<th scope="col" class="rate">(.*?)</th>', section)
    assert columns == ["none", "camera", "starts"]
    assert '<td class="rate clear"><b>+0.50</b>' in section
    assert '<td class="rate"><b>+0.00</b>' in section, "what sees no picture"
    assert section.count("<svg") == 1
    lead = re.findall(r'<table class="lead">.*?</table>', shown, flags=re.DOTALL)
    assert len(lead) == 3, "judged on none: both suites and each"
    assert "What each change costs" not in page


def test_changed_looks_are_warned_of_and_other_drivers_mentioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = {f"{task} corner2 fast 224/224 none": "0123" for task in ("assembly-v3", "hammer-v3")}
    table = {"metaworld": {"versions": {"mujoco": "3.3.0", "opengl": "egl"}, "frames": frames}}
    monkeypatch.setattr(looks, "shipped_looks", lambda: table)
    shown = {"variation": "none", "train_variation": "none", "render": "fast"}
    sizes = {"render_size": 224, "picture_size": 224}
    rows = [
        make_row(**shown, **sizes, versions={"mujoco": "3.4.0", "opengl": "egl"}),
        make_row(**shown, **sizes, task="hammer-v3", versions={"mujoco": "3.3.0", "opengl": "osmesa"}),
    ]
    page = write_report(run_with(tmp_path, rows)).read_text(encoding="utf-8")
    warned = re.findall(r'<div class="warn" role="note">(.*?)</div>', page)
    assert "metaworld/assembly-v3: reference frame 9f0e instead of 0123" in warned[0]
    assert "hammer-v3" not in warned[0]
    assert "metaworld/hammer-v3: reference frame 9f0e instead of 0123" in page


def test_a_video_outside_the_run_folder_is_not_embedded(tmp_path: Path) -> None:
    rollout(tmp_path / "elsewhere.mp4")
    folder = run_with(tmp_path / "run", [make_row(role="held_out", video="../elsewhere.mp4")])
    page = write_report(folder).read_text(encoding="utf-8")
    assert "could not be found in the run folder" in page
    assert "data:video" not in page


def test_no_results_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no results"):
        write_report(tmp_path)


def test_the_main_plot_is_saved_as_a_png(run_folder: Path, tmp_path: Path) -> None:
    path = save_figure(run_folder, tmp_path / "docs" / "success.png")
    height, width, _ = imread(path).shape
    assert width > 1000
    assert height > 300


def test_the_main_plot_of_several_suites_is_that_of_their_means(suites_folder: Path) -> None:
    figure = success_figure(summarise(read_results(suites_folder)))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["franka_kitchen", "metaworld", "mean over suites"]


def test_colours_belong_to_encoders_and_not_to_places() -> None:
    assert colours(["b", "a", "state"]) == colours(["a", "state", "b", "a"])
    several = colours([f"e{index}" for index in range(len(PALETTE))])
    assert len(set(several.values())) == len(several)


def test_filled_is_the_training_world_and_hollow_the_unseen() -> None:
    figure = success_figure(summarise(frame_of(make_run(episodes=5, seeds=2, checkpoints=1))))
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    hollow = [line for line in points if line.get_markerfacecolor() == "white"]
    assert len(points) == 6
    assert len(hollow) == 3


def test_drops_have_a_panel_per_change_and_are_left_out_of_success() -> None:
    summary = summarise(frame_of(make_changes()))
    figure = drops_figure(summary)
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["camera", "starts"]
    drawn = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "s"]
    assert drawn == pytest.approx([0.5, 0.0])
    names = [text.get_text() for text in success_figure(summary).legends[0].get_texts()]
    assert names == ["trained on none, judged on none"]
    assert drops_figure(summarise(frame_of([make_row(role="held_out")]))) is None


def test_plots_tell_training_variations_apart() -> None:
    rows = [
        make_row(role=role, train_variation=variation, variation=variation)
        for role in ("checkpoint", "held_out")
        for variation in ("none", "train")
    ]
    success, curves = success_figure(summarise(frame_of(rows))), curves_figure(frame_of(rows))
    assert curves is not None
    assert {line.get_marker() for line in success.axes[0].lines} >= {"o", "s"}
    assert {line.get_linestyle() for line in curves.axes[0].lines} == {"-", "--"}
    names = [text.get_text() for text in curves.legends[0].get_texts()]
    assert names == ["egovideo_tiny", "trained on train", "trained on none"]


def test_curves_show_every_seed_thin_and_the_mean(tmp_path: Path) -> None:
    rows = [
        with_outcomes(make_row(seed=seed, checkpoint=step), [True] * hits + [False] * (4 - hits))
        for seed, step, hits in ((0, 1000, 0), (0, 2000, 2), (1, 1000, 2), (1, 2000, 4))
    ]
    figure = curves_figure(frame_of(rows))
    assert figure is not None
    *seeds, mean = figure.axes[0].lines
    assert [list(line.get_ydata()) for line in seeds] == [[0.0, 0.5], [0.5, 1.0]]
    assert list(mean.get_ydata()) == [0.25, 0.75]
    assert to_svg(figure, "c").startswith("<svg")
    assert curves_figure(frame_of([make_row(role="held_out")])) is None
