"""`generate`, `stream`, `generate_many` of all models, compared with `predict`."""

import inspect
import itertools
import math
import weakref
from concurrent import futures

import numpy as np
import pytest
from small_models import SIZE, VOCABULARY, log_probabilities, make, of_text
from small_networks import CARRYING
from small_networks import VOCABULARY as NETWORK_VOCABULARY

import textgen
from textgen import Blend, Vocabulary
from textgen.decoding import writer
from textgen.decoding.loop import Decoder

# === Log probabilities ===


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.3, "top_k": 3},
        {"forbidden": "a", "repetition_penalty": 2.0},
        {"stop": "a"},
        {"sampler": lambda logits, count: logits.argmax(-1)},
        {"num_beams": 3},
    ],
    ids=lambda options: "-".join(options) or "none",
)
def test_log_probabilities_are_those_of_the_score(model, options):
    text, scores = model.generate("bad", 30, seed=4, return_log_probs=True, **options)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, of_text(model, text, 3), atol=1e-4)


def test_log_probabilities_come_with_each_text(any_model):
    results = any_model.generate(["", "fa"], 9, count=2, seed=0, return_log_probs=True)
    assert [text for text, _ in results] == any_model.generate(
        ["", "fa"], 9, count=2, seed=0
    )
    for (text, scores), start in zip(results, (0, 0, 2, 2), strict=True):
        np.testing.assert_allclose(scores, of_text(any_model, text, start), atol=1e-4)


# === What ends a text, and what is left out ===


def test_stop_by_symbol(model):
    full = model.generate("ab", 60, seed=1)
    index = VOCABULARY.ids[full[9]]
    cut = full[: full.index(full[9], 2)]
    for stop in (index, np.int32(index), [index, "ABSENT"]):
        assert model.generate("ab", 60, seed=1, stop=stop) == cut
        assert "".join(model.stream("ab", 60, seed=1, stop=stop)) == cut


def test_stop_by_symbol_is_a_whole_word():
    vocabulary = Vocabulary.from_text("the there other", level="word")
    model = make(vocabulary, return_sequences=True)
    words = [vocabulary.ids[word] for word in ("there", "other", "the")]

    def rule(logits, count):
        return [words[count]]

    options = {"max_new_tokens": 3, "sampler": rule}
    assert model.generate(stop=words[2], **options) == "thereother"
    assert model.generate(stop="the", **options) == ""


def test_held_back_text_is_not_lost_at_a_stop_symbol(model):
    def rule(logits, count):
        return [VOCABULARY.ids["abc"[count % 3]]]

    stop = ["ab?", VOCABULARY.ids["c"]]
    assert model.generate("", 9, sampler=rule, stop=stop) == "ab"


def cut_after_lines(prompt, text, count):
    """A text up to the end of so many lines, of which blank ones do not count."""
    line = prompt.rpartition("\n")[2]
    for at in range(len(prompt), len(text)):
        if text[at] != "\n":
            line += text[at]
            continue
        count -= line.strip() != ""
        line = ""
        if count == 0:
            return text[:at]
    return text


@pytest.mark.parametrize("lines", [1, 2, 4])
def test_lines_are_counted(model, lines):
    for prompt in ("ab", "a\nb\n", ""):
        full = model.generate(prompt, 300, 1.0, seed=2)
        assert "\n\n" in full[len(prompt) :]
        expected = cut_after_lines(prompt, full, lines)
        assert expected != full
        assert model.generate(prompt, 300, 1.0, seed=2, max_lines=lines) == expected
        pieces = model.stream(prompt, 300, 1.0, seed=2, max_lines=lines)
        assert "".join(pieces) == expected


def test_lines_make_room_for_themselves(model):
    options = {"seed": 0, "forbidden": "\n", "echo": False}
    for lines, length in ((None, 400), (3, 400), (5, 500)):
        assert len(model.generate("a", max_lines=lines, **options)) == length


