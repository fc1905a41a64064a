"""Scores and text vectors of every kind of model, compared with `predict`."""

import itertools
import math
import weakref

import numpy as np
import pytest
from small_models import log_probabilities, of_text

from textgen import LanguageModel, Vocabulary


def scored(model, text):
    """Returns the log probability of each token that counts."""
    # Without a start step, a many-to-many model cannot predict the first token.
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


@pytest.mark.parametrize("adapt", [False, True])
def test_progress_counts_the_tokens(model, adapt):
    texts = ["bad cafe\nface deaf\n" * 9, "ab", "face" * 30]
    reports = []
    score = model.score(
        texts, adapt=adapt, progress=lambda *numbers: reports.append(numbers)
    )
    assert len(reports) > 2
    assert [total for _, total in reports] == [score.count] * len(reports)
    done = [number for number, _ in reports]
    assert done == sorted(done)
    assert done[-1] == score.count


def test_ids_are_scored_as_their_text(any_model):
    texts = ["bad cafe\n", "face"]
    ids = list(map(any_model.vocabulary.encode, texts))
    for one, other in ((texts[0], ids[0]), (texts, ids), (texts, [texts[0], ids[1]])):
        expected = any_model.score(one).log_probs
        found = any_model.score(other).log_probs
        np.testing.assert_array_equal(found, expected)
    unsigned = ids[0].astype(np.uint8)
    expected = any_model.score(texts[0]).log_probs
    np.testing.assert_array_equal(any_model.score(unsigned).log_probs, expected)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([0, 99]), "Id 99 is not in this vocabulary"),
        (np.array([0, -1]), r"The ids of a text are \(tokens,\), from 0 on"),
        (np.array([[0, 1]]), r"got shape \(1, 2\)"),
        (np.array([0.5]), "Ids must be integers"),
    ],
)
def test_ids_are_checked(model, ids, message):
    with pytest.raises(ValueError, match=message):
        model.score(ids)


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


def test_score_can_be_read(model):
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


# === Memory ===


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
