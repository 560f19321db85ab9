"""Detectors of transformers that find what a text names: Grounding DINO, OWLv2, OWL-ViT, OmDet-Turbo.

For users with network or with the weights in a folder; nothing of the kind comes with this package. They know
no left and right hands of a wearer: sides come from the place in the picture alone (`_places.py`: the farther
to the right, the likelier a right hand), which tracking then makes consistent over the clip. They know no
contact either; `contact.py` judges that, with the objects found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from pretrain.hod.detectors import ClipFrames, Detections, Floats, Hand, Thing, area
from pretrain.hod.detectors._places import right_by_place


@dataclass(frozen=True)
class Options:
    """Settings of the detector `transformers_zero_shot`.

    Attributes:
        model: id on the Hugging Face hub or a folder, as IDEA-Research/grounding-dino-tiny or
            google/owlv2-base-patch16-ensemble.
        hands: texts that name hands.
        objects: texts that name objects, as the nouns of a data set's narrations; none finds hands only.
        threshold: least score, 0..1; 0.25 is Grounding DINO's default, OWLv2 wants about 0.1.
        batch: pictures at once.
        device: of torch.
    """

    model: str
    hands: Sequence[str] = ("a hand",)
    objects: Sequence[str] = ()
    threshold: float = 0.25
    batch: int = 4
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.hands or not all(text.strip() for text in (*self.hands, *self.objects)):
            raise ValueError(
                "detector 'transformers_zero_shot' wants at least one text in hands, and none empty; "
                f"got hands={list(self.hands)}, objects={list(self.objects)}"
            )
        if not 0 <= self.threshold <= 1 or self.batch < 1:
            raise ValueError(
                "detector 'transformers_zero_shot' wants threshold in 0..1 and batch of at least 1; "
                f"got threshold={self.threshold}, batch={self.batch}"
            )


def load(options: Options) -> ZeroShot:
    """The detector with its weights.

    Raises:
        ValueError: there is no such model, here or on the hub, or it is no zero-shot detector.
    """
    try:
        processor = AutoProcessor.from_pretrained(options.model)
        model = AutoModelForZeroShotObjectDetection.from_pretrained(options.model)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"model={options.model} of detector 'transformers_zero_shot' wants a folder or an id on the hub "
            f"of a zero-shot object detector: {reason}"
        ) from error
    return ZeroShot(options, processor, model)


class ZeroShot:
    """Finds what texts name."""

    def __init__(self, options: Options, processor: Any, model: Any) -> None:
        self.options = options
        self._processor = processor
        self._model = model.eval().requires_grad_(False).to(options.device)
        self._texts = [*options.hands, *options.objects]

    def detect(self, clip: ClipFrames) -> Detections:
        """Hands, and objects that nobody holds, of every frame."""
        hands: list[tuple[Hand, ...]] = []
        things: list[tuple[Thing, ...]] = []
        for start in range(0, len(clip.frames), self.options.batch):
            for answer in self._ask(clip.frames[start : start + self.options.batch]):
                boxes = [_in_picture(box, clip.frames.shape) for box in answer["boxes"].cpu().numpy()]
                scores = [float(score) for score in answer["scores"]]
                texts = [self._text(label) for label in answer["text_labels"]]
                found = [one for one in zip(boxes, scores, texts, strict=True) if one[2] and area(one[0]) > 0]
                hands.append(
                    tuple(Hand(b, s, right_by_place(b)) for b, s, text in found if text in self.options.hands)
                )
                things.append(
                    tuple(Thing(b, s, text) for b, s, text in found if text not in self.options.hands)
                )
        return Detections(tuple(hands), tuple(things))

    @torch.inference_mode()
    def _ask(self, frames: Any) -> list[dict[str, Any]]:
        """Boxes in pixels, scores and texts of every frame."""
        texts = [self._texts] * len(frames)
        inputs = self._processor(images=list(frames), text=texts, return_tensors="pt", padding=True)
        inputs = inputs.to(self._model.device)
        answers: list[dict[str, Any]] = self._processor.post_process_grounded_object_detection(
            self._model(**inputs),
            threshold=self.options.threshold,
            target_sizes=[frame.shape[:2] for frame in frames],
            text_labels=texts,
        )
        return answers

    def _text(self, label: str) -> str:
        """The text meant by a label: Grounding DINO answers with the words of it that it saw; "" for none."""
        words = set(label.split())
        shared = [len(words & set(text.lower().split())) for text in self._texts]
        best = int(np.argmax(shared))
        return self._texts[best] if label in self._texts or shared[best] else ""


def _in_picture(box: Floats, shape: tuple[int, ...]) -> Floats:
    return np.clip(box / np.array([shape[2], shape[1]] * 2), 0, 1).astype(np.float32)