def test_text_ends_where_the_learned_texts_do():
    model = make(return_sequences=True)
    full = model.generate("ab", 100, 1.0, seed=3)
    assert full.count("\n") > 2
    model.end_token = VOCABULARY.ids["\n"]
    first = full.partition("\n")[0]
    assert model.generate("ab", 100, 1.0, seed=3) == first
    assert "".join(model.stream("ab", 100, 1.0, seed=3)) == first
    assert model.generate("ab", 100, 1.0, seed=3, stop=()) == full
    assert model.generate("ab", 100, 1.0, seed=3, stop="ABSENT") == full
    lines = model.generate("ab", 100, 1.0, seed=3, max_lines=2)
    assert lines == cut_after_lines("ab", full, 2)
    both = Blend([model, model])
    assert both.generate("ab", 100, 1.0, seed=3) == first
    assert Blend([model, make()]).end_token is None


def test_stream_returns_why_the_text_ended(model):
    def reason(length, **options):
        pieces = model.stream("ab", length, seed=1, echo=False, **options)
        with pytest.raises(StopIteration) as end:
            while True:
                next(pieces)
        return end.value.value

    text = model.generate("ab", 60, seed=1, echo=False)
    at = text.index(text[9])  # where this symbol occurs first
    assert reason(60) == reason(0) == "length"
    assert reason(60, stop=text[9]) == reason(at + 1, stop=text[9]) == "stop"
    assert reason(at, stop=text[9]) == "length"
    assert reason(60, stop=VOCABULARY.ids[text[9]]) == "stop"
    assert reason(200, max_lines=1) == "stop"


def test_prompt_is_left_out(model):
    whole = model.generate("Bad", 20, seed=0)
    assert model.generate("Bad", 20, seed=0, echo=False) == whole[3:]
    assert "".join(model.stream("Bad", 20, seed=0, echo=False)) == whole[3:]


def test_forbidden_symbols_are_never_written(model):
    text = model.generate("abc", 300, temperature=5.0, seed=0, forbidden="abc?")
    assert set(text[3:]) == set("def \n")
    text = model.generate("", 50, seed=0, forbidden=[*"abcdef", "\n"])
    assert text == " " * 50


def test_bias_is_added(model):
    assert model.generate("", 40, seed=0, logit_bias={"e": 1e9}) == "e" * 40
    # As much as log 2 doubles the odds.
    before = np.exp(log_probabilities(model, "ab")[-1])
    texts = model.generate(
        "ab", 1, count=4000, seed=0, logit_bias={"c": math.log(2)}, echo=False
    )
    share = before[VOCABULARY.ids["c"]]
    expected = 2 * share / (1 + share)
    assert texts.count("c") / 4000 == pytest.approx(expected, abs=0.04)


def test_temperatures_take_turns(model):
    schedule = [0.0, 5.0, 0.0]
    for prompt in ("", "fa"):
        texts = model.generate([prompt, "bad cafe"], 40, schedule, count=2, seed=0)
        text = texts[0]
        found = log_probabilities(model, text, prompted=prompt != "")
        best = found[len(prompt) : -1].argmax(-1)
        new = VOCABULARY.encode(text[len(prompt) :])
        greedy = best == new
        assert greedy[0::3].all()
        assert greedy[2::3].all()
        assert not greedy[1::3].all()


def test_repetition_penalty_counts_the_prompt(model, monkeypatch):
    monkeypatch.setattr(model.reader, "max_read_steps", 16)
    for prompt in ("fed", "f" + "ed" * 12):
        text = prompt
        for _ in range(6):
            scores = log_probabilities(model, text)[-1]
            seen = np.isin(np.arange(SIZE), VOCABULARY.encode(text))
            scores = np.where(seen, 4 * scores, scores)
            first, second = np.sort(scores)[[-1, -2]]
            assert first - second > 1e-4, "rounding would decide"
            text += VOCABULARY.symbols[scores.argmax()]
        assert model.generate(prompt, 6, 0, repetition_penalty=4.0) == text


