"""A run folder to one HTML page: tables, plots and videos in a file that asks the network for nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from egorep.figures import to_svg
from egorep.files import replacing
from robot_eval.looks import LookNote, look_notes
from robot_eval.plots import colours, curves_figure, data_uri, drops_figure, success_figure, to_png
from robot_eval.probe_results import ProbeRow, probe_tables, probes_text, read_probes
from robot_eval.results import read_results
from robot_eval.stats import (
    ALL_TASKS,
    compare,
    drop_tables,
    encoder_order,
    expected_best,
    overall,
    result_tables,
    successes,
    suite_means,
    summarise,
    table_text,
)

# Typographic signs for the page, spelled out because they look like a hyphen in an editor.
_NONE, _MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_SETTING = ["policy", "protocol"]
_TASK = ["suite", "task"]


def write_report(run_folder: str | Path) -> Path:
    """Build `report.html` from `results.parquet`, `probes.parquet` and the videos that rows name alone.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: the folder holds no results.
        ValueError: the results mix experiments (see `summarise`), or `probes.parquet` is no table of probes.
    """
    run_folder = Path(run_folder)
    frame = read_results(run_folder)
    probes = read_probes(run_folder)
    summary = summarise(frame)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "rate": _rate,
        "score": _score,
        "signed": _signed,
        "p": _p_value,
        "duration": _duration,
    }
    videos, missing = _videos(frame, run_folder)
    looks = _look_notes(frame)
    page = environment.get_template("report.html.j2").render(
        title=f"{_join(frame['suite'])}: frozen encoders under behaviour cloning",
        facts=_facts(frame),
        colours=colours([*frame["encoder"], *(row.encoder for row in probes)]),
        probes=probe_tables(probes, encoder_order(summary)),
        settings=_settings(frame, summary),
        videos=videos,
        missing=missing,
        warnings=[*_warnings(frame), *(note.text for note in looks if note.alarming)],
        remarks=[note.text for note in looks if not note.alarming],
        encoders=_encoder_provenance(frame, encoder_order(summary)),
        demonstrations=_demonstrations(frame),
        worlds=_worlds(frame),
        versions=_versions(frame),
    )
    path = run_folder / "report.html"
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def tables_text(rows: pd.DataFrame, probes: Sequence[ProbeRow]) -> str:
    """What a run found, for a terminal: success with its intervals and, where there are probes, theirs.

    Raises:
        ValueError: the results mix experiments (see `summarise`).
    """
    summary = summarise(rows)
    known = probes_text(probes, encoder_order(summary))
    return "\n".join(text for text in (table_text(summary), known) if text)


def save_figure(run_folder: str | Path, path_png: str | Path) -> Path:
    """Draw the page's main plot, that of the first policy and protocol, as a PNG (for a README).

    Raises:
        FileNotFoundError: the folder holds no results.
    """
    summary = summarise(read_results(run_folder))
    _, first = next(iter(summary.groupby(_SETTING, sort=True)))
    path = Path(path_png)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(to_png(success_figure(first)))
    return path


def _settings(frame: pd.DataFrame, summary: pd.DataFrame) -> list[dict[str, Any]]:
    """What the page shows for each policy and protocol; encoders compare only within one."""
    paint = colours(list(frame["encoder"]))
    sections = []
    for index, (key, lines) in enumerate(summary.groupby(_SETTING, sort=True)):
        policy, protocol = map(str, key)
        rows = frame[(frame["policy"] == policy) & (frame["protocol"] == protocol)]
        suites = sorted(set(lines["suite"]))
        sections.append(
            {
                "name": f"{policy} policy, protocol {protocol}",
                "overview": _success("", lines, paint, f"s{index}") if len(suites) > 1 else None,
                "suites": [
                    _success(suite, lines[lines["suite"] == suite], paint, f"s{index}-{place}")
                    | {"curves": _curves(rows[rows["suite"] == suite], paint, f"c{index}-{place}")}
                    for place, suite in enumerate(suites)
                ],
                "drops": _drops(lines, paint, f"d{index}"),
                "differences": _differences(rows, encoder_order(lines)),
                "numbers": _numbers(lines),
                "strict": _strict_differs(lines),
                "flattery": _flattery(lines),
            }
        )
    return sections


def _success(suite: str, lines: pd.DataFrame, paint: dict[str, str], prefix: str) -> dict[str, Any]:
    """Tables and plot of a suite or, where `suite` is empty, of the means of several."""
    return {
        "suite": suite,
        "tables": [table for table in result_tables(lines) if table.suite == suite],
        "plot": Markup(to_svg(success_figure(lines, paint), prefix)),  # our own SVG, not names
    }


def _drops(lines: pd.DataFrame, paint: dict[str, str], prefix: str) -> dict[str, Any] | None:
    """Tables and plot of what each change costs, where that is known."""
    tables, figure = drop_tables(lines), drops_figure(lines, paint)
    plot = Markup(to_svg(figure, prefix)) if figure else None  # our own SVG, not names
    return {"tables": tables, "plot": plot} if tables else None


def _curves(rows: pd.DataFrame, paint: dict[str, str], prefix: str) -> Markup | None:
    figure = curves_figure(rows, paint)
    return Markup(to_svg(figure, prefix)) if figure else None  # our own SVG, not names


def _differences(rows: pd.DataFrame, order: list[str]) -> list[dict[str, Any]]:
    """Paired differences per condition, each pair turned so that the better encoder is named first."""
    table = compare(rows)
    if table.empty:
        return []
    several = rows["suite"].nunique() > 1
    table["scope"] = [_scope(suite, task, several) for suite, task in table[_TASK].to_numpy()]
    table["is_part"] = table["suite"] != ""  # what is over everything comes first
    table["rank"] = [
        min(order.index(a), order.index(b)) for a, b in table[["encoder_a", "encoder_b"]].to_numpy()
    ]
    sections = []
    for (train, judged), part in table.groupby(["train_variation", "variation"], sort=True):
        part = part.sort_values(["is_part", "rank"], kind="stable")
        lines = [_better_first(line) for line in part.to_dict("records")]
        sections.append(
            {
                "title": f"Trained on variation {train}, judged on {judged}",
                "weights": "suites weighted equally" if several else "tasks weighted equally",
                "together": [line for line in lines if line["task"] == ALL_TASKS],
                "by_task": [line for line in lines if line["task"] != ALL_TASKS],
            }
        )
    return sections


def _scope(suite: str, task: str, several: bool) -> str:
    if task != ALL_TASKS:
        return _label(suite, task, several)
    return f"{ALL_TASKS} of {suite}" if suite else "all suites" if several else ALL_TASKS


def _better_first(line: dict[Any, Any]) -> dict[Any, Any]:
    if not line["estimate"] < 0:
        return line
    turned = {
        "encoder_a": line["encoder_b"],
        "encoder_b": line["encoder_a"],
        "estimate": -line["estimate"],
        "low": -line["high"],
        "high": -line["low"],
        "wins": line["losses"],
        "losses": line["wins"],
    }
    return line | turned


def _numbers(lines: pd.DataFrame) -> list[dict[Any, Any]]:
    """`last`, `best` and `held_out` per encoder, task and condition, with the means over tasks and suites."""
    several = lines["suite"].nunique() > 1
    parts = [
        lines.assign(label=[_label(suite, task, several) for suite, task in lines[_TASK].to_numpy()], rank=0)
    ]
    if several:
        means = suite_means(lines)
        parts.append(means.assign(label=means["suite"] + " / mean over tasks", rank=0))
    mean = f"mean over {'suites' if several else 'tasks'}"
    table = pd.concat([*parts, overall(lines).assign(suite="", label=mean, rank=1)])
    table["is_mean"] = table["task"].isna()
    table["place"] = table["encoder"].map({name: index for index, name in enumerate(encoder_order(lines))})
    order = ["train_variation", "variation", "rank", "suite", "is_mean", "task", "place"]
    return table.sort_values(order).to_dict("records")


def _label(suite: str, task: str, several: bool) -> str:
    return f"{suite} / {task}" if several else task


def _strict_differs(lines: pd.DataFrame) -> bool:
    """Whether the strict measure counts less than the suites' own anywhere."""
    known = lines.dropna(subset=["held_out", "held_out_strict"])
    return bool((known["held_out_strict"] != known["held_out"]).any())


