"""`textgen prepare`, and the commands that read its file."""

import gzip
import json
import pathlib
import sys

import numpy as np
import pytest
from command_line import SHORT, TEXT, TRAIN, run

import textgen
from textgen.text import preparing

pytestmark = pytest.mark.usefixtures("text_file", "eager")


def test_prepare(capsys):
    assert run("prepare", "text.txt", "-o", "a.ids") == 0
    printed = capsys.readouterr().out
    assert f"{len(TEXT)} characters, {len(TEXT)} tokens, a vocabulary of 28" in printed
    assert "textgen train a.ids" in printed
    corpus = textgen.PreparedCorpus.load("a.ids")
    symbols = sorted(set(TEXT))
    assert corpus.ids.tolist() == [symbols.index(each) for each in TEXT]


def test_options(capsys):
    rows = [{"t": "Fu\u0308r dich", "n": 1}, {"t": "für mich und\r\nmich", "n": 2}]
    data = "\n".join(map(json.dumps, rows)).encode("utf-16")
    pathlib.Path("a.jsonl.gz").write_bytes(gzip.compress(data))
    options = ["--field", "t", "--encoding", "utf-16", "--lowercase"]
    options += ["--normalization", "nfc", "--level", "word", "--min-count", 2]
    assert run("prepare", "a.jsonl.gz", "-o", "a.ids", *options) == 0
    corpus = textgen.PreparedCorpus.load("a.ids")
    text = corpus.tokenizer.decode(corpus.ids)
    assert text == "für \ufffd\nfür mich \ufffd mich\n"
    assert corpus.options["normalization"] == "nfc"
    assert capsys.readouterr().err == ""


