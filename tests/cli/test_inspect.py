"""`textgen evaluate`, `textgen info` and `textgen list`."""

import csv
import hashlib
import io
import math
import pathlib
import platform
import random
import re

import pytest
from command_line import SHORT, TEXT, TRAIN, run

import textgen
from textgen.cli import inspect
from textgen.decoding.score import Score
from textgen.text import tokenizers

pytestmark = pytest.mark.usefixtures("text_file", "eager")


def info(path, capsys):
    """Returns the lines of `textgen info`, by name."""
    capsys.readouterr()
    assert run("info", path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line[15] == " " for line in lines)
    return {line[:15].rstrip(" :"): line[16:] for line in lines}


def test_info(model_file, capsys):
    lines = info(model_file, capsys)
    assert lines["network"] == "gru, units 8, many-to-many"
    assert lines["computation"].endswith("float32, gru time-batched (on a CPU)")
    shown = repr("\n " + "abcdefghijklmnopqrstuvwxyz")
    assert lines["vocabulary"] == f"28 characters: {shown}"
    assert not {"corpus", "held-out loss"} & set(lines)


def test_info_of_a_trained_model(capsys):
    pathlib.Path("texts").mkdir()
    pathlib.Path("texts/old.txt").write_bytes((TEXT + "É\n" * 50).encode("latin-1"))
    options = ["--encoding", "latin-1", "--lowercase", "--validation", 0.25]
    options += ["--log", "a.csv", *TRAIN, "--epochs", 2]
    assert run("train", "texts/old.txt", "-o", "a.keras", *options) == 0
    with open("a.csv", newline="") as file:
        loss = float([*csv.DictReader(file)][-1]["val_loss"])
    notes = textgen.load("a.keras").notes
    assert notes.pop("held_out_nats") == pytest.approx(loss, rel=1e-6)
    expected = {
        "corpus": "old.txt",
        "encoding": "latin-1",
        "lowercase": True,
        "level": "character",
        "lines": False,
        "held_out": 0.25,
        "epochs": 2,
        "seed": 0,
    }
    assert expected.items() <= notes.items()
    lines = info("a.keras", capsys)
    text = TEXT + "É\n" * 50
    assert lines["corpus SHA-256"] == hashlib.sha256(text.encode()).hexdigest()
    assert lines["seed"] == "0"
    assert lines["split"] == notes["split"]
    assert lines["command"].startswith("textgen train texts/old.txt -o a.keras --enc")
    versions = dict(each.split() for each in lines["versions"].split(", "))
    assert versions == notes["versions"]
    assert versions["textgen"] == textgen.__version__
    assert versions["python"] == platform.python_version()
    assert (lines["corpus"], lines["encoding"]) == ("old.txt", "latin-1")
    assert (lines["lower-cased"], lines["single lines"]) == ("yes", "no")
    assert (lines["epochs"], lines["training steps"]) == ("2", "4")
    assert lines["held-out loss"] == (
        f"{loss:.4f} nats ({loss / math.log(2):.4f} bits) per character, on the last "
        "25 % of the text"
    )


def test_notes_of_a_resumed_training(capsys, monkeypatch):
    command = ["-o", "a.keras", "--lines", "--batch-size", 8, *SHORT]
    assert run("train", "text.txt", *command) == 0
    assert info("a.keras", capsys)["held-out loss"].endswith("on 10 % of the lines")
    assert "held_out_nats" in textgen.load("a.checkpoints/best.keras").notes
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert run("train", "-", *command, "--resume", "--epochs", 2) == 0
    lines = info("a.keras", capsys)
    assert (lines["corpus"], lines["epochs"]) == ("standard input", "2")
    assert "--resume" in lines["command"]


def test_info_without_a_held_out_text():
    model = textgen.LanguageModel(textgen.Vocabulary.from_text(TEXT), units=4)
    model.notes = {"held_out": 0.0}
    lines = inspect._training(model)
    assert lines["held-out loss"] == "not measured: no text was held out"


def test_info_shows_all_notes_and_cuts_nothing_silently(capsys):
    words = "".join(f"{chr(97 + n % 26)}{n} " for n in range(2000)) + "a " * 5
    model = textgen.LanguageModel(textgen.Vocabulary.from_text(words, "word"), units=4)
    model.notes = {"author": "x " * 200 + "end", "tags": ["ä", 1], "held_out": "?"}
    model.save("words.keras")
    lines = info("words.keras", capsys)
    assert lines["author"] == model.notes["author"]
    assert (lines["tags"], lines["held_out"]) == ('["ä", 1]', "?")
    shown = "'a', 'a0', 'a1014', 'a104', 'a1040', 'a1066', 'a1092', 'a1118'"
    start = "2,002 tokens (words and single characters): "
    assert lines["vocabulary"] == f"{start}{shown} and 1,994 more"

    symbols = [chr(0x4E00 + index) for index in range(5387)]
    textgen.LanguageModel(textgen.Vocabulary(symbols), units=4).save("han.keras")
    line = info("han.keras", capsys)["vocabulary"]
    assert line == f"5,387 characters: {''.join(symbols[:60])!r} and 5,327 more"


