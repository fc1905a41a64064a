"""What every model can do, against plain definitions by `predict` of the model."""

import functools
import inspect
import itertools
import math
import weakref

import numpy as np
import pytest

import textgen
from textgen import Blend, LanguageModel, Vocabulary
from textgen.decoding.loop import Decoder

VOCABULARY = Vocabulary.from_text("abcdef \n")
SIZE = len(VOCABULARY)
WINDOW = 5


def make(vocabulary=VOCABULARY, seed=3, **kwargs):
    """A small model with weights large enough for its texts to vary."""
    model = LanguageModel(
        vocabulary, **{"units": (6, 7), "sequence_length": WINDOW, **kwargs}
    )
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0, 1.2, weight.shape))
    return model


KINDS = {
    "window": {},
    "state": {"return_sequences": True, "embedding": 3},
    "start step": {"return_sequences": True, "start_step": True},
}


@functools.cache
def shared(kind):
    """One model for all tests of a kind: what it compiles is used again."""
    return make(**KINDS[kind])


@pytest.fixture(params=["window", "state"])
def model(request):
    return shared(request.param)


@pytest.fixture(params=KINDS)
def any_model(request):
    """For what depends on how a text begins."""
    return shared(request.param)


@pytest.fixture(scope="module", params=["without start step", "with start step"])
def two(request):
    vocabularies = map(Vocabulary.from_text, ("abcd\n", "cdef "))
    starts = request.param == "with start step"
    return [
        make(next(vocabularies), seed=1, return_sequences=True, start_step=starts),
        make(next(vocabularies), seed=2),
    ]


def logits_of(model, text, prompted=True):
    """Of every next symbol, before each symbol of a text and after it, `(n + 1, V)`.

    A many-to-many model reads a start step if it learned it, or if its prompt was
    empty; otherwise it begins with the first symbol, before which nothing is defined.
    """
    ids = model.vocabulary.encode(text).tolist()
    if model.return_sequences:
        if model.start_step or not prompted or not ids:
            logits = model.predict_on_batch(np.array([[-1, *ids]]))[0]
        else:
            logits = model.predict_on_batch(np.array([ids]))[0]
            logits = np.concatenate([np.full_like(logits[:1], np.nan), logits])
    else:
        padded = [-1] * (model.sequence_length + 1) + ids
        ends = range(model.sequence_length + 1, len(padded) + 1)
        windows = [padded[end - model.sequence_length : end] for end in ends]
        logits = model.predict_on_batch(np.array(windows))
    return logits.astype(np.float64)


def log_probabilities(model, text, prompted=True):
    """`logits_of` as logarithms of probabilities."""
    logits = logits_of(model, text, prompted)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def of_text(model, text, start=0):
    """The log probability of each symbol of a text after its prompt of so many."""
    ids = model.vocabulary.encode(text).astype(int)
    found = log_probabilities(model, text, start > 0)[np.arange(len(ids)), ids]
    return found[start:]


def scored(model, text):
    """The log probability of each symbol of a text that counts."""
    # Which symbol comes first was learned with a start step only, and by a window.
    begins = model.start_step or not model.return_sequences
    return of_text(model, text, 0 if begins else 1)


# === Scoring ===


@pytest.mark.parametrize("text", ["fa", "fade", "bad cafe\nface deaf\n" * 9])
def test_score_counts_every_symbol_once(any_model, text):
    score = any_model.score(text)
    expected = scored(any_model, text)
    np.testing.assert_allclose(score.log_probs, expected, atol=1e-5)
    assert score.count == len(expected)
    assert score.nats == pytest.approx(-expected.mean(), rel=1e-5)
    assert score.bits == pytest.approx(-expected.mean() / math.log(2), rel=1e-5)
    assert score.perplexity == pytest.approx(math.exp(-expected.mean()), rel=1e-4)


def test_state_is_carried_over_chunks(model, monkeypatch):
    text = "bad cafe\nface deaf\n" * 3
    whole = model.score(text).log_probs
    monkeypatch.setattr(model.reader, "max_read_steps", 16)
    np.testing.assert_allclose(model.score(text).log_probs, whole, atol=1e-5)


def test_texts_of_a_list_do_not_continue_each_other(any_model):
    texts = ["bad\n", "", "cafe deaf face\n", "a", "bad\n"]
    score = any_model.score(texts)
    expected = [scored(any_model, text) for text in texts]
    np.testing.assert_allclose(score.log_probs, np.concatenate(expected), atol=1e-5)
    each = [-part.mean() if len(part) else np.nan for part in expected]
    np.testing.assert_allclose(score.text_nats, each, atol=1e-5)


