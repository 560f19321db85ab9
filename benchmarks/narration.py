"""How faithful narrators are: EgoSim's test clips, ground-truth tracks, before and after the check.

For each narrator the share of sentences that pass, and of each slot that is right among the sentences that
say it or have to, against the tracks; "true hand" is the hand against the action that was played. Run
`python -m pretrain.hod.narrators.smollm2` first.

    python benchmarks/narration.py [segments [folder to keep the tracks in]]
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pretrain.hod.check import SLOTS, SlotCounts, check
from pretrain.hod.motion import SIDES, Side, describe
from pretrain.hod.narrate import NarrateSettings, NarrationCounts, narrate_checked
from pretrain.hod.narrators import load_narrator
from pretrain.hod.prompt import Request
from pretrain.hod.tracks import Tracks

INSTANTS = 16
FIRST_SEED = 7000
NARRATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "template": ("template", {}),
    "smollm2 as it comes": ("smollm2", {"tuned": False}),
    "smollm2 taught": ("smollm2", {}),
}

Segment = tuple[Request, tuple[Side, ...]]


def tracks_of(truth: Any, start: float, end: float) -> Tracks:
    """Ground-truth tracks at the middles of equal parts of a segment."""
    edges = np.linspace(start, end, INSTANTS + 1)
    seconds = (edges[:-1] + edges[1:]) / 2
    at = np.minimum((seconds * truth.fps).astype(int), len(truth.hand_boxes) - 1)
    boxes = np.concatenate([truth.hand_boxes, truth.object_boxes], 1)[at] / np.float32(truth.size)
    scores = np.where(np.isnan(boxes[..., 0]), np.nan, 1).astype(np.float32)
    empty = Tracks.empty(seconds)
    contact = truth.contact[at].any(-1).astype(np.float32)
    return Tracks(seconds, boxes, scores, empty.interpolated, empty.keypoints, contact)


def segments_of(clip: Any) -> Iterator[Segment]:
    """Requests of a clip, each with the sides of the hands that act."""
    for number, segment in enumerate(clip.segments):
        tracks = tracks_of(clip.truth, segment.start, segment.end)
        hand = segment.action.hand
        request = Request(f"{clip.seed}/{number}", segment.text, describe(tracks), tracks)
        yield request, SIDES if hand == "both" else (hand,)


def save(file: Path, segments: list[Segment]) -> None:
    """Keep the segments of one clip."""
    fields = ("seconds", "boxes", "scores", "interpolated", "keypoints", "contact")
    arrays = {name: np.stack([getattr(r.tracks, name) for r, _ in segments]) for name in fields}
    words = {"texts": [r.original for r, _ in segments], "hands": ["+".join(sides) for _, sides in segments]}
    np.savez(file, **arrays, **words)


def read(file: Path) -> Iterator[Segment]:
    """What was kept of one clip."""
    with np.load(file) as kept:
        for i, (text, hands) in enumerate(zip(kept["texts"], kept["hands"], strict=True)):
            names = ("seconds", "boxes", "scores", "interpolated", "keypoints", "contact")
            tracks = Tracks(**{name: kept[name][i] for name in names})
            sides = tuple(side for side in SIDES if side in str(hands).split("+"))
            yield Request(f"{file.stem}/{i}", str(text), describe(tracks), tracks), sides


def held_out_segments(count: int, folder: Path) -> list[Segment]:
    """The first `count` segments of EgoSim's test split, recorded where they are not kept yet."""
    from pretrain.sim.clip import record

    folder.mkdir(parents=True, exist_ok=True)
    found: list[Segment] = []
    seed = FIRST_SEED
    while len(found) < count:
        file = folder / f"{seed}.npz"
        if not file.exists():
            save(file, list(segments_of(record(seed, "test"))))
        found += read(file)
        seed += 1
    return found[:count]


def true_hand(texts: list[str], segments: list[Segment]) -> float:
    """Share of the sentences that give the hand that acted, among those that say it or have to."""
    counts = SlotCounts()
    for text, (request, sides) in zip(texts, segments, strict=True):
        counts.add(check(text, replace(request.motion, acts=sides), request.original))
    return counts.right("hand")


def row(name: str, counts: SlotCounts, hand: float, more: str) -> str:
    """One line of the table."""
    slots = " ".join(f"{counts.right(slot):>9.3f}" for slot in SLOTS)
    return f"{name:28} {counts.passed / max(counts.total, 1):>6.3f} {slots} {hand:>9.3f}  {more}"


def main() -> None:
    """Print two lines for each narrator."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("data/narration_benchmark")
    logging.disable(logging.INFO)
    torch.set_num_threads(1)  # several wait actively, which beside other work costs a factor of ten
    segments = held_out_segments(count, folder)
    requests = [request for request, _ in segments]
    print(f"{len(segments)} segments of EgoSim's test split")
    print(f"{'':28} {'passed':>6} {' '.join(f'{slot:>9}' for slot in SLOTS)} {'true hand':>9}")
    for name, (narrator_name, options) in NARRATORS.items():
        narrator = load_narrator(narrator_name, **options)
        started = time.perf_counter()
        first = [text or "" for text in narrator.write(requests)]
        rate = len(first) / (time.perf_counter() - started)
        before, counts = SlotCounts(), NarrationCounts()
        for text, request in zip(first, requests, strict=True):
            before.add(check(text, request.motion, request.original))
        kept = [one.text for one in narrate_checked(requests, narrator, NarrateSettings(), counts)]
        speed = f"{rate:.2f} sentences/s"
        print(row(f"{name}, before", before, true_hand(first, segments), speed), flush=True)
        rest = f"{counts.retried} at another attempt, {counts.replaced} by the template"
        print(row(f"{name}, after", counts.after, true_hand(kept, segments), rest), flush=True)


if __name__ == "__main__":
    main()
