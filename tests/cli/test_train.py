"""`textgen train`; pipes and bad input are in `test_main.py`."""

import csv
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from command_line import TEXT, TRAIN, run

import textgen

pytestmark = pytest.mark.usefixtures("text_file")


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


def test_prompt_of_samples_is_unescaped(capsys):
    options = ["--prompt", r"dog\nthe", *TRAIN]
    assert run("train", "text.txt", "-o", "a.keras", *options) == 0
    printed = capsys.readouterr().out
    assert "after epoch 1\ndog\nthe" in printed


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
