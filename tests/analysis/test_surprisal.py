"""Surprisal, and its difference, compared with the softmax of the logits."""

import math

import numpy as np
import pytest
from small_models import VOCABULARY, log_probabilities, make, of_text, shared

import textgen
from textgen.analysis.alignment import last_characters, per_character, pieces_of

TEXT = "a bad\ncafe"


@pytest.mark.parametrize("kind", ["window", "state", "start step"])
def test_bits(kind):
    model = shared(kind)
    found = textgen.surprisal(model, TEXT)
    ids = VOCABULARY.encode(TEXT).astype(int)
    expected = -log_probabilities(model, TEXT)[np.arange(len(ids)), ids] / math.log(2)
    assert found.bits.dtype == np.float64
    np.testing.assert_allclose(found.bits, expected, atol=1e-4)
    assert np.isnan(found.bits).tolist() == [kind == "state"] + [False] * 9
    assert found.tokens == tuple(TEXT)
    assert found.text == TEXT
    mean = np.nanmean(expected)
    assert found.bits_per_character == pytest.approx(mean, rel=1e-5)
    assert found.score.bits == pytest.approx(mean, rel=1e-5)
    assert repr(found) == f"Surprisal(10 tokens, {mean:.4f} bits per character)"


def test_separate_texts():
    model = shared("state")
    found = textgen.surprisal(model, ["bad", "", "a", "cab"])
    expected = [math.nan, *-of_text(model, "bad", 1), math.nan, math.nan]
    expected += [*-of_text(model, "cab", 1)]
    np.testing.assert_allclose(found.bits, np.divide(expected, math.log(2)), atol=1e-4)


def test_nothing_to_read():
    with pytest.raises(ValueError, match="fewer than two tokens"):
        textgen.surprisal(shared("state"), "a")
    with pytest.raises(ValueError, match="'x' at position 0"):
        textgen.surprisal(shared("state"), "xa")
    assert textgen.surprisal(shared("state"), "xab", unknown="skip").text == "ab"


def test_difference_of_equal_tokens():
    first, second = shared("window"), make(seed=5)
    found = [textgen.surprisal(each, TEXT) for each in (first, second)]
    pieces, difference = textgen.surprisal_difference(*found)
    expected = (of_text(first, TEXT) - of_text(second, TEXT)) / math.log(2)
    assert pieces == tuple(TEXT)
    np.testing.assert_allclose(difference, expected, atol=1e-4)


def test_difference_of_characters():
    words = textgen.Vocabulary.from_text(TEXT, level="word")
    second = make(words, seed=5)
    found = [textgen.surprisal(each, TEXT) for each in (shared("window"), second)]
    assert found[1].tokens == ("a", " ", "bad", "\n", "cafe")
    pieces, difference = textgen.surprisal_difference(*found)
    assert pieces == tuple(TEXT)
    spread = [
        bits / len(word)
        for word, bits in zip(found[1].tokens, found[1].bits, strict=True)
        for _ in word
    ]
    np.testing.assert_allclose(difference, spread - found[0].bits)
    # The means are those of the scores, whatever the tokens are.
    means = found[1].bits_per_character - found[0].bits_per_character
    assert difference.mean() == pytest.approx(means, rel=1e-5)


def test_difference_of_other_texts():
    found = [textgen.surprisal(shared("window"), text) for text in ("ab", "abc")]
    with pytest.raises(ValueError, match="have read different texts"):
        textgen.surprisal_difference(*found)


def test_alignment_of_parts_of_characters():
    tokenizer = textgen.ByteTokenizer()
    texts = [tokenizer.encode("aé"), tokenizer.encode("é")[:1], tokenizer.encode("b")]
    tokens = pieces_of(tokenizer, texts)
    assert tokens == ("a", "", "é", "\ufffd", "b")
    assert last_characters(tokens).tolist() == [0, 0, 1, 2, 3]
    assert per_character(tokens, [1, 2, 4, 8, 16]).tolist() == [1, 6, 8, 16]


def test_amounts_of_tokens():
    assert per_character(("ab", "", "c", ""), [4, 1, 2, 8]).tolist() == [2, 2, 11]
    assert per_character(("", ""), [1, 2]).tolist() == []
    assert per_character((), []).tolist() == []
    found = per_character(("a", "", "b"), [1, math.nan, 2])
    np.testing.assert_array_equal(found, [1, math.nan])