# === Prompts ===


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 33, 64])
def test_long_prompts_are_primed(any_model, length, monkeypatch):
    prompt = ("bad cafe\nface deaf\n" * 4)[:length]
    expected = any_model.generate([prompt, "a"], 20, temperature=0)
    if any_model.return_sequences:
        monkeypatch.setattr(any_model.reader, "max_read_steps", 16)
    assert any_model.generate([prompt, "a"], 20, temperature=0) == expected
    found = log_probabilities(any_model, expected[0], prompted=length > 0)
    new = VOCABULARY.encode(expected[0][length:]).astype(int)
    # The most probable, but for the rounding of two compilations.
    assert (
        found[np.arange(length, length + 20), new] >= found[length:-1].max(-1) - 1e-4
    ).all()


@pytest.fixture(scope="module")
def double_precision():
    """Models whose texts do not depend on the size of the batch, which rounds."""
    one = make(return_sequences=True, dtype="float64")
    other = make(return_sequences=True, dtype="float64", start_step=True)
    return one, make(dtype="float64"), Blend([one, other])


@pytest.mark.tensorflow("float64")
@pytest.mark.parametrize("length", [0, 41])
def test_prompt_of_several_batches_is_read_once(length, double_precision, monkeypatch):
    for model in double_precision:
        for reader in (model.reader, *getattr(model.reader, "readers", ())):
            monkeypatch.setattr(reader, "max_read_steps", 16)
        prompt = ("fade\nbead cafe\n" * 3)[:length]
        options = {"max_new_tokens": 8, "seed": 4, "repetition_penalty": 1.3}
        few = model.generate([prompt, "bad"], count=3, **options)
        read = []
        stream = Decoder.stream

        def spy(self, prompts, *args, read=read, stream=stream, **kwargs):
            read.extend(map(len, prompts))
            return stream(self, prompts, *args, **kwargs)

        monkeypatch.setattr(Decoder, "stream", spy)
        many = model.generate([prompt, "bad"], count=70, **options)
        monkeypatch.undo()
        assert set(read) == {1}
        assert [*many[:3], *many[70:73]] == few


def test_default_temperature_is_that_of_the_command_line(model):
    cold = model.generate("a", 40, 0.7, seed=1)
    assert cold != model.generate("a", 40, 1.0, seed=1)
    assert model.generate("a", 40, seed=1) == cold
    assert "".join(model.stream("a", 40, seed=1)) == cold
    seen = []

    def sampler(logits, count):
        seen.append(logits[0])
        return logits.argmax(-1)

    # A custom sampler gets the logits as they are.
    model.generate("fade", 1, sampler=sampler)
    [logits] = seen
    expected = log_probabilities(model, "fade")[-1]
    found = logits - np.log(np.exp(logits.astype(np.float64)).sum())
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_other_forms_of_a_symbol_are_tried(model):
    plain = model.generate("abc", 20, seed=0)[3:]
    assert model.generate("ABC", 20, seed=0) == "ABC" + plain
    assert model.generate("ａＢⓒ", 20, seed=0) == "ａＢⓒ" + plain


def test_next_symbols(any_model):
    found = any_model.next_symbols("bad", 3)
    probabilities = np.exp(log_probabilities(any_model, "bad")[-1])
    order = np.argsort(-probabilities)[:3]
    assert [symbol for symbol, _ in found] == [VOCABULARY.symbols[i] for i in order]
    np.testing.assert_allclose(
        [probability for _, probability in found], probabilities[order], atol=1e-5
    )
    assert len(any_model.next_symbols("", 99)) == SIZE
    with pytest.raises(ValueError, match="count=0"):
        any_model.next_symbols("a", 0)


def test_every_step_has_the_distribution_of_the_definition(any_model):
    steps = []

    def record(logits, count):
        steps.append(logits[0].astype(np.float64))
        return [(3 * count * count) % SIZE]

    text = any_model.generate("fa", 40, sampler=record)
    found = np.exp(steps)
    found /= found.sum(axis=-1, keepdims=True)
    expected = np.exp(log_probabilities(any_model, text)[2:-1])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


# === Few shapes to compile for ===


