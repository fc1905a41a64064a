"""`textgen train`; pipes and bad input are in `test_main.py`."""

import csv
import errno
import gzip
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

import keras
import numpy as np
import pytest
from command_line import SHORT, TEXT, TRAIN, run

import textgen
from textgen import files
from textgen.cli import common, main, train_safety
from textgen.models.saving import OneFile

pytestmark = pytest.mark.usefixtures("text_file")


@pytest.mark.parametrize(
    "kind", [["--windows"], ["--many-to-many"], ["--lines"], ["--level", "word"]]
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
        "--validation",
        0.1,
        *SHORT,
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


def test_train_options_reach_the_model(capsys, eager):
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
        *["train", "text.txt", "-o", "a.keras", *TRAIN, "--validation", 0],
        *["--batch-size", 10],  # no smaller last batch, which XLA would compile, too
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
    # 28 batches, of which 2 make a step: so many that the cosine has almost ended.
    batches = int(printed.out.partition(" batches")[0].split()[-1])
    assert float(schedule(batches)) < 1e-6


def test_warm_up_without_a_schedule(capsys, eager):
    options = ["--warmup-steps", 2, "--learning-rate", 0.5, "--batch-size", 90]
    assert run("train", "text.txt", "-o", "a.keras", *TRAIN, *options) == 0
    schedule = textgen.load("a.keras").optimizer._learning_rate
    assert [float(schedule(step)) for step in (0, 1, 2, 50)] == [0, 0.25, 0.5, 0.5]


def test_early_stopping_keeps_the_best_weights(capsys):
    options = ["--windows", "--units", 8, "--max-new-tokens", 0]
    options += ["--learning-rate", 1.0]
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


def printed_without_time(capsys):
    """What was printed, without the durations that Keras prints, and the file names."""
    return re.sub(
        r" - [0-9.]+m?s| [0-9.]+m?s/step|[abc]\.\w+", "", capsys.readouterr().out
    )


def arrays_of(path):
    """All arrays of a model: weights, optimizer, generators."""
    model = textgen.load(path)
    variables = [*model.variables, *model.optimizer.variables]
    return [each.numpy() for each in variables] + [each for each in model._seeds()]


def assert_equal_models(path, other):
    for one, two in zip(arrays_of(path), arrays_of(other), strict=True):
        assert (np.asarray(one) == np.asarray(two)).all()


def test_same_seed_same_weights_and_samples(capsys):
    options = [*TRAIN, "--dropout", 0.3, "--weight-dropout", 0.2]
    printed = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("train", "text.txt", "-o", f"{name}.keras", "--seed", seed, *options)
        printed[name] = printed_without_time(capsys)
    assert printed["a"] == printed["b"] != printed["c"]
    assert_equal_models("a.keras", "b.keras")
    first, other = (textgen.load(f"{name}.keras") for name in "ac")
    assert (first.get_weights()[0] != other.get_weights()[0]).any()
    sample = other.generate(TEXT.split("\n")[0][:40], 10, 1.0, seed=2)
    assert f"--- temperature 1.0, after epoch 1\n{sample}\n" in printed["c"]


def test_deterministic_operations(capsys):
    """In another process: TensorFlow cannot switch it off again."""
    code = f"""
import sys
sys.path[:0] = {[str(pathlib.Path(__file__).parent.parent)]!r}
from command_line import TRAIN, run
import numpy as np, textgen
for name in "ab":
    options = ["--deterministic", "--dropout", 0.3, *TRAIN, "--max-new-tokens", 0]
    assert run("train", "text.txt", "-o", name + ".keras", *options) == 0
from tensorflow.python.framework import config
assert config.is_op_determinism_enabled()
one, two = (textgen.load(name + ".keras").get_weights() for name in "ab")
assert all((a == b).all() for a, b in zip(one, two))
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_vocabulary_size_keeps_the_most_frequent(capsys, untrained):
    code = run("train", "text.txt", "-o", "a.keras", "--vocabulary-size", 5, *TRAIN)
    assert code == 0
    vocabulary = textgen.load("a.keras").vocabulary
    assert len(vocabulary) == 5
    assert {" ", "o", "e"} < set(vocabulary.symbols)
    assert vocabulary.unknown in vocabulary


def test_latin_1_file(capsys, untrained):
    pathlib.Path("old.txt").write_bytes(("é ü\r\n" * 200).encode("latin-1"))
    assert run("train", "old.txt", "-o", "a.keras", *TRAIN) == 2
    assert "--encoding latin-1" in capsys.readouterr().err
    code = run("train", "old.txt", "--encoding", "latin-1", "-o", "a.keras", *TRAIN)
    assert code == 0
    assert textgen.load("a.keras").vocabulary.symbols == ("\n", " ", "é", "ü")


def test_long_lines_are_cut_and_counted(capsys, untrained):
    # 99 % of the lines have up to 50 characters, so that 100 are allowed.
    lines = ["a" * 50] * 300 + ["b" * 100, "c" * 101, "d" * 500]
    pathlib.Path("lines.txt").write_text("\n".join(lines))
    command = ["train", "lines.txt", "--lines", "--validation", 0, *SHORT]
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
    options = ["--lines", "--batch-size", 6, "--units", 32, "--epochs", 15]
    options += ["--learning-rate", 0.05, "--validation", 0.1, "--max-new-tokens", 0]
    assert run("train", "lines.txt", "-o", "a.keras", *options) == 0
    assert "3 batches per pass" in capsys.readouterr().out
    assert run("generate", "a.keras", "--temperature", 0) == 0
    assert capsys.readouterr().out.rstrip("\n") in lines


def test_word_level_is_not_cut_within_a_word(capsys, untrained):
    # Every word stands once, so that half of one would be unknown.
    words = " ".join(
        f"{letter}{number}word" for number, letter in enumerate("abcdefghij" * 9)
    )
    pathlib.Path("words.txt").write_text(words)
    for share in (0.21, 0.22):
        options = ["--level", "word", "--sequence-length", 4, "--validation", share]
        code = run(
            "train", "words.txt", "-o", "a.keras", "--overwrite", *options, *TRAIN
        )
        assert code == 0, capsys.readouterr().err


def test_prompt_of_samples_is_unescaped(capsys, eager):
    options = ["--prompt", r"dog\nthe", *TRAIN]
    assert run("train", "text.txt", "-o", "a.keras", *options) == 0
    printed = capsys.readouterr().out
    assert "after epoch 1\ndog\nthe" in printed


def test_overwrite(capsys, eager):
    pathlib.Path("a.keras").write_text("old")
    assert run("train", "text.txt", "-o", "a.keras", "--overwrite", *TRAIN) == 0
    assert len(textgen.load("a.keras").vocabulary) == 28


def test_what_is_needed_to_repeat_a_training_is_noted(capsys, eager):
    pathlib.Path("text.txt").write_text(TEXT.title())
    command = ["train", "text.txt", "-o", "a b.keras", "--lowercase", *TRAIN]
    assert run(*command, "--seed", 5) == 0
    notes = textgen.load("a b.keras").notes
    file = hashlib.sha256(pathlib.Path("text.txt").read_bytes()).hexdigest()
    assert notes["corpus_sha256"] == file
    assert notes["command"] == shlex.join(map(str, ["textgen", *command, "--seed", 5]))
    assert (notes["seed"], notes["epochs"], notes["steps"]) == (5, 1, 2)
    assert notes["split"] == "the last 10 % of the text for validation"
    assert notes["versions"]["keras"] == keras.__version__
    assert {"textgen", "tensorflow", "numpy", "python"} < set(notes["versions"])
    assert "options" not in notes


# === Several corpora ===


@pytest.fixture
def poems():
    """Files whose joined text is `TEXT` two times, with a newline between them."""
    pathlib.Path("poems").mkdir()
    pathlib.Path("poems/a.txt").write_text(TEXT.rstrip("\n"))
    pathlib.Path("poems/b.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    return ["poems/a.txt", "poems/b.txt.gz"]


def test_several_corpora(poems, capsys, eager):
    command = ["train", *poems, "-o", "a.keras", *TRAIN]
    assert run(*command) == 0
    assert "Reading poems/a.txt, poems/b.txt.gz\n" in capsys.readouterr().out
    notes = textgen.load("a.keras").notes
    assert notes["corpus"] == "a.txt, b.txt.gz"
    assert notes["corpus_sha256"] == hashlib.sha256(2 * TEXT.encode()).hexdigest()
    assert notes["command"] == shlex.join(map(str, ["textgen", *command]))

    # The same text, as a folder, a pattern or one file.
    pathlib.Path("text.txt").write_text(2 * TEXT)
    for corpus in ("poems", "poems/*", "./text.txt"):
        assert run("evaluate", "a.keras", corpus, "--held-out") == 0
    printed = capsys.readouterr().out
    assert len(set(re.findall("nats: .*", printed))) == 1

    assert run("train", "poems", "-o", "a.keras", "--epochs", 2, "--resume") == 0
    notes = textgen.load("a.keras").notes
    assert (notes["corpus"], notes["epochs"]) == ("poems", 2)
    capsys.readouterr()
    pathlib.Path("poems/a.txt").write_text(TEXT + "the fox")
    assert run(*command, "--epochs", 3, "--resume") == 2
    error = capsys.readouterr().err
    assert "was trained on another text than poems/a.txt, poems/b.txt.gz:" in error


def test_dry_run_with_several_corpora(poems, capsys):
    pathlib.Path("-c.txt").write_text("the fox\n")
    command = ["train", "--dry-run", "--windows", "--", *poems, "-c.txt"]
    assert run(*command) == 0
    typed, _, code = capsys.readouterr().out.partition("In Python:")
    typed = typed[typed.index("textgen train") :].replace("\\\n", " ")
    arguments = main._parser().parse_args(shlex.split(typed)[1:])
    assert arguments.corpus == [*poems, "./-c.txt"]
    line = next(line for line in code.splitlines() if line.startswith("corpus = "))
    scope = {"textgen": textgen}
    exec(line, scope)
    corpus = scope["corpus"]
    assert corpus.tokenizer.decode(corpus.ids) == 2 * TEXT + "the fox\n"


def test_binary_files_of_a_folder_are_a_warning_in_one_line(poems, capsys, eager):
    pathlib.Path("poems/c.png").write_bytes(b"\x89PNG")
    message = "warning: poems: 1 binary file left out: c.png.\n"
    assert run("train", "poems", "--dry-run", "--windows") == 0
    assert capsys.readouterr().err == f"textgen train: {message}"
    assert run("train", "poems", "-o", "a.keras", *TRAIN) == 0
    assert capsys.readouterr().err == f"textgen train: {message}"
    assert run("evaluate", "a.keras", "poems") == 0
    assert capsys.readouterr().err == f"textgen evaluate: {message}"


# === Stopping and resuming ===


class StopAt(textgen.SampleText):
    """Prints samples; sends a signal to this process in a step or a validation."""

    signal = batch = in_validation = None

    def on_train_batch_end(self, batch, logs=None):
        if self._batches == StopAt.batch and not StopAt.in_validation:
            signal.raise_signal(StopAt.signal)
        super().on_train_batch_end(batch, logs)

    def on_test_batch_begin(self, batch, logs=None):
        if self._batches == StopAt.batch and StopAt.in_validation:
            signal.raise_signal(StopAt.signal)


def samples_of(printed):
    return re.findall("--- temp.*?(?=--- temp|Epoch|Saved)", printed, re.DOTALL)


@pytest.fixture
def stop_at(monkeypatch):
    """A function `(number, batch, in_validation)`: the next training stops there."""

    def stop(number, batch, in_validation=False):
        monkeypatch.setattr(StopAt, "signal", number)
        monkeypatch.setattr(StopAt, "batch", batch)
        monkeypatch.setattr(StopAt, "in_validation", in_validation)

    monkeypatch.setattr(textgen, "SampleText", StopAt)
    return stop


def curve_of(path):
    """The rows of a log without their times."""
    with open(path, newline="") as file:
        return [{**row, "seconds": None} for row in csv.DictReader(file)]


def test_a_stopped_training_continues_exactly_with_the_printed_command(stop_at, capsys):
    options = ["--log", "a b.csv", *TRAIN, "--epochs", 3, "--dropout", 0.3]
    options += ["--batch-size", 20, "--early-stopping", 9]
    options += ["--schedule", "cosine", "--prompt", "the 'quick"[:4]]
    command = ["train", "text.txt", "-o", "a.keras", *options]
    assert run(*command) == 0
    samples = samples_of(capsys.readouterr().out)
    assert len(samples) == 6
    os.rename("a.keras", "whole.keras")
    curve = curve_of("a b.csv")
    shutil.rmtree("a.checkpoints")
    os.remove("a b.csv")
    before = signal.getsignal(signal.SIGTERM)

    printed = ""
    batches = textgen.load("whole.keras").notes["steps"] // 3
    for number, batch, in_validation in (
        (signal.SIGTERM, 4, False),
        (signal.SIGINT, batches + 5, False),
        (signal.SIGHUP, 2 * batches, True),
    ):
        stop_at(number, batch, in_validation)
        assert run(*command) == 128 + number
        out, error = capsys.readouterr()
        printed += out
        how = shlex.join(map(str, ["textgen", *command]))
        how += "" if "--resume" in command else " --resume"
        assert error.count("\n") == 1
        assert error.endswith(f": {how}\n")
        assert not os.path.exists("a.keras")
        assert not os.path.exists(".a.keras.lock")
        assert signal.getsignal(signal.SIGTERM) is before
        command = shlex.split(how)[1:]

    stop_at(None, None)
    assert run(*command) == 0
    printed += capsys.readouterr().out
    assert samples_of(printed) == samples
    assert curve_of("a b.csv") == curve
    assert_equal_models("a.keras", "whole.keras")
    notes, whole = (textgen.load(f"{n}.keras").notes for n in ("a", "whole"))
    assert {**notes, "command": None} == {**whole, "command": None}
    # Once more: nothing is left to train, and the same model is saved.
    os.rename("a.keras", "b.keras")
    assert run(*command) == 0
    assert_equal_models("a.keras", "b.keras")


def test_resume_refuses_what_cannot_continue(stop_at, capsys):
    start = ["train", "text.txt", "-o", "a.keras", *TRAIN, "--batch-size", 20]
    stop_at(signal.SIGTERM, 15)  # in the second epoch
    assert run(*start, "--epochs", 2) == 143
    stop_at(None, None)
    assert run(*start) == 2
    assert "a.checkpoints already contains a training" in capsys.readouterr().err
    pathlib.Path("other.txt").write_text(TEXT + "the fox\n")
    states = {path.name for path in pathlib.Path("a.checkpoints").iterdir()}
    for options, message in {
        "--batch-size 30": "--batch-size 20, and cannot continue with --batch-size 30 "
        "in the middle of epoch 2",
        "--sequence-stride 4": "--sequence-stride 3, .* --sequence-stride 4 in the",
        "--sequence-length 30": "--sequence-length 40, .* --sequence-length 30: repeat",
        "--seed 1": "--seed 0, and cannot continue with --seed 1",
        "--many-to-many": "no --many-to-many, .* with --many-to-many",
        "--lowercase": "no --lowercase, and cannot continue with --lowercase",
        "--validation 0.2": "--validation 0.1, .* --validation 0.2",
        "--units 8 8": "--units 8, and cannot continue with --units 8 8:",
        "--no-jit": "no --jit, and cannot continue with --no-jit",
        "--vocabulary-size 9": "no --vocabulary-size, .* --vocabulary-size 9",
        "--epochs 1": "--epochs 1 must be at least 2",
        "other.txt": "trained on another text than other.txt",
    }.items():
        words = options.split()
        corpus = [words.pop()] if words[0] == "other.txt" else [start[1]]
        same = [word for word in start[2:] if word != "--windows"]  # not repeated
        changed = [start[0], *corpus, *same, "--epochs", 2, *words, "--resume"]
        assert run(*changed) == 2, options
        error = capsys.readouterr().err
        assert re.search(message, error), error
    assert {path.name for path in pathlib.Path("a.checkpoints").iterdir()} == states
    assert not os.path.exists("a.keras")

    more = ["--learning-rate", 0.5, "--clip-value", 2, "--weight-decay", 0.1]
    more += ["--epochs", 3, "--log", "new.csv", "--temperatures", 0, "--resume"]
    assert run(*start, *more) == 0
    optimizer = textgen.load("a.keras").optimizer
    assert float(optimizer.learning_rate) == 0.5
    assert (optimizer.clipvalue, optimizer.weight_decay) == (2, 0.1)
    # After an epoch, the size of the batches can change; a schedule can begin and end.
    for options, rate in (
        (["--batch-size", 30, "--epochs", 4, "--schedule", "cosine"], 0.0),
        (["--batch-size", 30, "--epochs", 5, "--schedule", "constant"], 0.5),
    ):
        assert run(*start, *options, "--resume") == 0
        optimizer = textgen.load("a.keras").optimizer
        assert float(optimizer.learning_rate) == pytest.approx(rate, abs=1e-3)


def test_a_signal_before_the_training_ends_at_once(monkeypatch, capfd):
    def leave(code):
        raise SystemExit(code)  # instead of the end of this process

    def read(*_, **__):
        assert os.path.exists(".a.keras.lock")
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(common, "prepare_or_reuse", read)
    assert run("train", "text.txt", "-o", "a.keras", *TRAIN) == 143
    error = capfd.readouterr().err
    assert error == "\nStopped before the first training step: nothing was saved.\n"
    assert os.listdir() == ["text.txt"]


def test_a_signal_while_the_model_is_saved_waits(monkeypatch, capsys, eager):
    save = train_safety.save

    def stop_and_save(*arguments):
        signal.raise_signal(signal.SIGINT)
        save(*arguments)

    monkeypatch.setattr(train_safety, "save", stop_and_save)
    assert run("train", "text.txt", "-o", "a.keras", *TRAIN) == 130
    assert textgen.load("a.keras").notes["epochs"] == 1


def test_command_to_resume_has_the_option_once_and_before_file_names(monkeypatch):
    command = train_safety.command_of
    assert command(["train", "a b", "-o", "x"], "--resume") == (
        "textgen train 'a b' -o x --resume"
    )
    assert command(["train", "a", "--resume"], "--resume") == "textgen train a --resume"
    assert (
        command(["train", "a", "b c"], "--resume") == "textgen train a 'b c' --resume"
    )
    assert command(["train", "--", "-a"], "--resume") == "textgen train --resume -- -a"
    monkeypatch.setenv("TEXTGEN_PROCESSES", "3")
    assert command(["train", "a"], "--resume") == (
        "textgen launch --processes 3 train a --resume"
    )


# === Errors ===


def finite(path):
    return all(np.isfinite(array).all() for array in arrays_of(path))


def test_a_training_that_diverges_keeps_the_last_finite_state(monkeypatch, capsys):
    class Poison(textgen.SampleText):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if self._batches == 20:
                self.model.trainable_variables[0].assign_add([np.nan] * 32)

    pathlib.Path("a.keras").write_text("old")
    command = ["train", "text.txt", "-o", "a.keras", *TRAIN, "--overwrite"]
    command += ["--batch-size", 20, "--learning-rate", 0.5, "--epochs", 3]
    with monkeypatch.context() as patch:
        patch.setattr(textgen, "SampleText", Poison)
        assert run(*command) == 2
    printed, error = capsys.readouterr()
    assert "Saved" not in printed
    assert error.startswith("textgen train: error: The ")
    assert error.count("\n") == 1
    assert pathlib.Path("a.keras").read_text() == "old"
    kept = [*pathlib.Path("a.checkpoints").glob("*.keras")]
    assert all(map(finite, kept))
    how = shlex.join(map(str, ["textgen", *command]))
    assert error.endswith(f": {how} --learning-rate 0.05 --resume\n")
    assert str(max(kept)) in error
    words = error[error.rindex("textgen train") :].split()
    assert run(*words[1:]) == 0
    assert finite("a.keras")


def full_disk(monkeypatch, *folders):
    """Saving fails in folders, for files that are no checkpoints."""
    write = OneFile.write

    def fail(model, path, *arguments, **options):
        parent = pathlib.Path(path).resolve().parent
        if path.name in ("a.keras", "final.keras") and any(
            parent.is_relative_to(pathlib.Path(each).resolve()) for each in folders
        ):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(model, path, *arguments, **options)

    monkeypatch.setattr(OneFile, "write", fail)


def test_a_full_disk_at_the_end_leaves_the_model_in_another_folder(
    tmp_path_factory, monkeypatch, capsys, eager
):
    other, home = (tmp_path_factory.mktemp(name) for name in ("other", "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    monkeypatch.setenv("HOME", str(home))
    here = pathlib.Path().resolve()
    command = ["train", "text.txt", "-o", "a.keras", "--validation", 0, *TRAIN]
    pathlib.Path("a.keras").write_text("old")
    states = tmp_path_factory.mktemp("states")
    command += ["--overwrite", "--checkpoint", states]
    places = [here, states, other, home]
    for number, place in enumerate(places[1:], 1):
        with monkeypatch.context() as patch:
            full_disk(patch, *places[:number])
            assert run(*command) == 2
        error = capsys.readouterr().err
        [saved] = place.rglob("final.keras")
        assert f"The model was saved as {saved} instead" in error
        assert "No space left on device" in error
        assert error.count("\n") == 1
        assert int(textgen.load(saved).optimizer.iterations) == 3
        assert pathlib.Path("a.keras").read_text() == "old"
    full_disk(monkeypatch, *places)
    assert run(*command) == 2
    error = capsys.readouterr().err
    assert "No other folder could be written either. The last checkpoint is" in error


def test_a_full_disk_under_the_log_does_not_stop_the_training(
    monkeypatch, capsys, eager
):
    write = files.write_text

    def fail(path, text):
        if str(path) == "a.csv":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text)

    monkeypatch.setattr(files, "write_text", fail)
    options = [*TRAIN, "--epochs", 3, "--log", "a.csv"]
    assert run("train", "text.txt", "-o", "a.keras", *options) == 0
    assert capsys.readouterr().err == (
        "textgen train: warning: The log a.csv cannot be written (No space left on "
        "device); the training continues.\n"
    )
    assert textgen.load("a.keras").notes["epochs"] == 3


def test_what_cannot_be_written_is_found_before_the_training(monkeypatch, capsys):
    monkeypatch.setattr(common, "prepare_or_reuse", None)  # nothing is read
    os.mkdir("folder.keras")
    os.mkfifo("pipe.keras")
    os.symlink("missing/a.keras", "link.keras")
    pathlib.Path("file").write_text("")
    pathlib.Path("readonly.keras").write_text("old")
    os.chmod("readonly.keras", 0o400)
    monkeypatch.setattr(
        os, "access", lambda path, _: bool(os.stat(path).st_mode & stat.S_IWUSR)
    )
    lock = files.Lock(".locked.keras.lock", "The output")
    before = sorted(os.listdir())
    for options, message in {
        "-o folder.keras": "--output folder.keras is a folder",
        "-o pipe.keras": "--output pipe.keras is a device or a named pipe",
        "-o link.keras": "--output link.keras: .*missing does not exist",
        "-o missing/a.keras": "the folder missing does not exist",
        "-o readonly.keras": "--output readonly.keras is read-only",
        "--log pipe.keras": "--log pipe.keras is a device or a named pipe",
        "--checkpoint file": "--checkpoint file is a file",
        "--checkpoint missing/states": "the folder missing does not exist",
        "-o locked.keras": rf"--output locked.keras is in use .*process {os.getpid()}",
    }.items():
        assert run("train", "text.txt", "--overwrite", *options.split(), *TRAIN) == 2
        error = capsys.readouterr().err
        assert re.search(message, error), error
        assert sorted(os.listdir()) == before
    lock.release()


def test_too_little_space_or_memory_is_found_before_the_training(monkeypatch, capsys):
    free = shutil._ntuple_diskusage(10**9, 10**9 - 50_000, 50_000)
    command = ["train", "text.txt", "-o", "a.keras", *TRAIN]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: free)
        assert run(*command) == 2
    error = capsys.readouterr().err
    assert re.search(
        r"has 50 kB free\. The model and its checkpoints need [\d.]+ kB", error
    )
    assert run(*command, "--units", 10**6) == 2
    error = capsys.readouterr().err
    assert "has 4,000,144,000,028 weights. Its training needs 64 TB of memory" in error
    for option in ("--units", "--batch-size", "--gradient-accumulation-steps"):
        assert run(*command, option, 10**20) == 2
        error = capsys.readouterr().err
        assert f"{option} {10**20} must be at most 2147483647" in error
    assert run(*command, "--epochs", "1e400") == 2
    assert "--epochs: invalid int value: '1e400'" in capsys.readouterr().err
    assert os.listdir() == ["text.txt"]
