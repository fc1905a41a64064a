"""The most probable tokens at each place, compared with the softmax of the logits."""

import numpy as np
import pytest
from small_models import (
    KINDS,
    SIZE,
    VOCABULARY,
    log_probabilities,
    make,
    shared,
)
from small_networks import stack

import textgen
from textgen import Adaptation, Blend, from_keras
from textgen.decoding.alternatives import most_probable

TEXTS = ["fade", "bad cafe\nface deaf\n" * 15]  # the second one is several reads


def check(found, rows, symbols, count):
    """Compares alternatives with rows of log probabilities, `(T, V)`."""
    assert len(found) == len(rows)
    order = np.argsort(-rows, axis=1)[:, :count]
    expected = np.exp(np.take_along_axis(rows, order, axis=1))
    values = [[probability for _, probability in each] for each in found]
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    names = [[symbol for symbol, _ in each] for each in found]
    assert names == [[symbols[index] for index in each] for each in order]


def scored_rows(model, text):
    rows = log_probabilities(model, text)[: len(text)]
    return rows[~np.isnan(rows).any(axis=1)]


@pytest.mark.parametrize("text", TEXTS)
def test_alternatives_are_the_largest_probabilities(any_model, text):
    score = any_model.score(text, alternatives=3)
    check(score.alternatives, scored_rows(any_model, text), VOCABULARY.symbols, 3)
    plain = any_model.score(text)
    np.testing.assert_allclose(score.log_probs, plain.log_probs, atol=1e-5)
    assert score.nats == pytest.approx(plain.nats, rel=1e-5)
    assert score.count == plain.count == len(score.alternatives)
    assert plain.alternatives is None


def test_alternatives_are_next_symbols(any_model):
    text = "fade cab"
    found = any_model.score(text, alternatives=SIZE + 9).alternatives
    for place in range(1, len(text)):
        expected = any_model.next_symbols(text[:place], SIZE)
        each = found[place - len(text)]
        assert [name for name, _ in each] == [name for name, _ in expected]
        np.testing.assert_allclose(
            [value for _, value in each], [value for _, value in expected], rtol=1e-4
        )


def test_texts_of_a_list():
    model, texts = shared("state"), ["fade", "b", "face\nbad"]
    found = model.score(texts, alternatives=2).alternatives
    rows = np.concatenate([scored_rows(model, text) for text in texts])
    check(found, rows, VOCABULARY.symbols, 2)


def test_blend():
    models = [shared("state"), shared("window")]
    blend = Blend(models, [0.25, 0.75])
    found = blend.score("fade", alternatives=4).alternatives
    parts = [np.exp(log_probabilities(model, "fade")[1:4]) for model in models]
    rows = np.log(0.25 * parts[0] + 0.75 * parts[1])
    check(found, rows, blend.vocabulary.symbols, 4)


def test_wrapped_network():
    import keras

    keras.utils.set_random_seed(0)
    vocabulary = textgen.Vocabulary.from_text("abcde\n")
    network = stack(keras.layers.GRU(4, return_sequences=True))
    model = from_keras(network, vocabulary)
    found = model.score("abcade", alternatives=3).alternatives
    ids = vocabulary.encode("abcade").astype(int)
    logits = network.predict_on_batch(ids[np.newaxis])[0].astype(np.float64)
    rows = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    check(found[-5:], rows[:5], vocabulary.symbols, 3)


def test_labels_are_no_alternatives():
    model = make(**KINDS["state"], labels=["one", "two"])
    score = model.score("fade", label=["two", "one"], alternatives=SIZE)
    ids = np.array([[SIZE, SIZE + 1, *VOCABULARY.encode("fade")]])
    logits = model.predict_on_batch(ids)[0, 1:5].astype(np.float64)
    rows = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    check(score.alternatives, rows, VOCABULARY.symbols, SIZE)
    assert score.count == 4


def test_equal_probabilities_come_in_the_order_of_the_vocabulary():
    probabilities = [[0.25, 0.25, 0.5, 0, 0], [0, 0.5, 0.5, 0, 0], [0.2] * 5]
    with np.errstate(divide="ignore"):
        log_probs = np.log(probabilities)
    found = most_probable(log_probs, "abcde", 2)
    assert [[name for name, _ in each] for each in found] == [
        ["c", "a"],
        ["b", "c"],
        ["a", "b"],
    ]
    found = most_probable(log_probs[1:2], "abcde", 4)
    assert [name for name, _ in found[0]] == ["b", "c", "a", "d"]
    assert [value for _, value in found[0]] == pytest.approx([0.5, 0.5, 0, 0])


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True])
def test_number_is_checked(model, count):
    with pytest.raises(ValueError, match=f"alternatives={count!r} must be an integer"):
        model.score("fade", alternatives=count)


def test_a_model_that_adapts_has_none(model):
    for adapt in (True, Adaptation()):
        with pytest.raises(ValueError, match="cannot be used with adapt"):
            model.score("fade", alternatives=2, adapt=adapt)


def test_progress_counts_the_tokens(model):
    reports = []
    score = model.score(TEXTS[1], None, False, lambda *x: reports.append(x), None, 2)
    assert len(reports) > 1
    assert reports[-1] == (score.count, score.count)