def test_any_number_of_texts_is_written_in_batches_of_few_sizes(monkeypatch):
    model = make(return_sequences=True)
    rows = set()

    def recording(ids, carry, step=model.reader.step):
        rows.add(ids.shape[0])  # called only to be compiled
        return step(ids, carry)

    monkeypatch.setattr(model.reader, "step", recording)
    for count in (1, 2, 3, 5, 16, 17, 33, 64, 65, 130):
        texts = model.generate("ab", 1, count=count, seed=0)
        assert len(texts) == count
    assert rows <= {1, 4, 16, 64}
    model.score(["abc"] * 130)
    assert rows <= {1, 4, 16, 64}


# === New texts ===


def test_excluded_texts_are_not_written_and_none_twice(model):
    options = {"stop": "\n", "seed": 0, "max_new_tokens": 3, "temperature": 2.0}
    usual = model.generate(count=64, **options)
    excluded = [text.upper() for text in set(usual)]
    found = model.generate(count=60, exclude=excluded, **options)
    assert len(found) == len(set(found)) == 60
    assert "" not in found
    assert not {text.upper() for text in found} & set(excluded)
    assert found == model.generate(count=60, exclude=excluded, **options)


def test_too_few_new_texts_are_told(model):
    known = ["".join(pair) for pair in itertools.product("abcdef \n", repeat=1)]
    with pytest.warns(UserWarning, match="Only 3 of 9 new texts"):
        found = model.generate("", 1, 3.0, count=9, exclude=known[3:], seed=0)
    assert sorted(found) == ["a", "b", "c"]


# === Any number of texts ===

STARTS = (1, 63, 64, 65, 129, 130)


def test_text_is_item_of_generate_for_any_start_and_count(any_model):
    options = {"max_new_tokens": 9, "temperature": 1.0, "seed": 5}
    for prompt in ("", "fa"):
        texts = list(any_model.generate_many(prompt, count=130, **options))
        # The last two are a batch of 4 in `generate`, which may be rounded differently.
        expected = any_model.generate(prompt, count=130, **options)
        assert len(set(expected)) > 20
        assert texts[:128] == expected[:128]
    for start in STARTS:
        rest = any_model.generate_many(prompt, count=130, start=start, **options)
        assert list(rest) == texts[start:]
    endless = any_model.generate_many(prompt, start=65, **options)
    assert list(itertools.islice(endless, 65)) == texts[65:]


@pytest.mark.tensorflow("float64")
def test_many_texts_take_the_options_of_generate(double_precision):
    options = {
        **{"max_new_tokens": 12, "temperature": [1.0, 2.0], "stop": ["ab", 0]},
        **{"max_lines": 2, "echo": False, "seed": 7, "unknown": "skip"},
        **{"logit_bias": {"c": 1.0}, "forbidden": "e", "repetition_penalty": 1.3},
        **{"top_k": 5, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.95},
    }
    model = double_precision[0]
    found = list(model.generate_many("fXa\n", count=64, **options))
    assert len(set(found)) > 20
    assert found == model.generate("fXa\n", count=64, **options)


def test_many_texts_come_with_log_probabilities(any_model):
    pairs = any_model.generate_many("fa", 9, count=3, seed=1, return_log_probs=True)
    for text, scores in pairs:
        np.testing.assert_allclose(scores, of_text(any_model, text, 2), atol=1e-4)


def test_many_texts_read_their_prompt_once_and_have_one_size_of_batch(monkeypatch):
    model = make(return_sequences=True)
    monkeypatch.setattr(model.reader, "max_read_steps", 16)
    calls, batches = [], []
    prime, stream = model.reader.prime, Decoder.stream

    def priming(heads, *args, **kwargs):
        calls.append({len(head) for head in heads})
        return prime(heads, *args, **kwargs)

    def streaming(self, prompts, *args):
        batches.append([len(prompt) for prompt in prompts])
        return stream(self, prompts, *args)

    monkeypatch.setattr(model.reader, "prime", priming)
    monkeypatch.setattr(Decoder, "stream", streaming)
    texts = model.generate_many("fade\nbead cafe\n" * 3, 2, count=131, start=3)
    assert calls == [{44}]
    assert len(list(texts)) == 128
    assert calls == [{44}]
    assert batches == [[1] * 64] * 3