def test_many_texts_are_scored(model):
    texts = ["".join(each) for each in itertools.product("abc", repeat=4)] + ["fed" * 9]
    score = model.score(texts)
    expected = np.concatenate([scored(model, text) for text in (*texts[:2], texts[-1])])
    count = len(scored(model, "aaab"))
    assert score.count == 81 * count + len(expected) - 2 * count
    found = np.concatenate(
        [score.log_probs[: 2 * count], score.log_probs[81 * count :]]
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_nothing_and_unknown_symbols_are_not_scored(any_model):
    begins = any_model.start_step or not any_model.return_sequences
    for nothing in ("", [], [""], *([] if begins else ["a"])):
        message = "empty" if begins else "fewer than two tokens.*start_step=False"
        with pytest.raises(ValueError, match=message):
            any_model.score(nothing)
    with pytest.raises(ValueError, match="'x' at position 1"):
        any_model.score("axb")
    assert any_model.score("axb", unknown="skip").count == 1 + begins


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


@pytest.mark.parametrize("length", [0, 41])
def test_prompt_of_several_batches_is_read_once(length, monkeypatch):
    # In double precision, since batches of another size add up in another order.
    one = make(return_sequences=True, dtype="float64")
    other = make(return_sequences=True, dtype="float64", start_step=True)
    for model in (one, make(dtype="float64"), Blend([one, other])):
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


# === Memory, and few shapes to compile for ===


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


def test_text_vectors_keep_no_batches(model, monkeypatch):
    texts = ["".join(each) for each in itertools.product("abcdef", repeat=3)]
    alive, most = set(), 0

    def recording(*arguments, read_all=model._read_all):
        nonlocal most
        for row, at, features in read_all(*arguments):
            batch = features if features.base is None else features.base
            if id(batch) not in alive:
                alive.add(id(batch))
                weakref.finalize(batch, alive.discard, id(batch))
            most = max(most, len(alive))
            del batch
            yield row, at, features

    monkeypatch.setattr(model, "_read_all", recording, raising=False)
    vectors = model.embed(texts)
    assert len(texts) > 3 * 64
    assert most <= 2
    assert vectors.base is None
    assert vectors.shape == (216, 7)


def test_logits_of_a_large_vocabulary_are_few_at_once(monkeypatch):
    symbols = [chr(0x4E00 + index) for index in range(5000)]
    model = LanguageModel(
        Vocabulary(symbols), units=2, embedding=2, return_sequences=True
    )
    sizes = []

    def recording(ids, carry, read=model.reader.read):
        features, logits, carry = read(ids, carry)
        sizes.append(math.prod(logits.shape))
        return features, logits, carry

    monkeypatch.setattr(model.reader, "read", recording)
    score = model.score(["".join(symbols[:300])] * 64)
    assert score.count == 64 * 299
    assert max(sizes) * 4 <= 64 * 2**20  # bytes


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


# === Beam search ===


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_widest_beam_finds_the_best_of_all(model, length_penalty):
    def value(new):
        return of_text(model, "b" + new, 1).sum() / len(new) ** length_penalty

    candidates = [
        "".join(new)
        for length in (1, 2, 3)
        for new in itertools.product(VOCABULARY.symbols, repeat=length)
        if "a" not in new[:-1] and (length == 3 or new[-1] == "a")
    ]
    ranked = sorted(candidates, key=lambda new: -value(new))
    found = model.generate(
        "b",
        3,
        num_beams=SIZE**3,
        length_penalty=length_penalty,
        stop="a",
        count=4,
        echo=False,
    )
    assert found == [new.removesuffix("a") for new in ranked[:4]]


def test_one_beam_is_greedy(model):
    assert model.generate("fa", 30, num_beams=1) == model.generate("fa", 30, 0)
    penalty = {"repetition_penalty": 3.0, "forbidden": "e"}
    greedy = model.generate("fa", 30, 0, **penalty)
    assert model.generate("fa", 30, num_beams=1, **penalty) == greedy


def test_more_beams_are_not_worse(model):
    totals = []
    for num_beams in (1, 4, 16):
        _, scores = model.generate(
            "", 12, num_beams=num_beams, return_log_probs=True, length_penalty=0.0
        )
        totals.append(scores.sum())
    assert totals[0] <= totals[2] + 1e-4


def test_beams_of_several_prompts(model):
    texts = model.generate(["a", "fade"], 5, num_beams=3, count=2)
    assert len(texts) == 4
    assert texts[:2] == model.generate("a", 5, num_beams=3, count=2)
    assert texts[2:] == model.generate("fade", 5, num_beams=3, count=2)
    assert model.generate("ab", 0, num_beams=2) == "ab"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams=0"),
        ({"num_beams": 2, "count": 3}, "count=3"),
        ({"num_beams": 2, "length_penalty": math.inf}, "length_penalty=inf"),
        ({"num_beams": 2, "exclude": []}, "cannot be used"),
        ({"max_lines": 0}, "max_lines=0"),
        ({"temperature": []}, r"temperature=\[\]"),
        ({"temperature": [1.0, -1.0]}, "temperature="),
        ({"stop": SIZE}, f"stop={SIZE}"),
        ({"logit_bias": {"x": 1.0}}, "'x'"),
        ({"logit_bias": {"a": math.inf}}, "inf"),
        ({"forbidden": "abcdef \n"}, "forbidden"),
        ({"top_p": 2.0}, "top_p=2.0"),
    ],
    ids=str,
)
def test_bad_argument_is_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate("a", **{"max_new_tokens": 1, **options})


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("num_return_sequences", ": use count"),
        ("do_sample", r": use temperature \(0 takes"),
        ("max_length", ": use max_new_tokens"),
        ("stop_strings", ": use stop"),
        ("topp", r"\."),
    ],
)
def test_argument_of_another_library_is_named_as_ours(model, name, ours):
    for function in (model.generate, model.stream):
        with pytest.raises(TypeError, match=f"no argument '{name}'{ours}"):
            function("a", **{name: 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": 5}, "prompt=5 must be a str or a list"),
        ({"prompt": ["a", 5]}, r"prompt=\['a', 5\] must be a str or a list"),
        ({"prompt": None}, "prompt=None must be"),
        ({"top_k": "5"}, "top_k='5' must be a number"),
        ({"top_p": [0.5]}, r"top_p=\[0.5\] must be a number"),
        ({"logit_bias": [1]}, r"logit_bias=\[1\] must be a dict"),
        ({"logit_bias": {"a": "b"}}, "logit_bias: 'b' for 'a' must be a finite number"),
        ({"max_new_tokens": 2.5}, "max_new_tokens=2.5 must be an integer"),
        ({"max_new_tokens": "9"}, "max_new_tokens='9' must be an integer"),
        ({"seed": "x"}, "seed='x' must be an integer"),
        ({"temperature": "hot"}, "temperature='hot' must be a number"),
        ({"temperature": {}}, "temperature={} must be a number"),
    ],
    ids=str,
)
def test_argument_of_another_type_is_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**{"prompt": "a", "max_new_tokens": 1, **options})


