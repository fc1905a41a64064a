import io
import sys
import types

import keras
import numpy as np
import pytest
from rich.console import Console

import textgen
from textgen.training import live
from textgen.training.live import State, render

STATE = State(
    "Epoch 3 of 20",
    0.14,
    "4 min 10 s left",
    ("loss 1.7342", "held-out loss 1.6891 \u2193, the best", "12,300 characters/s"),
    [
        (
            "temperature 0.5, after epoch 2",
            "shall i\tcompare\nand \x1b[31m" + "or " * 60,
        ),
        ("temperature 1.0, after epoch 2", "寒随穷律变，春逐鸟声开。" * 9),
    ],
)


def console(width=80, height=24, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    return Console(
        file=file, width=width, height=height, force_terminal=True, color_system=None
    )


def lines(width=80, height=24, encoding="utf-8"):
    return render(STATE, console(width, height, encoding)).split("\n", allow_blank=True)


def test_block():
    found = [line.plain.rstrip() for line in lines()]
    assert found[0].split() == [
        *["Epoch", "3", "of", "20", "━" * 4 + "─" * 26, "14%"],
        *["4", "min", "10", "s", "left"],
    ]
    assert found[1:5] == [
        "loss 1.7342   held-out loss 1.6891 \u2193, the best   12,300 characters/s",
        "",
        "temperature 0.5, after epoch 2",
        "shall i compare",
    ]
    assert found[5].startswith(r"and \x1b[31mor or or")
    assert found[-1] == ""


@pytest.mark.parametrize("height", [2, 3, 5, 9, 24, 60])
@pytest.mark.parametrize("width", [1, 2, 12, 40, 79, 200])
def test_block_fits_into_the_terminal(width, height):
    found = lines(width, height)
    # A wide character can not be cut.
    assert max(line.cell_len for line in found) <= max(1, min(width - 1, 78))
    assert len(found) <= max(2, height - 1)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_block_has_only_what_the_encoding_has(encoding):
    text = render(STATE, console(encoding=encoding)).plain
    assert text.encode(encoding).decode(encoding) == text
    assert "loss 1.6891, the best" in text
    assert "####--" in text
    assert r"\u5bd2\u968f" in text


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def replace():  # in the test: pytest replaces it before each
        monkeypatch.setattr(sys, "stdout", Terminal())
        return sys.stdout

    return replace


@pytest.mark.parametrize(
    ("name", "value"), [("TERM", "dumb"), ("TERM", "unknown"), ("CI", "true")]
)
def test_terminals_that_are_not_suitable(terminal, monkeypatch, name, value):
    terminal()
    assert live.is_suitable()
    monkeypatch.setenv(name, value)
    assert not live.is_suitable()


def test_a_pipe_is_not_suitable(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert not live.is_suitable()


@pytest.fixture
def states(monkeypatch):
    """What a progress shows, one `State` after the other; `None` at the end."""
    found = []

    class Block:
        def start(self):
            pass

        def show(self, state):
            found.append(state)

        def stop(self):
            found.append(None)

    monkeypatch.setattr(live, "Block", Block)
    monkeypatch.setattr(live, "is_suitable", lambda: True)
    monkeypatch.setattr("textgen.training.progress._INTERVAL", 0.0)
    return found


VOCABULARY = textgen.Vocabulary.from_text("abcdef \n")


@pytest.fixture
def model():
    model = textgen.LanguageModel(VOCABULARY, units=4, return_sequences=True)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    return model


IDS = np.arange(97) % 8


def data():
    return textgen.SequenceDataset(IDS, sequence_length=4, batch_size=6)


def test_what_a_training_shows(states, model, capsys):
    progress = textgen.Progress()
    samples = textgen.SampleText("a", 0.0, max_new_tokens=3, show=progress.show)
    validation = textgen.SequenceDataset(IDS[:30], 4, batch_size=6)
    history = model.fit(
        data(),
        epochs=2,
        validation_data=validation,
        callbacks=[progress, samples],
    ).history
    assert "step" not in capsys.readouterr().out  # no bar of Keras
    assert states[-1] is None
    states.pop()
    assert states[0].share == 0
    assert states[0].fields == ["compiling"]
    last = states[-1]
    assert (last.label, last.share) == ("Epoch 2 of 2", 1.0)
    assert last.time.startswith("in ")
    [(heading, text)] = last.samples
    assert heading == "temperature 0.0, after epoch 2"
    assert text == model.generate("a", 3, 0.0, seed=0)
    losses = history["val_loss"]
    fell = losses[1] < losses[0]
    end = " \u2193, the best" if fell else f" \u2191, best {losses[0]:.4f}"
    assert last.fields[:2] == [
        f"loss {history['loss'][1]:.4f}",
        f"held-out loss {losses[1]:.4f}{end}",
    ]
    assert last.fields[2].endswith(" characters/s")
    shares = [state.share for state in states]
    assert shares == sorted(shares)
    steps = 2 * len(data())
    expected = [number / steps for number in range(steps + 1)]
    np.testing.assert_allclose(sorted(set(shares)), expected)


def test_speed_is_that_of_targets(states, model):
    progress = textgen.Progress(characters_per_token=4.0)
    progress.set_model(types.SimpleNamespace(vocabulary=VOCABULARY))
    progress.expect(data(), None)
    assert progress._speed(0.5) == f"{2 * 6 * 4} characters/s"
    words = types.SimpleNamespace(level="word")
    progress.set_model(types.SimpleNamespace(vocabulary=words))
    assert progress._speed(0.01) == "2,400 tokens (9,600 characters)/s"
    progress.expect(textgen.WindowDataset(IDS, 5, 1, 8), None)
    assert progress._speed(1.0) == "8 tokens (32 characters)/s"
    lines = textgen.LineDataset(VOCABULARY.encode("ab\nabcde\n" * 3), 7, batch_size=3)
    progress.expect(lines, None)
    assert progress._speed(1.0).startswith(f"{27 / len(lines):.0f} tokens")
    progress.expect(np.zeros((3, 4)), None)
    assert progress._speed(0.25) == "4 batches/s"


def test_time_budget(states, model):
    budget = textgen.TimeBudget(5, reserve=299)
    model.fit(data(), epochs=50, callbacks=[budget, textgen.Progress(budget)])
    first = states[0]
    assert first.label == "Training"
    assert 0 <= first.share < 0.02
    assert first.time in ("5 min 00 s left", "4 min 59 s left", "4 min 58 s left")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_ends_the_block(states, model, error):
    def fail(batch, logs):
        raise error

    failing = keras.callbacks.LambdaCallback(on_train_batch_end=fail)
    with pytest.raises(error):
        model.fit(data(), callbacks=[textgen.Progress(), failing])
    assert states[-1] is None
    assert states.count(None) == 1


@pytest.mark.parametrize(
    ("verbose", "bar", "line"), [(0, False, False), (1, True, True), (2, False, True)]
)
def test_without_a_terminal_it_is_the_bar_of_keras(model, capsys, verbose, bar, line):
    progress = textgen.Progress()
    samples = textgen.SampleText("a", 0.0, max_new_tokens=3, show=progress.show)
    model.fit(data(), verbose=verbose, callbacks=[progress, samples])
    printed = capsys.readouterr().out
    assert ("\u2501" in printed) == bar
    assert ("loss: " in printed) == line
    sample = model.generate("a", 3, 0.0, seed=0)
    assert printed.endswith(f"--- temperature 0.0, after epoch 1\n{sample}\n")


def test_the_best_is_that_of_the_training_before_a_resume(states, model):
    progress = textgen.Progress()
    model.fit(data(), validation_data=data(), callbacks=[progress])
    state = progress.get_state()
    other = textgen.Progress()
    other.set_params({"verbose": 1, "epochs": 3, "steps": 4})
    other.set_model(model)
    other.on_train_begin()
    other.set_state({"held_out": [2.0, 1.75, 1.5]})
    other.on_epoch_end(2, {"loss": 1.0, "val_loss": 1.625})
    assert states[-1].fields[1] == "held-out loss 1.6250 \u2193, best 1.5000"
    assert len(state["held_out"]) == 3


def test_what_is_printed_appears_above_the_block(terminal):
    stdout = terminal()
    block = live.Block()
    block.start()
    block.show(STATE)
    print("a message")
    block.show(STATE)
    block.stop()
    written = stdout.getvalue()
    assert sys.stdout is stdout
    assert written.index("a message") < written.rindex("Epoch 3 of 20")
    assert written.count("\x1b[?25l") >= 1
    hidden, shown = written.rindex("\x1b[?25l"), written.rindex("\x1b[?25h")
    assert hidden < shown
    assert written.index("\x1b[?25h") < written.index("Epoch 3")  # also while it runs


def test_bar_of_keras_has_no_norm_of_the_gradient(model, capsys, tmp_path):
    for verbose in (1, 2):
        log = textgen.TrainingLog(tmp_path / "run.csv")
        model.fit(data(), verbose=verbose, callbacks=[log])
    printed = capsys.readouterr().out
    assert "loss: " in printed
    assert "gradient" not in printed
