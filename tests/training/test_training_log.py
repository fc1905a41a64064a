import csv
import itertools
import pathlib
import types
import warnings

import keras
import pytest

import textgen


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("textgen.training.training_log.time", clock)
    return clock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.csv"


def training(path, clock, epochs, logs=None, first=0, state=None, norms=(1.0, 2.0)):
    """Calls a log as `fit` does; an epoch has two steps and takes ten seconds."""
    log = textgen.TrainingLog(path)
    optimizer = types.SimpleNamespace(iterations=2 * first, learning_rate=0.5)
    log.set_model(types.SimpleNamespace(optimizer=optimizer))
    log.on_train_begin()
    if state is not None:
        log.set_state(state)
    for epoch in range(first, epochs):
        log.on_epoch_begin(epoch)
        for batch, norm in enumerate(norms):
            optimizer.iterations += 1
            log.on_train_batch_end(batch, {"loss": 9.0, "gradient_norm": norm})
        clock.now += 10
        log.on_epoch_end(epoch, logs(epoch) if logs else {"loss": 3.0 - epoch})
    return log


def rows(path):
    with open(path, newline="") as file:
        return [*csv.reader(file)]


HEADING = ["epoch", "step", "seconds", "loss", "learning_rate", "gradient_norm"]
ROWS = [
    ["0", "2", "10.00", "3.0", "0.5", "1.5"],
    ["1", "4", "20.00", "2.0", "0.5", "1.5"],
    ["2", "6", "30.00", "1.0", "0.5", "1.5"],
]


def test_a_row_for_each_epoch(path, clock):
    path.write_text("an older file\n")
    training(path, clock, 3)
    assert rows(path) == [HEADING, *ROWS]


def test_other_callbacks_get_the_mean_norm(path, clock):
    logs = {"loss": 1.0, "gradient_norm": 2.0}  # that of the last step
    training(path, clock, 1, logs=lambda epoch: logs)
    assert logs["gradient_norm"] == 1.5


def test_a_learning_rate_in_the_logs_counts(path, clock):
    training(path, clock, 1, logs=lambda _: {"loss": 1.0, "learning_rate": 0.25})
    assert rows(path)[1][4] == "0.25"


def test_a_column_that_comes_later(path, clock):
    def logs(epoch):
        return {"loss": 1.0} | ({"val_loss": 2.0} if epoch % 2 else {})

    training(path, clock, 3, logs=logs)
    heading, *found = rows(path)
    assert heading == [*HEADING[:4], "val_loss", *HEADING[4:]]
    assert [row[4] for row in found] == ["", "2.0", ""]
    assert [row[0] for row in found] == ["0", "1", "2"]


@pytest.mark.parametrize("written", [2, 3])
def test_a_resumed_training_has_no_row_twice(path, clock, written):
    state = training(path, clock, 2).get_state()
    training(path, clock, written)  # a crash after the state was written
    with open(path, "a") as file:
        file.write("3,4")  # a part of a row
    clock.now += 1000
    training(path, clock, 3, first=2, state=state)
    assert rows(path) == [HEADING, *ROWS]


def test_an_initial_epoch_continues_the_file(path, clock):
    training(path, clock, 2)
    clock.now += 1000
    training(path, clock, 3, first=2)
    assert rows(path) == [HEADING, *ROWS]


def test_the_mean_norm_of_an_epoch_that_is_resumed_in_its_middle(path, clock):
    log = training(path, clock, 0)
    log.on_epoch_begin(0)
    log.on_train_batch_end(0, {"gradient_norm": 5.0})
    state = log.get_state()
    other = training(path, clock, 0)
    other.on_epoch_begin(0)
    other.set_state(state)
    other.on_train_batch_end(1, {"gradient_norm": 2.0})
    other.on_epoch_end(0, {"loss": 1.0})
    assert rows(path)[1][-1] == "3.5"


def test_names_with_commas_are_quoted(path, clock):
    training(path, clock, 1, logs=lambda _: {"loss": 1.0, 'a,"b"': 2.0})
    assert 'a,"b"' in rows(path)[0]


def test_a_full_disk_is_one_warning(path, clock):
    path.mkdir()  # cannot be replaced by a file
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        training(path, clock, 3)
    [warning] = caught
    message = str(warning.message)
    assert message.startswith(f"The log {path} cannot be written (")
    assert message.endswith("); the training continues.")
    assert pathlib.Path(path).is_dir()


@pytest.mark.parametrize("log_first", [True, False])
def test_rate_of_a_time_budget_which_resets_it_after_an_epoch(
    path, monkeypatch, log_first
):
    seconds = itertools.count()
    monkeypatch.setattr(
        "textgen.training.time_budget._clock", lambda: float(next(seconds))
    )
    vocabulary = textgen.Vocabulary.from_text("abc ")
    model = textgen.LanguageModel(vocabulary, units=2, sequence_length=4)
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    log = textgen.TrainingLog(path, gradient_norm=False)
    budget = textgen.TimeBudget(1, warmup=0.0, decay="linear", floor=0.0)
    used = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: used.append(budget.learning_rate)
    )
    data = textgen.WindowDataset(vocabulary.encode("abc cab " * 4), 4, 1, batch_size=99)
    callbacks = [log, budget, note] if log_first else [budget, log, note]
    model.fit(data, epochs=99, verbose=0, callbacks=callbacks)
    heading, *found = rows(path)
    rates = [float(row[heading.index("learning_rate")]) for row in found]
    assert len(rates) > 3
    assert rates == pytest.approx(used)  # an epoch has one batch
    assert rates[-1] < 0.2 < rates[0]