def test_info_escapes_and_shortens_what_a_file_says(capsys):
    model = textgen.LanguageModel(textgen.Vocabulary("\x1b\x9ba"), units=4)
    model.notes = {
        "name\x1b[2J": "\x1b]0;title\x07",
        "weights": "none\r",
        "poem": "one\ntwo\x9b",
        "lines": "\n".join(map(str, range(1000))),
        "long": "x" * 20_000,
        "versions": {"textgen": "0.1.0", "a\x1b": 3},
        "list": ["\x1b", {"b": None}],
        "n" * 100: {},
        "steps": 7,
    }
    model.save("a.keras")
    assert run("info", "a.keras") == 0
    printed = capsys.readouterr().out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", printed)
    lines = printed.splitlines()
    assert len(lines) < 130
    found = {
        name: value.strip() for name, _, value in (x.partition(":") for x in lines)
    }
    assert found["name\\x1b[2J"] == "\\x1b]0;title\\x07"
    assert re.search(r"\nweights: +[\d,]+\n", printed)  # not replaced by the note
    assert re.search(r"\nweights: +none\n", printed)
    assert re.search(r"\npoem: +one\n {62}two\\x9b\n", printed)
    assert found["long"] == "x" * 9_999 + "…"
    assert " … and 900 more lines\n" in printed
    assert found["versions"] == "textgen 0.1.0, a\\x1b 3"
    assert found["list"] == '["\\u001b", {"b": null}]'
    assert found["steps"] == "7"
    assert found["vocabulary"] == r"3 characters: '\x1ba\x9b'"


def test_info_of_a_pretrained_model(capsys):
    lines, entry = info("dinosaurs", capsys), textgen.PRETRAINED["dinosaurs"]
    assert lines["corpus"] == entry.corpus
    assert lines["held-out loss"] == f"{entry.nats:.4f} nats per character"


def test_evaluate(model_file, capsys):
    model = textgen.load(model_file)
    for options, text in [
        ([], TEXT),
        (["--last", 0.25], TEXT[len(TEXT) * 3 // 4 :]),
        (["--lines"], [line + "\n" for line in TEXT.splitlines()]),
    ]:
        assert run("evaluate", model_file, "text.txt", *options) == 0
        printed = capsys.readouterr().out
        score = model.score(text)
        assert f"tokens:     {score.count:,}\n" in printed
        assert f"nats:       {score.nats:.4f} per token" in printed
        assert f"bits:       {score.bits:.4f} per token" in printed
        assert f"perplexity: {score.perplexity:.4g}\n" in printed


@pytest.mark.parametrize("kind", ["word", "byte", "bpe"])
def test_other_tokens_than_characters(kind, capsys):
    text = "the 床 of the cat\n" * 9
    pathlib.Path("other.txt").write_text(text, encoding="utf-8")
    model = textgen.LanguageModel(
        tokenizers.learn(kind, text, 262 if kind == "bpe" else None),
        cell="gru",
        units=3,
        return_sequences=True,
    )
    model.save("other.keras")
    score = model.score(text)
    assert run("evaluate", "other.keras", "other.txt") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"tokens:        {score.count:,}",
        f"nats:          {score.nats:.4f} per token",
        f"bits:          {score.bits:.4f} per token",
        f"perplexity:    {score.perplexity:.4g}",
        f"per character: {score.nats * score.count / score.characters:.4f} nats",
    ]
    # The part that is held out begins with a whole token.
    assert run("evaluate", "other.keras", "other.txt", "--last", 0.3, "--adapt") == 0
    printed = capsys.readouterr().out.splitlines()
    names = [line[:23].rstrip() for line in printed]
    assert names[-1] == "adapted per character:"
    assert names[1] == "nats:"
    shown = info("other.keras", capsys)["vocabulary"]
    start, end = {
        "word": ("6 tokens (words and single characters): 'cat', 'of', ", "2 more"),
        "byte": ("256 bytes of UTF-8", "256 bytes of UTF-8"),
        "bpe": ("262 subwords (bpe): ", ", ' the' and 257 more"),
    }[kind]
    assert shown.startswith(start)
    assert shown.endswith(end)


def test_evaluate_with_adaptation(model_file, capsys):
    model = textgen.load(model_file)
    static = model.score(TEXT)
    for options, rate in [([], 0.002), (["--adapt-learning-rate", 0.01], 0.01)]:
        assert run("evaluate", model_file, "text.txt", "--adapt", *options) == 0
        adapted = model.score(TEXT, adapt=textgen.Adaptation(rate))
        assert adapted.nats < static.nats
        assert capsys.readouterr().out.splitlines() == [
            f"tokens:             {static.count:,}",
            f"nats:               {static.nats:.4f} per token",
            f"bits:               {static.bits:.4f} per token",
            f"perplexity:         {static.perplexity:.4g}",
            f"adapted nats:       {adapted.nats:.4f} per token",
            f"adapted bits:       {adapted.bits:.4f} per token",
            f"adapted perplexity: {adapted.perplexity:.4g}",
        ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--adapt-learning-rate", 1], "--adapt-learning-rate 1 needs --adapt."),
        (["--adapt", "--adapt-learning-rate", 0], "learning-rate 0 must be above 0."),
        (["--adapt", "--adapt-learning-rate", "nan"], "nan must be above 0."),
        (["--adapt", "--adapt-learning-rate", 1e38], "use a learning rate below 1e+38"),
    ],
)
def test_options_of_adaptation_are_checked(model_file, options, message, capsys):
    assert run("evaluate", model_file, "text.txt", *options) == 2
    assert message in capsys.readouterr().err


