"""Models whose lines have labels, compared with calls of the network step by step."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from small_models import VOCABULARY, make

import textgen

SIZE = len(VOCABULARY)
LABELS = ("keats", "poe", "x y")
CONFIGURATIONS = {
    "one-hot": {},
    "embedding": {"embedding": 9, "cell": "gru"},
    "tied": {"embedding": 7, "tie_weights": True},
}


def labelled(name, **more):
    return make(
        labels=LABELS,
        return_sequences=True,
        start_step=True,
        **{**CONFIGURATIONS[name], **more},
    )


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def model(request):
    return labelled(request.param)


def log_probs_after(model, ids):
    """Returns the log probabilities after the last of some ids: one call."""
    logits = to_numpy(model(np.array([ids], np.int32)))[0, -1].astype(np.float64)
    assert logits.shape == (SIZE,)
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def test_greedy_text_against_calls(model):
    # The labels are read in the order of their ids.
    for label, read in (("poe", [1]), (["x y", "keats"], [0, 2]), (None, [])):
        ids = [-1, *(SIZE + number for number in read), *VOCABULARY.encode("ab")]
        text = ""
        for _ in range(12):
            best = int(log_probs_after(model, ids).argmax())
            ids.append(best)
            text += VOCABULARY.symbols[best]
        settings = {"temperature": 0, "stop": (), "label": label}
        assert model.generate("ab", 12, echo=False, **settings) == text
        assert "".join(model.stream("ab", 12, **settings)) == "ab" + text
        assert next(model.generate_many("ab", 12, **settings)) == "ab" + text


def test_next_symbols_of_an_empty_text(model):
    [(symbol, probability)] = model.next_symbols("", 1, label="poe")
    expected = np.exp(log_probs_after(model, [-1, SIZE + 1]))
    assert symbol == VOCABULARY.symbols[expected.argmax()]
    assert probability == pytest.approx(expected.max(), rel=1e-5)


def test_score_against_calls(model):
    text, label = "fab\n", ["poe", "keats"]
    ids = [-1, SIZE, SIZE + 1]
    expected = []
    for index in VOCABULARY.encode(text):
        expected.append(log_probs_after(model, ids)[index])
        ids.append(index)
    as_ids = np.array(ids[1:], np.int32)  # the labels before the text
    for score in (
        model.score(text, label=label),
        model.score([text], label=label),
        model.score(as_ids),
        model.score([as_ids, "a"]),
    ):
        np.testing.assert_allclose(score.log_probs[:4], expected, rtol=1e-5, atol=1e-5)
    assert model.score(as_ids).count == model.score(as_ids).characters == 4
    adapted = model.score(as_ids, adapt=textgen.Adaptation(stretch=50))
    np.testing.assert_allclose(adapted.log_probs, expected, rtol=1e-5, atol=1e-5)


def test_repetition_penalty_and_beams_ignore_labels(model):
    settings = {"label": "poe", "max_new_tokens": 8, "stop": (), "temperature": 0}
    plain = model.generate("a", **settings)
    # A penalty of almost 1 changes no order.
    assert model.generate("a", repetition_penalty=1.0000001, **settings) == plain
    custom = model.generate(
        "a",
        repetition_penalty=1.0000001,
        sampler=lambda logits, _: logits.argmax(-1),
        **settings,
    )
    assert custom == plain
    beams = {**settings, "num_beams": 1}
    assert model.generate("a", repetition_penalty=1.0000001, **beams) == plain


def test_file_keeps_labels(model, tmp_path):
    model.save(tmp_path / "m.keras")
    loaded = textgen.load(tmp_path / "m.keras")
    assert loaded.labels == LABELS
    texts = [
        each.generate(label="x y", count=4, seed=1, stop=(), max_new_tokens=9)
        for each in (model, loaded)
    ]
    assert texts[0] == texts[1]


def test_unknown_label(model):
    message = "no label 'gothic'. It has 'keats', 'poe', 'x y'"
    for call in (model.generate, model.stream, model.generate_many, model.next_symbols):
        with pytest.raises(ValueError, match=message):
            call("a", label=["poe", "gothic"])
    with pytest.raises(ValueError, match=message):
        model.score("ab", label="gothic")
    with pytest.raises(ValueError, match="no labels at all"):
        textgen.Blend([model, model]).generate(label="poe")
    for wrong in (SIZE + 3, -1):
        with pytest.raises(ValueError, match=r"vocabulary|from 0 on"):
            model.score(np.array([wrong, 1, 2]))
    with pytest.raises(ValueError, match="vocabulary"):  # a label after the text
        model.score(np.array([1, SIZE, 2]))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_other_vocabulary_and_more_labels(name):
    model = labelled(name)
    vocabulary = VOCABULARY.extended("zA")
    copy = model.with_vocabulary(vocabulary, labels=("new", "poe", "keats"))
    assert copy.labels == ("new", "poe", "keats")
    new, number = [vocabulary.ids[each] for each in VOCABULARY.symbols], len(vocabulary)
    for ids, moved in (
        ([-1, SIZE + 1], [-1, number + 1]),
        ([-1, SIZE, 3, 5], [-1, number + 2, new[3], new[5]]),
        ([-1, -1, 2], [-1, number, new[2]]),  # a new label has no effect
    ):
        old = to_numpy(model(np.array([ids])))[0, -1]
        found = to_numpy(copy(np.array([moved])))[0, -1][new]
        np.testing.assert_allclose(found, old, rtol=1e-4, atol=1e-5)
    assert model.with_vocabulary(vocabulary).labels == LABELS


def test_training_tells_authors_apart():
    rng = np.random.default_rng(0)
    authors = rng.integers(2, size=300)
    lines = ["".join(rng.choice(list(("ab", "cd")[each]), 4)) for each in authors]
    ids = VOCABULARY.encode("\n".join(lines))
    labels = textgen.LineLabels([("poe", "keats")[each] for each in authors])
    dataset = textgen.LineDataset(
        ids,
        VOCABULARY.ids["\n"],
        labels=labels.ids(VOCABULARY),
        label_dropout=0.2,
    )
    keras.utils.set_random_seed(0)
    model = textgen.LanguageModel(
        VOCABULARY, units=24, labels=labels.names, return_sequences=True
    )
    model.compile(keras.optimizers.Adam(0.02))
    model.fit(dataset, epochs=12, verbose=0)
    for label, letters in (("poe", "ab"), ("keats", "cd")):
        texts = model.generate(label=label, count=16, seed=0, temperature=0.5)
        assert set("".join(texts)) <= set(letters)
    both = model.generate(count=16, seed=0, temperature=1.0)
    assert set("".join(both)) >= set("abcd")
