"""How well the stages of HOD annotation see: hands, sides and objects in contact, against EgoSim's truth.

Every narrated segment of a clip is looked at as annotation does: 16 frames, the middles of equal parts.

    python benchmarks/hod_detection.py [clips] [split] [first seed] [detector]
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pretrain.hod.contact import find_contact
from pretrain.hod.detectors import ClipFrames, Detections, Detector, Hand, Thing, area, load_detector, overlap
from pretrain.hod.tracking import track
from pretrain.hod.tracks import Tracks
from pretrain.sim.clip import Clip, record
from pretrain.sim.splits import SPLITS

Boxes = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

FRAMES = 16
FOUND = 0.3  # overlap from which a hand or an object is found
OPEN_AREA = 0.02  # share of the picture that the box of an open hand covers: 32 x 32 of 224 x 224 pixels


class Score:
    """Sums of what was counted and the values that were measured, over all clips."""

    def __init__(self) -> None:
        self.shares: dict[str, list[bool]] = defaultdict(list)
        self.overlaps: dict[str, list[float]] = defaultdict(list)
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def print(self) -> None:
        """One line per figure."""
        for name, hits in self.shares.items():
            print(f"{name:48} {np.mean(hits):.3f}  ({sum(hits)} of {len(hits)})")
        for name, values in self.overlaps.items():
            print(f"{name:48} mean {np.mean(values):.3f}, median {np.median(values):.3f}  ({len(values)})")
        for name, values in self.seconds.items():
            print(f"{name:48} {len(values) / sum(values):.2f} clips of {FRAMES} frames per second")


def truth_boxes(clip: Clip, frame: int) -> Boxes:
    """(5, 4) hands and objects of a frame in 0..1, in the order of the tracks; NaN where there is nothing."""
    size = clip.truth.size
    return (
        np.concatenate([clip.truth.hand_boxes[frame], clip.truth.object_boxes[frame]]).astype(np.float32)
        / size
    )


def score_hands(score: Score, clip: Clip, numbers: Numbers, detections: Detections) -> None:
    """Detection frame by frame: which visible hands are found, their boxes, sides and contact."""
    for frame, hands, things in zip(numbers, detections.hands, detections.things, strict=True):
        boxes, touches, used = truth_boxes(clip, frame), clip.truth.contact[frame].any(-1), set()
        for side in range(2):
            if np.isnan(boxes[side, 0]):
                continue
            overlaps = [overlap(hand.box, boxes[side]) * (i not in used) for i, hand in enumerate(hands)]
            best = int(np.argmax(overlaps)) if hands else -1
            found = best >= 0 and overlaps[best] > FOUND
            score.shares["detect: visible hands found"].append(found)
            if touches[side]:
                score.shares["detect: hands in contact found"].append(found)
            elif area(boxes[side]) >= OPEN_AREA:
                score.shares[f"detect: open hands of {OPEN_AREA:.0%} of the picture found"].append(found)
            if found:
                used.add(best)
                score.shares["detect: side right, of found"].append((hands[best].right >= 0.5) == side)
                score.overlaps["detect: overlap of hands found"].append(overlaps[best])
                score_contact(score, touches[side], boxes[[2 + side, 4]], best, hands, things)
        score.shares["detect: finds that are hands (precision)"] += [i in used for i in range(len(hands))]


def score_contact(
    score: Score, touches: bool, objects: Boxes, number: int, hands: Sequence[Hand], things: Sequence[Thing]
) -> None:
    """Whether a hand's contact is right, and the box of what it holds."""
    state = hands[number].contact
    if state == 1:
        score.shares["contact: precision of contact"].append(touches)
    if state == 0:
        score.shares["contact: precision of no contact"].append(not touches)
    score.shares["contact: answered"].append(state in (0, 1))
    if touches:
        score.shares["contact: recall of contact"].append(state == 1)
    held = [thing.box for thing in things if number in thing.holders]
    if held and touches:
        best = max(overlap(box, wanted) for box in held for wanted in objects)
        score.shares[f"contact: objects with overlap above {FOUND}"].append(best > FOUND)
        score.overlaps["contact: overlap of objects"].append(best)


def score_tracks(score: Score, clip: Clip, numbers: Numbers, tracks: Tracks) -> None:
    """The tracks of both hands: a hand counts as found on its own side only."""
    for i, frame in enumerate(numbers):
        boxes = truth_boxes(clip, frame)
        for side in range(2):
            seen, there = tracks.visible[i, side], not np.isnan(boxes[side, 0])
            value = overlap(tracks.boxes[i, side], boxes[side]) if seen and there else 0.0
            if there:
                score.shares["track: visible hands found, side right"].append(value > FOUND)
            if seen:
                score.shares["track: boxes that are that hand (precision)"].append(value > FOUND)
            if value > FOUND:
                score.overlaps["track: overlap of hands found"].append(value)


def measure(score: Score, clip: Clip, detector: Detector) -> None:
    """All segments of one clip through detection, contact and tracking."""
    for segment in clip.segments:
        middles = segment.start + (np.arange(FRAMES) + 0.5) / FRAMES * (segment.end - segment.start)
        numbers = np.unique(np.minimum((middles * clip.truth.fps).astype(int), len(clip.frames) - 1))
        part = ClipFrames(clip.frames[numbers], numbers / clip.truth.fps, f"{clip.split}_{clip.seed}")
        began = time.perf_counter()
        found = detector.detect(part)
        detected = time.perf_counter()
        found = find_contact(part.frames, found)
        judged = time.perf_counter()
        tracks = track(found, part.seconds)
        score.seconds["detect: speed"].append(detected - began)
        score.seconds["contact: speed"].append(judged - detected)
        score.seconds["track: speed"].append(time.perf_counter() - judged)
        score_hands(score, clip, numbers, found)
        score_tracks(score, clip, numbers, tracks)


def main() -> None:
    """Record clips one by one, measure them and print what they sum up to."""
    arguments = dict(enumerate(sys.argv[1:]))
    count, split = int(arguments.get(0, 12)), arguments.get(1, "validation")
    first, name = int(arguments.get(2, 9000)), arguments.get(3, "mediapipe")
    if split not in SPLITS:
        raise SystemExit(f"there is no split {split!r}, only {', '.join(SPLITS)}")
    detector, score = load_detector(name), Score()
    for seed in range(first, first + count):
        measure(score, record(seed, split), detector)
    print(f"{name} on {count} clips of {split}, seeds from {first}")
    score.print()


if __name__ == "__main__":
    main()