def record_scores(monkeypatch):
    """Replaces `score`; returns the list of the texts that it gets as ids."""
    scored = []

    def score(self, ids, **_):
        decode = self.vocabulary.decode
        scored.append(list(map(decode, ids)) if isinstance(ids, list) else decode(ids))
        return Score(*[0.0] * 6)

    monkeypatch.setattr(textgen.LanguageModel, "score", score)
    return scored


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("".join(f"{letter}{letter}\n" for letter in "abcdefghij" * 9), ["--lines"]),
        ("x" * 899 + "y" * 101, []),
        ("one two " * 90 + "four " * 20, ["--level", "word"]),
    ],
)
def test_evaluate_scores_what_train_held_out(text, options, capsys, monkeypatch):
    """`evaluate --last SHARE` and `train --validation SHARE` cut alike."""
    pathlib.Path("text.txt").write_text(text)
    held_out = []

    def record(setup, train, validation, *arguments):
        held_out.append(validation)
        return make(setup, train, validation, *arguments)

    make = textgen.Setup.datasets
    monkeypatch.setattr(textgen.Setup, "datasets", record)
    share = ["--seed", 3, "--validation", 0.2, "--sequence-length", 4]
    assert run("train", "text.txt", "-o", "a.keras", *share, *options, *SHORT) == 0
    vocabulary = textgen.load("a.keras").vocabulary
    scored = record_scores(monkeypatch)
    options = ["--seed", 3, *options] if "--lines" in options else []
    assert run("evaluate", "a.keras", "text.txt", "--last", 0.2, *options) == 0
    [found] = scored
    if "--lines" in options:
        lines = text.splitlines(keepends=True)
        assert found == random.Random(3).sample(lines, len(lines))[72:]
        part = held_out[0]
        ids = [part.ids[start : start + 2] for start in part.starts]
        assert [vocabulary.decode(line) + "\n" for line in ids] == found
    else:
        assert found == vocabulary.decode(held_out[0])
        assert text.endswith(found)
    assert run("evaluate", "a.keras", "text.txt", "--held-out") == 0
    assert scored == [found, found]
    pathlib.Path("text.txt").write_text(text + "x")
    assert run("evaluate", "a.keras", "text.txt", "--held-out") == 2
    assert "text.txt is not the text that a.keras was" in capsys.readouterr().err


def test_held_out_part_in_lower_case_and_another_encoding(capsys, monkeypatch):
    text = "Äbcdé FGHI\n" * 99
    pathlib.Path("text.txt").write_bytes(text.encode("latin-1"))
    options = ["--lowercase", "--encoding", "latin-1", "--validation", 0.5]
    assert run("train", "text.txt", "-o", "a.keras", *options, *TRAIN) == 0
    scored = record_scores(monkeypatch)
    assert run("evaluate", "a.keras", "text.txt", "--held-out") == 0
    assert scored == [text.lower()[len(text) // 2 :]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--held-out"], "does not say which part of a text its training held out."),
        (["--held-out", "--last", 0.1], "--held-out and --last 0.1: give one of them."),
    ],
)
def test_held_out_part_must_be_known(model_file, options, message, capsys):
    assert run("evaluate", model_file, "text.txt", *options) == 2
    assert message in capsys.readouterr().err


def test_list_names_models_and_corpora(capsys):
    assert run("list") == 0
    printed = capsys.readouterr().out
    for name, model in textgen.PRETRAINED.items():
        assert f"  {name}: {model.description}\n" in printed
        assert f"{model.nats:.3f} nats, {model.nats / math.log(2):.3f} bits" in printed
        assert f"textgen generate {name} " in printed
    for name, corpus in textgen.CORPORA.items():
        assert f"  {name}: {corpus.description}\n" in printed
        assert f"{corpus.characters:,} characters" in printed
