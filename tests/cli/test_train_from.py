"""`textgen train --from MODEL`."""

import pathlib

import keras
import numpy as np
import pytest
from command_line import TEXT, run

import textgen

pytestmark = pytest.mark.usefixtures("text_file", "eager")

OPTIONS = ["--epochs", 1, "--max-new-tokens", 3, "--batch-size", 4]


def old_model(**options):
    """Saves a model of the small letters as old.keras."""
    keras.utils.set_random_seed(1)
    settings = {"units": (7,), "cell": "gru", "return_sequences": True, **options}
    model = textgen.LanguageModel(textgen.Vocabulary.from_text(TEXT), **settings)
    model.notes = {"corpus": "old.txt"}
    model.save("old.keras")
    return model


def untrained(monkeypatch):
    """Lets `fit` train nothing, so that the weights at its start can be seen."""
    monkeypatch.setattr(textgen.LanguageModel, "fit", lambda *_, **__: None)
    save = textgen.LanguageModel.save
    from textgen.cli import train_safety

    monkeypatch.setattr(train_safety, "save", lambda model, path, _: save(model, path))


def rows_of(model):
    """Returns the weights of each symbol: of one-hot input, output, and bias."""
    kernel = keras.ops.convert_to_numpy(model.recurrent_layers[0].cell.kernel)
    output, bias = map(np.array, model.output_layer.get_weights())
    symbols = model.vocabulary.symbols
    return {
        symbol: np.concatenate([kernel[index], output[:, index], bias[[index]]])
        for index, symbol in enumerate(symbols)
    }


