import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest

from pretrain.hod.detectors import (
    ClipFrames,
    Detections,
    Hand,
    Thing,
    list_detectors,
    load_detector,
    no_keypoints,
    overlap,
)
from pretrain.hod.detectors._places import right_by_place
from pretrain.hod.detectors._skin import SkinColour, blobs, bones_mask

BOX = np.array([0.1, 0.2, 0.3, 0.5], np.float32)


def clip(seconds=(0.0, 0.5), video_id="video", size=(64, 80)):
    return ClipFrames(np.zeros((len(seconds), *size, 3), np.uint8), np.array(seconds, np.float64), video_id)


# What all detectors share


def test_a_name_is_a_file_and_a_wrong_one_is_answered_with_the_nearest():
    assert list_detectors() == ["groundtruth", "mediapipe", "precomputed", "transformers_zero_shot"]
    with pytest.raises(ValueError, match="unknown detector 'media_pipe'; did you mean 'mediapipe'"):
        load_detector("media_pipe")
    with pytest.raises(ValueError, match="unknown option of detector 'precomputed' 'file'"):
        load_detector("precomputed", file="x")


def test_a_clip_of_wrong_parts_is_named():
    with pytest.raises(ValueError, match=r"frames \(F, H, W, 3\); got \(2, 8, 8\)"):
        ClipFrames(np.zeros((2, 8, 8), np.uint8), np.zeros(2), "v")
    with pytest.raises(TypeError, match="uint8 frames; got float64"):
        ClipFrames(np.zeros((2, 8, 8, 3)), np.zeros(2), "v")
    with pytest.raises(ValueError, match="2 frames want as many seconds"):
        ClipFrames(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(3), "v")


@pytest.mark.parametrize("box", [[0.5, 0, 0.4, 1], [0, 0, 1.1, 1], [np.nan] * 4, [0, 0, 1]])
def test_detections_refuse_boxes_that_are_none(box):
    with pytest.raises(ValueError, match="a detected box wants"):
        Detections(((Hand(np.array(box, np.float32), 1.0, 0.5),),), ((),))


def test_detections_refuse_holders_that_are_not_there():
    with pytest.raises(ValueError, match="one of the 1 hands; got 1"):
        Detections(((Hand(BOX, 1.0, 0.5),),), ((Thing(BOX, 1.0, "", (1,)),),))


def test_the_mirror_exchanges_places_and_sides_and_twice_is_none():
    joints = np.linspace(0, 1, 42).reshape(21, 2).astype(np.float32)
    found = Detections(((Hand(BOX, 0.9, 0.2, joints),),), ((Thing(BOX, 0.5, "cup", (0, "left")),),))
    turned = found.mirrored()
    hand, thing = turned.hands[0][0], turned.things[0][0]
    np.testing.assert_allclose(hand.box, [0.7, 0.2, 0.9, 0.5], rtol=1e-6)
    assert (hand.right, hand.side, thing.holders) == (0.8, "right", (0, "right"))
    np.testing.assert_allclose(hand.keypoints[:, 0], 1 - joints[:, 0])
    np.testing.assert_allclose(turned.mirrored().hands[0][0].keypoints, joints, atol=1e-6)


def test_the_place_alone_is_even_in_the_middle_and_mirrored_at_both_sides():
    assert right_by_place(np.array([0.4, 0, 0.6, 1], np.float32)) == pytest.approx(0.5)
    left, right = right_by_place(BOX), right_by_place(np.array([0.7, 0.2, 0.9, 0.5], np.float32))
    assert left < 0.2
    assert left + right == pytest.approx(1)


# Skin


