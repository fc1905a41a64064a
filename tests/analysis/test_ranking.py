"""Cells that follow a feature, and their correlation."""

import numpy as np
import pytest
from small_models import make

import textgen
from textgen.analysis import ranking
from textgen.analysis.activations import Activations

TEXT = "the (old) bridge (of stone) and a river\n" * 8
VOCABULARY = textgen.Vocabulary.from_text(TEXT)
LARGE = 60.0


def activations(text, values):
    return Activations(
        tuple(text), np.zeros(len(text), np.int32), values, (("one", 2),), np.array([0])
    )


def test_correlation_is_that_of_numpy():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(50, 3)).astype(np.float32)
    values = generator.normal(size=(50, 130)).astype(np.float32)
    values[:, 70:] += features[:, :1]
    expected = np.corrcoef(features.T, values.T)[:3, 3:]
    found = ranking.correlations(features, values)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_constants_correlate_with_nothing():
    constant = np.full((9, 1), 0.1, np.float32)
    ramp = np.arange(9, dtype=np.float32)[:, np.newaxis]
    assert ranking.correlations(constant, ramp).tolist() == [[0]]
    assert ranking.correlations(ramp, constant).tolist() == [[0]]


def test_network_whose_cell_follows_the_brackets():
    """An LSTM cell that opens at `(`, keeps its value, and forgets it at `)`."""
    model = make(VOCABULARY, units=(3,), return_sequences=True)
    kernel, recurrent, bias = model.recurrent_layers[0].weights
    gates = np.zeros((len(VOCABULARY), 4, 3))  # input, forget, candidate, output
    gates[:, 0, 1] = -LARGE
    gates[:, 1, 1] = LARGE
    opening, closing = (VOCABULARY.ids[each] for each in "()")
    gates[opening, 0, 1] = gates[opening, 2, 1] = LARGE
    gates[closing, 1, 1] = -LARGE
    kernel.assign(gates.reshape(len(VOCABULARY), 12))
    recurrent.assign(np.zeros(recurrent.shape))
    bias.assign(np.zeros(bias.shape))
    found = textgen.rank_cells(textgen.cell_activations(model, TEXT))
    assert found[0].feature == "brackets"
    assert (found[0].layer, found[0].number, found[0].cell) == ("lstm_0", 1, 1)
    assert found[0].r == pytest.approx(1)
    assert found[0].halves == pytest.approx((1, 1))
    assert str(found[0]) == (
        "brackets: lstm_0 cell 1, r = +1.000 (halves +1.000, +1.000)"
    )


def test_order_and_halves():
    text = "ab(c d)e\n" * 12
    position = np.array([each % 9 for each in range(1, len(text) + 1)], float)
    noise = np.random.default_rng(1).normal(size=len(text))
    second = np.where(np.arange(len(text)) < 54, -position, noise)
    values = np.stack([noise, second], axis=1).astype(np.float32)
    found = textgen.rank_cells(activations(text, values), count=2)
    strengths = [abs(each.r) for each in found[::2]]
    assert strengths == sorted(strengths, reverse=True)
    lines = [each for each in found if each.feature == "line position"]
    assert [each.cell for each in lines] == [1, 0]
    assert lines[0].halves[0] == pytest.approx(-1)
    expected = np.corrcoef(position[54:], noise[54:])[0, 1]
    assert lines[0].halves[1] == pytest.approx(expected)
    whole = np.corrcoef(position, second)[0, 1]
    assert lines[0].r == pytest.approx(whole)


def test_rare_features_have_no_match():
    values = np.random.default_rng(2).normal(size=(400, 2)).astype(np.float32)
    rare = "(ab) " * 20 + "abab " * 60  # brackets in the first half only
    names = {each.feature for each in textgen.rank_cells(activations(rare, values))}
    assert "vowel" in names
    assert not names & {"brackets", "quotes", "capital", "digit", "comment"}
    often = "(a) " * 100
    names = {each.feature for each in textgen.rank_cells(activations(often, values))}
    assert "brackets" in names
    assert textgen.rank_cells(activations("a", values[:1])) == []


def test_features_of_separate_texts_and_of_tokens():
    tokens = ("(ab", "", "c", "d\n", "ef", "(")
    found = Activations(
        tokens,
        np.zeros(6, np.int32),
        np.zeros((6, 2), np.float32),
        (("one", 2),),
        np.array([0, 4]),
    )
    # Nothing varies in so few tokens.
    assert ranking.features_of(found)[0] == []
    many = Activations(
        tokens * 20,
        np.zeros(120, np.int32),
        np.zeros((120, 2), np.float32),
        (("one", 2),),
        np.arange(20)[:, np.newaxis].repeat(2, 1).ravel() * 6 + [0, 4] * 20,
    )
    names, features = ranking.features_of(many)
    by_name = dict(zip(names, features.T, strict=True))
    # A token has the feature of its last character; brackets start anew in each text.
    assert by_name["brackets"][:6].tolist() == [1, 1, 1, 1, 0, 1]
    assert by_name["line position"][:6].tolist() == [3, 3, 4, 0, 2, 3]
    assert by_name["brackets"][6:12].tolist() == [1, 1, 1, 1, 0, 1]
