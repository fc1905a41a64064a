import csv
import io
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

import textgen
from textgen.cli import generate, main, train
from textgen.cli.options import Parser
from textgen.decoding.defaults import TEMPERATURE
from textgen.decoding.scoring import Score

TEXT = "the quick brown fox jumps over the lazy dog\n" * 20
TRAIN = ["--units", "8", "--epochs", "1", "--max-new-tokens", "10"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    pathlib.Path("text.txt").write_text(TEXT, encoding="utf-8")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    model = textgen.LanguageModel(
        textgen.Vocabulary.from_text(TEXT), cell="gru", units=8, return_sequences=True
    )
    path = tmp_path_factory.mktemp("models") / "model.keras"
    model.save(path)
    return path


def run(*arguments):
    """Runs the command line in this process; returns the exit code."""
    try:
        return main.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize(
    "kind", [[], ["--many-to-many"], ["--lines"], ["--level", "word"]]
)
def test_train_then_generate(kind, capsys):
    code = run(
        "train",
        "text.txt",
        "-o",
        "a.keras",
        "--log",
        "a.csv",
        "--sequence-length",
        8,
        "--batch-size",
        4,
        *TRAIN,
        *kind,
    )
    printed = capsys.readouterr()
    cut = "lines are longer than 8 tokens and are cut there"
    assert code == 0
    assert (cut in printed.err) if kind == ["--lines"] else (printed.err == "")
    assert "--- temperature 0.5, after epoch 1" in printed.out
    assert "textgen generate a.keras" in printed.out
    with open("a.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert float(row["loss"]) > 0
    assert float(row["val_loss"]) > 0

    options = ["--prompt", "the ", "--max-new-tokens", 12, "--seed", 3]
    assert run("generate", "a.keras", *options) == 0
    written = capsys.readouterr().out
    # The default temperature is that of Python.
    expected = textgen.load("a.keras").generate("the ", 12, seed=3)
    assert written == expected + "\n"


def test_train_options_reach_the_model(capsys):
    code = run(
        *["train", "text.txt", "-o", "a.keras", "--cell", "simple_rnn", *TRAIN],
        *["--units", 6, 5, "--dropout", 0.25, "--recurrent-dropout", 0.125],
        *["--embedding", 5, "--tie-weights", "--layer-norm", "--sequence-length", 9],
        *["--learning-rate", 0.5, "--clip-value", 0.25, "--lowercase"],
    )
    assert code == 0
    model = textgen.load("a.keras")
    config = model.get_config()
    assert config["cell"] == "simple_rnn"
    assert config["units"] == [6, 5]
    assert (config["dropout"], config["recurrent_dropout"]) == (0.25, 0.125)
    assert (config["embedding"], config["tie_weights"], config["layer_norm"]) == (
        5,
        True,
        True,
    )
    assert config["sequence_length"] == 9
    assert float(model.optimizer.learning_rate) == 0.5
    assert model.optimizer.clipvalue == 0.25


def test_training_options_reach_the_optimizer(capsys):
    code = run(
        *["train", "text.txt", "-o", "a.keras", *TRAIN, "--batch-size", 10],
        *["--schedule", "cosine", "--warmup-steps", 5, "--learning-rate", 0.25],
        *["--weight-decay", 0.125, "--gradient-accumulation-steps", 2],
        *["--precision", "mixed_bfloat16", "--weight-dropout", 0.25, "--jit"],
    )
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert "mixed_bfloat16, lstm time-batched" in printed.out
    model = textgen.load("a.keras")
    assert model.dtype_policy.name == "mixed_bfloat16"
    assert model.weight_dropout == 0.25
    assert model.jit_compile
    optimizer = model.optimizer
    assert optimizer.weight_decay == 0.125
    assert optimizer.gradient_accumulation_steps == 2
    schedule = optimizer._learning_rate
    assert [float(schedule(step)) for step in (0, 5)] == [0.0, 0.25]
    # 26 batches, of which 2 make a step: so many that the cosine has almost ended.
    batches = int(printed.out.partition(" batches")[0].split()[-1])
    assert float(schedule(batches)) < 1e-6


def test_warm_up_without_a_schedule(capsys):
    options = ["--warmup-steps", 2, "--learning-rate", 0.5, "--batch-size", 10]
    assert run("train", "text.txt", "-o", "a.keras", *TRAIN, *options) == 0
    schedule = textgen.load("a.keras").optimizer._learning_rate
    assert [float(schedule(step)) for step in (0, 1, 2, 50)] == [0, 0.25, 0.5, 0.5]


def test_early_stopping_keeps_the_best_weights(capsys):
    options = ["--units", 8, "--max-new-tokens", 0, "--learning-rate", 1.0]
    options += ["--early-stopping", 2, "--epochs", 50, "--log", "a.csv"]
    assert run("train", "text.txt", "-o", "a.keras", *options) == 0
    with open("a.csv", newline="") as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    best = losses.index(min(losses))
    assert len(losses) == best + 3
    model = textgen.load("a.keras")
    assert model.notes["held_out_nats"] == pytest.approx(losses[best], rel=1e-6)
    assert model.notes["epochs"] == len(losses)
    validation = textgen.WindowDataset(
        textgen.split(model.vocabulary.encode(TEXT), 0.1)[1]
    )
    assert model.evaluate(validation, verbose=0) == pytest.approx(
        losses[best], rel=1e-5
    )


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
    assert notes == {
        "corpus": "old.txt",
        "encoding": "latin-1",
        "lowercase": True,
        "level": "character",
        "lines": False,
        "held_out": 0.25,
        "epochs": 2,
    }
    lines = info("a.keras", capsys)
    assert (lines["corpus"], lines["encoding"]) == ("old.txt", "latin-1")
    assert (lines["lower-cased"], lines["single lines"]) == ("yes", "no")
    assert (lines["epochs"], lines["training steps"]) == ("2", "4")
    assert lines["held-out loss"] == (
        f"{loss:.4f} nats ({loss / math.log(2):.4f} bits) per character, on the last "
        "25 % of the text"
    )


def test_notes_of_a_resumed_training(capsys, monkeypatch):
    command = ["-o", "a.keras", "--lines", "--batch-size", 8, *TRAIN]
    assert run("train", "text.txt", *command) == 0
    assert info("a.keras", capsys)["held-out loss"].endswith("on 10 % of the lines")
    assert "held_out_nats" in textgen.load("a.checkpoints/best.keras").notes
    # The notes of the new run replace all old ones.
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    options = ["--resume", "--epochs", 3, "--validation", 0]
    assert run("train", "-", *command, *options) == 0
    assert textgen.load("a.keras").notes == {
        "corpus": "standard input",
        "encoding": "utf-8",
        "lowercase": False,
        "level": "character",
        "lines": True,
        "held_out": 0.0,
        "epochs": 3,
    }
    assert info("a.keras", capsys)["held-out loss"].startswith("not measured")


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


def test_converted_model_notes_its_corpus(capsys, monkeypatch):
    def convert(path, vocabulary):
        return textgen.LanguageModel(vocabulary, units=4)

    monkeypatch.setattr("textgen.models.legacy.convert", convert)
    options = ["--corpus", "./text.txt", "--level", "word", "--lowercase"]
    assert run("convert", "old.h5", "new.keras", *options) == 0
    assert textgen.load("new.keras").notes == {
        "corpus": "text.txt",
        "encoding": "utf-8",
        "lowercase": True,
        "level": "word",
    }


def test_info_of_a_pretrained_model(capsys):
    lines, entry = info("dinosaurs", capsys), textgen.PRETRAINED["dinosaurs"]
    assert lines["corpus"] == entry.corpus
    assert lines["held-out loss"] == f"{entry.nats:.4f} nats per character"


def test_same_seed_same_weights(capsys):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("train", "text.txt", "-o", f"{name}.keras", "--seed", seed, *TRAIN)
    texts = [
        textgen.load(f"{name}.keras").generate("the", 50, temperature=0)
        for name in "abc"
    ]
    logits = [textgen.load(f"{name}.keras").get_weights()[0] for name in "abc"]
    assert texts[0] == texts[1]
    assert (logits[0] == logits[1]).all()
    assert (logits[0] != logits[2]).any()


def test_vocabulary_size_keeps_the_most_frequent(capsys):
    code = run("train", "text.txt", "-o", "a.keras", "--vocabulary-size", 5, *TRAIN)
    assert code == 0
    vocabulary = textgen.load("a.keras").vocabulary
    assert len(vocabulary) == 5
    assert {" ", "o", "e"} < set(vocabulary.symbols)
    assert vocabulary.unknown in vocabulary


def test_latin_1_file(capsys):
    pathlib.Path("old.txt").write_bytes(("é ü\r\n" * 200).encode("latin-1"))
    assert run("train", "old.txt", "-o", "a.keras", *TRAIN) == 2
    assert "--encoding latin-1" in capsys.readouterr().err
    code = run("train", "old.txt", "--encoding", "latin-1", "-o", "a.keras", *TRAIN)
    assert code == 0
    assert textgen.load("a.keras").vocabulary.symbols == ("\n", " ", "é", "ü")


def test_long_lines_are_cut_and_counted(capsys):
    # 99 % of the lines have up to 50 characters, so that 100 are allowed.
    lines = ["a" * 50] * 300 + ["b" * 100, "c" * 101, "d" * 500]
    pathlib.Path("lines.txt").write_text("\n".join(lines))
    command = ["train", "lines.txt", "--lines", "--validation", 0, *TRAIN]
    assert run(*command, "-o", "a.keras") == 0
    cut = "textgen train: warning: 2 of 303 lines are longer than 100 tokens"
    assert capsys.readouterr().err.startswith(cut)
    assert run(*command, "-o", "b.keras", "--sequence-length", 499) == 0
    cut = "textgen train: warning: 1 of 303 lines are longer than 499 tokens"
    assert capsys.readouterr().err.startswith(cut)
    assert run(*command, "-o", "c.keras", "--sequence-length", 600) == 0
    assert capsys.readouterr().err == ""


def test_lines_are_whole_and_share_batches(capsys):
    lines = ["a long line that is never cut " + digit for digit in "0123456789"]
    pathlib.Path("lines.txt").write_text("\n".join(lines * 2))
    options = ["--lines", "--batch-size", 6, "--units", 32, "--epochs", 40]
    options += ["--learning-rate", 0.02, "--validation", 0.1, "--max-new-tokens", 0]
    assert run("train", "lines.txt", "-o", "a.keras", *options) == 0
    assert "3 batches per epoch" in capsys.readouterr().out
    assert run("generate", "a.keras", "--temperature", 0) == 0
    assert capsys.readouterr().out.rstrip("\n") in lines


def test_word_level_is_not_cut_within_a_word(capsys):
    # Every word stands once, so that half of one would be unknown.
    words = " ".join(
        f"{letter}{number}word" for number, letter in enumerate("abcdefghij" * 9)
    )
    pathlib.Path("words.txt").write_text(words)
    for share in (0.2, 0.21, 0.22, 0.23):
        options = ["--level", "word", "--sequence-length", 4, "--validation", share]
        code = run(
            "train", "words.txt", "-o", "a.keras", "--overwrite", *options, *TRAIN
        )
        assert code == 0, capsys.readouterr().err


def test_several_texts_and_stop(model_file, capsys):
    code = run("generate", model_file, "--count", 3, "--stop", "\\n", "q", "--seed", 1)
    texts = textgen.load(model_file).generate(
        count=3, stop=["\n", "q"], temperature=0.7, seed=1
    )
    assert code == 0
    assert capsys.readouterr().out == "".join(f"{text}\n" for text in texts)


def test_texts_of_several_lines_are_told_apart(model_file, capsys):
    options = ["--count", 3, "--seed", 1, "--temperature", 3]
    assert run("generate", model_file, *options) == 0
    texts = textgen.load(model_file).generate(count=3, temperature=3.0, seed=1)
    assert any("\n" in text for text in texts)
    line = "-" * 20
    assert capsys.readouterr().out == f"\n{line}\n".join(texts) + "\n"


def test_options_of_generate_reach_the_model(model_file, capsys):
    model = textgen.load(model_file)
    rules = {
        "top_k": 9,
        "top_p": 0.9,
        "min_p": 0.01,
        "typical_p": 0.95,
        "repetition_penalty": 1.3,
    }
    options = ["--prompt", "the ", "--max-new-tokens", 30, "--seed", 3, "--no-echo"]
    for name, value in rules.items():
        options += ["--" + name.replace("_", "-"), value]
    options += ["--forbid", r"e\n", "--temperature", 2.0, 0.5]
    assert run("generate", model_file, *options, "--max-lines", 2) == 0
    expected = model.generate(
        "the ",
        30,
        [2.0, 0.5],
        seed=3,
        echo=False,
        max_lines=2,
        forbidden="e\n",
        **rules,
    )
    assert capsys.readouterr().out == expected + "\n"
    options = ["--num-beams", 3, "--length-penalty", 0.5, "--max-new-tokens", 9]
    assert run("generate", model_file, *options, "--count", 2, "--forbid", r"\n") == 0
    search = {"num_beams": 3, "length_penalty": 0.5, "forbidden": "\n"}
    best = model.generate("", 9, count=2, **search)
    assert capsys.readouterr().out == "".join(text + "\n" for text in best)


def test_novel_texts(model_file, capsys):
    pathlib.Path("known.txt").write_text("A\nb\nc\nd", encoding="utf-8")
    options = ["--max-new-tokens", 1, "--seed", 0, "--temperature", 3]
    code = run("generate", model_file, "--novel", "known.txt", "--count", 200, *options)
    printed = capsys.readouterr()
    assert code == 0
    new = set(textgen.Vocabulary.from_text(TEXT).symbols) - set("abcd")
    assert sorted(printed.out[::2]) == sorted(new)
    assert f"Only {len(new)} of 200 new texts" in printed.err


def test_generating_to_a_file(model_file, capsys):
    options = ["--prompt", "the ", "--seed", 1, "--max-new-tokens", 20]
    assert run("generate", model_file, *options, "-o", "out.txt") == 0
    assert capsys.readouterr().out == ""
    assert run("generate", model_file, *options) == 0
    written = pathlib.Path("out.txt").read_text(encoding="utf-8")
    assert written == capsys.readouterr().out
    assert run("generate", model_file, *options, "-o", "out.txt") == 2
    assert "out.txt exists" in capsys.readouterr().err
    assert pathlib.Path("out.txt").read_text(encoding="utf-8") == written


def test_blended_models(model_file, tmp_path, capsys):
    other = textgen.LanguageModel(textgen.Vocabulary.from_text("XYZ"), units=4)
    other.save("other.keras")
    options = ["--seed", 1, "--max-new-tokens", 30, "--temperature", 1]
    weights = ["--weights", 1, 3]
    assert run("generate", model_file, "other.keras", *weights, *options) == 0
    models = [textgen.load(model_file), textgen.load("other.keras")]
    expected = textgen.Blend(models, [1, 3]).generate("", 30, 1.0, seed=1)
    assert capsys.readouterr().out == expected + "\n"
    assert set(expected) & set("XYZ")
    assert run("generate", model_file, "other.keras", "--weights", 1) == 2
    assert (
        "--weights needs one number per model: there are 1 numbers for 2"
        in capsys.readouterr().err
    )


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

    def record(ids, *arguments):
        held_out.append(ids)
        return make(ids, *arguments)

    make = train._dataset
    monkeypatch.setattr(train, "_dataset", record)
    share = ["--seed", 3, "--validation", 0.2, "--sequence-length", 4]
    assert run("train", "text.txt", "-o", "a.keras", *share, *options, *TRAIN) == 0
    model = textgen.load("a.keras")
    expected = model.vocabulary.decode(held_out[1])

    scored = []
    monkeypatch.setattr(
        textgen.LanguageModel,
        "score",
        lambda self, text, **_: scored.append(text) or Score(*[0.0] * 6),
    )
    options = ["--seed", 3, *options] if "--lines" in options else []
    assert run("evaluate", "a.keras", "text.txt", "--last", 0.2, *options) == 0
    [found] = scored
    if "--lines" in options:
        assert found == [line + "\n" for line in expected.split("\n")]
        assert len(found) == 18
    else:
        assert found == expected
        assert text.endswith(found)


def test_complete_in_a_pipe(model_file):
    options = ["--seed", "2", "--max-new-tokens", "20", "--temperature", "1"]
    options += ["--top-k", "3", "--stop", "e", r"\n"]
    done = subprocess.run(
        [sys.executable, "-m", "textgen", "complete", model_file, *options],
        input="the \n/bad\nqui\n",
        capture_output=True,
        text=True,
    )
    model = textgen.load(model_file)
    poems = [
        model.generate(start, 20, 1.0, seed=2, top_k=3, stop=["e", "\n"])
        for start in ("the ", "qui")
    ]
    assert done.stdout.rstrip("\n") == "\n\n".join(poems).rstrip("\n")
    assert "/bad" in done.stderr
    assert done.returncode == 2


def test_unknown_prompt_symbol(model_file, capsys):
    assert run("generate", model_file, "--prompt", "th→é←") == 2
    error = capsys.readouterr().err
    assert (
        "'→' at position 2, '←' at position 4. Use --unknown skip to leave them out"
        in error
    )
    assert "or --unknown S to replace them with a symbol S of the vocabulary." in error
    assert run("generate", model_file, "--prompt", "th→", "--unknown", "skip") == 0
    assert capsys.readouterr().out.startswith("th→")
    assert run("generate", model_file, "--prompt", "thé") == 0
    assert capsys.readouterr().out.startswith("thé")


def test_nothing_typed_shows_the_help(capsys):
    assert run() == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: textgen")
    assert "generate" in printed.out


@pytest.mark.parametrize(
    "command", ["train", "generate", "complete", "evaluate", "list", "info", "convert"]
)
def test_help_explains_what_it_says(command, capsys):
    assert run(command, "--help") == 0
    page = capsys.readouterr().out
    assert page.startswith(f"usage: textgen {command} ")
    if re.search("tokens?", page):
        plain = " ".join(page.split())
        assert re.search("token is(: a| a) character, or a word", plain)
    assert "symbols" not in page.replace("symbols of the", "")
    assert "default: [" not in page
    assert "default: )" not in page
    if command in ("generate", "complete"):
        assert f"(default: {TEMPERATURE})" in page


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["train", "a.txt", "b.txt"], "too many: b.txt.*cat a.txt b.txt"),
        (["train", "a.txt", "--learning-rat3", "1"], "mean --learning-rate"),
        (["generate", "m.keras", "--temprature=1"], "mean --temperature"),
        (["info", "m.keras", "--zzz"], "no option --zzz \\(see textgen info --help"),
    ],
)
def test_mistyped_arguments_get_a_hint(arguments, hint, capsys):
    assert run(*arguments) == 2
    assert re.search(hint, capsys.readouterr().err)