def test_the_colour_of_one_hand_shows_another():
    frame = np.full((100, 100, 3), (60, 90, 60), np.uint8)
    frame[10:40, 10:40] = frame[60:90, 50:90] = (210, 160, 130)
    known = np.zeros((100, 100), np.bool_)
    known[10:40, 10:40] = True
    seen = SkinColour(frame[None], [(0, known)], [~known]).mask(frame)
    boxes = blobs(seen, 0.01)
    assert len(boxes) == 2
    np.testing.assert_allclose(boxes[0], [0.5, 0.6, 0.9, 0.9], atol=0.02)


def test_bones_are_drawn_inside_the_hand():
    joints = np.tile(np.float32([[0.5, 0.5]]), (21, 1))
    joints[8] = [0.5, 0.1]
    mask = bones_mask(joints, (100, 100))
    assert mask[15:50, 50].all()
    assert not mask[:, 70:].any()


# MediaPipe


@pytest.fixture(scope="module")
def mediapipe():
    return load_detector("mediapipe")


@pytest.fixture(scope="module")
def rendered():
    """A clip of EgoSim, in a process of its own: triton, which transformers imports, would crash."""
    from pretrain.sim.clip import record

    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(record, 9005, "train").result()


def test_mediapipe_finds_nothing_in_empty_pictures(mediapipe):
    assert mediapipe.detect(clip()) == Detections(((), ()), ((), ()))


def test_mediapipe_finds_hands_on_their_sides_the_same_twice(mediapipe, rendered):
    numbers = np.linspace(5, len(rendered.frames) - 5, 6).astype(int)
    part = ClipFrames(rendered.frames[numbers], numbers / rendered.truth.fps, "v")
    found, again = mediapipe.detect(part), mediapipe.detect(part)
    hits, right = 0, 0
    for frame, hands in zip(numbers, found.hands, strict=True):
        for side in range(2):
            wanted = (rendered.truth.hand_boxes[frame, side] / 224).astype(np.float32)
            best = max(hands, key=lambda hand: overlap(hand.box, wanted), default=None)
            if best is not None and overlap(best.box, wanted) > 0.3:
                hits += 1
                right += (best.right >= 0.5) == side
    assert hits >= 7
    assert right >= hits - 1
    for one, other in zip(sum(found.hands, ()), sum(again.hands, ()), strict=True):
        np.testing.assert_array_equal(one.box, other.box)
        assert one.right == other.right


def test_mediapipe_refuses_thresholds_that_are_none():
    with pytest.raises(ValueError, match=r"palm_threshold of detector 'mediapipe' wants 0..1; got 2"):
        load_detector("mediapipe", palm_threshold=2)


# Precomputed


def doh(**changes):
    hand = {"bbox": [10, 20, 30, 40], "score": 0.9, "side": 1, "state": 3, "offset": [0.005, 1.0, 0.0]}
    hand.update(changes)
    things = [
        {"bbox": [60, 20, 80, 40], "score": 0.8, "name": "cup"},
        {"bbox": [20, 20, 30, 40], "score": 0.7},
    ]
    frame = {"second": 0.52, "hand_dets": [hand], "obj_dets": things}
    return {"width": 80, "height": 64, "frames": [frame, {"second": 9, "hand_dets": [], "obj_dets": []}]}


def stored(tmp_path, video, name="video.json"):
    (tmp_path / name).write_text(json.dumps(video))
    return load_detector("precomputed", path=tmp_path)


def test_precomputed_reads_boxes_sides_contact_and_the_object_that_the_offset_points_to(tmp_path):
    found = stored(tmp_path, doh()).detect(clip())
    assert found.hands[0] == ()
    hand = found.hands[1][0]
    np.testing.assert_allclose(hand.box, [10 / 80, 20 / 64, 30 / 80, 40 / 64])
    assert (hand.side, hand.score, hand.contact) == ("right", 0.9, 1.0)
    assert [(thing.name, thing.holders) for thing in found.things[1]] == [("cup", (0,)), ("", ())]


