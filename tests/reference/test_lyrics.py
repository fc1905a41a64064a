"""The song lyrics notebook: two ways of sampling, greedy continuation, perplexity."""

import itertools
import re
import zipfile

import keras
import numpy as np
import pytest

import textgen


def batches(sampling):
    dataset = textgen.SequenceDataset(
        np.arange(30), 6, 2, sampling=sampling, random_offset=False
    )
    return [dataset[index] for index in range(len(dataset))]


def test_consecutive_sampling():
    x, y = zip(*batches("consecutive"), strict=True)
    first, second = (
        [np.arange(0, 6), np.arange(15, 21)],
        [
            np.arange(6, 12),
            np.arange(21, 27),
        ],
    )
    assert np.array_equal(x, [first, second])
    assert np.array_equal(np.array(y), np.array(x) + 1)


def test_random_sampling():
    x, y = zip(*batches("random"), strict=True)
    rows = np.concatenate(x)
    assert len(x) == 2
    assert sorted(rows[:, 0]) == [0, 6, 12, 18]
    assert list(rows[:, 0]) != [0, 6, 12, 18]
    assert np.array_equal(rows, rows[:, :1] + np.arange(6))
    assert np.array_equal(np.array(y), np.array(x) + 1)


def rnn(weights, state, index):
    """One step of the notebook's network: the outputs and the new state."""
    kernel, recurrent, bias, output, output_bias = weights
    state = np.tanh(kernel[index] + state @ recurrent + bias)
    return state @ output + output_bias, state


def predict_rnn(prefix, num_chars, weights, vocabulary):
    """The notebook's loop: from the zero state it reads the prefix, then the argmax."""
    state = np.zeros(len(weights[1]))
    ids = [vocabulary.ids[prefix[0]]]
    for step in range(num_chars + len(prefix) - 1):
        outputs, state = rnn(weights, state, ids[-1])
        if step < len(prefix) - 1:
            ids.append(vocabulary.ids[prefix[step + 1]])
        else:
            ids.append(int(outputs.argmax()))
    return "".join(vocabulary.symbols[index] for index in ids)


def nats_of(text, weights, vocabulary):
    """What the notebook's loss counts: each symbol after the first."""
    state, nats = np.zeros(len(weights[1])), []
    for symbol, following in itertools.pairwise(text):
        outputs, state = rnn(weights, state, vocabulary.ids[symbol])
        outputs = outputs - outputs.max()
        log_probs = outputs - np.log(np.exp(outputs).sum())
        nats.append(-log_probs[vocabulary.ids[following]])
    return np.array(nats)


SONG = "the cat sat on the mat, and the bat ate that fat rat; " * 12


def language_model(vocabulary):
    return textgen.LanguageModel(
        vocabulary,
        cell="simple_rnn",
        units=32,
        return_sequences=True,
        dtype="float64",
        initializer=keras.initializers.RandomNormal(stddev=0.01),
    )


def wrapped_network(vocabulary):
    normal = keras.initializers.RandomNormal(stddev=0.01)
    network = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            textgen.OneHot(len(vocabulary), dtype="float64"),
            keras.layers.SimpleRNN(
                32,
                kernel_initializer=normal.clone(),
                recurrent_initializer=normal.clone(),
                return_sequences=True,
                dtype="float64",
            ),
            keras.layers.Dense(
                len(vocabulary), kernel_initializer=normal, dtype="float64"
            ),
        ]
    )
    return textgen.from_keras(network, vocabulary)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("make", [language_model, wrapped_network])
def test_greedy_continuation_and_score_are_those_of_the_notebook(make, trained):
    keras.utils.set_random_seed(0)
    vocabulary = textgen.Vocabulary.from_text(SONG)
    model = make(vocabulary)
    if trained:
        model.compile(
            keras.optimizers.SGD(100.0, global_clipnorm=0.01), jit_compile=False
        )
        train = textgen.SequenceDataset(
            vocabulary.encode(SONG), 35, 4, random_offset=False
        )
        losses = model.fit(train, epochs=60, verbose=0).history["loss"]
        assert losses[-1] < 1 < losses[0]
    else:
        # Larger recurrent weights make the network chaotic: it would amplify rounding.
        random = np.random.default_rng(0)
        kernel, recurrent, *rest = [
            random.normal(size=weight.shape) for weight in model.get_weights()
        ]
        model.set_weights([kernel, 0.1 * recurrent, *rest])
    weights = model.get_weights()
    for prefix in ("t", "cat ", "the bat ate that fat rat; the"):
        text = model.generate(prefix, 40, temperature=0)
        assert text == predict_rnn(prefix, 40, weights, vocabulary)
    nats = nats_of(SONG, weights, vocabulary)
    score = model.score(SONG)
    np.testing.assert_allclose(score.log_probs, -nats, rtol=1e-5, atol=1e-6)
    assert score.nats == pytest.approx(nats.mean(), rel=1e-6)
    if trained:
        # As it was trained: the start of each sequence is as well known as the rest.
        assert nats.mean() < losses[-1]


def perplexities(printed):
    """The perplexity of the last epoch of each of the two trainings."""
    halves = printed.split("=== consecutive sampling ===")
    return [float(re.findall(r"perplexity: ([\d.]+)", half)[-1]) for half in halves]


def test_recipe_reads_a_zip_file(tmp_path, run_recipe):
    with zipfile.ZipFile(tmp_path / "song.txt.zip", "w") as archive:
        archive.writestr("song.txt", "la la la, li li lo\n" * 90)
    printed = run_recipe("lyrics", "song.txt.zip", "--epochs", "50", "--prefixes", "li")
    assert "li li lo la la la," in printed
    random, consecutive = perplexities(printed)
    assert 1 <= random < 1.6
    assert 1 <= consecutive < 1.4
    assert textgen.load(tmp_path / "lyrics.keras").units == (256,)
    run_recipe("lyrics", "song.txt.zip", "--epochs", "51", "--resume")
    for sampling in ("random", "consecutive"):
        curve = (tmp_path / f"lyrics-{sampling}.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in curve[-2:]] == ["49", "50"]


@pytest.mark.slow
def test_tang_poems(corpus_text, run_recipe):
    """25 of the 250 epochs of docs/reproduction.md: more than pairs are known then.

    The exact frequencies of the pairs in these 10,000 characters have a perplexity of
    9.579, so the network must have learned longer contexts.
    """
    corpus_text("tang-poems")
    printed = run_recipe("lyrics", "tang-poems", "--epochs", "25")
    assert "10,000 characters, 1,739 symbols" in printed
    assert max(perplexities(printed)) < 9.579