def test_unknown_model_names_those_there_are(capsys):
    assert run("generate", "nosuch") == 2
    error = capsys.readouterr().err
    assert all(name in error for name in textgen.PRETRAINED)


def test_weights_file_is_called_what_it_is(capsys):
    pathlib.Path("a.weights.h5").write_bytes(b"\x89HDF")
    assert run("generate", "a.weights.h5") == 2
    assert "contains weights only, as written by Keras" in capsys.readouterr().err


BAD = {
    "no corpus": ["train"],
    "unknown option": ["train", "text.txt", "--nope"],
    "missing file": ["train", "nope.txt"],
    "folder": ["train", "."],
    "unknown encoding": ["train", "text.txt", "--encoding", "klingon"],
    "output suffix": ["train", "text.txt", "-o", "model.h5"],
    "output folder": ["train", "text.txt", "-o", "nope/model.keras"],
    "output exists": ["train", "text.txt", "-o", "there.keras"],
    "negative length of samples": ["train", "text.txt", "--max-new-tokens", "-1"],
    "no window": ["train", "text.txt", "--sequence-length", "0"],
    "no line length": ["train", "text.txt", "--lines", "--sequence-length", "0"],
    "no stride": ["train", "text.txt", "--sequence-stride", "0"],
    "folder of texts": ["generate", "MODEL", "-o", "nope/x"],
    "folder for a text": ["generate", "MODEL", "-o", "dir.keras"],
    "nothing to resume": ["train", "text.txt", "--resume"],
    "no epochs": ["train", "text.txt", "--epochs", "0"],
    "no units": ["train", "text.txt", "--units", "0"],
    "validation share": ["train", "text.txt", "--validation", "1"],
    "window too long": ["train", "text.txt", "--sequence-length", "5000"],
    "batch size": ["train", "text.txt", "--batch-size", "0"],
    "dropout": ["train", "text.txt", "--dropout", "1"],
    "learning rate": ["train", "text.txt", "--learning-rate", "nan"],
    "warm-up": ["train", "text.txt", "--warmup-steps", "-1"],
    "all warm-up": ["train", "text.txt", "--warmup-steps", "100000"],
    "decay": ["train", "text.txt", "--weight-decay", "-1"],
    "accumulation": ["train", "text.txt", "--gradient-accumulation-steps", "0"],
    "patience": ["train", "text.txt", "--early-stopping", "0"],
    "nothing to stop by": [
        *["train", "text.txt", "--early-stopping", "1", "--validation", "0"]
    ],
    "precision": ["train", "text.txt", "--precision", "float12"],
    "weight dropout": ["train", "text.txt", "--weight-dropout", "1"],
    "no model to describe": ["info", "text.txt"],
    "clipping": ["train", "text.txt", "--clip-value", "0"],
    "output is a folder": ["train", "text.txt", "-o", "dir.keras", "--overwrite"],
    "log exists": ["train", "text.txt", "--log", "text.txt"],
    "old file": ["generate", "old.h5"],
    "no number": ["train", "text.txt", "--dropout", "much"],
    "log folder": ["train", "text.txt", "--log", "nope/a.csv"],
    "both kinds": ["train", "text.txt", "--lines", "--many-to-many"],
    "no lines": ["train", "line.txt", "--lines"],
    "missing model": ["generate", "nope.keras"],
    "no model": ["generate", "text.txt"],
    "count": ["generate", "MODEL", "--count", "0"],
    "temperature": ["generate", "MODEL", "--temperature", "-1"],
    "tokens": ["generate", "MODEL", "--max-new-tokens", "-1"],
    "no length of a completion": ["complete", "MODEL", "--max-new-tokens", "0"],
    "stand-in": ["generate", "MODEL", "--unknown", "long"],
    "old model": ["convert", "text.txt", "new.keras", "--corpus", "text.txt"],
}


