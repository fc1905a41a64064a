"""`textgen train` without options: what it chooses, and when it ends."""

import argparse
import csv
import pathlib
import re
import shlex
import signal

import numpy as np
import pytest
from command_line import TEXT, run

import textgen
from textgen.advice import rules, suggestion
from textgen.cli import train_choice, train_options, train_watching
from textgen.training import time_budget

pytestmark = pytest.mark.usefixtures("text_file")

SMALL = ["--max-new-tokens", 5, "--cell", "simple_rnn"]


@pytest.fixture
def fast_clock(monkeypatch):
    """Each look at the clock of `TimeBudget` takes 0.2 seconds of the minutes."""
    now = [0.0]

    def clock():
        now[0] += 0.2
        return now[0]

    monkeypatch.setattr(time_budget, "_clock", clock)
    monkeypatch.setattr(train_choice.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(suggestion, "step_seconds", lambda *_: 0.8)
    return now


def test_chosen_training_ends_by_the_clock(fast_clock, capsys):
    assert run("train", "text.txt", "-o", "a.keras", "--minutes", 1, *SMALL) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    assert 54 < fast_clock[0] < 66
    assert "running text, because its lines have about the same length" in printed
    lines = re.findall(
        r"(\d+) s of 1 min 00 s: loss .*, held-out loss ([\d.]+)", printed
    )
    assert 2 <= len(lines) <= 20
    best = min(float(loss) for _, loss in lines)
    assert f"Held-out loss: {best:.4f} nats per token" in printed
    model = textgen.load("a.keras")
    assert model.notes["held_out_nats"] == pytest.approx(best, abs=1e-4)
    assert {"options", "curve"}.isdisjoint(model.notes)
    assert model.return_sequences
    assert model.cell == "simple_rnn"  # it was given
    assert model.units[0] in (64, 96, 128, 192, 256, 384, 512, 768, 1024)


def test_a_line_now_and_then_also_within_an_epoch(fast_clock, monkeypatch, capsys):
    monkeypatch.setattr(train_watching, "SILENCE", 3.0)
    assert run("train", "text.txt", "-o", "a.keras", "--minutes", 1, *SMALL) == 0
    seconds = re.findall(r"^(\d+) s of 1 min 00 s: loss", capsys.readouterr().out, re.M)
    silences = np.diff([int(each) for each in seconds])
    assert len(silences) > 9
    assert max(silences) <= 6


def test_without_a_time_it_has_the_default(fast_clock, monkeypatch, capsys):
    made = []
    build = textgen.Setup.datasets

    def datasets(setup, *arguments):
        made.append(setup)
        return build(setup, *arguments)

    monkeypatch.setattr(train_options, "MINUTES", 1.0)
    monkeypatch.setattr(textgen.Setup, "datasets", datasets)
    assert run("train", "text.txt", "-o", "a.keras", *SMALL, "--units", 8) == 0
    assert 54 < fast_clock[0] < 66
    assert len(made) == 1  # the text is encoded once
    printed = capsys.readouterr().out
    assert re.search("more time|still falling|hardly falling", printed, re.IGNORECASE)


def test_epochs_are_passes_also_with_a_time(fast_clock, capsys):
    pathlib.Path("text.txt").write_text(TEXT + "the quick ")
    options = ["--minutes", 1, "--epochs", 2, "--units", 8, "--many-to-many", *SMALL]
    assert run("train", "text.txt", "-o", "a.keras", *options) == 0
    batches = int(capsys.readouterr().out.partition(" batches per")[0].split()[-1])
    notes = textgen.load("a.keras").notes
    assert batches == 24  # could be divided
    assert (notes["epochs"], notes["steps"]) == (2, 2 * batches)


def test_the_file_has_the_weights_of_the_best_epoch(fast_clock, monkeypatch, capsys):
    class Worse(textgen.SampleText):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.output_layer.bias.assign_add([9.0] + [0.0] * 27)

    monkeypatch.setattr(textgen, "SampleText", Worse)
    options = ["--minutes", 1, *SMALL, "--units", 16, "--learning-rate", 1e-4]
    assert run("train", "text.txt", "-o", "a.keras", *options, "--log", "a.csv") == 0
    with open("a.csv", encoding="utf-8", newline="") as log:
        losses = [float(row["val_loss"]) for row in csv.DictReader(log)]
    assert len(losses) >= 4
    assert losses[0] == min(losses)
    assert losses[-1] > 1.01 * losses[0]
    model = textgen.load("a.keras")
    ids = model.vocabulary.encode(pathlib.Path("text.txt").read_text())
    setup = textgen.Setup(
        "sequences",
        stateful=True,
        sequence_length=model.sequence_length,
        batch_size=model.batch_size,
    )
    _, held_out = textgen.split(ids, 0.1)
    _, validation, _ = setup.datasets(ids, held_out, model.vocabulary)
    found = model.evaluate(validation, verbose=0)
    assert found == pytest.approx(min(losses), abs=1e-4)
    printed = capsys.readouterr().out
    assert "It was lowest after" in printed
    assert "More time would not help; more text would." in printed


def test_stopped_training_has_the_remaining_time(fast_clock, monkeypatch, capsys):
    class Stop(textgen.SampleText):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 20:
                signal.raise_signal(signal.SIGTERM)

    command = ["train", "text.txt", "-o", "a.keras", "--minutes", 1, "--units", 8]
    with monkeypatch.context() as patch:
        patch.setattr(textgen, "SampleText", Stop)
        assert run(*command, *SMALL) == 143
    stopped = fast_clock[0]
    assert 5 < stopped < 50
    printed = capsys.readouterr().out
    # Options need not be repeated; the choice is that of the first run.
    monkeypatch.setattr(suggestion, "step_seconds", None)
    assert run("train", "text.txt", "-o", "a.keras", "--resume") == 0
    assert fast_clock[0] == pytest.approx(60, abs=7)
    model = textgen.load("a.keras")
    assert (model.units, model.cell) == ((8,), "simple_rnn")
    assert "of 1 min 00 s" in printed + capsys.readouterr().out


def test_dry_run_prints_a_command_and_python_that_do_the_same(
    fast_clock, monkeypatch, capsys
):
    pathlib.Path("text.txt").write_text(TEXT.title())
    options = ["--units", 12, "--lowercase", "--embedding", 0]
    assert run("train", "text.txt", "--dry-run", "--minutes", 2, *options) == 0
    printed = capsys.readouterr().out
    assert sorted(each.name for each in pathlib.Path().iterdir()) == ["text.txt"]
    command, _, code = printed.partition("textgen train ")[2].partition("In Python:")
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["text.txt", "--minutes", "2"]
    # Everything is given, so that the same network is trained, without a choice.
    position = words.index("--minutes")
    words[position : position + 2] = ["--epochs", "2"]
    with monkeypatch.context() as patch:  # the code below is what trains
        patch.setattr(textgen.LanguageModel, "fit", lambda *_, **__: None)
        assert run("train", *words, "-o", "a.keras", "--max-new-tokens", 0) == 0
    model = textgen.load("a.keras")
    capsys.readouterr()
    code = code.replace("TimeBudget(2)", "TimeBudget(0.05)")
    scope = {}
    exec(code.replace("epochs=10**6", "verbose=0, epochs=10**6"), scope)
    for name, value in scope["model"].get_config().items():
        if name not in ("name", "notes"):
            assert model.get_config()[name] == value, name
    optimizer, other = scope["model"].optimizer, model.optimizer
    assert optimizer.beta_2 == other.beta_2
    assert optimizer.global_clipnorm == other.global_clipnorm


def test_a_large_vocabulary_gets_a_sampled_softmax(fast_clock, capsys, monkeypatch):
    monkeypatch.setattr(rules, "SAMPLED_FROM", 20)
    monkeypatch.setattr(rules, "SAMPLED", 8)
    pathlib.Path("text.txt").write_text(TEXT)
    command = ["train", "text.txt", "-o", "a.keras", "--overwrite", "--units", 8]
    command += ["--epochs", 1, "--max-new-tokens", 0]
    assert run(*command) == 0
    assert textgen.load("a.keras").sampled_softmax == 8
    printed = " ".join(capsys.readouterr().out.split())
    assert "a sampled softmax of 8 tokens" in printed
    assert "the held-out loss is exact" in printed
    # What follows is decided before the training.
    monkeypatch.setattr(textgen.LanguageModel, "fit", lambda *_, **__: None)
    assert run(*command, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "--sampled-softmax 8" in printed
    assert "compile(setup.optimizer(), sampled_softmax=setup.sampled_soft" in printed
    assert run(*command, "--sampled-softmax", 0) == 0
    assert textgen.load("a.keras").sampled_softmax == 0
    assert "sampled" not in capsys.readouterr().out
    assert run(*command, "--sampled-softmax", -1) == 2
    assert run(*command, "--sampled-softmax", 999) == 2
    assert (
        "--sampled-softmax 999 must be at least 0, and at most 28"
        in capsys.readouterr().err
    )


def test_windows_are_the_setup_of_the_courses(capsys):
    assert run("train", "text.txt", "--dry-run", "--windows") == 0
    printed = capsys.readouterr().out
    for words in ("--epochs 10", "--units 128", "--windows", "--cell lstm"):
        assert words in printed
    assert "textgen.Setup()" in printed


def test_many_symbols_get_an_embedding(untrained, capsys):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 1001)))
    for characters, size in ((1001, 64), (1000, None)):
        pathlib.Path("text.txt").write_text(text[:characters] * 2)
        command = ["train", "text.txt", "-o", "a.keras", "--windows", "--units", 4]
        command += ["--epochs", 1, "--max-new-tokens", 1, "--overwrite"]
        assert run(*command) == 0
        assert textgen.load("a.keras").embedding == size
        printed = "the input is an embedding of size 64" in capsys.readouterr().out
        assert printed == (size is not None)
    pathlib.Path("text.txt").write_text(text * 2)
    assert run(*command, "--embedding", 0) == 0
    assert textgen.load("a.keras").embedding is None


