"""Whether simulators still draw what they drew: reference frames, held against those that ship with us.

An update of a simulator may change what a scene looks like, and with it what frozen features and published
numbers are worth. So every result holds the hash of a reference frame, and `looks.json` what it was for us.

    python -m robot_eval.looks [suite ...]       # write the table anew; all suites unless some are named
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from egorep.cores import cores
from egorep.files import replacing
from robot_eval.environment import EnvSettings
from robot_eval.render import PICTURES_VERSION
from robot_eval.simulators import simulators
from robot_eval.suites import list_suites, load_suite
from robot_eval.variation import SCENES

LOOKS_FILE = Path(__file__).with_name("looks.json")


@dataclass(frozen=True)
class LookNote:
    """What is to be said of a task's look.

    Attributes:
        task: `suite/task`.
        about: what its frame was held against: `shipped` or `demonstrations`.
        text: one sentence or two.
        alarming: whether numbers may not carry over; a mild note is for the record.
    """

    task: str
    about: str
    text: str
    alarming: bool

    @property
    def level(self) -> int:
        """Of the log."""
        return logging.WARNING if self.alarming else logging.INFO


def look_versions(suite: str, opengl: str) -> dict[str, str]:
    """What decides the look of a suite's pictures: versions of packages and of ours, and what draws them."""
    packages = {package: importlib.metadata.version(package) for package in load_suite(suite).packages}
    return {"pictures": PICTURES_VERSION, **packages, "opengl": opengl}


def look_notes(rows: Iterable[Any]) -> list[LookNote]:
    """What is to be said of the looks in result rows: one note at most per task and what it is about."""
    found: dict[tuple[str, str], LookNote] = {}
    for row in rows:
        for note in _notes(row):
            found.setdefault((note.task, note.about), note)
    return list(found.values())


def _notes(row: Any) -> Iterator[LookNote]:
    task = f"{row.suite}/{row.task}"
    shipped = shipped_looks().get(row.suite, {"versions": {}, "frames": {}})
    frame = shipped["frames"].get(_setting(row), row.frame_hash)
    if frame != row.frame_hash:
        yield _changed(task, row, frame, shipped["versions"])
    filmed = row.demos_frame_hash or row.frame_hash
    if row.variation == row.train_variation and filmed != row.frame_hash:
        text = (
            f"{task}: the demonstrations were filmed with another look (reference frame {filmed}) than the "
            f"rollouts ({row.frame_hash}). Policies may fail for that alone; film them anew in another data=."
        )
        yield LookNote(task, "demonstrations", text, alarming=True)


def _changed(task: str, row: Any, frame: str, versions: Mapping[str, str]) -> LookNote:
    here: Mapping[str, str] = row.versions
    differ = [name for name, version in versions.items() if here.get(name, version) != version]
    which = ", ".join(f"{name} {here[name]} instead of {versions[name]}" for name in differ)
    text = f"{task}: reference frame {row.frame_hash} instead of {frame} under variation {row.variation}"
    # Software renderers differ between drivers in the last bit: of itself that changes no look.
    if "opengl" in differ:
        return LookNote(task, "shipped", f"{text}, drawn by another OpenGL: {which}.", alarming=False)
    cause = which or "no version differs"
    warning = "a changed look: policies and published numbers may not carry over"
    return LookNote(task, "shipped", f"{text} ({cause}); {warning}.", alarming=True)


@functools.cache
def shipped_looks() -> dict[str, Any]:
    """The shipped table: per suite its `versions`, and `frames`, hashes by setting."""
    looks: dict[str, Any] = json.loads(LOOKS_FILE.read_text(encoding="utf-8"))
    return looks


def _setting(where: Any) -> str:
    """The key of an environment's settings, or a row's, among the frames of a suite."""
    size = f"{where.render_size}/{where.picture_size}"
    return f"{where.task} {where.camera} {where.render} {size} {where.variation}"


def default_settings(suite: str) -> list[EnvSettings]:
    """What runs see that set nothing: the suite's tasks and camera, under every protocol and scene.

    Single changes draw with what `none` and `unseen` draw with, whose frames would show a difference.
    """
    # Simulator processes import this file again where it is the command, and they import no torch.
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    from egorep.commands import typed
    from robot_eval.config import COMMAND, RunConfig

    with initialize_config_module(COMMAND.module, version_base="1.3"):
        protocols = GlobalHydra.instance().config_loader().get_group_options("protocol")
        overrides = [[f"suite={suite}", f"protocol={protocol}"] for protocol in protocols]
        runs = [typed(compose(COMMAND.config, words), RunConfig) for words in overrides]
    # A protocol that names cameras is for the suites whose cameras it names.
    runs = [run for run in runs if not run.protocol.cameras or suite in run.protocol.cameras]
    settings = [run.settings(name, look) for run in runs for name in run.chosen for look in SCENES]
    return list(dict.fromkeys(settings))


def write_looks(path: Path, suites: Sequence[str]) -> None:
    """Draw the reference frames of `suites` and put them into the table at `path`, other suites untouched."""
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for suite in suites:
        settings = default_settings(suite)
        with ThreadPoolExecutor(cores()) as threads:
            drawn = list(tqdm(threads.map(_reference, settings), suite, len(settings)))
        frames = {_setting(each): frame["frame_hash"] for each, frame in zip(settings, drawn, strict=True)}
        versions = look_versions(suite, drawn[0]["opengl"])
        table[suite] = {"versions": versions, "frames": dict(sorted(frames.items()))}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n", encoding="utf-8")


def _reference(settings: EnvSettings) -> dict[str, str]:
    with simulators(settings, 1) as (simulator,):
        reference: dict[str, str] = simulator.call("reference")
        return reference


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the shipped table anew."""
    parser = argparse.ArgumentParser(prog="python -m robot_eval.looks", description="Write looks.json anew.")
    parser.add_argument("suites", nargs="*", metavar="suite", help="all unless some are named")
    write_looks(LOOKS_FILE, parser.parse_args(arguments).suites or list_suites())


if __name__ == "__main__":
    main()