# What is typed, and the start of the message.
NAMED = {
    "generate MODEL --temperature -1": "--temperature -1.0 must be at least 0",
    "generate MODEL --temperature 1 nan": "--temperature nan must be at least 0",
    "generate MODEL --top-k 0": "--top-k 0 must be",
    "generate MODEL --top-p 2": "--top-p 2.0 must be",
    "generate MODEL --count 3 --num-beams 2": "--count 3 must .* --num-beams 2",
    "generate MODEL --num-beams 2 --novel text.txt": "--novel .* --num-beams",
    "generate MODEL MODEL --weights -1 2": "--weights -1.0 2.0 must be",
    "generate MODEL --unknown zz": "--unknown zz must be error, skip, or a symbol",
    "generate MODEL -o text.txt": "--output text.txt exists: give another name",
    "complete MODEL --max-new-tokens 0": "--max-new-tokens 0 must be at least 1",
    "complete MODEL --unknown zz": "--unknown zz must be error, skip, or a symbol",
    "train text.txt --encoding klingon": "--encoding klingon is not",
    "train text.txt --validation 1": "--validation 1.0 must be",
    "train text.txt --weight-dropout 1": "--weight-dropout 1.0 must be",
    "train text.txt --vocabulary-size 0": "--vocabulary-size 0 must be",
    "train text.txt --embedding 0": "--embedding 0 must be",
    "train text.txt --tie-weights": "--tie-weights needs --embedding 128",
    "train text.txt --temperatures -1": "--temperatures -1.0 must be",
    "train text.txt --seed -1": "--seed -1 must be at least 0",
    "train text.txt --seed 4294967296": "--seed 4294967296 must be at most 4294967295",
    "train text.txt --prompt th→": "Not in .* '→' at position 2. Give another --prompt",
    "train text.txt --many-to-many --batch-size 500": "The training part .* "
    "smaller --batch-size or --sequence-length",
    "train text.txt --resume": "--resume: the folder model.checkpoints does not",
    "train text.txt -o nope/a.keras": "--output nope/a.keras: the folder nope does not",
    "train text.txt --log text.txt": "--log text.txt exists: use --overwrite",
}