def test_lines_are_recognised(capsys):
    names = [f"{'abcdefgh'[: 3 + number % 5]}{number % 7}" for number in range(300)]
    pathlib.Path("text.txt").write_text("\n".join(names))
    options = ["--epochs", 1, "--units", 8, *SMALL]
    assert run("train", "text.txt", "-o", "a.keras", *options) == 0
    assert "Each line is read as a text of its own, because" in capsys.readouterr().out
    model = textgen.load("a.keras")
    assert model.notes["lines"]
    assert model.end_token == model.vocabulary.ids["\n"]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([], "Nothing was held out"),
        ([2.0, 1.5], "1.5000 nats per token, 2.164 bits, perplexity 4.48"),
        (
            [3.0, 2.0, 1.9, 1.8, 1.7, 1.6],
            r"still falling: 10 minutes would bring about 1\.5\d\.",
        ),
        ([3.0, 1.6, 1.6, 1.6, 1.6, 1.6], "hardly falling any more"),
        ([3.0, 1.7, 1.604, 1.6, 1.603, 1.604], "hardly falling any more"),
        ([3.0, 1.6, 1.7, 1.8, 1.9, 2.0], "lowest after 33% of the time"),
    ],
)
def test_outcome(losses, expected):
    assert re.search(expected, train_choice.outcome(losses, 5.0))


def test_options_of_a_checkpoint_replace_only_defaults():
    parser = argparse.ArgumentParser()
    parser.set_defaults(**dict.fromkeys(train_choice.CHOICES))
    parser.add_argument("--units", type=int, nargs="+")
    parser.add_argument("--level", default="character")
    parser.add_argument("--lines", action="store_true")
    parser.add_argument("--windows", action="store_true")
    parser.add_argument("--many-to-many", action="store_true")
    arguments = parser.parse_args(["--lines"])
    arguments.parser = parser
    before = {"units": [9], "level": "word", "windows": True, "many_to_many": False}
    train_choice.restore(arguments, before)
    assert (arguments.units, arguments.level) == ([9], "word")
    assert (arguments.lines, arguments.windows) == (True, False)
    # What an older version did not know has the value that it had then.
    assert (arguments.stateful, arguments.beta_2, arguments.cell) == (
        *(False, 0.999),
        "lstm",
    )