def test_vocabulary_and_network_are_kept(monkeypatch):
    old = old_model(embedding=None, layer_norm=True)
    untrained(monkeypatch)
    pathlib.Path("new.txt").write_text("a lazy dog\n" * 50)
    command = ["train", "new.txt", "-o", "new.keras", "--from", "old.keras"]
    assert run(*command, "--dropout", 0.5, *OPTIONS) == 0
    new = textgen.load("new.keras")
    assert new.vocabulary == old.vocabulary
    assert (new.cell, new.units, new.layer_norm) == ("gru", (7,), True)
    assert new.dropout == 0.5
    for one, other in zip(old.get_weights(), new.stripped().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert new.notes["trained_from"] == "old.keras"
    assert new.notes["corpus"] == "new.txt"


def test_new_symbols_are_an_error_or_get_weights(monkeypatch, capsys):
    old = old_model()
    pathlib.Path("new.txt").write_text("A lazy Zebra!\n" * 50)
    command = ["train", "new.txt", "-o", "new.keras", "--from", "old.keras", *OPTIONS]
    assert run(*command) == 2
    error = capsys.readouterr().err
    assert "The text has symbols that old.keras does not have: " in error
    assert "'!' (50 times), 'A' (50 times), 'Z' (50 times). Add" in error
    assert not pathlib.Path("new.keras").exists()

    untrained(monkeypatch)
    assert run(*command, "--extend-vocabulary") == 0
    new = textgen.load("new.keras")
    assert set(new.vocabulary.symbols) == {*old.vocabulary.symbols, *"AZ!"}
    before, after = rows_of(old), rows_of(new)
    for symbol, row in before.items():
        np.testing.assert_array_equal(row, after[symbol])
    mean = np.mean(list(before.values()), axis=0)
    np.testing.assert_allclose(after["Z"][:-1], mean[:-1], rtol=1e-5, atol=1e-7)


def test_ids_of_a_file_stay_on_the_disk(monkeypatch, capsys):
    old_model()
    pathlib.Path("new.txt").write_text("A lazy Zebra!\n" * 50)
    assert run("prepare", "new.txt", "-o", "new.ids") == 0
    command = ["train", "new.ids", "-o", "new.keras", "--from", "old.keras", *OPTIONS]
    untrained(monkeypatch)
    assert run(*command, "--extend-vocabulary") == 0
    [path] = pathlib.Path("cache", "prepared").iterdir()
    assert f"The ids in the vocabulary of old.keras are in {path.resolve()}\n" in (
        capsys.readouterr().out
    )
    corpus = textgen.PreparedCorpus.load(path)
    assert list(corpus.tokenizer.symbols) == sorted({*TEXT, *"AZ!"})
    assert corpus.tokenizer.decode(corpus.ids) == "A lazy Zebra!\n" * 50
    assert textgen.load("new.keras").vocabulary == corpus.tokenizer


def test_training_goes_on_from_the_weights():
    old_model()
    assert (
        run("train", "text.txt", "-o", "a.keras", "--from", "old.keras", *OPTIONS) == 0
    )
    text = textgen.Vocabulary.from_text(TEXT)
    a = textgen.load("a.keras")
    assert a.vocabulary == text
    old = textgen.load("old.keras")
    assert a.score(TEXT).nats < old.score(TEXT).nats
    command = ["train", "text.txt", "-o", "b.keras", "--from", "a.keras", *OPTIONS]
    assert run(*command) == 0
    assert textgen.load("b.keras").score(TEXT).nats < a.score(TEXT).nats


def test_model_with_words_is_read_in_words():
    vocabulary = textgen.Vocabulary.from_text(TEXT, "word")
    textgen.LanguageModel(vocabulary, units=4, return_sequences=True).save("old.keras")
    assert (
        run("train", "text.txt", "-o", "a.keras", "--from", "old.keras", *OPTIONS) == 0
    )
    assert textgen.load("a.keras").vocabulary == vocabulary


@pytest.mark.parametrize("lowercase", [False, True])
def test_prompts_are_read_as_the_model_reads_them(lowercase, monkeypatch):
    """The text is the same ids, whether or not it was prepared in lower case."""
    tokenizer = textgen.ByteTokenizer(lowercase=lowercase)
    textgen.LanguageModel(tokenizer, units=4, return_sequences=True).save("old.keras")
    untrained(monkeypatch)
    assert run("prepare", "text.txt", "-o", "a.ids", "--level", "byte") == 0
    command = ["prepare", "text.txt", "-o", "b.ids", "--level", "byte", "--lowercase"]
    assert run(*command) == 0
    for corpus in ("text.txt", "a.ids", "b.ids"):
        command = ["train", corpus, "-o", "new.keras", "--from", "old.keras", *OPTIONS]
        assert run(*command, "--overwrite") == 0
        assert textgen.load("new.keras").vocabulary == tokenizer
        assert run("evaluate", "old.keras", corpus) == 0


def test_resume():
    old_model()
    command = ["train", "text.txt", "-o", "a.keras", "--from", "old.keras"]
    assert run(*command, *OPTIONS) == 0
    pathlib.Path("old.keras").unlink()  # it is not needed any more
    assert run("train", "text.txt", "-o", "a.keras", "--resume", "--epochs", 2) == 0
    assert textgen.load("a.keras").notes["epochs"] == 2


@pytest.mark.parametrize("kind", ["windows", "lines"])
def test_kind_of_the_model_is_kept(kind, capsys):
    options = {"return_sequences": False, "sequence_length": 9}
    if kind == "lines":
        options = {"start_step": True, "end_token": 0}
    old_model(**options)
    command = ["train", "text.txt", "-o", "a.keras", "--from", "old.keras", *OPTIONS]
    command += ["--batch-size", 100] if kind == "windows" else []
    assert run(*command) == 0
    new = textgen.load("a.keras")
    assert new.return_sequences is (kind == "lines")
    assert new.start_step is (kind == "lines")
    if kind == "windows":
        assert new.sequence_length == 9
        assert run(*command, "--overwrite", "--lines") == 2
        assert "--lines contradicts --from old.keras" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", "old.keras", "--units", 9], "--units contradicts --from old.keras"),
        (["--from", "old.keras", "--cell", "lstm"], "the model has gru. Leave the"),
        (
            ["--from", "old.keras", "--level", "word"],
            "--level word: the text is read in",
        ),
        (["--from", "none.keras"], "none.keras"),
        (["--dry-run", "--from", "old.keras"], "--dry-run shows no choice for --from"),
        (["--extend-vocabulary"], "--extend-vocabulary needs --from."),
    ],
)
def test_errors(options, message, capsys):
    old_model()
    assert run("train", "text.txt", "-o", "a.keras", *options, *OPTIONS) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not pathlib.Path("a.keras").exists()


def test_wrapped_network_is_refused(capsys):
    inputs = keras.Input((None,), dtype="int32")
    hidden = keras.layers.LSTM(4, return_sequences=True)(
        keras.layers.Embedding(28, 3)(inputs)
    )
    network = keras.Model(inputs, keras.layers.Dense(28)(hidden))
    vocabulary = textgen.Vocabulary.from_text(TEXT)
    textgen.from_keras(network, vocabulary).save("own.keras")
    assert run("train", "text.txt", "--from", "own.keras", *OPTIONS) == 2
    assert "only a LanguageModel can be trained further" in capsys.readouterr().err