def test_invalid_bytes(capsys):
    pathlib.Path("a.txt").write_bytes(b"a\xff\xffb\r\n")
    assert run("prepare", "a.txt", "-o", "a.ids") == 2
    assert "a.txt is not valid utf-8: byte 0xff at offset 1." in capsys.readouterr().err
    assert not pathlib.Path("a.ids").exists()
    options = ["--replace-invalid", "--keep-line-ends"]
    assert run("prepare", "a.txt", "-o", "a.ids", *options) == 0
    message = "textgen prepare: warning: \ufffd replaces invalid bytes in 2 places\n"
    assert capsys.readouterr().err == message
    corpus = textgen.PreparedCorpus.load("a.ids")
    assert corpus.tokenizer.decode(corpus.ids) == "a\ufffd\ufffdb\r\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text.txt", "-o", "a.txt"], "--output a.txt must end in .ids."),
        (["text.txt", "-o", "no/a.ids"], "the folder no does not exist"),
        (["text.txt", "-o", "old.ids"], "use --overwrite"),
        (["none.txt", "-o", "a.ids"], "none.txt"),
        (["text.txt", "-o", "a.ids", "--min-count", 0], "--min-count 0 must be at"),
        (["text.txt", "-o", "a.ids", "--field", "x"], "--field x needs a file whose"),
        (["text.txt", "-o", "a.ids", "--vocabulary-size", 0], "--vocabulary-size 0"),
    ],
)
def test_errors(arguments, message, capsys):
    pathlib.Path("old.ids").write_text("old")
    assert run("prepare", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("textgen prepare: error: ")
    assert error.count("\n") == 1
    assert pathlib.Path("old.ids").read_text() == "old"
    assert not pathlib.Path("a.ids").exists()


def weights(path):
    return textgen.load(path).get_weights()


@pytest.mark.parametrize("kind", [["--windows"], ["--lines"], ["--many-to-many"]])
def test_training_on_the_file_is_that_on_the_text(kind):
    """Text with upper case, in one case by its options, in the other by the file's."""
    lines = [f"Name {number:x} {'o' * (number % 7)}" for number in range(60)]
    pathlib.Path("names.txt").write_text("\n".join(lines))
    options = [*kind, *SHORT, "--batch-size", 24, "--sequence-length", 12]
    options += ["--max-new-tokens", 0]
    assert run("prepare", "names.txt", "-o", "a.ids", "--lowercase") == 0
    assert run("train", "names.txt", "-o", "a.keras", "--lowercase", *options) == 0
    assert run("train", "a.ids", "-o", "b.keras", *options) == 0
    for one, other in zip(weights("a.keras"), weights("b.keras"), strict=True):
        np.testing.assert_array_equal(one, other)
    notes = [textgen.load(name).notes for name in ("a.keras", "b.keras")]
    assert notes[0]["corpus_sha256"] == notes[1]["corpus_sha256"]
    assert notes[1]["lowercase"] is True


def test_evaluate_the_file(capsys):
    run("prepare", "text.txt", "-o", "a.ids")
    assert run("train", "a.ids", "-o", "a.keras", *TRAIN) == 0
    capsys.readouterr()
    printed = []
    for corpus in ("a.ids", "text.txt"):
        assert run("evaluate", "a.keras", corpus, "--held-out") == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    pathlib.Path("b.txt").write_text("another text")
    run("prepare", "b.txt", "-o", "b.ids")
    assert run("evaluate", "a.keras", "b.ids") == 2
    assert "b.ids has another vocabulary than the model" in capsys.readouterr().err


def test_options_that_contradict_the_file(capsys):
    run("prepare", "text.txt", "-o", "a.ids")
    assert run("train", "a.ids", "--level", "word", *TRAIN) == 2
    error = capsys.readouterr().err
    assert "--level: a.ids was prepared without this option" in error


def test_damaged_file(capsys):
    run("prepare", "text.txt", "-o", "a.ids")
    data = pathlib.Path("a.ids").read_bytes()
    pathlib.Path("a.ids").write_bytes(data[:-1])
    assert run("train", "a.ids", *TRAIN) == 2
    assert "a.ids is not a valid file of prepared ids" in capsys.readouterr().err


def test_resumed_training_on_the_file(capsys):
    run("prepare", "text.txt", "-o", "a.ids", "--lowercase")
    assert run("train", "a.ids", "-o", "a.keras", *TRAIN) == 0
    again = ["--resume", *TRAIN, "--epochs", 2]
    assert run("train", "a.ids", "-o", "a.keras", *again) == 0
    assert textgen.load("a.keras").notes["epochs"] == 2


def test_large_text_is_prepared_once(monkeypatch, capsys):
    monkeypatch.setattr(preparing, "IN_MEMORY", 100)
    for output in ("a.keras", "b.keras"):
        assert run("train", "text.txt", "-o", output, *TRAIN) == 0
        assert "The ids are in " in capsys.readouterr().out
    [path] = pathlib.Path("cache/prepared").iterdir()
    assert path.suffix == ".ids"
    for one, other in zip(weights("a.keras"), weights("b.keras"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_dry_run_prints_python_that_reads_alike(capsys):
    pathlib.Path("a.csv").write_text("n,text\n" + "1,The Quick Brown Fox\n" * 99)
    options = ["--field", "text", "--lowercase", "--min-count", 2, "--epochs", 1]
    assert run("train", "a.csv", "--dry-run", "--units", 8, *options) == 0
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("corpus = "))
    scope = {"textgen": textgen}
    exec(line, scope)
    corpus = scope["corpus"]
    assert corpus.tokenizer.decode(corpus.ids) == "the quick brown fox\n" * 99
    assert corpus.options["min_count"] == 2
    command = printed.partition("command:\n\n")[2].partition("\n\n")[0]
    for option in ("--field text", "--lowercase", "--min-count 2"):
        assert option in command


def train_on(kind):
    """Trains a.keras on bytes or subwords, and returns the loaded model."""
    pathlib.Path("text.txt").write_text(TEXT.replace("fox", "föx"))
    options = ["--level", kind, *SHORT, "--many-to-many", "--batch-size", 4]
    options += [] if kind == "byte" else ["--vocabulary-size", 280]
    options += ["--validation", 0.2]
    assert run("train", "text.txt", "-o", "a.keras", *options) == 0
    model = textgen.load("a.keras")
    assert len(model.vocabulary) == 256 if kind == "byte" else 280
    return model


def test_training_on_unigrams():
    """The tokenizer is of the same class as that of `bpe`, which goes on below."""
    assert train_on("unigram").vocabulary.model == "unigram"


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_training_on_bytes_and_subwords(kind, capsys):
    model = train_on(kind)
    assert run("train", "text.txt", "-o", "a.keras", "--resume", "--epochs", 2) == 0
    command = ["train", "text.txt", "-o", "b.keras", "--from", "a.keras"]
    options = ["--epochs", 1, "--max-new-tokens", 5, "--batch-size", 4]
    assert run(*command, *options, "--validation", 0.2) == 0
    assert textgen.load("b.keras").vocabulary == model.vocabulary
    capsys.readouterr()
    assert run("evaluate", "b.keras", "text.txt", "--held-out") == 0
    assert "per character: " in capsys.readouterr().out


def test_library_of_subwords_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert run("prepare", "text.txt", "-o", "a.ids", "--level", "bpe") == 2
    error = capsys.readouterr().err
    assert "pip install 'keras-textgen[subword]'" in error
    assert error.count("\n") == 1
