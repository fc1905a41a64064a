import io
import re
import sys

import keras
import numpy as np
import pytest

from textgen import LanguageModel, SampleText, Vocabulary, WindowDataset

VOCABULARY = Vocabulary.from_text("abcdefghij \n")
HEADER = re.compile(r"^--- temperature (\S+), (.+)$")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = LanguageModel(VOCABULARY, units=8, sequence_length=5)
    model.compile(keras.optimizers.Adam(0.05))
    return model


@pytest.fixture(scope="module")
def data():
    ids = np.random.default_rng(0).integers(0, len(VOCABULARY), 70)
    windows = WindowDataset(ids, 5, 1, 16)
    assert len(windows) == 5
    return windows


def printed(capsys):
    """Returns the printed samples as a list of (temperature, when, text)."""
    samples = []
    for line in capsys.readouterr().out.split("\n"):
        if header := HEADER.match(line):
            samples.append([float(header[1]), header[2], ""])
        elif samples:
            samples[-1][2] += line + "\n"
    return [tuple(sample) for sample in samples]


def sample(model, data, callback, epochs=1, **kwargs):
    model.fit(data, epochs=epochs, callbacks=[callback], **{"verbose": 0, **kwargs})


def test_prints_after_each_epoch(model, data, capsys):
    sample(model, data, SampleText("Bad", 0.7, max_new_tokens=12), epochs=2)
    first, second = printed(capsys)
    assert first[:2] == (0.7, "after epoch 1")
    assert second[:2] == (0.7, "after epoch 2")
    for *_, text in (first, second):
        assert text.startswith("Bad")
        assert len(text.rstrip("\n")) <= len("Bad") + 12
    expected = model.generate("Bad", 12, 0.7, seed=0)
    assert second[2].startswith(expected + "\n")


def test_defaults(model, data, capsys):
    sample(model, data, SampleText())
    samples = printed(capsys)
    assert [each[:2] for each in samples] == [
        (0.5, "after epoch 1"),
        (1.0, "after epoch 1"),
    ]
    for temperature, _, text in samples:
        assert text.startswith(model.generate("", 200, temperature, seed=0))


def test_several_prompts_and_temperatures(model, data, capsys):
    prompts, temperatures = ["ab", "CDE f"], (0, 0.5, 1.5)
    sample(model, data, SampleText(prompts, temperatures, max_new_tokens=20, seed=3))
    samples = printed(capsys)
    assert [temperature for temperature, *_ in samples] == [0.0, 0.5, 1.5]
    for temperature, _, text in samples:
        expected = model.generate(prompts, 20, temperature, seed=3)
        assert text.startswith("\n".join(expected) + "\n")


def test_every_second_epoch(model, data, capsys):
    callback = SampleText("a", 1, every=2, max_new_tokens=3)
    sample(model, data, callback, epochs=5)
    assert [when for _, when, _ in printed(capsys)] == [
        "after epoch 2",
        "after epoch 4",
    ]
    sample(model, data, callback, epochs=6, initial_epoch=4)
    assert [when for _, when, _ in printed(capsys)] == ["after epoch 6"]


def test_batches_are_counted_through_the_epochs(model, data, capsys):
    callback = SampleText("a", 1, every=2, unit="batch", max_new_tokens=3)
    sample(model, data, callback, epochs=2)
    whens = [when for _, when, _ in printed(capsys)]
    assert whens == [f"after batch {number}" for number in (2, 4, 6, 8, 10)]


def test_stop_ends_the_samples(model, data, capsys):
    callback = SampleText("a", 1.5, max_new_tokens=60, stop=["b", " "])
    sample(model, data, callback)
    [(_, _, text)] = printed(capsys)
    assert "b" not in text
    assert " " not in text
    expected = model.generate("a", 60, 1.5, stop=["b", " "], seed=0)
    assert text.startswith(expected + "\n")
    assert len(expected) < 60


def test_every_sample_has_the_same_seed(model, data, capsys):
    model.optimizer.learning_rate.assign(0.0)
    sample(model, data, SampleText("a", 1.0, max_new_tokens=40), epochs=2)
    model.optimizer.learning_rate.assign(0.05)
    first, second = printed(capsys)
    # The learning rate is 0, so the model did not change.
    assert first[2].strip() == second[2].strip()


def test_samples_come_after_the_progress_bar(model, data, capsys):
    sample(model, data, SampleText("a", 1.0, max_new_tokens=5), verbose=1)
    output = capsys.readouterr().out
    assert output.count("5/5") >= 1
    assert output.rindex("5/5") < output.index("--- temperature")
    # The header is on a separate line.
    assert re.search(r"^--- temperature 1\.0, after epoch 1$", output, re.MULTILINE)


def test_list_of_the_users_callbacks_is_not_changed(model, data, capsys):
    callbacks = [SampleText("a", 1.0, max_new_tokens=5)]
    model.fit(data, callbacks=callbacks, verbose=0)
    assert len(callbacks) == 1
    model.fit(data, callbacks=callbacks[0], verbose=0)
    assert len(printed(capsys)) == 2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"every": 0}, "every=0"),
        ({"every": -1}, "every=-1"),
        ({"unit": "step"}, "unit='step' must be 'epoch' or 'batch'"),
    ],
)
def test_bad_argument_is_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SampleText(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"prompts": "a?"}, r"'\?' at position 1"),
        ({"temperatures": -1.0}, "temperature=-1.0"),
        ({"temperatures": (0.5, float("nan"))}, "temperature=nan"),
        ({"max_new_tokens": -1}, "max_new_tokens=-1"),
        ({"stop": ""}, "stop=''"),
    ],
)
def test_bad_argument_of_generate_is_an_error_of_the_fit(model, data, kwargs, message):
    with pytest.raises(ValueError, match=message):
        sample(model, data, SampleText(**{"max_new_tokens": 3, **kwargs}))


def test_plain_keras_model_is_refused():
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    plain.compile("sgd", "mse")
    x, y = np.zeros((4, 3)), np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"needs a textgen\.LanguageModel.*not a Seq"):
        plain.fit(x, y, callbacks=[SampleText("a")], verbose=0)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_narrow_terminal_does_not_end_the_training(encoding, monkeypatch):
    vocabulary = Vocabulary.from_text("ab→é")
    model = LanguageModel(vocabulary, units=8, sequence_length=2)
    model.compile()
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    ids = vocabulary.encode("ab→é" * 5)
    sample(model, WindowDataset(ids, 2), SampleText("→é", 0, max_new_tokens=0))
    shown = {"ascii": r"\u2192\xe9", "cp1252": r"\u2192é", "utf-8": "→é"}[encoding]
    expected = f"--- temperature 0, after epoch 1\n{shown}\n"
    assert written.getvalue().decode(encoding) == expected
