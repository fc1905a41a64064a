"""Blends, compared with the averaged probabilities of their models."""

import math

import numpy as np
import pytest
from small_models import log_probabilities, make, shared

from textgen import Blend, Vocabulary


@pytest.fixture(scope="module", params=["without start step", "with start step"])
def two(request):
    vocabularies = map(Vocabulary.from_text, ("abcd\n", "cdef "))
    starts = request.param == "with start step"
    return [
        make(next(vocabularies), seed=1, return_sequences=True, start_step=starts),
        make(next(vocabularies), seed=2),
    ]


def mixture(models, weights, text):
    """Returns the averaged probabilities after a text that every model can read."""
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
    # A blend scores the first token only if each of its models can predict it.
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


@pytest.mark.parametrize("kind", ["window", "state"])
def test_blend_of_a_model_with_itself_is_that_model(kind):
    model = shared(kind)
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
            Blend(models, weights)


@pytest.mark.parametrize("kind", ["window", "state"])
def test_models_can_be_read(kind, two):
    model = shared(kind)
    kind = "many-to-many" if model.return_sequences else "many-to-one"
    count = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    assert repr(model) == (
        f"LanguageModel(lstm 6, lstm 7, {kind}, 8 characters, {count:,} weights)"
    )
    assert repr(Blend(two, [3, 1])) == f"Blend(0.75 of {two[0]!r}, 0.25 of {two[1]!r})"