def test_decoding_rules_stand_in_the_signature(model):
    names = {"logit_bias", "forbidden", "repetition_penalty", "top_k", "top_p"}
    names |= {"min_p", "typical_p"}
    for function in (model.generate, model.stream):
        assert names | {"min_p", "typical_p"} <= set(
            inspect.signature(function).parameters
        )


def test_models_and_scores_can_be_read(model, two):
    kind = "many-to-many" if model.return_sequences else "many-to-one"
    count = sum(weight.shape.num_elements() for weight in model.trainable_weights)
    assert repr(model) == (
        f"LanguageModel(lstm 6, lstm 7, {kind}, 8 characters, {count:,} weights)"
    )
    assert repr(Blend(two, [3, 1])) == f"Blend(0.75 of {two[0]!r}, 0.25 of {two[1]!r})"
    score = model.score("fade fade")
    count = 9 if model.start_step or not model.return_sequences else 8
    assert f"{score.nats:.4f} nats" in repr(score)
    assert f"{count} tokens" in repr(score)


# === Text vectors ===


def test_text_vectors_are_last_states(model):
    texts = ["a", "fade", "bad cafe\nface deaf\n" * 2]
    vectors = model.embed(texts)
    assert vectors.shape == (3, 7)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(model.embed(text), vector, atol=1e-5)
        logits = np.asarray(model.output_layer(vector[np.newaxis]))[0]
        expected = log_probabilities(model, text)[-1]
        np.testing.assert_allclose(
            logits - np.log(np.exp(logits.astype(np.float64)).sum()),
            expected,
            atol=1e-4,
        )


