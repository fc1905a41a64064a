"""The song lyrics notebook: two ways of sampling, greedy continuation, perplexity."""

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


def test_greedy_continuation_of_a_prefix():
    """Warms up on the prefix and then takes the argmax, in NumPy."""
    keras.utils.set_random_seed(1)
    vocabulary = textgen.Vocabulary("abcdefgh ")
    model = textgen.LanguageModel(
        vocabulary, cell="simple_rnn", units=16, return_sequences=True, dtype="float64"
    )
    kernel, recurrent, bias, output, output_bias = (
        np.random.default_rng(0).normal(size=weight.shape)
        for weight in model.get_weights()
    )
    model.set_weights([kernel, recurrent, bias, output, output_bias])

    state = np.tanh(bias)  # after the start step, of a zero input and a zero state
    text = "bad egg "
    for position in range(40):
        row = kernel[vocabulary.ids[text[position]]]
        state = np.tanh(row + state @ recurrent + bias)
        if position >= len("bad egg ") - 1:
            text += vocabulary.symbols[(state @ output + output_bias).argmax()]
    assert model.generate("bad egg ", len(text) - 8, temperature=0) == text


def perplexities(printed):
    return [float(each) for each in re.findall(r"perplexity ([\d.]+)", printed)]


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
    """50 of the 250 epochs of docs/reproduction.md, which go far enough already."""
    corpus_text("tang-poems")
    printed = run_recipe("lyrics", "tang-poems", "--epochs", "50")
    assert "10,000 characters, 1,739 symbols" in printed
    random, consecutive = perplexities(printed)
    assert random < 1.6
    assert consecutive < 1.4