def _flattery(lines: pd.DataFrame) -> str:
    """How far the best of N evaluations flatters: in these results, and by arithmetic alone."""
    known = lines.dropna(subset=["best", "held_out"])
    if known.empty:
        return "Nothing was both picked in training and run again on fresh seeds, so best cannot be checked."
    best, held_out = float(known["best"].mean()), float(known["held_out"].mean())
    evaluations = int(known["evaluations"].median())
    episodes = max(1, int((known["episodes"] / known["n_seeds"]).median()))
    chance = 100 * expected_best(0.5, evaluations, episodes)
    return (
        f"Here best reads {100 * best:.1f} % on average and the same policies {100 * held_out:.1f} % on "
        f"fresh seeds: {100 * (best - held_out):+.1f} points. For scale, chance alone: the best of "
        f"{evaluations} evaluations of {episodes} episodes each reads {chance:.0f} % on average for a policy "
        "whose true rate is 50 % throughout."
    )


def _videos(frame: pd.DataFrame, run_folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """One video per task, encoder and condition (held out, the first seed with one), and files not found."""
    rows = frame[frame["video"].notna()].sort_values(
        ["suite", "task", "train_variation", "variation", "encoder", "role", "seed", "checkpoint"],
        ascending=[True, True, True, True, True, False, True, False],  # "held_out" before "checkpoint"
    )
    shown: dict[tuple[str, ...], dict[str, Any]] = {}
    missing = []
    named: Iterator[Any] = rows.itertuples()
    for row in named:
        source = _inside(run_folder, row.video)
        if source is None:
            missing.append(row.video)
            continue
        key = (row.suite, row.task, row.encoder, row.policy, row.protocol, row.train_variation, row.variation)
        if key not in shown:
            shown[key] = _video(row, source)
    by_task = itertools.groupby(shown.values(), key=lambda video: video["task"])
    return [{"task": task, "videos": list(videos)} for task, videos in by_task], missing


def _inside(run_folder: Path, video: str) -> Path | None:
    """The video's path, or None if it is no file within the run folder."""
    path = (run_folder / video).resolve()
    return path if path.is_file() and path.is_relative_to(run_folder.resolve()) else None


def _video(row: Any, source: Path) -> dict[str, Any]:
    outcomes = successes(row)
    return {
        "task": f"{row.suite} / {row.task}",
        "encoder": row.encoder,
        "condition": f"trained on {row.train_variation}, judged on {row.variation}",
        "success": outcomes[0],
        "score": f"{sum(outcomes)} of {len(outcomes)} episodes succeed",
        "seed": row.seed,
        "episode_seed": row.episode_seeds[0],
        "source": data_uri("video/mp4", source.read_bytes()),
    }


def _facts(frame: pd.DataFrame) -> list[tuple[str, str]]:
    held_out = frame[frame["role"] == "held_out"]
    episodes = sorted({len(seeds) for seeds in held_out["episode_seeds"]})
    return [
        ("Encoders", str(frame["encoder"].nunique())),
        ("Tasks", _count_tasks(frame)),
        ("Policy", _join(frame["policy"])),
        ("Protocol", _join(frame["protocol"])),
        ("Demonstrations", _join(frame["demos"]) + (", fresh for each policy seed" if _fresh(frame) else "")),
        ("Policy seeds", str(frame["seed"].nunique())),
        ("Held-out episodes per seed", _join(episodes) or "none"),
        ("Evaluations", str(len(frame))),
    ]


def _count_tasks(frame: pd.DataFrame) -> str:
    tasks, suites = len(frame[_TASK].drop_duplicates()), frame["suite"].nunique()
    return f"{tasks} in {suites} suites" if suites > 1 else str(tasks)


def _look_notes(frame: pd.DataFrame) -> list[LookNote]:
    order = ["suite", "task", "train_variation", "variation"]
    return look_notes(frame.sort_values(order, kind="stable").itertuples())


def _warnings(frame: pd.DataFrame) -> list[str]:
    found = []
    hashes = frame.groupby(["suite", "task", "variation", "render", "camera"])["frame_hash"].nunique()
    for key in hashes.index[hashes > 1]:
        found.append(
            f"The reference frame of {' / '.join(key)} changed within this run: pictures do not compare."
        )
    for name, values in _versions(frame):
        if len(values) > 1:
            found.append(f"{name} changed version within this run: {', '.join(values)}.")
    diverged = int((~frame["train_loss"].abs().lt(float("inf"))).sum())
    if diverged:
        found.append(f"The training loss of {diverged} evaluations is not a finite number.")
    return found


def _encoder_provenance(frame: pd.DataFrame, order: list[str]) -> list[dict[str, Any]]:
    policies = ["encoder", "suite", "task", "policy", "protocol", "train_variation", "seed"]
    # train_seconds counts from the start of training, so a policy's own total is its greatest.
    training = frame.groupby(policies)["train_seconds"].max().groupby(level="encoder").sum()
    lines = []
    for encoder in order:
        rows = frame[frame["encoder"] == encoder]
        lines.append(
            {
                "encoder": encoder,
                "fingerprints": sorted(set(rows["encoder_fingerprint"])),
                "training": float(training[encoder]),
                "rollouts": float(rows["rollout_seconds"].sum()),
                "episodes": sum(map(len, rows["episode_seeds"])),
                "restarts": int(rows["restarts"].sum()),
            }
        )
    return lines


def _fresh(frame: pd.DataFrame) -> bool:
    """Whether policy seeds learnt from demonstrations of their own."""
    tasks = frame.groupby([*_TASK, "train_variation", "demos"])
    sets, seeds = tasks["demos_fingerprint"].nunique(), tasks["seed"].nunique()
    return bool(((sets == seeds) & (seeds > 1)).all())


def _demonstrations(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    columns = ["suite", "task", "train_variation", "demos", "demos_discarded", "demos_fingerprint"]
    return frame[columns].drop_duplicates().sort_values(columns).to_dict("records")


def _worlds(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    columns = ["suite", "task", "variation", "render", "camera", "frame_hash"]
    return frame[[*columns, "horizon"]].drop_duplicates().sort_values(columns).to_dict("records")


def _versions(frame: pd.DataFrame) -> list[tuple[str, list[str]]]:
    distinct = [json.loads(text) for text in {json.dumps(each, sort_keys=True) for each in frame["versions"]}]
    names = sorted({name for versions in distinct for name in versions})
    return [(name, sorted({versions[name] for versions in distinct if name in versions})) for name in names]


def _join(values: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(set(values))))


def _rate(value: float) -> str:
    return _NONE if pd.isna(value) else f"{value:.2f}"


def _score(value: float) -> str:
    return f"{value:.2f}".replace("-", _MINUS)


def _signed(value: float) -> str:
    return _NONE if pd.isna(value) else f"{value:+.2f}".replace("-", _MINUS)


def _p_value(value: float) -> str:
    return _NONE if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