def test_nearest_texts(model):
    texts = ["fade", "a", "bad", "fad", "cafe"]
    found = model.nearest("bad", texts, 3)
    assert found[0] == ("bad", pytest.approx(1.0))
    vectors = model.embed(texts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarities = vectors @ vectors[2]
    order = np.argsort(-similarities)[:3]
    assert [text for text, _ in found] == [texts[index] for index in order]
    np.testing.assert_allclose(
        [each for _, each in found], similarities[order], atol=1e-5
    )
    with pytest.raises(ValueError, match="texts is empty"):
        model.nearest("a", [])


def test_text_with_an_unknown_symbol_is_quoted(model):
    texts = ["bad", "x" + 50 * "face", "y"]
    for method, arguments in (
        (model.score, (texts,)),
        (model.embed, (texts,)),
        (model.nearest, ("bad", texts)),
        (model.generate, (texts,)),
    ):
        quoted = texts[1][:40]
        with pytest.raises(ValueError, match=f"^Text '{quoted}…': .* 'x' at position"):
            method(*arguments)
    with pytest.raises(ValueError, match=r"^Not in the vocabulary of 8 symbols: 'x'"):
        model.score("x")


# === Blends ===


def mixture(models, weights, text):
    """The probabilities of a blend after a text that all of its models know."""
    total = {}
    for model, weight in zip(models, weights, strict=True):
        probabilities = np.exp(log_probabilities(model, text)[-1])
        for symbol, probability in zip(
            model.vocabulary.symbols, probabilities, strict=True
        ):
            total[symbol] = total.get(symbol, 0) + weight * probability
    return total


def test_blend_is_a_mixture_over_all_symbols(two):
    blend = Blend(two, [3, 1])
    assert blend.vocabulary.symbols == tuple("\n abcdef")
    for text in ("", "cd", "dcdcdcddd"):
        expected = mixture(two, [0.75, 0.25], text)
        found = dict(blend.next_symbols(text))
        assert found == {
            key: pytest.approx(expected[key], abs=1e-5) for key in expected
        }


def test_blend_scores_and_writes(two):
    blend = Blend(two)
    text = blend.generate("cd", 40, seed=0)
    assert set(text) & set("ab\n")
    assert set(text) & set("ef ")
    scores = blend.score("cdc").log_probs
    # A model that never learned which symbol comes first has the blend not score it.
    expected = [
        math.log(mixture(two, [0.5, 0.5], "cdc"[:n])["cdc"[n]])
        for n in range(1 - two[0].start_step, 3)
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert blend.embed("cd").shape == (14,)


def test_blend_takes_paths(two, tmp_path):
    two[0].save(tmp_path / "a.keras")
    blend = Blend([tmp_path / "a.keras", two[1]])
    assert blend.next_symbols("cd") == Blend(two).next_symbols("cd")
    with pytest.raises(FileNotFoundError, match=r"shakespere.*shakespeare"):
        Blend(["shakespere", two[1]])


def test_blend_reads_as_each_of_its_models_learned():
    """One has a start step and the other has none; both carry their state."""
    models = [
        make(seed=seed, return_sequences=True, start_step=starts)
        for seed, starts in ((1, True), (2, False))
    ]
    blend = Blend(models)
    for text in ("", "a", "bad cafe", "bad cafe\nface deaf\n" * 60):
        expected = mixture(models, [0.5, 0.5], text)
        found = dict(blend.next_symbols(text))
        assert found == {
            key: pytest.approx(expected[key], abs=1e-5) for key in expected
        }
    text = "deaf"
    expected = [
        math.log(mixture(models, [0.5, 0.5], text[:n])[text[n]]) for n in (1, 2, 3)
    ]
    np.testing.assert_allclose(blend.score(text).log_probs, expected, atol=1e-5)


def test_blend_of_a_model_with_itself_is_that_model(model):
    blend = Blend([model, model], [0.2, 0.8])
    prompt = "bad cafe\nface deaf\n" * 60
    text = model.generate(prompt, 30, seed=5)
    assert blend.generate(prompt, 30, seed=5) == text
    np.testing.assert_allclose(
        blend.score("face").log_probs, model.score("face").log_probs, atol=1e-5
    )


def test_bad_blends_are_refused(two):
    words = make(Vocabulary.from_text("bad cafe", level="word"))
    for models, weights, message in [
        ([], None, "at least one"),
        (two, [1], "1 weights"),
        ([two[0], 5], None, "not 5"),
        (two, [1, -1], "weights="),
        (two, [0, 0], "weights="),
        ([*two, words], None, "words"),
    ]:
        with pytest.raises(ValueError, match=message):
            textgen.Blend(models, weights)


def test_stream_keeps_accents_with_their_letters():
    vocabulary = Vocabulary("ae\u0301\u0300")
    model = make(vocabulary, return_sequences=True)
    pieces = list(model.stream("", 300, temperature=2.0, seed=0))
    assert "".join(pieces) == model.generate("", 300, temperature=2.0, seed=0)
    assert len(pieces) > 3
    assert not any(piece[0] in "\u0301\u0300" for piece in pieces[1:])