def test_precomputed_without_an_offset_takes_the_nearest_object_and_without_contact_none(tmp_path):
    nearest = stored(tmp_path, doh(offset=None)).detect(clip())
    assert [thing.holders for thing in nearest.things[1]] == [(), (0,)]
    free = load_detector("precomputed", path=tmp_path)
    (tmp_path / "video.json").write_text(json.dumps(doh(state=1)))
    answer = free.detect(clip())
    assert [thing.holders for thing in answer.things[1]] == [(), ()]
    assert answer.hands[1][0].contact == 0


def test_precomputed_reads_the_rows_of_the_demo_and_one_file_for_all(tmp_path):
    video = doh()
    video["frames"][0]["hand_dets"] = [[10, 20, 30, 40, 0.9, 3, 0.005, 1.0, 0.0, 1]]
    video["frames"][0]["obj_dets"] = [[60, 20, 80, 40, 0.8, 0, 0, 0, 0, 0]]
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"videos": {"video": video}}))
    found = load_detector("precomputed", path=path).detect(clip())
    assert found.hands[1][0].side == "right"
    assert found.things[1][0].holders == (0,)
    with pytest.raises(ValueError, match="video 'other' has no detections"):
        load_detector("precomputed", path=path).detect(clip(video_id="other"))


def test_precomputed_reads_keypoints_and_unknown_ones_are_nan(tmp_path):
    joints = [[8 * i / 2, 32] for i in range(20)] + [None]
    keypoints = stored(tmp_path, doh(keypoints=joints)).detect(clip()).hands[1][0].keypoints
    np.testing.assert_allclose(keypoints[2], [0.1, 0.5])
    assert np.isnan(keypoints[20]).all()
    assert np.isnan(no_keypoints()).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": [10, 20, 30]}, "'bbox' wants 4 numbers"),
        ({"bbox": [30, 20, 10, 40]}, "x1 <= x2"),
        ({"bbox": "10 20"}, "'bbox' wants a list"),
        ({"score": 1.5}, r"'score' wants 0..1; got 1.5"),
        ({"side": 2}, "'side' wants one of 0 to 1; got 2"),
        ({"state": 5}, "'state' wants one of 0 to 4; got 5"),
        ({"offset": [1, 2]}, "'offset' wants 3 numbers"),
        ({"keypoints": [[1, 2]]}, "keypoints want 21 pairs"),
    ],
)
def test_precomputed_says_where_a_file_breaks_the_schema(tmp_path, changes, message):
    detector = stored(tmp_path, doh(**changes))
    with pytest.raises(ValueError, match=rf"video\.json, second 0\.52: .*{message}"):
        detector.detect(clip())


def test_precomputed_refuses_files_that_are_something_else(tmp_path):
    with pytest.raises(ValueError, match="wants a folder or a JSON file"):
        load_detector("precomputed", path=tmp_path / "missing")
    with pytest.raises(ValueError, match="video 'video' has no detections"):
        load_detector("precomputed", path=tmp_path).detect(clip())
    (tmp_path / "video.json").write_text("no json")
    with pytest.raises(ValueError, match=r"video\.json is no JSON"):
        load_detector("precomputed", path=tmp_path).detect(clip())
    with pytest.raises(ValueError, match="wants an object with 'width'; got frames"):
        stored(tmp_path, {"frames": []}).detect(clip())
    with pytest.raises(ValueError, match="wants an object with 'videos'"):
        load_detector("precomputed", path=tmp_path / "video.json")


# Ground truth


def truth(frames=30):
    box = np.tile(np.float32([22.4, 44.8, 67.2, 112]), (frames, 2, 1))
    box[:, 1] = np.nan
    objects = np.full((frames, 3, 4), np.nan, np.float32)
    objects[10:, 1] = [112, 112, 224, 224]
    ids = np.full((frames, 3), -1, np.int16)
    ids[10:, 1] = 0
    contact = np.zeros((frames, 2, 1), np.bool_)
    contact[10:, 0] = True
    keypoints = np.full((frames, 2, 21, 2), 112, np.float32)
    return SimpleNamespace(
        fps=30,
        size=224,
        hand_boxes=box,
        object_boxes=objects,
        object_ids=ids,
        keypoints=keypoints,
        contact=contact,
        objects=("cup",),
    )


