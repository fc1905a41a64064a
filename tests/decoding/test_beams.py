"""Beam search, compared with all possible texts and with greedy decoding."""

import itertools

import pytest
from small_models import SIZE, VOCABULARY, of_text


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