def test_memory_does_not_grow_with_the_number_of_texts(model, monkeypatch):
    alive = weakref.WeakSet()

    class Counted(writer.Row):
        def __init__(self, *args):
            super().__init__(*args)
            alive.add(self)

    monkeypatch.setattr(writer, "Row", Counted)
    most = max(len(alive) for _ in model.generate_many("a", 2, count=64 * 6))
    assert 0 < most <= 2 * 64


def test_sampler_of_many_texts_always_gets_a_full_batch(model):
    shapes = []

    def sampler(logits, count):
        shapes.append(logits.shape)
        return logits.argmax(-1)

    options = {"sampler": sampler, "repetition_penalty": 100.0}
    texts = list(model.generate_many("fa", 4, count=65, start=2, **options))
    assert set(shapes) == {(64, SIZE)}
    # What one batch has seen is not seen by the next.
    [expected] = model.generate("fa", 4, count=1, **options)
    assert texts == [expected] * 63


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count=0 must be an integer of at least 1"),
        ({"count": 2.0}, "count=2.0 must be an integer"),
        ({"start": -1}, "start=-1 must be an integer of at least 0"),
        ({"start": None}, "start=None must be an integer"),
        ({"count": 2, "start": 3}, "start=3 must be at most count=2"),
        ({"prompt": ["a", "b"]}, r"prompt=\['a', 'b'\] must be a str"),
        ({"prompt": "a→"}, "'→'"),
        ({"top_k": 0}, "top_k=0 must"),
    ],
    ids=str,
)
def test_wrong_arguments_of_many_texts_are_refused_by_the_call(
    model, arguments, message
):
    with pytest.raises(ValueError, match=message):
        model.generate_many(**arguments)


def test_many_texts_have_the_arguments_of_generate(model):
    known = inspect.signature(model.generate).parameters
    found = inspect.signature(model.generate_many).parameters
    search = {"exclude", "num_beams", "length_penalty"}
    assert set(found) == set(known) - search | {"start"}
    for name in set(found) - {"start"}:
        assert found[name].default == known[name].default
    with pytest.raises(TypeError, match="no argument 'max_length': use max_new_tokens"):
        model.generate_many(max_length=3)


# === Arguments and pieces ===


def test_decoding_rules_stand_in_the_signature(model):
    names = {"logit_bias", "forbidden", "repetition_penalty", "top_k", "top_p"}
    names |= {"min_p", "typical_p"}
    for function in (model.generate, model.stream):
        assert names <= set(inspect.signature(function).parameters)


def test_stream_keeps_accents_with_their_letters():
    vocabulary = Vocabulary("ae\u0301\u0300")
    model = make(vocabulary, return_sequences=True)
    pieces = list(model.stream("", 300, temperature=2.0, seed=0))
    assert "".join(pieces) == model.generate("", 300, temperature=2.0, seed=0)
    assert len(pieces) > 3
    assert not any(piece[0] in "\u0301\u0300" for piece in pieces[1:])


@pytest.mark.parametrize("kind", ["window", "state", "wrapped", "blend"])
def test_each_of_eight_threads_gets_its_own_texts(kind):
    """The model is new: the threads also compile its functions at the same time."""
    kinds = {"window": {}, "state": {"return_sequences": True}}

    def model():
        if kind == "wrapped":
            return textgen.from_keras(CARRYING["lstm"](), NETWORK_VOCABULARY)
        if kind == "blend":
            return Blend([make(**each, units=5) for each in kinds.values()])
        return make(**kinds[kind], units=5)

    prompts = model().vocabulary.symbols[:4]
    calls = [
        {"prompt": prompts[number % 4] * (1 + number // 4), "seed": number, **options}
        for number in range(8)
        for options in ({}, {"temperature": 2.0, "count": 3}, {"top_k": 4})
    ]

    def generate(model, call):
        return model.generate(max_new_tokens=20, return_log_probs=True, **call)

    new = model()
    with futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda call: generate(new, call), calls * 3))
    expected = [generate(new, call) for call in calls] * 3
    assert str(found) == str(expected)
    assert len({str(each) for each in expected}) > 8  # they can be told apart