def test_groundtruth_reads_the_frames_of_the_seconds(tmp_path, monkeypatch):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "video.npz").touch()
    detector = load_detector("groundtruth", data=tmp_path)
    monkeypatch.setattr("pretrain.hod.detectors.groundtruth.read_truth", lambda _: truth())
    found = detector.detect(clip((0.1, 0.5)))
    assert [len(hands) for hands in found.hands] == [1, 1]
    np.testing.assert_allclose(found.hands[0][0].box, [0.1, 0.2, 0.3, 0.5], rtol=1e-6)
    assert [hands[0].contact for hands in found.hands] == [0, 1]
    assert (found.hands[0][0].right, found.hands[0][0].keypoints[3, 1]) == (0, 0.5)
    assert [[(thing.name, thing.holders) for thing in things] for things in found.things] == [
        [],
        [("cup", ("right",))],
    ]
    with pytest.raises(ValueError, match=r"has 1\.00 s; asked for 0\.50 to 1\.20 s"):
        detector.detect(clip((0.5, 1.2)))


def test_groundtruth_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="which EgoSim writes"):
        load_detector("groundtruth", data=tmp_path)
    (tmp_path / "truth").mkdir()
    with pytest.raises(ValueError, match=r"video 'video' has no truth: .*video\.npz is missing"):
        load_detector("groundtruth", data=tmp_path).detect(clip())


# Zero-shot detectors of transformers


def tiny_owl(folder):
    """An OWLv2 with random weights and a tokenizer of a few words, saved as a release is."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2Processor, PreTrainedTokenizerFast
    from transformers.models.owlv2 import Owlv2ImageProcessor

    words = {word: i for i, word in enumerate(["!", "<s>", "</s>", "a", "hand", "cup"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="!"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="!", pad_token="!", model_max_length=16
    )
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config={**small, "vocab_size": 6, "max_position_embeddings": 16, "eos_token_id": 2},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    torch.manual_seed(0)  # of some weights no box has an area
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    images = Owlv2ImageProcessor(size={"height": 32, "width": 32})
    Owlv2Processor(image_processor=images, tokenizer=fast).save_pretrained(folder)
    return folder


def test_a_zero_shot_detector_runs_from_a_folder(tmp_path):
    tiny_owl(tmp_path)
    detector = load_detector(
        "transformers_zero_shot", model=str(tmp_path), objects=["a cup"], threshold=0.0, batch=2
    )
    found = detector.detect(clip((0.0, 0.5, 1.0)))
    assert len(found) == 3
    assert sum(map(len, found.hands)) + sum(map(len, found.things)) > 0
    assert {thing.name for things in found.things for thing in things} <= {"a cup"}
    for hand in found.hands[0]:
        assert hand.right == right_by_place(hand.box)
        assert np.isnan(hand.contact)


def test_grounding_dinos_words_are_matched_to_the_texts():
    from pretrain.hod.detectors.transformers_zero_shot import Options, ZeroShot

    class Nothing:
        def __getattr__(self, name):
            return lambda *_: self

    detector = ZeroShot(Options("none", objects=("a red cup",)), None, Nothing())
    assert [detector._text(label) for label in ("hand", "red cup", "a hand", "", "tree")] == [
        "a hand",
        "a red cup",
        "a hand",
        "",
        "",
    ]


def test_a_zero_shot_detector_that_is_none_is_named(tmp_path):
    with pytest.raises(ValueError, match="of detector 'transformers_zero_shot' wants a folder or an id"):
        load_detector("transformers_zero_shot", model=str(tmp_path))
    with pytest.raises(ValueError, match="at least one text in hands"):
        load_detector("transformers_zero_shot", model="x", hands=[])