@pytest.mark.parametrize(("typed", "message"), NAMED.items(), ids=NAMED.keys())
def test_error_names_the_option(typed, message, model_file, capsys):
    arguments = [str(model_file) if each == "MODEL" else each for each in typed.split()]
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert re.match(f"textgen {arguments[0]}: error: {message}", error), error


def test_all_tokens_forbidden(model_file, capsys):
    assert run("generate", model_file, "--forbid", "".join(sorted(set(TEXT)))) == 2
    assert "error: --forbid must not have all tokens" in capsys.readouterr().err


def test_names_in_paths_and_quotes_are_not_options():
    parser = Parser()
    parser.add_argument("--batch-size")
    parser.add_argument("--count")
    message = "'batch_size', a/batch_size.txt, batch_size.txt, count: count=[1, 2] and "
    expected = message.replace("count=[1, 2]", "--count 1 2")
    assert parser.name_options(message + "batch_size.") == expected + "--batch-size."


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line(arguments, model_file, capsys):
    pathlib.Path("there.keras").write_text("precious")
    pathlib.Path("line.txt").write_text("one line " * 50)
    pathlib.Path("dir.keras").mkdir()
    pathlib.Path("old.h5").write_text("old")
    before = set(pathlib.Path().iterdir())
    arguments = [str(model_file) if each == "MODEL" else each for each in arguments]
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("textgen")
    assert ": error: " in printed.err
    assert printed.err.count("\n") == 1
    assert set(pathlib.Path().iterdir()) == before
    assert pathlib.Path("there.keras").read_text() == "precious"


def test_own_error_shows_no_traceback(monkeypatch, capsys):
    def fail(arguments):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(generate, "_generate", fail)
    assert run("generate", "a.keras") == 1
    error = capsys.readouterr().err
    assert error.startswith("textgen generate: error: RuntimeError: first second")
    assert error.count("\n") == 1


def test_overwrite(capsys):
    pathlib.Path("a.keras").write_text("old")
    assert run("train", "text.txt", "-o", "a.keras", "--overwrite", *TRAIN) == 0
    assert len(textgen.load("a.keras").vocabulary) == 28


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_interrupted_training_is_saved(tmp_path):
    command = [sys.executable, "-u", "-m", "textgen", "train", "text.txt"]
    process = subprocess.Popen(
        [*command, "-o", "a.keras", "--units", "8", "--epochs", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "after epoch 1" in line:
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Stopping: the model will be saved." in printed
    assert int(textgen.load("a.keras").optimizer.iterations) > 0


def test_closed_pipe_is_no_error(model_file):
    command = [sys.executable, "-m", "textgen", "generate", str(model_file)]
    process = subprocess.Popen(
        [*command, "--max-new-tokens", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.read(50)
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(timeout=60), errors) == (0, b"")


def test_training_outlives_the_reader_of_its_output():
    command = [sys.executable, "-u", "-m", "textgen", "train", "text.txt"]
    process = subprocess.Popen(
        [*command, "-o", "a.keras", *TRAIN, "--epochs", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"Reading text.txt\n"
    process.stdout.close()  # as `| head -1` does
    errors = process.stderr.read()
    assert (process.wait(timeout=120), errors) == (0, b"")
    assert (
        int(textgen.load("a.keras").optimizer.iterations) == 3 * 2
    )  # epochs and batches


def test_prompt_of_samples_is_unescaped(capsys):
    options = ["--prompt", r"dog\nthe", *TRAIN]
    assert run("train", "text.txt", "-o", "a.keras", *options) == 0
    printed = capsys.readouterr().out
    assert "after epoch 1\ndog\nthe" in printed


def test_resumed_training_is_the_uninterrupted_one(capsys):
    command = ["train", "text.txt", "--log", "a.csv", *TRAIN, "--dropout", 0.3]
    command += ["--max-new-tokens", 0]
    assert run(*command, "-o", "whole.keras", "--epochs", 3) == 0
    curve = pathlib.Path("a.csv").read_text()
    pathlib.Path("a.csv").unlink()
    assert run(*command, "-o", "a.keras", "--epochs", 2) == 0
    pathlib.Path("a.keras").unlink()
    capsys.readouterr()

    # What an interrupted training left is neither lost nor mixed with a new one.
    assert run("train", "text.txt", "-o", "a.keras", *TRAIN) == 2
    assert "a.checkpoints already contains a training" in capsys.readouterr().err
    pathlib.Path("other.txt").write_text("XYZ\n" * 200)
    options = ["-o", "a.keras", "--epochs", 3, "--resume"]
    assert run("train", "other.txt", *TRAIN, *options) == 2
    assert "trained on another text than other.txt" in capsys.readouterr().err

    assert run(*command, *options) == 0
    assert pathlib.Path("a.csv").read_text() == curve
    whole, parts = (textgen.load(f"{name}.keras") for name in ("whole", "a"))
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        assert (one == other).all()
    assert run(*command, *options) == 2
    assert (
        "--epochs 3 must be greater than 3, the number of epochs"
        in capsys.readouterr().err
    )
